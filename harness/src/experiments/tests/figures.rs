//! Figures of synthetic runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use results::manifest::Manifest;
use terminal::progress::Progress;

use super::rows::*;
use crate::experiments::common::lab::{Joined, Lab};
use crate::experiments::eviction::sweep_claims::Landscape;
use crate::experiments::{
    ALL, by_name, correctness, eviction, latency, overhead, shrinkcache, writepolicy,
};

fn record<R: results::row::Row>(folder: &Path, rows: &[R]) {
    let mut file = csv::Writer::from_path(folder.join(R::FILE)).unwrap();
    for row in rows {
        file.serialize(row).unwrap();
    }
    file.flush().unwrap();
}

/// The manifest of a run that was never made.
fn manifest() -> Manifest {
    let lab = Lab {
        joined: Joined::Alone,
        seed: 1,
        progress: Progress { shown: false },
    };
    Manifest::new(lab.conditions("a test", "sim", false, &toml::Table::new()))
}

/// Texts of an SVG.
fn texts(svg: &str) -> Vec<&str> {
    svg.split("<text")
        .skip(1)
        .filter_map(|part| part.split_once('>')?.1.split("</text>").next())
        .map(str::trim)
        .collect()
}

#[test]
fn every_experiment_has_its_figures_in_both_formats() {
    let expected = BTreeMap::from([
        ("correctness", vec!["correctness"]),
        (
            "eviction",
            vec![
                "eviction_pattern",
                "eviction_guest",
                "eviction_hypervisor",
                "eviction_misses",
            ],
        ),
        ("overhead", vec!["overhead"]),
        ("latency", vec!["latency_guest", "latency_backend"]),
        ("sharing", vec!["sharing"]),
        ("direct-io", vec!["direct_io"]),
        ("media", vec!["media"]),
        ("blockcache", vec!["blockcache", "blockcache_latency"]),
        (
            "writepolicy",
            vec![
                "writepolicy_latency",
                "writepolicy_staleness",
                "writepolicy_crash",
            ],
        ),
        ("shrinkcache", vec!["shrinkcache"]),
    ]);
    let folder = tempfile::tempdir().unwrap();
    record(folder.path(), &quick_walk());
    record(folder.path(), &eviction_rows());
    record(folder.path(), &eviction_blocks(1));
    record(folder.path(), &overhead_rows());
    record(folder.path(), &latency_rows());
    record(folder.path(), &latency_buckets());
    record(folder.path(), &latency_cycles());
    record(folder.path(), &sharing_rows());
    record(folder.path(), &sharing_checks());
    record(folder.path(), &direct_io_rows());
    record(folder.path(), &media_rows());
    record(folder.path(), &block_cache_rows());
    record(folder.path(), &block_cache_sims());
    record(folder.path(), &block_cache_timings());
    record(folder.path(), &write_policy_rows());
    record(folder.path(), &write_policy_samples());
    record(folder.path(), &write_policy_crashes());
    record(folder.path(), &shrinkcache::claims::example::windows());
    for (name, expected) in expected {
        let figures = by_name(name)
            .unwrap()
            .draw(folder.path(), &manifest())
            .unwrap();
        let stems: Vec<_> = figures.iter().map(|figure| figure.stem).collect();
        assert_eq!(stems, expected);
        for figure in &figures {
            let svg = fs::read_to_string(folder.path().join(figure.file())).unwrap();
            assert!(
                texts(&svg).contains(&figure.title.as_str()),
                "{}",
                figure.stem
            );
            assert!(
                !svg.contains("NaN") && !svg.contains("inf"),
                "{}",
                figure.stem
            );
        }
    }
}

#[test]
fn each_write_policy_has_one_line() {
    let (rows, samples) = (write_policy_rows(), write_policy_samples());
    let drawings = writepolicy::figures::draw(&rows, &samples, &write_policy_crashes()).unwrap();
    let (figure, svg) = drawings.last().unwrap();
    assert_eq!(figure.stem, "writepolicy_crash");
    for (policy, _) in WRITE_POLICIES {
        let times = texts(svg).iter().filter(|text| **text == policy).count();
        assert_eq!(times, 1, "{policy}");
    }
}

