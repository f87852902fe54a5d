//! All reference runs can be reported again, with the same claims.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Results folders under `folder`: those with files.
fn results_under(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) = entries
        .map(|entry| entry.unwrap().path())
        .partition(|path| path.is_dir());
    if !files.is_empty() {
        return vec![folder.to_owned()];
    }
    folders
        .iter()
        .flat_map(|path| results_under(path))
        .collect()
}

/// The rows of the table of claims.
fn claims(folder: &Path) -> Vec<String> {
    let report = fs::read_to_string(folder.join("report.md")).unwrap();
    let table = report
        .lines()
        .skip_while(|line| !line.starts_with("| claimed or required"));
    let rows = table.skip(2).take_while(|line| line.starts_with('|'));
    rows.map(str::to_owned).collect()
}

#[test]
fn reference_runs_are_judged_as_recorded() {
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results/reference");
    let runs = results_under(&reference);
    for name in ["eviction", "bench-io", "sim", "sweeps/spread"] {
        assert!(runs.contains(&reference.join(name)), "{name}: {runs:?}");
    }
    for run in runs {
        let place = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(&run).unwrap() {
            let entry = entry.unwrap();
            // The report depends only on rows and manifest.
            let name = entry.file_name().into_string().unwrap();
            if name.ends_with(".csv") || name.ends_with(".json") {
                fs::copy(entry.path(), place.path().join(name)).unwrap();
            }
        }
        let output = Command::new(env!("CARGO_BIN_EXE_harness"))
            .arg("report")
            .arg(place.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{}: {said}", run.display());
        let expected = claims(&run);
        assert!(!expected.is_empty(), "{} claims nothing", run.display());
        assert_eq!(claims(place.path()), expected, "{}", run.display());
        assert!(place.path().join("report.html").exists());
    }
}
