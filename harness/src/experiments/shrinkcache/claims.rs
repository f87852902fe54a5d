//! Claims of the shrinkcache experiment.

use results::chart::scale;
use results::verdict::{Source, Table, Verdict};

use super::rows::{
    ALWAYS_SMALL, NEVER_SHRUNK, PHASES, SURRENDER, ShrinkCacheLossRow, ShrinkCacheResizeRow,
    ShrinkCacheRow, WAYS,
};

/// Windows over which a hit ratio is taken: one alone is up to chance.
const SMOOTH: usize = 5;

/// How close to a cache that always had its size one must be to have recovered.
const RECOVERED: f64 = 0.01;

/// By how much one way may dip less than another that dips as little. The hypervisor
/// sees the requests to the vSSD in another order than the cache sees its own.
const EQUAL: f64 = 0.005;

/// The windows of a run, found by what they are about.
pub struct Windows<'a>(pub &'a [ShrinkCacheRow]);

impl<'a> Windows<'a> {
    /// Those of one way.
    pub fn of(&self, way: &str) -> impl Iterator<Item = &'a ShrinkCacheRow> {
        let way = way.to_owned();
        self.0.iter().filter(move |row| row.way == way)
    }

    fn phase(&self, way: &str, phase: &str) -> Vec<&'a ShrinkCacheRow> {
        self.of(way).filter(|row| row.phase == phase).collect()
    }

    /// Hit ratio of the windows at the beginning of a phase, or at its end.
    fn edge(&self, way: &str, phase: &str, end: bool) -> Option<f64> {
        let rows = self.phase(way, phase);
        let count = rows.len().min(SMOOTH);
        let rows = match end {
            true => &rows[rows.len() - count..],
            false => &rows[..count],
        };
        mean(rows.iter().map(|row| row.hit_ratio()))
    }

    /// By how much the hit ratio falls with the shrink.
    fn dip(&self, way: &str) -> Option<f64> {
        let before = self.phase(way, "before");
        let before = mean(before.iter().map(|row| row.hit_ratio()))?;
        Some(before - self.edge(way, "shrunk", false)?)
    }

    /// Accesses from the beginning of a phase until the cache hits as one that always had
    /// its size, within a point, for some windows in a row; `None` where it does not.
    fn recovery(&self, way: &str, phase: &str) -> Option<u64> {
        let reference = match phase {
            "shrunk" => ALWAYS_SMALL,
            _ => NEVER_SHRUNK,
        };
        let (rows, reference) = (self.phase(way, phase), self.phase(reference, phase));
        let behind: Vec<f64> = rows
            .iter()
            .zip(&reference)
            .map(|(row, reference)| reference.hit_ratio() - row.hit_ratio())
            .collect();
        let is_close =
            |some: &[f64]| mean(some.iter().copied()).is_some_and(|far| far <= RECOVERED);
        let at = behind.windows(SMOOTH).position(is_close)?;
        Some(rows[..at].iter().map(|row| row.window).sum())
    }

    /// Misses of a phase beyond those of a cache that always had its size.
    fn excess(&self, way: &str, phase: &str) -> i64 {
        let reference = match phase {
            "shrunk" => ALWAYS_SMALL,
            _ => NEVER_SHRUNK,
        };
        let hits = |way| -> i64 {
            let rows = self.phase(way, phase);
            rows.iter().map(|row| row.hits as i64).sum()
        };
        hits(reference) - hits(way)
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0u32);
    for value in values {
        sum += value;
        count += 1;
    }
    (count > 0).then(|| sum / f64::from(count))
}

/// Judges the rows.
pub fn judge(
    rows: &[ShrinkCacheRow],
    resizes: &[ShrinkCacheResizeRow],
    losses: &[ShrinkCacheLossRow],
) -> Verdict {
    let windows = Windows(rows);
    let mut verdict = Verdict {
        title: "A block cache through a shrink and the grow back".to_owned(),
        claims: Vec::new(),
        findings: Vec::new(),
        tables: vec![
            dips(&windows, losses),
            resize_table(resizes),
            loss_table(losses),
        ],
    };
    coverage_claim(&mut verdict, &windows);
    failures_claim(&mut verdict, rows);
    resizes_claim(&mut verdict, resizes);
    dip_claim(&mut verdict, &windows);
    loss_claim(&mut verdict, losses);
    told_claim(&mut verdict, losses);
    verdict.findings.extend(excesses(&windows));
    verdict
}

fn coverage_claim(verdict: &mut Verdict, windows: &Windows<'_>) {
    let ends = |way: &str| -> Vec<(String, u64)> {
        let of = windows.of(way);
        of.map(|row| (row.phase.clone(), row.accesses)).collect()
    };
    let reference = ends(NEVER_SHRUNK);
    let all = WAYS.iter().chain([&ALWAYS_SMALL]);
    let same = all.filter(|way| ends(way) == reference).count();
    let phases = PHASES
        .iter()
        .filter(|phase| windows.phase(NEVER_SHRUNK, phase).len() >= SMOOTH)
        .count();
    verdict.claim(
        Source::Requirement,
        "Every way to make the cache smaller met the same accesses, before, meanwhile and afterwards.",
        same == WAYS.len() + 1 && phases == PHASES.len(),
        format!(
            "{} windows of {phases} phases, by {same} ways and sizes.",
            reference.len()
        ),
    );
}

