//! Twins count the same as QEMU: in their quick form, experiments record the same bytes on both,
//! except for files that depend on the speed of the machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::experiments::common::params::{Overrides, checked, resolve};
use harness::experiments::eviction::Eviction;
use harness::experiments::eviction::picker::Picker;
use harness::experiments::eviction::run::on_twin;
use harness::experiments::eviction::trial::{self, Detail};
use harness::experiments::experiment::Experiment as _;
use lab::accel::Accel;
use lab::qemu::{Machine, Qemu};
use lab::testbed::{Disks, OriginShape, Shape, Testbed};
use lab::twin::Twin;
use lab::vm_host::VmHost;
use vssd_host::size::ByteSize;
use workloads::{Report, report};

/// Claims about times may fail on a busy machine; this test ignores them.
const EXIT_DOES_NOT_HOLD: i32 = 3;

/// Whether a file depends on the machine: times, boots, and costs measured on the host.
fn depends_on_machine(name: &str) -> bool {
    name.ends_with("_timing.csv") || ["boot.csv", "observers.csv"].contains(&name)
}

/// The counts of a run, by file.
fn counts(
    experiment: &str,
    more: &[&str],
    transport: &str,
    folder: &Path,
) -> BTreeMap<String, Vec<u8>> {
    let out = folder.join(transport);
    let output = Command::new(env!("CARGO_BIN_EXE_harness"))
        .args(["run", experiment, "--transport", transport, "--out"])
        .arg(&out)
        .args(more)
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
            let counted = name.ends_with(".csv") && !depends_on_machine(&name);
            counted.then(|| (name, fs::read(entry.path()).unwrap()))
        })
        .collect()
}

fn same_on_both(experiment: &str, files: &[&str]) {
    same_on_both_with(experiment, &[], files);
}

fn same_on_both_with(experiment: &str, more: &[&str], files: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let twin = counts(experiment, more, "twin", folder.path());
    let qemu = counts(experiment, more, "qemu", folder.path());
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
    // The time budget of the ablation must not decide which sizes are counted.
    let sizes = [
        "--set",
        "ablation_budget_s=3600",
        "--set",
        r#"sizes=["64MiB", "256MiB", "1GiB"]"#,
        "--set",
        "repetitions=1",
    ];
    same_on_both_with("overhead", &sizes, &["overhead.csv"]);
}

#[test]
fn blockcache_is_the_same_on_both() {
    same_on_both("blockcache", &["blockcache.csv", "blockcache_sim.csv"]);
}

#[test]
fn shrinkcache_is_the_same_on_both() {
    let fewer = [
        "--set",
        "warmup=5000",
        "--set",
        "before=2500",
        "--set",
        "shrunk=5000",
        "--set",
        "grown=5000",
    ];
    let files = ["shrinkcache.csv", "shrinkcache_resizes.csv"];
    same_on_both_with("shrinkcache", &fewer, &files);
}

fn vm_host() -> VmHost {
    VmHost {
        qemu: Qemu::find(None).expect("these tests need QEMU"),
        machine: Machine::Q35,
        accel: Accel::Tcg,
        accel_reason: "for a test".to_owned(),
        program: PathBuf::from(env!("CARGO_BIN_EXE_harness")),
    }
}

