//! Verdicts on made-up rows.

use super::*;

/// A run in which every claim holds: each policy with its traffic for 1000 accesses.
fn rows() -> Vec<MultiplexRow> {
    let ways = [
        ("mixed", "static", 600),
        ("mixed", "equal", 600),
        ("mixed", "mrc", 500),
        ("mixed", "oracle", 498),
        ("weights", "shares", 700),
        ("weights", "static", 710),
        ("weights", "mrc", 700),
        ("goals", "static", 610),
        ("goals", "equal", 610),
        ("goals", "slo", 600),
        ("weights", "reservation-limit", 700),
        ("day-night", "static", 600),
        ("day-night", "harvest", 590),
        ("mixed", "endurance", 505),
        ("writers", "mrc", 500),
        ("writers", "endurance", 505),
    ];
    let of_seed = |seed: u64| {
        ways.map(|(schedule, policy, traffic)| MultiplexRow {
            schedule: schedule.to_owned(),
            policy: policy.to_owned(),
            pick: GUEST.to_owned(),
            seed,
            periods: 10,
            accesses: 1000,
            hits: 400,
            misses: 600,
            origin_reads: traffic + seed,
            ssd_writes: if policy == "endurance" {
                300
            } else {
                500 + seed
            },
            resizes: 5,
            reclaims: 5,
            share_error_ppm: 20_000,
            used_ppm: if policy == "harvest" {
                900_000
            } else {
                500_000
            },
            ..MultiplexRow::default()
        })
    };
    (0..8).flat_map(of_seed).collect()
}

/// Guests under QEMU beside which the claims hold.
fn guests() -> Vec<MultiplexQemuRow> {
    let of_seed = |seed: u64| {
        [(STATIC, 1000), ("harvest", 900), ("mrc", 900)].map(|(policy, p99_ns)| MultiplexQemuRow {
            schedule: "day-night".to_owned(),
            policy: policy.to_owned(),
            seed,
            vms: 2,
            accesses: 100,
            equals_twins: true,
            p99_ns,
            origin_blocks: 100,
            ..MultiplexQemuRow::default()
        })
    };
    (0..8).flat_map(of_seed).collect()
}

#[test]
fn guests_that_differ_from_twins_or_wait_longer_are_seen() {
    let faults: [fn(&mut MultiplexQemuRow); 4] = [
        |row| row.equals_twins = false,
        |row| row.late = 1,
        |row| row.origin_blocks += if row.policy == "mrc" { 3 } else { 0 },
        |row| row.p99_ns += if row.policy == "harvest" { 200 } else { 0 },
    ];
    for fault in faults {
        let mut guests = guests();
        guests.iter_mut().for_each(fault);
        assert!(!judge(&rows(), &guests, &[], &[]).holds());
    }
}

#[test]
fn a_good_run_holds_and_says_what_is_saved() {
    let verdict = judge(&rows(), &guests(), &[], &[]);
    assert!(verdict.holds(), "{:?}", verdict.missed());
    assert_eq!(verdict.claims.len(), 16);
    assert!(verdict.claims.iter().all(results::verdict::Claim::holds));
    let finding = &verdict.findings[0];
    assert!(finding.contains("`oracle` 16.9"), "{finding}");
    assert!(finding.contains("`mrc` 16.6"), "{finding}");
    let used = verdict
        .claims
        .iter()
        .find(|claim| claim.text.contains("harvest` uses"));
    let used = used.unwrap().evidence();
    assert!(used.contains("1.80 [1.80, 1.80] times"), "{used}");
}

#[test]
fn every_kind_of_fault_is_seen() {
    type Fault = fn(&mut MultiplexRow);
    let faults: [(&str, Fault); 14] = [
        ("blocks that are not given back", |row| {
            row.late_reclaims = 1
        }),
        ("a pool that lies idle", |row| row.used_ppm = 500_000),
        ("a reservation that is missed", |row| {
            row.reservation_short_ppm = 110_000
        }),
        ("a promise that is missed", |row| {
            row.goal_short_ppm = 110_000
        }),
        ("a failed access", |row| row.failed = 1),
        ("an access that is not counted", |row| row.hits -= 1),
        ("more blocks than there are", |row| row.violations = 1),
        ("a late guest", |row| row.late = 1),
        ("no saving", |row| {
            row.origin_reads += if row.policy == "mrc" { 60 } else { 0 };
        }),
        ("worse than a partition", |row| {
            let is_one = row.schedule == "weights" && row.policy == "mrc";
            row.origin_reads += if is_one { 40 } else { 0 };
        }),
        ("SSD writes that are not saved", |row| {
            row.ssd_writes += if row.policy == "endurance" { 60 } else { 0 };
        }),
        ("SSD writes that one schedule saves", |row| {
            let is_one = row.schedule == "writers" && row.policy == "endurance";
            row.ssd_writes += if is_one { 60 } else { 0 };
        }),
        ("reads that are not served", |row| {
            row.origin_reads += if row.policy == "endurance" { 20 } else { 0 };
        }),
        ("shares that are not met", |row| {
            row.share_error_ppm = 60_000
        }),
    ];
    for (name, fault) in faults {
        let mut rows = rows();
        rows.iter_mut().for_each(fault);
        assert!(!judge(&rows, &[], &[], &[]).holds(), "{name} went unseen");
    }
    assert!(!judge(&[], &[], &[], &[]).holds());
}

#[test]
fn what_costs_more_is_said_so() {
    let text = |values: &[f64]| less_or_more(&Mean::of(values).unwrap());
    assert_eq!(text(&[2.0; 6]), "2.0 [2.0, 2.0] % less");
    assert_eq!(text(&[-2.0; 6]), "2.0 [2.0, 2.0] % more");
    assert_eq!(text(&[0.0; 6]), "0.0 [0.0, 0.0] % less");
    let both = [-3.0, -1.0, -3.0, -1.0, -3.0, 1.0];
    assert!(text(&both).starts_with("1.7 [0."), "{}", text(&both));
}
