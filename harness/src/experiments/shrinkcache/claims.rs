//! Claims of the shrinkcache experiment.

use results::quantity;
use results::table::{Table, or_dash, yes};
use results::verdict::{Measured, Verdict};

use super::rows::{
    ALWAYS_SMALL, NEVER_SHRUNK, PHASES, SURRENDER, ShrinkCacheLossRow, ShrinkCacheResizeRow,
    ShrinkCacheRow, WAYS,
};

/// Windows over which a hit ratio is taken: a single one is too noisy.
const SMOOTH: usize = 5;

/// How close to a cache that always had its size one must be to have recovered.
const RECOVERED: f64 = 0.01;

/// Difference of hit ratios that counts as equal: the hypervisor sees the requests to the
/// vSSD in another order than the cache sees its own.
const EQUAL: f64 = 0.005;

/// The windows of a run, found by what they are about.
pub(crate) struct Windows<'a>(pub &'a [ShrinkCacheRow]);

impl<'a> Windows<'a> {
    /// Those of one way.
    pub(crate) fn of(&self, way: &str) -> impl Iterator<Item = &'a ShrinkCacheRow> {
        let way = way.to_owned();
        self.0.iter().filter(move |row| row.way == way)
    }

    fn phase(&self, way: &str, phase: &str) -> Vec<&'a ShrinkCacheRow> {
        self.of(way).filter(|row| row.phase == phase).collect()
    }

    /// Hit ratio of the windows at the beginning of a phase, or at its end.
    fn edge(&self, way: &str, phase: &str, is_end: bool) -> Option<f64> {
        let rows = self.phase(way, phase);
        let count = rows.len().min(SMOOTH);
        let from = if is_end { rows.len() - count } else { 0 };
        let rows = &rows[from..from + count];
        mean(rows.iter().map(|row| row.hit_ratio()))
    }

    /// By how much the hit ratio falls with the shrink.
    fn dip(&self, way: &str) -> Option<f64> {
        let before = self.phase(way, "before");
        let before = mean(before.iter().map(|row| row.hit_ratio()))?;
        Some(before - self.edge(way, "shrunk", false)?)
    }

    /// The windows of a cache that always had the size of a phase.
    fn reference(&self, phase: &str) -> Vec<&'a ShrinkCacheRow> {
        let way = if phase == "shrunk" {
            ALWAYS_SMALL
        } else {
            NEVER_SHRUNK
        };
        self.phase(way, phase)
    }

    /// Accesses from the beginning of a phase until the hit ratio is that of a cache that always
    /// had this size, within a point, for some windows in a row; `None` where it never is.
    fn recovery(&self, way: &str, phase: &str) -> Option<u64> {
        let (rows, reference) = (self.phase(way, phase), self.reference(phase));
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
        let hits = |rows: Vec<&ShrinkCacheRow>| rows.iter().map(|row| row.hits as i64).sum::<i64>();
        hits(self.reference(phase)) - hits(self.phase(way, phase))
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
pub(crate) fn judge(
    rows: &[ShrinkCacheRow],
    resizes: &[ShrinkCacheResizeRow],
    losses: &[ShrinkCacheLossRow],
) -> Verdict {
    let windows = Windows(rows);
    let of_guests = || rows.iter().filter(|row| WAYS.contains(&row.way.as_str()));
    let is_sound = |row: &&ShrinkCacheResizeRow| {
        row.agreed && (row.way != SURRENDER || row.revoked_blocks == 0)
    };
    Verdict::new("A block cache through a shrink and the grow back")
        .require(
            "All ways of shrinking the cache see the same accesses, before, during and after the shrink.",
            coverage(&windows),
        )
        .require(
            "With every block also on the origin disk, no access fails, is refused or returns stale data, \
             whichever way the blocks are taken.",
            Measured::none(
                of_guests().map(|row| row.failed).sum(),
                of_guests().map(|row| row.window).sum(),
                "accesses",
            ),
        )
        .require(
            "Every resize moves all blocks and is confirmed by the driver; when the guest picks, no block is revoked.",
            Measured::every(resizes, "resizes", is_sound),
        )
        .require(
            "The hit ratio drops least when the cache's policy picks, or within half a point of the least.",
            dip(&windows),
        )
        .require("When the guest picks, a write-back cache loses no write.", loss(losses))
        .require(
            "When the hypervisor takes dirty blocks, the guest reports each one, refuses to read it, and returns the \
             last write of every other block.",
            reported(losses),
        )
        .findings(excesses(&windows))
        .tables([dips(&windows, losses), resize_table(resizes), loss_table(losses)])
}

fn coverage(windows: &Windows<'_>) -> Option<Measured> {
    let ends = |way: &str| -> Vec<(&str, u64)> {
        let of = windows.of(way);
        of.map(|row| (row.phase.as_str(), row.accesses)).collect()
    };
    let reference = ends(NEVER_SHRUNK);
    let all = WAYS.iter().chain([&ALWAYS_SMALL]);
    let same = all.filter(|way| ends(way) == reference).count();
    let is_long = |phase: &&&str| windows.phase(NEVER_SHRUNK, phase).len() >= SMOOTH;
    let phases = PHASES.iter().filter(is_long).count();
    Some(Measured::new(
        same == WAYS.len() + 1 && phases == PHASES.len(),
        format!(
            "{} windows in {phases} phases, for {same} ways and sizes.",
            reference.len()
        ),
    ))
}

fn dip(windows: &Windows<'_>) -> Option<Measured> {
    let dips = WAYS.map(|way| windows.dip(way).map(|dip| (way, dip)));
    let dips = dips.into_iter().collect::<Option<Vec<_>>>()?;
    let of_guest = dips.iter().find(|(way, _)| *way == SURRENDER)?.1;
    let others = dips.iter().filter(|(way, _)| *way != SURRENDER);
    let least = others.map(|(_, dip)| *dip).fold(f64::INFINITY, f64::min);
    let text = |(way, dip): &(&str, f64)| format!("{:.2} points with {way}", 100.0 * dip);
    let texts: Vec<String> = dips.iter().map(text).collect();
    Some(Measured::new(
        of_guest <= least + EQUAL,
        format!("It drops by {}.", texts.join(", ")),
    ))
}

fn loss(losses: &[ShrinkCacheLossRow]) -> Option<Measured> {
    let of = || losses.iter().filter(|row| row.way == SURRENDER);
    let lost =
        |row: &ShrinkCacheLossRow| row.told_blocks + u64::from(row.lost_blocks + row.wrong_blocks);
    let dirty = of().map(|row| u64::from(row.dirty_blocks)).sum();
    Measured::none(
        of().map(lost).sum(),
        dirty,
        "blocks that were dirty before the shrink",
    )
}

fn reported(losses: &[ShrinkCacheLossRow]) -> Option<Measured> {
    let sum = |value: fn(&ShrinkCacheLossRow) -> u64| losses.iter().map(value).sum::<u64>();
    let reported = sum(|row| row.told_blocks);
    let is_exact = |row: &ShrinkCacheLossRow| {
        row.told_blocks == u64::from(row.lost_blocks) && row.wrong_blocks == 0
    };
    Some(Measured::new(
        reported > 0 && losses.iter().all(is_exact) && losses.len() >= WAYS.len(),
        format!(
            "{reported} blocks reported lost, {} reads refused and {} with other data, of {} blocks read afterwards.",
            sum(|row| row.lost_blocks.into()),
            sum(|row| row.wrong_blocks.into()),
            sum(|row| row.blocks.into())
        ),
    ))
}

/// What each way costs beyond the smaller size: a sentence.
fn excesses(windows: &Windows<'_>) -> Option<String> {
    let ways = WAYS
        .into_iter()
        .filter(|way| windows.of(way).next().is_some());
    let text = |way| format!("{} more with {way}", windows.excess(way, "shrunk"));
    let texts: Vec<String> = ways.map(text).collect();
    let after = windows.phase(ALWAYS_SMALL, "shrunk");
    let accesses: u64 = after.iter().map(|row| row.window).sum();
    (!texts.is_empty() && accesses > 0).then(|| {
        format!(
            "Misses in the {accesses} accesses after the shrink, beyond those of a cache that always had the smaller \
             size: {}.",
            texts.join(", ")
        )
    })
}

fn dips(windows: &Windows<'_>, losses: &[ShrinkCacheLossRow]) -> Table {
    let edge = |way: &str, phase: &str, is_end: bool| {
        or_dash(windows.edge(way, phase, is_end), |ratio| {
            format!("{:.2}", 100.0 * ratio)
        })
    };
    let recovery = |way: &str, phase: &str| {
        let length: u64 = windows.phase(way, phase).iter().map(|row| row.window).sum();
        let after = windows.recovery(way, phase);
        after.map_or_else(|| format!("over {length}"), |after| after.to_string())
    };
    let loss = |way: &str| {
        let row = losses.iter().find(|row| row.way == way);
        or_dash(row, |row| row.told_blocks.to_string())
    };
    let ways = WAYS.into_iter().chain([ALWAYS_SMALL, NEVER_SHRUNK]);
    Table::of(
        "Hit ratio (%)",
        ways.filter(|way| windows.of(way).next().is_some()),
        &[
            ("way", &|way| (*way).to_owned()),
            ("before the shrink", &|way| edge(way, "before", true)),
            ("after it", &|way| edge(way, "shrunk", false)),
            ("before the grow", &|way| edge(way, "shrunk", true)),
            ("accesses until within a point of always-small", &|way| {
                recovery(way, "shrunk")
            }),
            ("after the grow", &|way| edge(way, "grown", false)),
            ("at the end", &|way| edge(way, "grown", true)),
            ("accesses until within a point of never-shrunk", &|way| {
                recovery(way, "grown")
            }),
            ("dirty blocks lost", &|way| loss(way)),
        ],
    )
}

fn resize_table(resizes: &[ShrinkCacheResizeRow]) -> Table {
    Table::of(
        "Resizes",
        resizes,
        &[
            ("way", &|row| row.way.clone()),
            ("write policy", &|row| row.write.clone()),
            ("step", &|row| row.step.clone()),
            ("from", &|row| quantity::count(row.from_blocks.into())),
            ("to", &|row| quantity::count(row.held_blocks.into())),
            ("revoked", &|row| quantity::count(row.revoked_blocks.into())),
            ("agreed", &|row| yes(row.agreed)),
        ],
    )
}

fn loss_table(losses: &[ShrinkCacheLossRow]) -> Table {
    Table::of(
        "Dirty blocks through a shrink",
        losses,
        &[
            ("way", &|row| row.way.clone()),
            ("write policy", &|row| row.write.clone()),
            ("dirty before", &|row| row.dirty_blocks.to_string()),
            ("reported lost", &|row| row.told_blocks.to_string()),
            ("read afterwards", &|row| row.blocks.to_string()),
            ("refused", &|row| row.lost_blocks.to_string()),
            ("with other data", &|row| row.wrong_blocks.to_string()),
        ],
    )
}

/// Synthetic rows, for tests of figures as well.
#[cfg(test)]
pub(crate) mod example {
    use super::*;
    use crate::experiments::shrinkcache::rows::{DROP_ALL, HOST_LRU, UNIFORM};

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
    pub(crate) fn windows() -> Vec<ShrinkCacheRow> {
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
mod tests;
