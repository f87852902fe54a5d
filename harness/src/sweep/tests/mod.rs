//! Whole sweeps, with a fake experiment.

mod merging;

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Result, bail, ensure};
use results::manifest::State;
use tempfile::TempDir;
use workloads::{GuestPick, HostPick};

use super::engine::{self, Options};
use super::file::Sweep;
use super::folder::{self, ROWS, SweepFolder};
use super::manifest::{Counts, SweepManifest};
use super::plan::Plan;
use super::rows;
use super::shard::Shard;
use crate::experiments::common::params::{Overrides, typed};
use crate::experiments::common::swept::{Fields, Runner};
use crate::experiments::eviction::picker::Picker;
use crate::experiments::eviction::sweep_table::{Outcome, SweepTable};

/// Parameters of the experiment of these tests.
pub(super) const DEFAULTS: &str = "
mean = 5.0
sd = 2
workload = \"gaussian\"
reads = 100
repetitions = 2
pickers = [\"host-uniform\", \"guest-sample\"]
[full]
reads = 1000
";

const SWEEP: &str = "
title = \"a test\"
[sweep]
sd = [1, 2, 3]
workload = [\"gaussian\", \"a, b\"]
";

/// Computes hits by a formula, and records its calls.
#[derive(Default)]
struct Fake {
    /// Points with this `sd` are invalid.
    impossible_sd: Option<i64>,
    /// Seed with which a run fails.
    failing_seed: Option<u64>,
    /// Seed with which a run panics.
    panicking_seed: Option<u64>,
    ran: Mutex<Vec<(String, u64)>>,
}

impl Runner for Fake {
    fn check(&self, params: &toml::Table) -> Result<()> {
        let sd: i64 = typed::<SdOnly>(params)?.sd;
        ensure!(Some(sd) != self.impossible_sd, "an sd of {sd},\nreally?");
        Ok(())
    }

    fn run(&self, params: &toml::Table, seed: u64) -> Result<Vec<Fields>> {
        let text = params.to_string();
        self.ran.lock().unwrap().push((text.clone(), seed));
        if Some(seed) == self.failing_seed {
            bail!("the seed {seed} is unlucky");
        }
        assert!(Some(seed) != self.panicking_seed, "an own bug");
        let reads = params["reads"].as_integer().unwrap() as u64;
        // In another order than in the table.
        let outcome = |picker: Picker| {
            let place = Picker::ALL.iter().position(|of| *of == picker).unwrap() as u64;
            let salt = text.bytes().map(u64::from).sum::<u64>() + seed * 7 + place;
            Outcome {
                picker,
                reads,
                hits: salt % (reads + 1),
                misses: reads - salt % (reads + 1),
            }
            .fields()
        };
        Ok(vec![
            outcome(Picker::Host(HostPick::Uniform)),
            outcome(Picker::Guest(GuestPick::Sample)),
        ])
    }
}

#[derive(serde::Deserialize)]
struct SdOnly {
    sd: i64,
}

fn plan_of(text: &str, seed: u64) -> Plan {
    let sweep = Sweep::parse(text).unwrap();
    Plan::over(sweep, DEFAULTS, &Overrides::default(), seed).unwrap()
}

fn plan() -> Plan {
    plan_of(SWEEP, 5)
}

fn shard(text: &str) -> Shard {
    text.parse().unwrap()
}

/// Opens, runs to the end and closes.
fn run_with(path: &Path, shard: Shard, jobs: usize, fake: &Fake) -> Counts {
    let mut folder = SweepFolder::open(path, plan(), shard).unwrap();
    let options = Options {
        jobs,
        is_terminal: false,
        stop: &|| false,
    };
    engine::run(&mut folder, fake, &options).unwrap();
    folder.close(State::Complete).unwrap()
}

fn run(path: &Path, shard: Shard) -> usize {
    let fake = Fake::default();
    run_with(path, shard, 2, &fake);
    fake.ran.into_inner().unwrap().len()
}

fn csv(path: &Path) -> String {
    fs::read_to_string(path.join(ROWS)).unwrap()
}

/// A finished sweep.
fn whole() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(run(folder.path(), Shard::WHOLE), 12);
    let csv = csv(folder.path());
    (folder, csv)
}

#[test]
fn the_table_can_be_read_back() {
    let (folder, csv) = whole();
    let mut lines = csv.lines();
    assert_eq!(
        lines.next(),
        Some("point,sd,workload,seed,picker,reads,hits,misses")
    );
    let first: Vec<&str> = lines.next().unwrap().split(',').collect();
    assert_eq!(
        first[..6],
        ["0", "1", "gaussian", "5", "guest-sample", "100"]
    );
    assert!(
        lines
            .next()
            .unwrap()
            .starts_with("0,1,gaussian,5,host-uniform,100,")
    );
    assert!(csv.contains("\n1,1,\"a, b\",6,host-uniform,100,"));
    let recorded = folder::read(folder.path()).unwrap();
    assert_eq!(recorded.manifest.status, State::Complete);
    assert_eq!(recorded.damage, []);
    let table = SweepTable::of(&recorded.table());
    assert_eq!(table.axes, ["sd", "workload"]);
    assert_eq!(table.rows.len(), 24);
    let last = table.rows.last().unwrap();
    assert_eq!((last.point, last.seed), (5, 6));
    assert_eq!(last.values, ["3", "a, b"]);
    assert_eq!(last.hits + last.misses, 100);
}

#[test]
fn a_parameter_with_the_name_of_a_column_gets_a_suffix() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan_of("title = \"t\"\n[sweep]\nreads = [1, 2]", 1);
    SweepFolder::open(folder.path(), plan, Shard::WHOLE).unwrap();
    assert_eq!(
        csv(folder.path()),
        "point,reads_parameter,seed,picker,reads,hits,misses\n"
    );
}

