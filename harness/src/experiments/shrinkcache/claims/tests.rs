//! Verdicts on synthetic rows.

use super::*;
use crate::experiments::shrinkcache::rows::{DROP_ALL, UNIFORM};

/// Spoils good rows.
type Fault = fn(&mut Rows);

#[derive(Clone)]
struct Rows {
    windows: Vec<ShrinkCacheRow>,
    resizes: Vec<ShrinkCacheResizeRow>,
    losses: Vec<ShrinkCacheLossRow>,
}

impl Rows {
    fn judge(&self) -> Verdict {
        judge(&self.windows, &self.resizes, &self.losses)
    }

    fn window(&mut self, way: &str, phase: &str) -> &mut ShrinkCacheRow {
        let mut windows = self.windows.iter_mut();
        let is = |row: &ShrinkCacheRow| row.way == way && row.phase == phase;
        windows.find(|row| is(row)).unwrap()
    }
}

/// All ways; where the hypervisor takes blocks a third of the dirty ones is lost.
fn good() -> Rows {
    let mut rows = Rows {
        windows: example::windows(),
        resizes: Vec::new(),
        losses: Vec::new(),
    };
    for way in WAYS {
        let asked = way == SURRENDER;
        for (step, from, held) in [("shrink", 4000, 2000), ("grow", 2000, 4000)] {
            rows.resizes.push(ShrinkCacheResizeRow {
                way: way.to_owned(),
                write: "write-through".to_owned(),
                step: step.to_owned(),
                from_blocks: from,
                held_blocks: held,
                revoked_blocks: if asked || step == "grow" { 0 } else { 2000 },
                agreed: true,
            });
        }
        let lost = if asked { 0 } else { 300 };
        rows.losses.push(ShrinkCacheLossRow {
            way: way.to_owned(),
            write: "write-back".to_owned(),
            dirty_blocks: 900,
            told_blocks: lost.into(),
            blocks: 8000,
            lost_blocks: lost,
            wrong_blocks: 0,
        });
    }
    rows
}

#[test]
fn a_good_run_holds() {
    let verdict = good().judge();
    assert!(verdict.holds(), "{:?}", verdict.missed());
    let dips = &verdict.tables[0].rows;
    assert_eq!(dips.len(), 6);
    // Policy-chosen surrender is as good as if the cache had always been so small.
    assert_eq!(dips[0][..2], ["surrender", "80.00"]);
    assert_eq!((&*dips[0][2], &*dips[0][4]), ("70.00", "0"));
    // Of 302 missing hits, a fifth comes back with each window: to within 1 point
    // in the mean of five windows after 14.
    assert_eq!((&*dips[1][0], &*dips[1][4]), ("uniform", "14000"));
    assert_eq!(dips[5][7], "0");
    assert_eq!((&*dips[4][7], &*dips[1][8]), ("over 20000", "300"));
    assert!(
        verdict.findings[0].contains("40 more with surrender"),
        "{:?}",
        verdict.findings
    );
}

#[test]
fn nothing_measured_holds_nothing() {
    let verdict = judge(&[], &[], &[]);
    assert!(verdict.claims.iter().all(|claim| !claim.holds()));
}

#[test]
fn every_kind_of_fault_is_seen() {
    let faults: [(&str, Fault); 10] = [
        ("a window gone", |rows| drop(rows.windows.remove(3))),
        ("a way not measured", |rows| {
            rows.windows.retain(|row| row.way != UNIFORM);
        }),
        ("other accesses", |rows| {
            rows.window(DROP_ALL, "grown").accesses += 1;
        }),
        ("a failure", |rows| {
            rows.window(UNIFORM, "shrunk").failed = 1
        }),
        ("a deeper dip", |rows| {
            // 5 windows, by more than half a point of 1000 each.
            rows.window(SURRENDER, "shrunk").hits -= 40;
        }),
        ("an unconfirmed list", |rows| rows.resizes[3].agreed = false),
        ("a block taken unasked", |rows| {
            rows.resizes[0].revoked_blocks = 1;
        }),
        ("a lost write", |rows| {
            rows.losses[0].told_blocks = 1;
            rows.losses[0].lost_blocks = 1;
        }),
        ("a loss untold", |rows| rows.losses[1].told_blocks -= 1),
        ("a write forgotten", |rows| rows.losses[2].wrong_blocks = 1),
    ];
    for (name, fault) in faults {
        let mut rows = good();
        fault(&mut rows);
        assert!(!rows.judge().holds(), "{name} went unseen");
    }
}
