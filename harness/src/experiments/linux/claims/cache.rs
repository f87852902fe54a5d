//! A cache that shrinks and grows back.

use results::quantity::count;
use results::table::Table;
use results::verdict::{Measured, Verdict};

use crate::experiments::linux::rows::{CacheKind, CachePhase, LinuxCacheRow};

/// The caches, in the order of tables and figures.
pub(crate) const CACHES: [CacheKind; 3] = [CacheKind::Own, CacheKind::OwnTail, CacheKind::DmCache];

const PHASES: [CachePhase; 3] = [CachePhase::Before, CachePhase::Shrunk, CachePhase::Grown];

/// Windows of a cache in a phase, in order.
pub(crate) fn windows(
    rows: &[LinuxCacheRow],
    cache: CacheKind,
    phase: CachePhase,
) -> Vec<&LinuxCacheRow> {
    let of = rows
        .iter()
        .filter(|row| (row.cache, row.phase) == (cache, phase));
    of.collect()
}

/// Hit ratios of a cache around a shrink: of the last window before it, and of the first after it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Fall {
    before: f64,
    after: f64,
}

impl Fall {
    fn of(rows: &[LinuxCacheRow], cache: CacheKind) -> Option<Self> {
        let before = windows(rows, cache, CachePhase::Before);
        let after = windows(rows, cache, CachePhase::Shrunk);
        Some(Self {
            before: before.last()?.hit_ratio(),
            after: after.first()?.hit_ratio(),
        })
    }

    /// In points of a hundred.
    fn points(self) -> f64 {
        100.0 * (self.before - self.after)
    }
}

/// Judges the caches.
pub(super) fn judge(verdict: Verdict, rows: &[LinuxCacheRow]) -> Verdict {
    let falls = CACHES
        .iter()
        .filter_map(|cache| Some((cache, Fall::of(rows, *cache)?)))
        .map(|(cache, fall)| {
            format!(
                "The hit ratio of {cache} falls by {:.1} points at the shrink.",
                fall.points()
            )
        });
    verdict
        .require_if_measured(
            "Every access is a hit or a miss of its cache.",
            Measured::every(rows, "windows", |row| row.hits + row.misses == row.accesses),
        )
        .findings(falls)
        .tables((!rows.is_empty()).then(|| table(rows)))
}

fn table(rows: &[LinuxCacheRow]) -> Table {
    let lines = CACHES
        .iter()
        .flat_map(|cache| PHASES.map(|phase| (*cache, phase)));
    let lines = lines.map(|(cache, phase)| (cache, phase, windows(rows, cache, phase)));
    type Line<'a> = (CacheKind, CachePhase, Vec<&'a LinuxCacheRow>);
    let percent = |row: Option<&&LinuxCacheRow>| {
        row.map_or("-".to_owned(), |row| {
            format!("{:.1}", 100.0 * row.hit_ratio())
        })
    };
    Table::of(
        "Hit ratio of a cache through a shrink and the grow back",
        lines,
        &[
            ("cache", &|(cache, ..): &Line<'_>| cache.to_string()),
            ("phase", &|(_, phase, _)| phase.to_string()),
            ("slots", &|(.., rows)| {
                count(rows.last().map_or(0.0, |row| row.slots.into()))
            }),
            ("cached at its end", &|(.., rows)| {
                count(rows.last().map_or(0.0, |row| row.cached.into()))
            }),
            ("hits, first window (%)", &|(.., rows)| {
                percent(rows.first())
            }),
            ("hits, last window (%)", &|(.., rows)| percent(rows.last())),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cache: CacheKind, phase: CachePhase, hits: u64) -> LinuxCacheRow {
        LinuxCacheRow {
            cache,
            phase,
            window: 0,
            accesses: 100,
            hits,
            misses: 100 - hits,
            slots: 8,
            cached: 8,
        }
    }

    fn rows(own_after: u64) -> Vec<LinuxCacheRow> {
        vec![
            row(CacheKind::Own, CachePhase::Before, 80),
            row(CacheKind::Own, CachePhase::Shrunk, own_after),
            row(CacheKind::OwnTail, CachePhase::Before, 80),
            row(CacheKind::OwnTail, CachePhase::Shrunk, 55),
        ]
    }

    #[test]
    fn falls_are_said_and_accesses_counted() {
        let judged = |rows: &[LinuxCacheRow]| judge(Verdict::new("linux"), rows);
        let verdict = judged(&rows(70));
        assert!(verdict.missed().is_empty());
        let falls = verdict.findings.join(" ");
        assert!(falls.contains("falls by 10.0 points"), "{falls}");
        let mut lost = rows(70);
        lost[0].misses -= 1;
        assert_eq!(judged(&lost).missed().len(), 1);
        assert!(judged(&[]).claims.is_empty());
    }
}
