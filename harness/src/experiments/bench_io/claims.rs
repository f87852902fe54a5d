//! Claims of the bench-io experiment.

use std::collections::BTreeMap;

use lab::native::load::Load;
use results::stats::{Ratio, median};
use results::table::{Table, or_dash};
use results::verdict::{Measured, Outcome, Verdict};

use super::rows::{IoRow as Row, On, Placement, Side};

/// Bar for requests per second over those of the peer.
const OVER_PEER: f64 = 1.1;
/// Bar for requests per second over those of plain io_uring, with 8 or more in flight.
const OF_RAW_DEEP: f64 = 0.95;
/// The same with one in flight.
const OF_RAW_SHALLOW: f64 = 0.8;
/// Bar for the share of a processor of an idle backend: the resolution of the scheduler's
/// accounting.
const IDLE_SHARE: f64 = 0.001;

/// All sides that may have been measured.
const ALL: [Side; 4] = [Side::Ours, Side::Peer, Side::Raw, Side::Limit];

/// Cells of the comparison: placement, medium and load.
type Cell = (Placement, On, Load);

/// The rows of each side, by round of a cell.
type Rounds<'a> = BTreeMap<u32, BTreeMap<Side, &'a Row>>;

fn by_cell(rows: &[Row]) -> BTreeMap<Cell, Rounds<'_>> {
    let mut cells: BTreeMap<Cell, Rounds<'_>> = BTreeMap::new();
    for row in rows {
        let cell = cells
            .entry((row.placement, row.medium, row.load()))
            .or_default();
        cell.entry(row.round).or_default().insert(row.who, row);
    }
    cells
}

/// Ratios of two sides within each round.
fn ratio(
    rounds: &Rounds<'_>,
    side: Side,
    to: Side,
    value: impl Fn(&Row) -> Option<f64>,
) -> Option<Ratio> {
    Ratio::of_pairs(
        rounds
            .values()
            .filter_map(|round| Some(value(round.get(&side)?)? / value(round.get(&to)?)?)),
    )
}

fn iops_ratio(rounds: &Rounds<'_>, side: Side, to: Side) -> Option<Ratio> {
    ratio(rounds, side, to, |row| Some(row.iops()))
}

/// The bars of a load: relative to which side, and the ratio of requests per second.
fn bars(load: Load) -> [(Side, f64); 2] {
    let of_raw = match load.depth {
        0..8 => OF_RAW_SHALLOW,
        _ => OF_RAW_DEEP,
    };
    [(Side::Peer, OVER_PEER), (Side::Raw, of_raw)]
}

/// Judges the rows with client and server on one processor.
pub(crate) fn judge(rows: &[Row], idle_share: Option<f64>) -> Verdict {
    let cells = by_cell(rows);
    let mut verdict = Verdict::new("Requests, against qemu-storage-daemon and io_uring");
    for ((_, medium, load), rounds) in at(&cells, Placement::OneProcessor) {
        let off_disk = match medium {
            On::Disk => {
                for (to, bar) in bars(*load) {
                    let text = format!("{load}: at least {bar}x the requests per second of {to}.");
                    verdict = verdict.require_if_measured(text, throughput(rounds, *load, to, bar));
                }
                continue;
            }
            On::Memory => "In memory",
            On::Nowhere => "Without data transfer",
        };
        let text = format!(
            "{off_disk}, {load}: less processor time per request than {}.",
            Side::Peer
        );
        let cpu = ratio(rounds, Side::Ours, Side::Peer, Row::cpu_ns);
        verdict = verdict.require_if_measured(text, cpu.map(|cpu| cpu.judged(|of| of.below(1.0))));
    }
    let idle = idle_share.map(|share| {
        let evidence = format!("{:.3} % of one processor.", share * 100.0);
        Measured::new(share <= IDLE_SHARE, evidence)
    });
    verdict
        .require("An idle backend takes no processor time.", idle)
        .findings(anywhere(&cells))
        .findings(cost_of_polling(&cells))
        .tables([
            table(
                "Medians of all rounds, on one processor",
                &cells,
                Placement::OneProcessor,
            ),
            table(
                "Medians of all rounds, placed by the scheduler",
                &cells,
                Placement::Anywhere,
            ),
        ])
}

