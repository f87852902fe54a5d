//! The example experiment of CONTRIBUTING.md runs, and its folder can be judged and drawn like
//! that of any other.

mod regrow;

use std::fs;
use std::path::Path;

use harness::experiments::common::lab::{Joined, Lab};
use harness::experiments::common::params::{Overrides, resolve};
use harness::experiments::experiment::{Entry, Experiment as _};
use harness::report;
use harness::runs::Order;
use regrow::{Regrow, RegrowRow};
use results::manifest::Manifest;
use results::store::read;
use terminal::progress::Progress;

#[test]
fn it_runs_and_its_folder_is_judged_and_drawn() {
    let params = resolve(Regrow::DEFAULTS, &Overrides::default()).unwrap();
    let order = Order {
        experiment: &Regrow,
        params,
        full: false,
        reproduce: None,
    };
    let lab = Lab {
        joined: Joined::Twin,
        seed: 1,
        progress: Progress { shown: false },
    };
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("run");
    let verdict = order.run(&lab, "requested", &folder).unwrap();
    assert!(verdict.holds(), "{:?}", verdict.missed());
    let rows: Vec<RegrowRow> = read(&folder).unwrap();
    let zeros: Vec<_> = rows.iter().map(|row| row.zero_blocks).collect();
    // Of 16,384 blocks.
    assert_eq!(zeros, [1630, 8150]);

    for name in ["report.md", "regrow.svg"] {
        fs::remove_file(folder.join(name)).unwrap();
    }
    assert_eq!(report::format_as(&Regrow, &folder).unwrap(), verdict);
    let text = fs::read_to_string(folder.join("report.md")).unwrap();
    assert!(text.contains("docs/src/experiments/regrow.md"), "{text}");
    let files = report::plot_as(&Regrow, &folder).unwrap();
    assert!(files.contains(&folder.join("regrow.svg")), "{files:?}");
}

#[test]
fn its_claim_can_miss() {
    let row = |shrunk_blocks, bad_blocks| RegrowRow {
        shrunk_blocks,
        intact_blocks: 90,
        zero_blocks: 10,
        bad_blocks,
    };
    let manifest = Manifest::read(&reference("correctness")).unwrap();
    let holds = |rows| Regrow::claims(&(rows,), &manifest).holds();
    assert!(holds(vec![row(10, 0)]));
    assert!(!holds(vec![row(10, 0), row(11, 0)]) && !holds(vec![row(10, 1)]));
    assert!(!holds(Vec::new()));
}

#[test]
fn its_columns_are_defined() {
    let files = Regrow.files();
    assert_eq!(files[0].name, "regrow.csv");
    assert!(files[0].columns.iter().all(|of| !of.meaning.is_empty()));
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn reference(run: &str) -> std::path::PathBuf {
    root().join("results/reference").join(run)
}

/// All code quoted in CONTRIBUTING.md is in these files, line by line.
#[test]
fn contributing_quotes_it() {
    let text = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let code = concat!(
        include_str!("regrow/mod.rs"),
        include_str!("regrow/defaults.toml")
    );
    let section = text.split("## Add an experiment").nth(1).unwrap();
    let blocks: Vec<_> = section.split("```").skip(1).step_by(2).collect();
    let quoted = blocks.iter().filter_map(|block| {
        let (language, block) = block.split_once('\n')?;
        matches!(language, "rust" | "toml").then_some(block)
    });
    let mut quotes = 0;
    for block in quoted {
        assert!(
            code.contains(block),
            "not in harness/tests/example/regrow:\n{block}"
        );
        quotes += 1;
    }
    assert!(quotes >= 4, "{quotes} quotes");
}
