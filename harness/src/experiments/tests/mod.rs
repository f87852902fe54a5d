//! Tests over all experiments.

mod figures;
mod params;
mod rows;

use super::ALL;

/// The anchor that a heading of a page has.
fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let letters = words.replace(' ', "-");
    letters
        .chars()
        .filter(|c| c.is_alphanumeric() || *c == '-')
        .collect()
}

#[test]
fn every_experiment_is_described_where_it_says() {
    let page = include_str!("../../../../METHOD.md");
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let anchors: Vec<String> = headings.map(anchor).collect();
    for experiment in ALL {
        let method = experiment.method();
        let named = method.strip_prefix("METHOD.md#");
        let found = named.is_some_and(|named| anchors.iter().any(|of| of == named));
        assert!(
            found,
            "{}: {method} is none of {anchors:?}",
            experiment.name()
        );
    }
}

#[test]
fn names_of_experiments_are_different() {
    let names: std::collections::BTreeSet<_> = ALL.iter().map(|of| of.name()).collect();
    assert_eq!(names.len(), ALL.len());
}