/// The cells of a placement.
fn at<'a, 'b>(
    cells: &'a BTreeMap<Cell, Rounds<'b>>,
    placement: Placement,
) -> impl Iterator<Item = (&'a Cell, &'a Rounds<'b>)> {
    cells.iter().filter(move |((at, ..), _)| *at == placement)
}

fn throughput(rounds: &Rounds<'_>, load: Load, to: Side, bar: f64) -> Option<Measured> {
    let iops = iops_ratio(rounds, Side::Ours, to)?;
    // The disk's limit relative to `to`: no software reaches a bar above it.
    let most = ALL
        .iter()
        .filter_map(|side| iops_ratio(rounds, *side, to))
        .map(|ratio| ratio.median)
        .fold(0.0, f64::max);
    Some(iops.judged(|interval| {
        if most < bar {
            Outcome::undecided(format!(
                "The most that the disk gave any side, with up to {} requests in flight, is {most:.2}x those of {to}.",
                load.deep().depth
            ))
        } else {
            interval.at_least(bar)
        }
    }))
}

/// The bars where the scheduler places client and server.
fn anywhere(cells: &BTreeMap<Cell, Rounds<'_>>) -> Option<String> {
    let (mut reached, mut missed) = (0, Vec::new());
    for ((.., load), rounds) in at(cells, Placement::Anywhere) {
        for (to, bar) in bars(*load) {
            match iops_ratio(rounds, Side::Ours, to) {
                None => {}
                Some(iops) if iops.median >= bar => reached += 1,
                Some(iops) => {
                    missed.push(format!("{load}: {:.2}x {to}, bar {bar}x", iops.median));
                }
            }
        }
    }
    let all = reached + missed.len();
    if missed.is_empty() {
        missed.push("none".to_owned());
    }
    (all > 0).then(|| {
        format!(
            "Reported, not gated, as it depends on the scheduler: with client and server placed by it, {reached} of \
             the {all} bars of requests per second are reached. Missed: {}.",
            missed.join("; ")
        )
    })
}

/// Where our backend takes more processor time per request than the peer.
fn cost_of_polling(cells: &BTreeMap<Cell, Rounds<'_>>) -> Option<String> {
    let on_disk =
        at(cells, Placement::OneProcessor).filter(|((_, medium, _), _)| *medium == On::Disk);
    let costly = on_disk.filter_map(|((.., load), rounds)| {
        let cpu = ratio(rounds, Side::Ours, Side::Peer, Row::cpu_ns)?;
        (cpu.median > 1.0).then(|| format!("{load}: {:.2}x", cpu.median))
    });
    let costly: Vec<String> = costly.collect();
    (!costly.is_empty()).then(|| {
        format!(
            "Polling costs processor time: between requests in quick succession our backend busy-polls instead of \
             sleeping. Processor time per request on the disk, relative to {}: {}. `--no-poll` turns polling off.",
            Side::Peer,
            costly.join("; ")
        )
    })
}

/// All slices of a side in a cell.
struct Slices<'a> {
    medium: On,
    load: Load,
    side: Side,
    rounds: &'a Rounds<'a>,
}

