//! What it shows: the rows held against the bars.

use std::collections::BTreeMap;

use lab::native::load::Load;
use results::verdict::{Claim, Outcome, Source, Table, Verdict, median};

use super::rows::{IoRow as Row, On, Placement, Who};
use crate::experiments::common::ratio::{Ratio, middle};

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

/// Cells of the comparison: placement, medium and load.
type Cell = (Placement, On, Load);

/// For each round of a cell, the rows of all who were measured.
type Rounds<'a> = BTreeMap<u32, BTreeMap<Who, &'a Row>>;

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

/// Ratios of what two sides came to in each round.
fn ratio(
    rounds: &Rounds<'_>,
    who: Who,
    to: Who,
    value: impl Fn(&Row) -> Option<f64>,
) -> Option<Ratio> {
    let ratios = rounds
        .values()
        .filter_map(|round| Some(value(round.get(&who)?)? / value(round.get(&to)?)?));
    Ratio::of_pairs(ratios.collect())
}

/// Holds what was measured against the bars.
pub(crate) fn judge(rows: &[Row], idle_share: Option<f64>) -> Verdict {
    let cells = by_cell(rows);
    let mut verdict = Verdict {
        title: "Requests, beside qemu-storage-daemon and io_uring".to_owned(),
        claims: Vec::new(),
        findings: Vec::new(),
        tables: [Placement::OneProcessor, Placement::Anywhere]
            .map(|placement| table(&cells, placement))
            .to_vec(),
    };
    for ((placement, medium, load), rounds) in &cells {
        match (placement, medium) {
            (Placement::Anywhere, _) => {}
            (_, On::Disk) => disk_claims(&mut verdict, *load, rounds),
            (_, On::Memory | On::Nowhere) => {
                let Some(cpu) = ratio(rounds, Who::Ours, Who::Peer, Row::cpu_ns) else {
                    continue;
                };
                let interval = cpu.interval();
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
                    outcome: interval.below(1.0),
                    measured: format!("{cpu}; {interval}."),
                });
            }
        }
    }
    verdict.findings.extend(anywhere(&cells));
    verdict.findings.extend(price(&cells));
    verdict.claims.push(Claim {
        text: "An idle backend takes no processor time.".to_owned(),
        source: Source::Requirement,
        outcome: idle_share.is_some_and(|share| share <= IDLE_SHARE).into(),
        measured: idle_share.map_or_else(
            || "It was not recorded.".to_owned(),
            |share| format!("{:.3} % of one processor.", share * 100.0),
        ),
    });
    verdict
}

/// Everybody who may have been measured.
const ALL: [Who; 4] = [Who::Ours, Who::Peer, Who::Raw, Who::Limit];

/// How many times the requests of `to` the disk gave to whom it gave most: what lies above
/// is no matter of software.
fn most_of(rounds: &Rounds<'_>, to: Who) -> f64 {
    ALL.iter()
        .filter_map(|who| ratio(rounds, *who, to, |row| Some(row.iops())))
        .map(|ratio| ratio.median)
        .fold(0.0, f64::max)
}

/// The bars of a load: of whom, and which part of their requests a second.
fn bars(load: Load) -> [(Who, f64); 2] {
    let of_raw = match load.depth {
        0..8 => OF_RAW_SHALLOW,
        _ => OF_RAW_DEEP,
    };
    [(Who::Peer, OVER_PEER), (Who::Raw, of_raw)]
}

/// What the bars would say where the scheduler has client and server wherever it likes.
fn anywhere(cells: &BTreeMap<Cell, Rounds<'_>>) -> Option<String> {
    let (mut held, mut missed) = (0, Vec::new());
    for ((placement, _, load), rounds) in cells {
        for (to, bar) in bars(*load) {
            let iops = ratio(rounds, Who::Ours, to, |row| Some(row.iops()));
            match iops.filter(|_| *placement == Placement::Anywhere) {
                None => {}
                Some(iops) if iops.median >= bar => held += 1,
                Some(iops) => missed.push(format!(
                    "{load}, {:.2} times those of {} for {bar}",
                    iops.median,
                    to.label()
                )),
            }
        }
    }
    let all = held + missed.len();
    (all > 0).then(|| {
        format!(
            "Not judged, as it is up to the scheduler: with client and server wherever it has them, {held} of the \
             {all} bars of requests a second are reached. Missed: {}.",
            match missed.is_empty() {
                true => "none".to_owned(),
                false => missed.join("; "),
            }
        )
    })
}

/// Where our backend takes more processor time a request than the peer does.
fn price(cells: &BTreeMap<Cell, Rounds<'_>>) -> Option<String> {
    let dear = cells
        .iter()
        .filter_map(|((placement, medium, load), rounds)| {
            let cpu = ratio(rounds, Who::Ours, Who::Peer, Row::cpu_ns)?;
            let judged = *placement == Placement::OneProcessor && *medium == On::Disk;
            (judged && cpu.median > 1.0).then(|| format!("{load}, {:.2} times", cpu.median))
        });
    let dear: Vec<_> = dear.collect();
    (!dear.is_empty()).then(|| {
        format!(
            "The price: while requests follow each other quickly, our backend looks for the next instead of sleeping. \
             On the disk it takes more processor time a request than {} for {}. With `--no-poll` it always sleeps.",
            Who::Peer.label(),
            dear.join("; ")
        )
    })
}