#[test]
fn the_table_does_not_depend_on_the_number_of_threads() {
    let (_, expected) = whole();
    for jobs in [1, 2, 7] {
        let folder = tempfile::tempdir().unwrap();
        run_with(folder.path(), Shard::WHOLE, jobs, &Fake::default());
        assert_eq!(csv(folder.path()), expected, "{jobs} threads");
    }
}

#[test]
fn complete_cells_do_not_run_again() {
    let (folder, expected) = whole();
    assert_eq!(run(folder.path(), Shard::WHOLE), 0);
    assert_eq!(csv(folder.path()), expected);
}

#[test]
fn an_interrupted_sweep_resumes_to_the_same_bytes() {
    let (_, expected) = whole();
    for after in 0..12 {
        let path = tempfile::tempdir().unwrap();
        let mut folder = SweepFolder::open(path.path(), plan(), Shard::WHOLE).unwrap();
        let calls = AtomicUsize::new(0);
        let options = Options {
            jobs: 1,
            is_terminal: false,
            stop: &|| calls.fetch_add(1, Ordering::SeqCst) >= after,
        };
        engine::run(&mut folder, &Fake::default(), &options).unwrap();
        assert_eq!(folder.counts().done as usize, after);
        // Not closed, as after a kill.
        drop(folder);
        assert_eq!(
            SweepManifest::read(path.path()).unwrap().status,
            State::Running
        );
        assert_eq!(run(path.path(), Shard::WHOLE), 12 - after);
        assert_eq!(csv(path.path()), expected, "after {after} cells");
    }
}

#[test]
fn a_table_truncated_anywhere_is_repaired() {
    let (folder, expected) = whole();
    let path = folder.path().join(ROWS);
    for length in 0..expected.len() {
        fs::write(&path, &expected[..length]).unwrap();
        let whole_lines = expected[..length].matches('\n').count();
        let whole_cells = whole_lines.saturating_sub(1) / 2;
        let ran = run(folder.path(), Shard::WHOLE);
        assert_eq!(ran, 12 - whole_cells, "cut to {length} bytes");
        assert_eq!(csv(folder.path()), expected, "cut to {length} bytes");
    }
}