#[test]
fn pickers_are_drawn_with_their_numbers() {
    assert!(eviction::picker_figures::draw(&[]).unwrap().is_empty());
    for seeds in [1, 10] {
        let (_, svg) = &eviction::picker_figures::draw(&picker_rows(seeds)).unwrap()[0];
        assert!(!svg.contains("NaN"));
        for row in picker_rows(seeds) {
            let picker = row.picker.to_string();
            assert!(texts(svg).contains(&picker.as_str()), "{picker}");
        }
        let number = match seeds {
            1 => "24.95 %".to_owned(),
            _ => format!("{} seeds", seeds),
        };
        assert!(svg.contains(&number), "{number}");
    }
}

#[test]
fn sweeps_are_maps_over_two_axes_and_lines_over_one() {
    let drawn = |axes: &[&str]| {
        let landscape = Landscape::of(&sweep_table(axes)).unwrap();
        eviction::sweep_figures::draw("Where it pays", &landscape).unwrap()
    };
    for (axes, figures) in [
        (&["a"][..], 1),
        (&["a", "b"], 1),
        (&["a", "b", "c"], 3),
        // Nine choices of the further axes, of which six are drawn.
        (&["a", "b", "c", "d"], 6),
    ] {
        let drawings = drawn(axes);
        assert_eq!(drawings.len(), figures, "{axes:?}");
        let (_, svg) = &drawings[0];
        assert!(!svg.contains("NaN"));
        for text in ["v0", "v1", "a"] {
            assert!(texts(svg).contains(&text), "{axes:?}: {text}");
        }
    }
    let (figure, svg) = &drawn(&["a", "b"])[0];
    assert_eq!(figure.stem, "sweep");
    // 11,000 of 20,000 reads against 5,000, and 3,000 fewer at the next point.
    for text in ["30", "15", "-0.1", "+30", "percentage"] {
        assert!(texts(svg).contains(&text), "{text}: {:?}", texts(svg));
    }
    let titles: Vec<String> = drawn(&["a", "b", "c"])
        .into_iter()
        .map(|(figure, _)| figure.title)
        .collect();
    assert_eq!(titles[2], "Where it pays: c v2");
}

#[test]
fn nothing_recorded_draws_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for experiment in ALL {
        assert_eq!(experiment.draw(folder.path(), &manifest()).unwrap(), []);
    }
}

#[test]
fn a_run_cut_short_still_draws() {
    let (_, svg) = &correctness::figures::draw(&quick_walk()[..1]).unwrap()[0];
    assert!(texts(svg).contains(&"262,144"));
    let mut one = overhead_rows();
    one.truncate(1);
    let (_, svg) = &overhead::figures::draw(&one).unwrap()[0];
    assert!(texts(svg).contains(&"64 MiB"));
    let (_, svg) =
        &latency::figures::draw(&latency_rows()[..1], &latency_buckets()[..1], &[]).unwrap()[0];
    assert!(texts(svg).contains(&"99.9") && !svg.contains("NaN"));
    let one_side = &eviction_rows()[..1];
    let drawings = eviction::figures::draw(one_side, &eviction_blocks(9000)).unwrap();
    assert_eq!(drawings.len(), 4);
    let mut unread = eviction_rows();
    unread[0].reads = 0;
    unread[0].hits = 0;
    unread[0].misses = 0;
    assert!(
        !eviction::figures::draw(&unread, &[]).unwrap()[0]
            .1
            .contains("NaN")
    );
}

#[test]
fn the_figure_counts_differing_steps() {
    let mut rows = quick_walk();
    rows[3].read_errors -= 1;
    let (_, svg) = &correctness::figures::draw(&rows).unwrap()[0];
    assert!(svg.contains("at 1 of them, read errors and blocks held by the host differ"));
}
