//! Verdicts on synthetic rows.

use super::*;
/// Spoils good rows.
type Fault = fn(&mut Rows);

#[derive(Clone)]
struct Rows {
    loads: Vec<WritePolicyRow>,
    samples: Vec<WritePolicySampleRow>,
    crashes: Vec<Crash>,
}

impl Rows {
    fn judge(&self) -> Verdict {
        judge(&self.loads, &self.samples, &self.crashes)
    }

    fn load(&mut self, policy: &str) -> &mut WritePolicyRow {
        let mut loads = self.loads.iter_mut();
        loads.find(|row| row.policy == policy).unwrap()
    }

    fn crash(&mut self, policy: &str, place: &str) -> &mut Crash {
        let mut crashes = self.crashes.iter_mut();
        let is = |row: &Crash| row.policy == policy && row.place == place;
        crashes.find(|row| is(row)).unwrap()
    }
}

/// Two crashes by each policy. Write-back alone leaves an origin disk that is no
/// prefix of the writes.
fn good() -> Rows {
    let mut rows = Rows {
        loads: Vec::new(),
        samples: Vec::new(),
        crashes: Vec::new(),
    };
    for policy in THROUGH.into_iter().chain(BACK) {
        let back = !is_through(policy);
        let (p50, behind) = if back { (300_000, 900) } else { (5_100_000, 0) };
        rows.loads.push(WritePolicyRow {
            policy: policy.to_owned(),
            medium: "hdd".to_owned(),
            depth: 4,
            slots: 2000,
            reads: 100,
            read_hits: 50,
            writes: 900,
            failed: 0,
            elapsed_ns: 1000 * p50,
            hit_p50_ns: 200_000,
            miss_p50_ns: 5_100_000,
            write_p50_ns: p50,
            write_p99_ns: 2 * p50,
            stale_ns_max: 1_000_000 * u64::from(behind),
            dirty_max_blocks: behind,
            written_back_blocks: u64::from(behind),
            write_back_ns: 1_000_000 * u64::from(behind),
        });
        rows.samples.push(WritePolicySampleRow {
            policy: policy.to_owned(),
            accesses: 1000,
            at_ns: 1000 * p50,
            dirty_blocks: behind,
            stale_ns: 1_000_000 * u64::from(behind),
        });
        let places = match policy {
            JOURNALED => &[Crash::ORIGIN, Crash::WARM, Crash::RECOVERED][..],
            _ => &[Crash::ORIGIN, Crash::WARM],
        };
        for crash in 0..2 {
            for place in places {
                let alone = back && *place != Crash::WARM;
                rows.crashes.push(Crash {
                    policy: policy.to_owned(),
                    crash,
                    place: (*place).to_owned(),
                    depth: 1,
                    acknowledged: 500,
                    flushed: 480,
                    blocks: 1000,
                    bad_blocks: 0,
                    lost_blocks: 0,
                    newest: if alone { 300 } else { 501 },
                    missing: if alone { 200 } else { 0 },
                    missing_flushed: if alone { 180 } else { 0 },
                    stale_blocks: if alone { 90 } else { 0 },
                    is_prefix: policy != "write-back" || *place == Crash::WARM,
                    restored: 100,
                    restored_dirty: 90,
                });
            }
        }
    }
    rows
}

#[test]
fn a_good_run_holds() {
    let verdict = good().judge();
    assert!(verdict.holds(), "{:?}", verdict.missed());
    assert_eq!(verdict.tables[0].rows.len(), 6);
    assert_eq!(verdict.tables[1].rows.len(), 26);
    let [rates, back, ordered, _] = verdict.findings.as_slice() else {
        panic!("{:?}", verdict.findings);
    };
    // 5.1 ms and 0.3 ms for an access.
    assert!(
        rates.contains("serves 196") && rates.contains("ordered 17.0x"),
        "{rates}"
    );
    assert!(
        back.contains("up to 200 of 500") && back.contains("after 0 of 2"),
        "{back}"
    );
    assert!(
        ordered.contains("360 KiB") && ordered.contains("after 2 of 2"),
        "{ordered}"
    );
}

#[test]
fn nothing_measured_holds_nothing() {
    let verdict = judge(&[], &[], &[]);
    assert!(verdict.claims.iter().all(|claim| !claim.holds()));
}

#[test]
fn every_kind_of_fault_is_seen() {
    let faults: [(&str, Fault); 14] = [
        ("a failure", |rows| rows.load(ORDERED).failed = 1),
        ("a write that did not wait", |rows| {
            rows.load("read-only").write_p50_ns = 4_900_000;
        }),
        ("a write that waited", |rows| {
            rows.load(JOURNALED).write_p50_ns = 5_100_000;
        }),
        ("a load that was not run", |rows| drop(rows.loads.remove(1))),
        ("an origin behind", |rows| {
            rows.load("write-around").dirty_max_blocks = 1;
        }),
        ("a torn block", |rows| {
            rows.crash("read-only", Crash::ORIGIN).bad_blocks = 1;
        }),
        ("a lost block", |rows| {
            rows.crash("write-back", Crash::WARM).lost_blocks = 1;
        }),
        ("a write-through write gone", |rows| {
            rows.crash("write-through", Crash::ORIGIN).missing = 1;
        }),
        ("a stale cached block", |rows| {
            rows.crash("write-around", Crash::WARM).missing = 1;
        }),
        ("a flushed write gone", |rows| {
            let row = rows.crash("write-back", Crash::WARM);
            (row.missing, row.missing_flushed) = (1, 1);
        }),
        ("writes out of order", |rows| {
            rows.crash(ORDERED, Crash::ORIGIN).is_prefix = false;
        }),
        ("half of an epoch", |rows| {
            rows.crash(JOURNALED, Crash::RECOVERED).is_prefix = false;
        }),
        ("nothing was written back", |rows| {
            for row in &mut rows.crashes {
                row.newest = 0;
            }
        }),
        ("a guest that was not killed", |rows| {
            rows.crashes.retain(|row| row.policy != "read-only");
        }),
    ];
    for (name, fault) in faults {
        let mut rows = good();
        fault(&mut rows);
        assert!(!rows.judge().holds(), "{name} went unseen");
    }
}

#[test]
fn writes_after_the_last_flush_may_be_missing() {
    let mut rows = good();
    rows.crash("write-back", Crash::WARM).missing = 20;
    // The journal's blocks may be half in place before it is applied.
    rows.crash(JOURNALED, Crash::ORIGIN).is_prefix = false;
    let verdict = rows.judge();
    assert!(verdict.holds(), "{:?}", verdict.missed());
    let claim = verdict
        .claims
        .iter()
        .find(|of| of.text.contains("covered by a flush"));
    // 20 acknowledged since the flush, after each of six crashes.
    let measured = &claim.unwrap().measured;
    assert!(measured.contains("and 20 of 120"), "{measured}");
}