fn failures_claim(verdict: &mut Verdict, rows: &[ShrinkCacheRow]) {
    let of_guests = || rows.iter().filter(|row| WAYS.contains(&row.way.as_str()));
    let accesses: u64 = of_guests().map(|row| row.window).sum();
    let failed: u64 = of_guests().map(|row| row.failed).sum();
    verdict.claim(
        Source::Requirement,
        "No access to a cache whose blocks are all on the origin disk fails, is refused, or reads other data than were written last, however blocks are taken.",
        accesses > 0 && failed == 0,
        format!("{failed} of {accesses} accesses."),
    );
}

fn resizes_claim(verdict: &mut Verdict, resizes: &[ShrinkCacheResizeRow]) {
    let own = |row: &&ShrinkCacheResizeRow| row.way != SURRENDER || row.revoked_blocks == 0;
    let sound = resizes.iter().filter(|row| row.agreed).filter(own).count();
    verdict.claim(
        Source::Requirement,
        "Every resize moves all blocks and is confirmed by the driver, and where the guest is asked none is taken without its word.",
        !resizes.is_empty() && sound == resizes.len(),
        format!("{sound} of {} resizes.", resizes.len()),
    );
}

fn dip_claim(verdict: &mut Verdict, windows: &Windows<'_>) {
    let dips: Vec<(&str, f64)> = WAYS
        .into_iter()
        .filter_map(|way| Some((way, windows.dip(way)?)))
        .collect();
    let of = |name: &str| {
        dips.iter()
            .find(|(way, _)| *way == name)
            .map(|(_, dip)| *dip)
    };
    let others = dips.iter().filter(|(way, _)| *way != SURRENDER);
    let least = others.map(|(_, dip)| *dip).fold(f64::INFINITY, f64::min);
    let texts: Vec<String> = dips
        .iter()
        .map(|(way, dip)| format!("{:.2} points by {way}", 100.0 * dip))
        .collect();
    verdict.claim(
        Source::Requirement,
        "The hit ratio falls least where the cache's policy chooses what to give up, or within half a point of the least.",
        dips.len() == WAYS.len() && of(SURRENDER).is_some_and(|dip| dip <= least + EQUAL),
        match texts.is_empty() {
            true => "It was not measured.".to_owned(),
            false => format!("It falls by {}.", texts.join(", ")),
        },
    );
}

fn loss_claim(verdict: &mut Verdict, losses: &[ShrinkCacheLossRow]) {
    let of = || losses.iter().filter(|row| row.way == SURRENDER);
    let dirty: u64 = of().map(|row| u64::from(row.dirty_blocks)).sum();
    let lost: u64 = of()
        .map(|row| row.told_blocks + u64::from(row.lost_blocks + row.wrong_blocks))
        .sum();
    verdict.claim(
        Source::Requirement,
        "Where the guest is asked, a write-back cache loses no write.",
        dirty > 0 && lost == 0,
        format!("{lost} blocks, of {dirty} that were dirty when it was asked."),
    );
}

fn told_claim(verdict: &mut Verdict, losses: &[ShrinkCacheLossRow]) {
    let sum = |value: fn(&ShrinkCacheLossRow) -> u64| losses.iter().map(value).sum::<u64>();
    let told = sum(|row| row.told_blocks);
    let refused = sum(|row| row.lost_blocks.into());
    let wrong = sum(|row| row.wrong_blocks.into());
    let blocks = sum(|row| row.blocks.into());
    let honest = losses
        .iter()
        .all(|row| row.told_blocks == u64::from(row.lost_blocks) && row.wrong_blocks == 0);
    verdict.claim(
        Source::Requirement,
        "Where the hypervisor takes dirty blocks, the guest reports each one, refuses to read it, and has the last write to every other.",
        told > 0 && honest && losses.len() >= WAYS.len(),
        format!(
            "{told} blocks reported, {refused} refused and {wrong} with other data, of {blocks} \
             that were read afterwards."
        ),
    );
}

/// What each way costs beyond the smaller size: a sentence.
fn excesses(windows: &Windows<'_>) -> Option<String> {
    let texts: Vec<String> = WAYS
        .into_iter()
        .filter(|way| windows.of(way).next().is_some())
        .map(|way| format!("{} by {way}", windows.excess(way, "shrunk")))
        .collect();
    let accesses: u64 = windows
        .phase(ALWAYS_SMALL, "shrunk")
        .iter()
        .map(|row| row.window)
        .sum();
    (!texts.is_empty() && accesses > 0).then(|| {
        format!(
            "Beyond the misses of a cache that always had the smaller size, {accesses} accesses \
             after the shrink miss {}.",
            texts.join(", ")
        )
    })
}

