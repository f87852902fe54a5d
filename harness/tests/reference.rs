//! The reference pages of the book match the code, and completions and man pages exist for all
//! three programs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use harness::experiments::ALL;

fn harness(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_harness"))
        .args(arguments)
        // Values from the environment must not appear in a page.
        .env("VSSD_CONTROL", "/of/this/machine")
        .output()
        .unwrap()
}

const PAGES: [&str; 4] = ["harness.md", "vssd-host.md", "vssdctl.md", "columns.md"];

#[test]
fn the_reference_matches_the_code() {
    let place = tempfile::tempdir().unwrap();
    let output = harness(&["docs", place.path().to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src/reference");
    for name in PAGES {
        let expected = fs::read_to_string(place.path().join(name)).unwrap();
        let found = fs::read_to_string(committed.join(name)).unwrap();
        assert!(
            expected == found,
            "docs/src/reference/{name} is out of date: run `cargo run --bin harness -- docs \
             docs/src/reference`"
        );
    }
}

/// The column names of a file in `columns.md`.
fn columns(page: &str, file: &str) -> Vec<String> {
    let section = page.split(&format!("### {file}\n")).nth(1).unwrap();
    let rows = section
        .lines()
        .skip_while(|line| !line.starts_with("| ---"));
    let rows = rows.skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<_> = row.split(" | ").collect();
        assert!(cells[cells.len() - 1].len() > " |".len(), "{file}: {row}");
        cells[0].trim_matches(['|', ' ', '`']).to_owned()
    })
    .collect()
}

#[test]
fn every_column_of_the_reference_runs_is_defined() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/src/reference/columns.md")).unwrap();
    let mut files = 0;
    for run in fs::read_dir(root.join("results/reference")).unwrap() {
        for entry in fs::read_dir(run.unwrap().path()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|of| of != "csv") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let header: Vec<_> = text.lines().next().unwrap().split(',').collect();
            let name = path.file_name().unwrap().to_str().unwrap();
            let defined = columns(&page, name);
            // Older runs lack columns added later.
            let known: Vec<_> = defined
                .iter()
                .filter(|name| header.contains(&name.as_str()))
                .collect();
            assert_eq!(
                known,
                header.iter().collect::<Vec<_>>(),
                "{}",
                path.display()
            );
            files += 1;
        }
    }
    assert!(files > 20, "{files} files");
}

/// Each CSV file name has one row type and one section in `columns.md`. Only `boot.csv` is shared.
#[test]
fn csv_files_of_experiments_have_distinct_names() {
    let mut owners = BTreeMap::new();
    for experiment in ALL {
        for file in experiment.files() {
            let earlier = owners.insert(file.name, experiment.name());
            assert!(
                earlier.is_none() || file.name == "boot.csv",
                "{} and {} both declare {}",
                earlier.unwrap_or_default(),
                experiment.name(),
                file.name
            );
        }
    }
    assert!(owners.len() > 20, "{} files", owners.len());
}

#[test]
fn completions_and_man_pages_are_written() {
    for shell in ["bash", "zsh", "fish"] {
        let output = harness(&["completions", shell]);
        assert!(output.status.success(), "{output:?}");
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.contains("doctor"), "{shell}");
    }
    let place = tempfile::tempdir().unwrap();
    let output = harness(&["man", place.path().to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    for (page, option) in [
        ("harness.1", "transport"),
        ("harness-sim.1", "workload"),
        ("vssd-host.1", "backing"),
        ("vssdctl.1", "control"),
    ] {
        let text = fs::read_to_string(place.path().join(page)).unwrap();
        assert!(text.contains(option), "{page}");
    }
    assert!(!place.path().join("harness-backend.1").exists());
}