#[test]
fn a_changed_or_added_byte_is_reported_with_its_line_and_never_used() {
    let (folder, expected) = whole();
    let path = folder.path().join(ROWS);
    let read = |bytes: &[u8]| rows::read_rows(&plan(), Shard::WHOLE, &path, bytes);
    let (sound, damage) = read(expected.as_bytes());
    assert_eq!((sound.len(), damage.len()), (12, 0));
    for at in 0..expected.len() {
        for byte in [
            b'0', b'1', b'2', b'6', b'9', b',', b'"', b'\n', b'\r', b' ', b'+', 0xff,
        ] {
            let mut bytes = expected.clone().into_bytes();
            if bytes[at] == byte {
                continue;
            }
            let mut longer = bytes.clone();
            longer.insert(at, byte);
            bytes[at] = byte;
            for bytes in [bytes, longer] {
                let (rows, damage) = read(&bytes);
                let line = 1 + expected[..at].matches('\n').count();
                let named = damage.iter().any(|damage| damage.line == line);
                assert!(named, "byte {at}, {byte}: {damage:?}");
                for (cell, outcomes) in rows {
                    assert_eq!(outcomes, sound[&cell], "byte {at}, {byte}");
                }
            }
        }
    }
}

#[test]
fn repeated_rows_are_valid_and_contradicting_rows_are_not() {
    let (folder, expected) = whole();
    let path = folder.path().join(ROWS);
    let second = expected.lines().nth(1).unwrap();
    fs::write(&path, format!("{expected}{second}\n")).unwrap();
    assert_eq!(folder::read(folder.path()).unwrap().damage, []);
    // The same cell and picker with other, consistent counts.
    let head = second.rsplitn(4, ',').last().unwrap();
    fs::write(&path, format!("{expected}{head},100,0,100\n")).unwrap();
    let recorded = folder::read(folder.path()).unwrap();
    let named = recorded.damage[0].to_string();
    assert!(
        named.contains("sweep.csv, line 26: the row contradicts line 2"),
        "{named}"
    );
    assert!(!recorded.rows.contains_key(&0));
    assert_eq!(run(folder.path(), Shard::WHOLE), 1);
    assert_eq!(csv(folder.path()), expected);
}

#[test]
fn invalid_points_are_recorded_and_others_run() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake {
        impossible_sd: Some(2),
        failing_seed: Some(6),
        ..Fake::default()
    };
    let counts = run_with(folder.path(), Shard::WHOLE, 2, &fake);
    let expected = Counts {
        all: 12,
        done: 4,
        failed: 8,
    };
    assert_eq!(counts, expected);
    let failures = fs::read_to_string(folder.path().join("failures.csv")).unwrap();
    let lines: Vec<&str> = failures.lines().collect();
    assert_eq!(lines[0], "point,sd,workload,seed,reason");
    assert_eq!(lines[1], "0,1,gaussian,6,the seed 6 is unlucky");
    assert_eq!(lines[3], "2,2,gaussian,5,\"an sd of 2, really?\"");
    assert_eq!(lines.len(), 9);
    // The next run tries them again.
    let fake = Fake::default();
    assert_eq!(run_with(folder.path(), Shard::WHOLE, 1, &fake).failed, 0);
    assert_eq!(fake.ran.into_inner().unwrap().len(), 8);
    let (_, expected) = whole();
    assert_eq!(csv(folder.path()), expected);
}

/// Fails like an experiment interrupted by a signal.
struct Interrupted<'a>(&'a AtomicBool);

impl Runner for Interrupted<'_> {
    fn check(&self, _: &toml::Table) -> Result<()> {
        Ok(())
    }

    fn run(&self, _: &toml::Table, _: u64) -> Result<Vec<Fields>> {
        self.0.store(true, Ordering::SeqCst);
        bail!("interrupted")
    }
}

#[test]
fn interrupted_cells_count_as_missing_not_failed() {
    let path = tempfile::tempdir().unwrap();
    let mut folder = SweepFolder::open(path.path(), plan(), Shard::WHOLE).unwrap();
    let stopped = AtomicBool::new(false);
    let options = Options {
        jobs: 2,
        is_terminal: false,
        stop: &|| stopped.load(Ordering::SeqCst),
    };
    engine::run(&mut folder, &Interrupted(&stopped), &options).unwrap();
    assert_eq!(folder.counts().missing(), 12);
}

#[test]
fn a_panic_fails_its_cell_only() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake {
        panicking_seed: Some(6),
        ..Fake::default()
    };
    let counts = run_with(folder.path(), Shard::WHOLE, 2, &fake);
    assert_eq!((counts.done, counts.failed), (6, 6));
    let failures = fs::read_to_string(folder.path().join("failures.csv")).unwrap();
    assert!(
        failures.contains("0,1,gaussian,6,panic: an own bug"),
        "{failures}"
    );
}

