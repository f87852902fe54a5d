//! The twin counts what QEMU counts: in its quick form every experiment records
//! the same bytes on both, but for what depends on the machine's pace.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::accel::Accel;
use harness::experiment::Experiment;
use harness::experiment::eviction::trial::{self, Detail};
use harness::experiment::eviction::{Params, on_twin};
use harness::experiment::params::{Overrides, resolve};
use harness::picker::Picker;
use harness::qemu::{Machine, Qemu};
use harness::vm_host::VmHost;

/// A claim about times may fail on a busy machine; that is not for this test.
const EXIT_DOES_NOT_HOLD: i32 = 3;

/// What differs by its nature: times and what they decide, boots, and costs
/// measured on the host.
fn is_of_the_machine(name: &str) -> bool {
    name.ends_with("_pace.csv") || ["boot.csv", "observers.csv"].contains(&name)
}

/// The counts of a run, by file.
fn counts(experiment: &str, transport: &str, folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let out = folder.join(transport);
    let output = Command::new(env!("CARGO_BIN_EXE_harness"))
        .args(["run", experiment, "--transport", transport, "--out"])
        .arg(&out)
        .output()
        .unwrap();
    let code = output.status.code();
    assert!(
        code == Some(0) || code == Some(EXIT_DOES_NOT_HOLD),
        "{experiment} on {transport}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    fs::read_dir(&out)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter_map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            let counted = name.ends_with(".csv") && !is_of_the_machine(&name);
            counted.then(|| (name, fs::read(entry.path()).unwrap()))
        })
        .collect()
}

fn same_on_both(experiment: &str, files: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let twin = counts(experiment, "twin", folder.path());
    let qemu = counts(experiment, "qemu", folder.path());
    assert!(
        twin.keys().eq(files),
        "{experiment} records {:?}",
        twin.keys()
    );
    assert!(
        qemu.keys().eq(files),
        "{experiment} records {:?}",
        qemu.keys()
    );
    for (name, of_twin) in &twin {
        let of_qemu = &qemu[name];
        let differs = of_twin
            .split(|b| *b == b'\n')
            .zip(of_qemu.split(|b| *b == b'\n'));
        let line = differs.take_while(|(a, b)| a == b).count() + 1;
        assert!(of_twin == of_qemu, "{name} differs from line {line} on");
    }
}

#[test]
fn correctness_is_the_same_on_both() {
    same_on_both("correctness", &["correctness.csv"]);
}

#[test]
fn eviction_is_the_same_on_both() {
    same_on_both(
        "eviction",
        &["eviction.csv", "eviction_blocks.csv", "pickers.csv"],
    );
}

#[test]
fn overhead_is_the_same_on_both() {
    same_on_both("overhead", &["overhead.csv"]);
}

#[test]
fn blockcache_is_the_same_on_both() {
    same_on_both("blockcache", &["blockcache.csv", "blockcache_sim.csv"]);
}

#[test]
fn shrinkcache_is_the_same_on_both() {
    same_on_both(
        "shrinkcache",
        &["shrinkcache.csv", "shrinkcache_resizes.csv"],
    );
}

/// Every picker under QEMU, each on another workload, against its twin. What
/// the workloads draw comes out of the guest's mathematics there and of the host's here.
#[test]
fn every_picker_and_workload_counts_the_same_on_both() {
    let vm_host = VmHost {
        qemu: Qemu::find(None).expect("these tests need QEMU"),
        machine: Machine::Q35,
        accel: Accel::Tcg,
        accel_reason: "for a test".to_owned(),
        program: PathBuf::from(env!("CARGO_BIN_EXE_harness")),
    };
    let workloads = [
        "zipf:0.99",
        "hotspot:8192,0.9,0.25",
        "gaussian:20000,8192+30000@30000",
        "uniform",
        "sequential",
        "zipf:1.3+100000@35000",
        "gaussian:100000,50000",
    ];
    for (i, picker) in Picker::ALL.into_iter().enumerate() {
        let sets: Vec<String> = [
            format!("workload=\"{}\"", workloads[i % workloads.len()]),
            "reads=40000".to_owned(),
            "warmup=40000".to_owned(),
            "sample=20000".to_owned(),
            "staleness=10000".to_owned(),
        ]
        .to_vec();
        let overrides = Overrides {
            sets: &sets,
            ..Overrides::default()
        };
        let table = resolve(Experiment::Eviction.defaults(), &overrides).unwrap();
        let params = Params::from_table(&table).unwrap();
        let seed = 40 + i as u64;
        let twin = on_twin(&params, picker, seed).unwrap();
        let mut bench = vm_host
            .start(trial::shape(&params, Detail::Totals))
            .unwrap();
        let qemu = trial::run(&params, picker, seed, Detail::Totals, &mut bench).unwrap();
        let counts = |outcome: &trial::Outcome| {
            let held = (outcome.held, outcome.surrendered, outcome.revoked);
            (outcome.hits, outcome.misses, outcome.errors, held)
        };
        assert_eq!(counts(&twin), counts(&qemu), "{picker} with {}", sets[0]);
        assert_eq!(twin.hits + twin.misses, params.reads, "{picker}");
    }
}