impl Slices<'_> {
    /// The median over the rounds.
    fn median_of(&self, side: Side, value: impl Fn(&Row) -> Option<f64>) -> Option<f64> {
        let rows = self.rounds.values().filter_map(|round| round.get(&side));
        median(rows.filter_map(|row| value(row)))
    }

    fn iops_of(&self, side: Side) -> Option<f64> {
        self.median_of(side, |row| Some(row.iops()))
    }

    /// In percent of the requests per second of the fastest side.
    fn share_of_most(&self) -> Option<f64> {
        let most = ALL
            .iter()
            .filter_map(|side| self.iops_of(*side))
            .reduce(f64::max)?;
        let share = self.iops_of(self.side)? / most * 100.0;
        (self.medium == On::Disk).then_some(share)
    }

    /// The median with so many decimals.
    fn text(&self, decimals: usize, value: impl Fn(&Row) -> Option<f64>) -> String {
        number(self.median_of(self.side, value), decimals)
    }
}

fn number(value: Option<f64>, decimals: usize) -> String {
    or_dash(value, |value| format!("{value:.decimals$}"))
}

fn table(title: &str, cells: &BTreeMap<Cell, Rounds<'_>>, placement: Placement) -> Table {
    let lines = at(cells, placement).flat_map(|((_, medium, load), rounds)| {
        ALL.map(|side| Slices {
            medium: *medium,
            load: *load,
            side,
            rounds,
        })
    });
    Table::of(
        title,
        lines.filter(|of| of.iops_of(of.side).is_some()),
        &[
            ("medium", &|of| of.medium.to_string()),
            ("load", &|of| of.load.to_string()),
            ("server", &|of| of.side.to_string()),
            ("requests/s", &|of| of.text(0, |row| Some(row.iops()))),
            ("MiB/s", &|of| {
                let mib = f64::from(of.load.bytes) / f64::from(1 << 20);
                of.text(0, |row| Some(row.iops() * mib))
            }),
            ("of the most from the disk (%)", &|of| {
                number(of.share_of_most(), 0)
            }),
            ("p50 (µs)", &|of| {
                of.text(0, |row| Some(row.p50_ns as f64 / 1e3))
            }),
            ("p99 (µs)", &|of| {
                of.text(0, |row| Some(row.p99_ns as f64 / 1e3))
            }),
            ("processor time of the server per request (µs)", &|of| {
                of.text(2, |row| Some(row.cpu_ns()? / 1e3))
            }),
        ],
    )
}

#[cfg(test)]
mod tests {
    use lab::native::load::Pattern;
    use results::verdict::Claim;

    use super::*;

    /// A verdict on seven rounds of 128 KiB reads, of so many requests a second.
    fn judged(of: [(Side, u64); 4]) -> Verdict {
        judged_at(Placement::OneProcessor, of)
    }

    fn judged_at(placement: Placement, of: [(Side, u64); 4]) -> Verdict {
        judge(&rounds(7, placement, |_| of), Some(0.0))
    }

    fn rounds(count: u32, placement: Placement, of: impl Fn(u32) -> [(Side, u64); 4]) -> Vec<Row> {
        let row = |round, (who, requests)| Row {
            medium: On::Disk,
            placement,
            pattern: Pattern::SequentialRead,
            bytes: 128 << 10,
            depth: 8,
            round,
            who,
            requests,
            elapsed_ns: 1_000_000_000,
            p50_ns: 1,
            p99_ns: 1,
            server_cpu_ns: None,
        };
        let rows = (0..count).flat_map(|round| of(round).map(|of| row(round, of)));
        rows.collect()
    }

    fn with_limit(ours: u64, limit: u64) -> Verdict {
        judged([
            (Side::Ours, ours),
            (Side::Peer, 1000),
            (Side::Raw, 950),
            (Side::Limit, limit),
        ])
    }

    #[test]
    fn a_bar_above_what_the_disk_gives_is_neither_held_nor_missed() {
        let verdict = with_limit(1000, 1020);
        // The peer's bar, plain io_uring's, and the idle backend's.
        let [peer, raw, _] = verdict.claims.as_slice() else {
            panic!("{:?}", verdict.claims);
        };
        assert!(verdict.holds() && raw.holds());
        assert!(
            peer.text
                .starts_with("128 KiB sequential read, depth 8: at least 1.1")
        );
        assert!(matches!(peer.outcome, Outcome::CannotBeJudged { .. }));
        let evidence = peer.evidence();
        assert!(evidence.starts_with("1.00x"), "{evidence}");
        assert!(evidence.contains("with up to 32 requests in flight, is 1.02x"));
        assert_eq!(verdict.tables[0].rows[0][5], "98");
    }