/// Returns wrong rows.
struct Liar(fn(Vec<Fields>) -> Vec<Fields>);

impl Runner for Liar {
    fn check(&self, _: &toml::Table) -> Result<()> {
        Ok(())
    }

    fn run(&self, params: &toml::Table, seed: u64) -> Result<Vec<Fields>> {
        Fake::default().run(params, seed).map(self.0)
    }
}

#[test]
fn wrong_rows_are_failures() {
    let liars: [fn(Vec<Fields>) -> Vec<Fields>; 3] = [
        |outcomes| outcomes[1..].to_vec(),
        |rows| [rows.clone(), rows].concat(),
        |mut outcomes| {
            outcomes[0][2] += "1";
            outcomes
        },
    ];
    for liar in liars {
        let path = tempfile::tempdir().unwrap();
        let mut folder = SweepFolder::open(path.path(), plan(), Shard::WHOLE).unwrap();
        let options = Options {
            jobs: 1,
            is_terminal: false,
            stop: &|| false,
        };
        engine::run(&mut folder, &Liar(liar), &options).unwrap();
        assert_eq!(folder.counts().failed, 12);
    }
}

#[test]
fn folders_with_other_content_are_rejected() {
    let open = |path: &Path, plan: Plan, part: &str| {
        let opened = SweepFolder::open(path, plan, shard(part));
        format!("{:#}", opened.err().unwrap())
    };
    let (folder, expected) = whole();
    let path = folder.path();
    for (plan, part, word) in [
        (plan_of(SWEEP, 6), "1/1", "`seed` is 5, not 6"),
        (plan(), "1/2", "`shard` is 1/1, not 1/2"),
        (
            plan_of(&SWEEP.replace("3]", "4]"), 5),
            "1/1",
            "`sd` is [1, 2, 3]",
        ),
        (
            plan_of(&SWEEP.replace("a test", "else"), 5),
            "1/1",
            "`title`",
        ),
        (
            plan_of(&format!("{SWEEP}[fixed]\nreads = 5"), 5),
            "1/1",
            "`reads` is 100",
        ),
    ] {
        let error = open(path, plan, part);
        assert!(error.contains(word), "{error}");
        assert!(error.contains("--out"), "{error}");
    }
    assert_eq!(csv(path), expected);

    let foreign = tempfile::tempdir().unwrap();
    fs::write(foreign.path().join("thesis.tex"), "x").unwrap();
    let error = open(foreign.path(), plan(), "1/1");
    assert!(error.contains("not the folder of a sweep"), "{error}");
    assert_eq!(fs::read_dir(foreign.path()).unwrap().count(), 1);

    fs::write(path.join("sweep.json"), "{").unwrap();
    let error = open(path, plan(), "1/1");
    assert!(error.contains("sweep.json is damaged"), "{error}");
}

#[test]
fn only_one_process_can_use_a_folder() {
    let path = tempfile::tempdir().unwrap();
    let first = SweepFolder::open(path.path(), plan(), Shard::WHOLE).unwrap();
    let error = SweepFolder::open(path.path(), plan(), Shard::WHOLE).unwrap_err();
    assert!(error.to_string().contains("another process"), "{error}");
    drop(first);
    // A sweep killed between creating the lock and the manifest.
    let path = tempfile::tempdir().unwrap();
    fs::write(path.path().join("sweep.lock"), "").unwrap();
    SweepFolder::open(path.path(), plan(), Shard::WHOLE).unwrap();
}

#[test]
fn floating_point_values_survive_the_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let text = "title = \"t\"\n[sweep]\nmean = [0.1, 5e-324, 131072.0, 2.2250738585072011e-308]";
    for _ in 0..2 {
        SweepFolder::open(folder.path(), plan_of(text, 1), Shard::WHOLE).unwrap();
    }
}

#[test]
fn the_built_in_sweeps_are_valid_and_small() {
    for (name, text) in super::BUILT_IN {
        let sweep = Sweep::parse(text).unwrap();
        let plan = Plan::new(sweep, &Overrides::default(), 1).unwrap();
        assert!(plan.cells() <= 1000, "{name} has {} cells", plan.cells());
        for point in 0..plan.points() {
            if let Err(error) = plan.kind().check(&plan.params(point)) {
                panic!("{name}, {}: {error:#}", plan.describe(point));
            }
        }
    }
}
