//! Jobs of a guest whose vSSD is resized meanwhile.

use guest_runtime::phases::MAX_PHASES;
use guest_runtime::port::Exit;
use vssd::device::PickedBy;
use vssd::wire::Encoding;
use workloads::latency::total;
use workloads::report::PhaseKind;
use workloads::{Report, report};

use crate::world::{Action, run, shrink_to, twin};

/// The last `verify` of a run: ok, zeros, corrupt, errors, unexpected.
fn last_verify(reports: &[Report]) -> [u32; 5] {
    let found = reports.iter().rev().find_map(|report| match report {
        Report::Verified(report::Verified {
            ok,
            zeros,
            corrupt,
            errors,
            unexpected,
            ..
        }) => Some([*ok, *zeros, *corrupt, *errors, *unexpected]),
        _ => None,
    });
    found.expect("a verify ran")
}

#[test]
fn surrendered_blocks_fail_and_regranted_ones_are_zeros() {
    for encoding in [Encoding::Compact, Encoding::List4096] {
        for pick in ["random", "scattered", "highest", "sample"] {
            let script = format!("fill seed=9; policy pick={pick}");
            let shrink = || shrink_to(300, PickedBy::Guest);
            let (exit, reports) = run(
                1000,
                encoding,
                &script,
                vec![(500, shrink())],
                "verify enforce=device; exit\n",
            );
            assert_eq!(exit, Exit::Success);
            assert_eq!(last_verify(&reports), [300, 0, 0, 700, 0], "{pick}");

            let (_, reports) = run(
                1000,
                encoding,
                &script,
                vec![(500, shrink()), (1500, shrink_to(1000, PickedBy::Guest))],
                "verify; exit\n",
            );
            assert_eq!(last_verify(&reports), [300, 700, 0, 0, 0], "{pick}");
        }
    }
}

#[test]
fn blocks_change_hands_while_requests_are_in_flight() {
    let plans: Vec<(u32, Action)> = (0..40)
        .map(|i| {
            let picked_by = if i % 3 == 0 {
                PickedBy::Host
            } else {
                PickedBy::Guest
            };
            let target = if i % 2 == 0 { 400 + 10 * i } else { 1000 };
            (1000 * (i + 1), shrink_to(target, picked_by))
        })
        .collect();
    let (exit, reports) = run(
        1000,
        Encoding::Compact,
        "fill; stress count=60000 depth=8",
        plans,
        "verify; exit\n",
    );
    assert_eq!(exit, Exit::Success);
    let stressed = reports.iter().find_map(|report| match report {
        Report::Stressed(report::Stressed {
            reads,
            writes,
            errors,
            corrupt,
            ..
        }) => Some((*reads > 0, *writes > 0, *errors, *corrupt)),
        _ => None,
    });
    assert_eq!(stressed, Some((true, true, 0, 0)));
    let [_, _, corrupt, errors, unexpected] = last_verify(&reports);
    assert_eq!([corrupt, errors, unexpected], [0, 0, 0]);
}

#[test]
fn reads_count_every_draw_as_a_hit_or_a_miss() {
    let (_, reports) = run(
        1000,
        Encoding::Compact,
        "fill; policy pick=highest",
        vec![(500, shrink_to(500, PickedBy::Guest))],
        "read workload=uniform count=5000 per-block=true; exit\n",
    );
    let (mut hits, mut misses) = (0, 0);
    for report in &reports {
        if let Report::Counts(report::Counts { counts }) = report {
            for &(block, h, m) in counts {
                assert!(if block < 500 { m == 0 } else { h == 0 });
                hits += u64::from(h);
                misses += u64::from(m);
            }
        }
    }
    assert_eq!(hits + misses, 5000);
    let found = reports.iter().find_map(|report| match report {
        Report::Read(report::Read {
            hits,
            misses,
            errors,
            ..
        }) => Some((*hits, *misses, *errors)),
        _ => None,
    });
    assert_eq!(found, Some((hits, misses, 0)));
    assert!(misses.abs_diff(2500) < 300, "{misses} misses");
}

#[test]
fn a_device_that_never_agrees_is_given_up() {
    let mut twin = twin(10, Encoding::Compact, vec![], "exit\n");
    twin.port.contrary = true;
    assert_eq!(guest_runtime::run(&mut twin, ""), Exit::Failure);
    let has_failed = |report: &Report| matches!(report, Report::Failed(report::Failed { reason, .. }) if reason.contains("too many faults"));
    assert!(twin.reports.iter().any(has_failed), "{:?}", twin.reports);
}