    #[test]
    fn a_bar_within_what_the_disk_gives_is_missed() {
        assert_eq!(with_limit(1000, 1200).missed().len(), 1);
    }

    #[test]
    fn a_bar_that_is_reached_is_held_whatever_the_limit_seems() {
        let verdict = with_limit(1100, 900);
        assert!(verdict.claims.iter().all(Claim::holds));
        assert_eq!(verdict.claims.len(), 3);
    }

    /// The claim against the peer, if ours has these requests in the rounds and the peer 1000.
    fn against_peer(ours: &[u64]) -> Claim {
        let of = |round| {
            let ours = ours[round as usize];
            let rest = [(Side::Peer, 1000), (Side::Raw, 1000), (Side::Limit, 2000)];
            [(Side::Ours, ours), rest[0], rest[1], rest[2]]
        };
        let rows = rounds(ours.len() as u32, Placement::OneProcessor, of);
        judge(&rows, Some(0.0)).claims.remove(0)
    }

    #[test]
    fn a_bar_within_the_noise_cannot_be_judged() {
        // One slow round in seven is noise, and so is a median just below the bar.
        assert!(against_peer(&[1150, 1160, 1170, 1180, 1190, 1200, 700]).holds());
        for rounds in [
            [1000, 1050, 1080, 1090, 1120, 1150, 1200],
            [1000, 1050, 1080, 1120, 1130, 1150, 1200],
        ] {
            let claim = against_peer(&rounds);
            assert!(
                claim.evidence().contains("contains the bar of 1.1"),
                "{claim:?}"
            );
        }
        assert!(against_peer(&[1000, 1010, 1020, 1030, 1040, 1050, 1500]).is_missed());
        let few = against_peer(&[1000; 5]);
        assert!(few.evidence().contains("at least 6"), "{few:?}");
    }

    #[test]
    fn more_processor_time_than_the_peer_takes_is_reported() {
        let row = |who, server_cpu_ns| Row {
            medium: On::Disk,
            placement: Placement::OneProcessor,
            pattern: Pattern::RandomRead,
            bytes: 4096,
            depth: 1,
            round: 0,
            who,
            requests: 1000,
            elapsed_ns: 1_000_000_000,
            p50_ns: 1,
            p99_ns: 1,
            server_cpu_ns: Some(server_cpu_ns),
        };
        let cost = |ours| {
            let rows = vec![row(Side::Ours, ours), row(Side::Peer, 2000)];
            let findings = judge(&rows, Some(0.0)).findings;
            findings
                .into_iter()
                .find(|f| f.starts_with("Polling costs"))
        };
        assert_eq!(cost(2000), None);
        let finding = cost(3000).unwrap();
        assert!(finding.contains(": 4 KiB random read, depth 1: 1.50x."));
    }

    #[test]
    fn placement_by_the_scheduler_is_reported_and_not_gated() {
        let of = [(Side::Ours, 1000), (Side::Peer, 1000), (Side::Raw, 950)];
        let verdict = judged_at(
            Placement::Anywhere,
            [of[0], of[1], of[2], (Side::Limit, 1200)],
        );
        // The idle backend's.
        assert_eq!(verdict.claims.len(), 1);
        let finding = &verdict.findings[0];
        assert!(finding.contains("1 of the 2 bars"), "{finding}");
        assert!(finding.ends_with(
            "Missed: 128 KiB sequential read, depth 8: 1.00x qemu-storage-daemon, bar 1.1x."
        ));
        assert!(verdict.tables[0].rows.is_empty());
        assert_eq!(verdict.tables[1].rows.len(), 4);
    }
}
