//! Tests over all experiments.

mod figures;
mod params;
mod rows;

use std::fs;
use std::path::Path;

use super::ALL;

#[test]
fn every_experiment_has_its_page_in_the_book() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src/experiments");
    for experiment in ALL {
        let page = docs.join(format!("{}.md", experiment.name()));
        let text =
            fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        assert!(text.contains("page.md"), "{}", page.display());
    }
}

#[test]
fn names_of_experiments_are_different() {
    let names: std::collections::BTreeSet<_> = ALL.iter().map(|of| of.name()).collect();
    assert_eq!(names.len(), ALL.len());
}
