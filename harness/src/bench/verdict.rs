//! What `harness bench io` shows: the rows held against the bars.

use std::collections::BTreeMap;
use std::fmt;

use super::io::{Measured, On, Row, Who};
use super::load::Load;
use crate::present::study::{Claim, Source, Table, Verdict, median};

/// How many times the requests of the peer ours are to be.
const OVER_PEER: f64 = 1.1;
/// Which part of the requests of plain io_uring ours are to be at least, with 8
/// and more of them under way.
const OF_RAW_DEEP: f64 = 0.95;
/// The same with one under way.
const OF_RAW_SHALLOW: f64 = 0.8;
/// Share of a processor that an idle backend may take: what the scheduler's
/// account shows of none.
const IDLE_SHARE: f64 = 0.001;

/// Cells of the comparison: medium and load.
type Cell = (On, Load);

/// For each round of each cell, the rows of all who were measured.
fn by_cell(rows: &[Row]) -> BTreeMap<Cell, BTreeMap<u32, BTreeMap<Who, &Row>>> {
    let mut cells: BTreeMap<Cell, BTreeMap<u32, BTreeMap<Who, &Row>>> = BTreeMap::new();
    for row in rows {
        let cell = cells.entry((row.medium, row.load())).or_default();
        cell.entry(row.round).or_default().insert(row.who, row);
    }
    cells
}

/// Ratios of pairs that were measured one after the other.
pub(super) struct Ratio {
    pub(super) median: f64,
    least: f64,
    most: f64,
}

impl Ratio {
    /// `None` of none.
    pub(super) fn of_pairs(ratios: Vec<f64>) -> Option<Self> {
        Some(Self {
            least: ratios.iter().copied().fold(f64::INFINITY, f64::min),
            most: ratios.iter().copied().fold(0.0, f64::max),
            median: middle(ratios)?,
        })
    }

    fn of(
        rounds: &BTreeMap<u32, BTreeMap<Who, &Row>>,
        to: Who,
        value: impl Fn(&Row) -> Option<f64>,
    ) -> Option<Self> {
        let ratios = rounds
            .values()
            .filter_map(|who| Some(value(who.get(&Who::Ours)?)? / value(who.get(&to)?)?));
        Self::of_pairs(ratios.collect())
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            median,
            least,
            most,
        } = self;
        write!(
            f,
            "{median:.2} times; {least:.2} to {most:.2} in single pairs"
        )
    }
}

fn middle(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (
        values.get(values.len().checked_sub(1)? / 2)?,
        values.get(values.len() / 2)?,
    );
    Some((low + high) / 2.0)
}

/// Holds what was measured against the bars.
pub fn judge(measured: &Measured) -> Verdict {
    let cells = by_cell(&measured.rows);
    let mut verdict = Verdict {
        title: "Requests, beside qemu-storage-daemon and io_uring".to_owned(),
        claims: Vec::new(),
        findings: Vec::new(),
        tables: vec![table(&cells)],
    };
    for ((medium, load), rounds) in &cells {
        match medium {
            On::Disk => disk_claims(&mut verdict, *load, rounds),
            On::Memory | On::Nowhere => {
                let Some(cpu) = Ratio::of(rounds, Who::Peer, Row::cpu_ns) else {
                    continue;
                };
                verdict.claims.push(Claim {
                    text: format!(
                        "{}, {load}: less processor time a request than {} takes.",
                        match medium {
                            On::Nowhere => "Moving no data",
                            _ => "In memory",
                        },
                        Who::Peer.label()
                    ),
                    source: Source::Requirement,
                    holds: cpu.median < 1.0,
                    measured: format!("{cpu}."),
                });
            }
        }
    }
    verdict.claims.push(Claim {
        text: "An idle backend takes no processor time.".to_owned(),
        source: Source::Requirement,
        holds: measured.idle_share <= IDLE_SHARE,
        measured: format!("{:.3} % of one processor.", measured.idle_share * 100.0),
    });
    verdict
}

fn disk_claims(verdict: &mut Verdict, load: Load, rounds: &BTreeMap<u32, BTreeMap<Who, &Row>>) {
    let of_raw = match load.depth {
        0..8 => OF_RAW_SHALLOW,
        _ => OF_RAW_DEEP,
    };
    for (to, bar) in [(Who::Peer, OVER_PEER), (Who::Raw, of_raw)] {
        let Some(iops) = Ratio::of(rounds, to, |row| Some(row.iops())) else {
            continue;
        };
        verdict.claims.push(Claim {
            text: format!(
                "{load}: at least {bar} times the requests a second of {}.",
                to.label()
            ),
            source: Source::Requirement,
            holds: iops.median >= bar,
            measured: format!("{iops}."),
        });
    }
}

fn table(cells: &BTreeMap<Cell, BTreeMap<u32, BTreeMap<Who, &Row>>>) -> Table {
    let mut rows = Vec::new();
    for ((medium, load), rounds) in cells {
        for who in [Who::Ours, Who::Peer, Who::Raw] {
            let of: Vec<&Row> = rounds
                .values()
                .filter_map(|r| r.get(&who).copied())
                .collect();
            if of.is_empty() {
                continue;
            }
            let iops = middle(of.iter().map(|row| row.iops()).collect());
            let mib = iops.map(|iops| iops * f64::from(load.bytes) / f64::from(1 << 20));
            let micros = |value: fn(&Row) -> u64| {
                median(of.iter().map(|row| value(row))).map(|ns| ns / 1000.0)
            };
            let cpu = middle(of.iter().filter_map(|row| row.cpu_ns()).collect());
            let number = |value: Option<f64>, digits: usize| {
                value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
            };
            rows.push(vec![
                medium.label().to_owned(),
                load.to_string(),
                who.label().to_owned(),
                number(iops, 0),
                number(mib, 0),
                number(micros(|row| row.p50_ns), 0),
                number(micros(|row| row.p99_ns), 0),
                number(cpu.map(|ns| ns / 1000.0), 2),
            ]);
        }
    }
    let head = [
        "medium",
        "load",
        "server",
        "requests/s",
        "MiB/s",
        "p50 (µs)",
        "p99 (µs)",
        "server's processor time a request (µs)",
    ];
    Table {
        title: "Medians of all rounds".to_owned(),
        head: head.map(str::to_owned).to_vec(),
        rows,
    }
}