fn strings<const N: usize>(head: [&str; N]) -> Vec<String> {
    head.map(str::to_owned).to_vec()
}

fn dips(windows: &Windows<'_>, losses: &[ShrinkCacheLossRow]) -> Table {
    let percent =
        |ratio: Option<f64>| ratio.map_or("-".to_owned(), |ratio| format!("{:.2}", 100.0 * ratio));
    let row = |way: &str| {
        let recovery = |phase: &str| {
            let length: u64 = windows.phase(way, phase).iter().map(|row| row.window).sum();
            windows
                .recovery(way, phase)
                .map_or_else(|| format!("over {length}"), |after| after.to_string())
        };
        let mut loss = losses.iter().filter(|row| row.way == way);
        vec![
            way.to_owned(),
            percent(windows.edge(way, "before", true)),
            percent(windows.edge(way, "shrunk", false)),
            percent(windows.edge(way, "shrunk", true)),
            recovery("shrunk"),
            percent(windows.edge(way, "grown", false)),
            percent(windows.edge(way, "grown", true)),
            recovery("grown"),
            loss.next()
                .map_or("-".to_owned(), |row| row.told_blocks.to_string()),
        ]
    };
    let ways = WAYS.iter().chain([&ALWAYS_SMALL, &NEVER_SHRUNK]);
    Table {
        title: "Accesses that hit (%)".to_owned(),
        head: strings([
            "way",
            "before the shrink",
            "after it",
            "before the grow",
            "accesses until within a point of always-small",
            "after the grow",
            "at the end",
            "accesses until within a point of never-shrunk",
            "dirty blocks lost",
        ]),
        rows: ways
            .filter(|way| windows.of(way).next().is_some())
            .map(|way| row(way))
            .collect(),
    }
}

fn resize_table(resizes: &[ShrinkCacheResizeRow]) -> Table {
    Table {
        title: "Resizes".to_owned(),
        head: strings([
            "way",
            "write policy",
            "step",
            "from",
            "to",
            "revoked",
            "agreed",
        ]),
        rows: resizes
            .iter()
            .map(|row| {
                vec![
                    row.way.clone(),
                    row.write.clone(),
                    row.step.clone(),
                    scale::count(row.from_blocks.into()),
                    scale::count(row.held_blocks.into()),
                    scale::count(row.revoked_blocks.into()),
                    if row.agreed { "yes" } else { "no" }.to_owned(),
                ]
            })
            .collect(),
    }
}

fn loss_table(losses: &[ShrinkCacheLossRow]) -> Table {
    Table {
        title: "Dirty blocks through a shrink".to_owned(),
        head: strings([
            "way",
            "write policy",
            "dirty before",
            "reported lost",
            "read afterwards",
            "refused",
            "with other data",
        ]),
        rows: losses
            .iter()
            .map(|row| {
                vec![
                    row.way.clone(),
                    row.write.clone(),
                    row.dirty_blocks.to_string(),
                    row.told_blocks.to_string(),
                    row.blocks.to_string(),
                    row.lost_blocks.to_string(),
                    row.wrong_blocks.to_string(),
                ]
            })
            .collect(),
    }
}

/// Made-up rows, for tests of figures as well.
#[cfg(test)]
pub mod example {
    use super::super::rows::{DROP_ALL, HOST_LRU, UNIFORM};
    use super::*;

    /// Hits in a window of a thousand: before the shrink, after it, and how many of the
    /// missing ones come back with each window.
    const SHAPES: [(&str, f64, f64, f64); 6] = [
        (SURRENDER, 800.0, 700.0, 0.0),
        (UNIFORM, 800.0, 400.0, 0.2),
        (HOST_LRU, 800.0, 698.0, 0.1),
        (DROP_ALL, 800.0, 10.0, 0.2),
        (NEVER_SHRUNK, 800.0, 800.0, 0.0),
        (ALWAYS_SMALL, 702.0, 702.0, 0.0),
    ];

    /// Windows of all ways: 20 in each phase.
    pub fn windows() -> Vec<ShrinkCacheRow> {
        let mut rows = Vec::new();
        for (way, before, after, back) in SHAPES {
            let mut accesses = 0;
            for phase in PHASES {
                for window in 0..20 {
                    let left = (1.0f64 - back).powi(window);
                    let hits = match phase {
                        "before" => before,
                        "shrunk" => after + (702.0 - after).max(0.0) * (1.0 - left),
                        _ if way == ALWAYS_SMALL => 702.0,
                        _ => 800.0 - 100.0 * 0.8f64.powi(window),
                    };
                    accesses += 1000;
                    rows.push(ShrinkCacheRow {
                        way: way.to_owned(),
                        phase: phase.to_owned(),
                        accesses,
                        window: 1000,
                        hits: match way {
                            NEVER_SHRUNK => 800,
                            _ => hits as u64,
                        },
                        failed: 0,
                        slots: if phase == "shrunk" { 2000 } else { 4000 },
                    });
                }
            }
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::{DROP_ALL, UNIFORM};
    use super::*;

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
            verdict.findings[0].contains("miss 40 by surrender"),
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
}