#[test]
fn what_is_no_command_is_reported() {
    let (_, reports) = run(10, Encoding::Compact, "fly; info", vec![], "exit\n");
    assert!(
        matches!(&reports[1], Report::Failed(report::Failed { command, .. }) if command == "fly")
    );
    assert!(matches!(
        &reports[2],
        Report::Info(report::Info { held: 10, .. })
    ));
}

/// What a `stress latency=true` measured: kind, requests, length, longest
/// stall of each phase, and requests in all.
fn phases(reports: &[Report]) -> (Vec<(PhaseKind, u64, u64, u64)>, u64) {
    let phases = reports.iter().filter_map(|report| match report {
        Report::Latency(report::Latency {
            phase,
            phase_ns,
            longest_stall_ns,
            buckets,
        }) => Some((*phase, total(buckets), *phase_ns, *longest_stall_ns)),
        _ => None,
    });
    let requests = reports.iter().find_map(|report| match report {
        Report::Stressed(report::Stressed {
            reads,
            writes,
            lost_race,
            errors: 0,
            corrupt: 0,
        }) => Some(reads + writes + lost_race),
        _ => None,
    });
    (phases.collect(), requests.expect("a sound stress ran"))
}

#[test]
fn latencies_are_sorted_by_what_the_list_did() {
    for encoding in [Encoding::Compact, Encoding::List4096] {
        let (exit, reports) = run(
            1000,
            encoding,
            "fill; policy pick=scattered; stress count=20000 depth=8 latency=true",
            vec![
                (1000, shrink_to(400, PickedBy::Guest)),
                (2000, shrink_to(1000, PickedBy::Guest)),
            ],
            "exit\n",
        );
        assert_eq!(exit, Exit::Success);
        let (phases, requests) = phases(&reports);
        let kinds: Vec<PhaseKind> = phases.iter().map(|phase| phase.0).collect();
        use PhaseKind::{Grow, Quiet, Shrink};
        assert_eq!(kinds, [Quiet, Shrink, Quiet, Grow, Quiet], "{encoding:?}");
        assert_eq!(phases.iter().map(|phase| phase.1).sum::<u64>(), requests);
        for (kind, requests, phase_ns, stall_ns) in phases {
            // A request that was in flight when a resize began belongs to it.
            assert!(requests > 0, "{encoding:?}: {kind} without a request");
            assert!(stall_ns > 0, "{encoding:?}: {kind} without a wait");
            let is_quiet = kind == Quiet;
            assert!(!is_quiet || requests > 500, "{kind}: {requests} requests");
            assert!(!is_quiet || stall_ns < phase_ns, "{kind}: {stall_ns} ns");
        }
    }
}

/// A revocation takes requests in flight with it; they were measured too.
#[test]
fn blocks_that_the_host_takes_are_a_shrink() {
    let (_, reports) = run(
        1000,
        Encoding::Compact,
        "fill; stress count=20000 depth=8 latency=true",
        vec![(1000, shrink_to(400, PickedBy::Host))],
        "exit\n",
    );
    let (phases, requests) = phases(&reports);
    let kinds: Vec<PhaseKind> = phases.iter().map(|phase| phase.0).collect();
    use PhaseKind::{Quiet, Shrink};
    assert_eq!(kinds, [Quiet, Shrink, Quiet]);
    assert_eq!(phases.iter().map(|phase| phase.1).sum::<u64>(), requests);
}

#[test]
fn phases_beyond_the_limit_are_one() {
    let plans = (1..=40)
        .map(|i| {
            let target = if i % 2 == 0 { 1000 } else { 900 };
            (500 * i, shrink_to(target, PickedBy::Guest))
        })
        .collect();
    let (_, reports) = run(
        1000,
        Encoding::Compact,
        "fill; stress count=100000 depth=8 latency=true",
        plans,
        "exit\n",
    );
    let (phases, requests) = phases(&reports);
    assert_eq!(phases.len(), MAX_PHASES);
    assert_eq!(phases.last().unwrap().0, PhaseKind::Rest);
    assert!(phases.last().unwrap().1 > 1000);
    assert_eq!(phases.iter().map(|phase| phase.1).sum::<u64>(), requests);
}

#[test]
fn nothing_is_measured_that_was_not_asked_for() {
    let (_, reports) = run(100, Encoding::Compact, "stress count=100", vec![], "exit\n");
    assert_eq!(phases(&reports), (vec![], 100));
}
