//! The experiment latency, in a small form.

use harness::experiments::by_name;
use harness::experiments::common::lab::{Joined, Lab};
use harness::experiments::common::params::{Overrides, resolve};
use harness::experiments::latency::rows::{
    LatencyBucketRow, LatencyCycleRow, LatencyPhase, LatencyRow, Side,
};
use lab::accel::Accel;
use lab::qemu::Machine;
use results::manifest::Manifest;
use results::store::{RunFolder, read};
use terminal::progress::Progress;

use super::vm_host;

/// All phases are measured on both sides with both encodings, and the histograms match the
/// cycles.
#[test]
fn latencies_are_measured_before_during_and_after_resizes() {
    let latency = by_name("latency").unwrap();
    let lab = Lab {
        joined: Joined::Qemu(vm_host(Machine::Q35, Accel::Tcg)),
        seed: 1,
        progress: Progress { shown: false },
    };
    let sets = [
        "size=64MiB",
        "shrink=32MiB",
        "cycles=1",
        "wait_ms=200",
        "warmup_requests=100",
    ]
    .map(str::to_owned);
    let overrides = Overrides {
        sets: &sets,
        ..Overrides::default()
    };
    let params = resolve(latency.defaults(), &overrides).unwrap();
    let out = tempfile::tempdir().unwrap();
    let manifest = Manifest::new(lab.conditions("a test", "latency", false, &params));
    let mut folder = RunFolder::create(out.path(), manifest).unwrap();
    latency.run(&params, &lab, &mut folder).unwrap();
    folder.complete().unwrap();

    let rows: Vec<LatencyRow> = read(out.path()).unwrap();
    let buckets: Vec<LatencyBucketRow> = read(out.path()).unwrap();
    let cycles: Vec<LatencyCycleRow> = read(out.path()).unwrap();
    assert_eq!(rows.len(), 20);
    assert_eq!(cycles.len(), 2);
    for cycle in &cycles {
        assert!(cycle.agreed && cycle.failed == 0, "{cycle:?}");
        let of_guest =
            |row: &&LatencyRow| row.encoding == cycle.encoding && row.side == Side::Guest;
        let requests: u64 = rows.iter().filter(of_guest).map(|row| row.requests).sum();
        assert_eq!(requests, cycle.requests, "{}", cycle.encoding);
    }
    let resizes = |row: &LatencyRow| matches!(row.phase, LatencyPhase::Shrink | LatencyPhase::Grow);
    for cycle in &cycles {
        for side in [Side::Guest, Side::Backend] {
            // The number of requests in a phase depends on the machine.
            let of = |row: &&LatencyRow| row.encoding == cycle.encoding && row.side == side;
            let quiet = rows.iter().filter(of).filter(|row| !resizes(row));
            let requests: u64 = quiet.map(|row| row.requests).sum();
            assert!(requests > 0, "{}, {side:?}", cycle.encoding);
        }
    }
    for row in &rows {
        // A short resize may complete with no request in flight; one with the exchange of 2017 is
        // long enough.
        if resizes(row) && row.side == Side::Guest && row.encoding == "list-4096" {
            assert!(row.requests > 0, "{row:?}");
        }
        // The backend reads its clock once per pass: requests without I/O take 0 ns.
        if row.side == Side::Guest {
            assert_eq!(row.requests > 0, row.p50_ns > 0, "{row:?}");
        }
        assert!(row.phase_ns > 0 && row.p50_ns <= row.p99_ns, "{row:?}");
        assert!(row.p99_ns <= row.p999_ns && row.p999_ns <= row.max_ns);
        let place = LatencyPhase::ALL.iter().position(|of| *of == row.phase);
        let counted: u64 = buckets
            .iter()
            .filter(|bucket| bucket.encoding == row.encoding && bucket.side == row.side)
            .map(|bucket| bucket.counts()[place.unwrap()])
            .sum();
        assert_eq!(counted, row.requests, "{row:?}");
    }
}