/// Compares each picker under QEMU with its twin, each with another workload. The guest computes
/// workloads with its own math functions, the twin with those of the host.
#[test]
fn every_picker_and_workload_counts_the_same_on_both() {
    let vm_host = vm_host();
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
        let table = resolve(Eviction::DEFAULTS, &overrides).unwrap();
        let params = checked(&table).unwrap();
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

/// Accesses through a guest's cache, from workloads and a trace disk: all counts of all samples are
/// the same on both.
#[test]
fn replays_count_the_same_on_both() {
    const ACCESSES: u32 = 20_000;
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let mut bytes = vec![0; 4096];
    bytes[..8].copy_from_slice(b"vSSDtrc1");
    bytes[8..16].copy_from_slice(&u64::from(ACCESSES).to_le_bytes());
    bytes[16..20].copy_from_slice(&4096_u32.to_le_bytes());
    for i in 0..ACCESSES {
        let block = i.wrapping_mul(i).wrapping_mul(40_503) % 60_000;
        bytes.extend(block.to_le_bytes());
        bytes.extend(u32::from(i % 3 == 0).to_le_bytes());
    }
    fs::write(&trace, bytes).unwrap();
    let vssd = Shape {
        size: ByteSize(32 << 20),
        block_size: ByteSize(4096),
        written: ByteSize(32 << 20),
    };
    let disks = Disks {
        vssd,
        origin: Some(OriginShape {
            size: ByteSize(1 << 30),
            media: None,
        }),
        trace: Some(trace),
    };
    let mut twin = Twin::start(disks.clone()).unwrap();
    let mut bench = vm_host().start(disks).unwrap();
    let script = [
        "cache evict=s3-fifo write=write-back fresh=true",
        "replay workload=zipf:0.9 span=50000 writes=30 count=20000 every=5000 flush=500",
        "replay trace=true span=55000 every=10000 depth=7",
        "write-back",
        "close",
        "cache evict=arc write=write-through promote=2 bypass=64 fresh=true",
        "replay workload=gaussian:100000,4000 seed=3 writes=50 count=20000 every=7000 depth=100",
        "replay workload=sequential start=5000 count=3000",
        "close",
        "cache evict=lru write=write-back fresh=true memory=1000 share=reads",
        "replay workload=zipf:0.9 span=50000 writes=20 count=20000 every=5000",
        "write-back",
        "close",
        "cache evict=lru write=write-through fresh=true clean-first=true sample=1024",
        "replay workload=zipf:0.9 first=1000 span=50000 count=20000 every=5000",
        "advise advice=needed first=1000 count=9000",
        "discard first=500 count=1000",
        "discard first=9500 count=10 device=true",
        "replay workload=zipf:0.9 first=1000 span=50000 seed=2 count=20000 every=5000",
        "close",
    ];
    let mut reported = 0;
    for line in script {
        let command: workloads::Command = line.parse().unwrap();
        let [of_twin, of_qemu] = [twin.guest(), bench.guest()].map(|guest| {
            let reports = guest.run(&command, Duration::from_secs(600)).unwrap();
            reports.iter().filter_map(counted).collect::<Vec<_>>()
        });
        assert_eq!(of_twin, of_qemu, "{line}");
        let counts = ["cache", "replay", "advise"];
        let counts = counts.iter().any(|verb| line.starts_with(verb));
        assert_ne!(of_twin.is_empty(), counts, "{line}");
        let demands = [&mut twin as &mut dyn Testbed, &mut bench].map(|bed| bed.demand().unwrap());
        assert_eq!(demands[0], demands[1], "{line}");
        reported += usize::from(demands[0].as_ref().is_some_and(|of| of.curve.len() > 100));
    }
    assert_eq!(
        reported, 2,
        "the accesses of the cache that samples were reported"
    );
}

/// The counts in a report of a cache, without those that depend on the speed of the disks.
fn counted(report: &Report) -> Option<Vec<u64>> {
    match report {
        Report::CacheOpened(report::CacheOpened {
            origin_blocks,
            slots,
            metadata_blocks,
            restored,
            ..
        }) => Some(
            [*origin_blocks, *slots, *metadata_blocks, *restored]
                .map(u64::from)
                .into(),
        ),
        Report::CacheSample(report::CacheSample {
            accesses,
            memory_hits,
            read_hits,
            read_misses,
            write_hits,
            write_misses,
            ..
        }) => Some(vec![
            *accesses,
            *memory_hits,
            *read_hits,
            *read_misses,
            *write_hits,
            *write_misses,
        ]),
        Report::Advised(report::Advised { blocks, cached }) => {
            Some([*blocks, *cached].map(u64::from).into())
        }
        Report::Replayed(report::Replayed {
            memory_hits,
            read_hits,
            read_misses,
            write_hits,
            write_misses,
            bypassed,
            beyond,
            lost,
            errors,
            corrupt,
            acknowledged,
            ..
        }) => {
            assert_eq!([*lost, *errors, *corrupt], [0, 0, 0]);
            let hits = [*read_hits, *read_misses, *write_hits, *write_misses];
            Some(
                [
                    &[*memory_hits],
                    &hits[..],
                    &[*bypassed, *beyond, *acknowledged],
                ]
                .concat(),
            )
        }
        _ => None,
    }
}