fn disk_claims(verdict: &mut Verdict, load: Load, rounds: &Rounds<'_>) {
    for (to, bar) in bars(load) {
        let Some(iops) = ratio(rounds, Who::Ours, to, |row| Some(row.iops())) else {
            continue;
        };
        let text = format!(
            "{load}: at least {bar} times the requests a second of {}.",
            to.label()
        );
        let (interval, most) = (iops.interval(), most_of(rounds, to));
        let outcome = match most < bar {
            true => Outcome::undecided(format!(
                "The most that the disk gave to any side, with up to {} requests under way, is {most:.2} times \
                 those of {}.",
                load.deep().depth,
                to.label()
            )),
            false => interval.at_least(bar),
        };
        verdict.claims.push(Claim {
            text,
            source: Source::Requirement,
            outcome,
            measured: format!("{iops}; {interval}."),
        });
    }
}

fn table(cells: &BTreeMap<Cell, Rounds<'_>>, which: Placement) -> Table {
    let mut rows = Vec::new();
    for ((_, medium, load), rounds) in cells.iter().filter(|((at, ..), _)| *at == which) {
        let rows_of = |who: Who| -> Vec<&Row> {
            rounds
                .values()
                .filter_map(|r| r.get(&who).copied())
                .collect()
        };
        let iops_of = |who: Who| middle(rows_of(who).iter().map(|row| row.iops()).collect());
        let most = ALL.iter().filter_map(|who| iops_of(*who)).reduce(f64::max);
        for who in ALL {
            let of = rows_of(who);
            if of.is_empty() {
                continue;
            }
            let iops = iops_of(who);
            let share = iops.zip(most).filter(|_| *medium == On::Disk);
            let share = share.map(|(iops, most)| iops / most * 100.0);
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
                number(share, 0),
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
        "of the most the disk gave (%)",
        "p50 (µs)",
        "p99 (µs)",
        "server's processor time a request (µs)",
    ];
    Table {
        title: match which {
            Placement::OneProcessor => "Medians of all rounds, on one processor",
            Placement::Anywhere => "Medians of all rounds, wherever the scheduler had them",
        }
        .to_owned(),
        head: head.map(str::to_owned).to_vec(),
        rows,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lab::native::load::Pattern;

    /// A verdict on seven rounds of 128 KiB reads, of so many requests a second.
    fn judged(of: [(Who, u64); 4]) -> Verdict {
        judged_at(Placement::OneProcessor, of)
    }

    fn judged_at(placement: Placement, of: [(Who, u64); 4]) -> Verdict {
        judge(&rounds(7, placement, |_| of), Some(0.0))
    }

    fn rounds(count: u32, placement: Placement, of: impl Fn(u32) -> [(Who, u64); 4]) -> Vec<Row> {
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
            (Who::Ours, ours),
            (Who::Peer, 1000),
            (Who::Raw, 950),
            (Who::Limit, limit),
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
        assert!(evidence.starts_with("1.00 times"), "{evidence}");
        assert!(evidence.contains("with up to 32 requests under way, is 1.02 times"));
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
            let rest = [(Who::Peer, 1000), (Who::Raw, 1000), (Who::Limit, 2000)];
            [(Who::Ours, ours), rest[0], rest[1], rest[2]]
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
    fn more_processor_time_than_the_peer_takes_is_told() {
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
        let price = |ours| {
            let rows = vec![row(Who::Ours, ours), row(Who::Peer, 2000)];
            let findings = judge(&rows, Some(0.0)).findings;
            findings.into_iter().find(|f| f.starts_with("The price"))
        };
        assert_eq!(price(2000), None);
        let told = price(3000).unwrap();
        assert!(told.contains("for 4 KiB random read, depth 1, 1.50 times."));
    }

    #[test]
    fn what_the_scheduler_placed_is_told_and_not_judged() {
        let of = [(Who::Ours, 1000), (Who::Peer, 1000), (Who::Raw, 950)];
        let verdict = judged_at(
            Placement::Anywhere,
            [of[0], of[1], of[2], (Who::Limit, 1200)],
        );
        // The idle backend's.
        assert_eq!(verdict.claims.len(), 1);
        let finding = &verdict.findings[0];
        assert!(finding.contains("1 of the 2 bars"), "{finding}");
        assert!(finding.ends_with(
            "Missed: 128 KiB sequential read, depth 8, 1.00 times those of qemu-storage-daemon for 1.1."
        ));
        assert!(verdict.tables[0].rows.is_empty());
        assert_eq!(verdict.tables[1].rows.len(), 4);
    }
}
