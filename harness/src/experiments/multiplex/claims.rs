//! Claims of the multiplex experiment.

mod guests;

use std::collections::BTreeMap;

use results::quantity::millis;
use results::stats::{Interval, Mean};
use results::table::Table;
use results::verdict::{Measured, Outcome, Verdict, distinct};

use super::grid;
use super::rows::{
    GUEST, MultiplexPopulationRow, MultiplexQemuRow, MultiplexRow, MultiplexScaleRow,
};

/// The policy that others are compared with.
pub(super) const STATIC: &str = "static";

/// What a policy by miss-ratio curves saves of the traffic of an equal division (Zhang et al., "OSCA",
/// USENIX ATC 2020), percent.
const OSCA_PERCENT: f64 = 13.2;

/// Schedules on which `mrc` is held to OSCA's figure and to `oracle`: VMs that differ, of synthetic loads and
/// of recorded ones.
const DIFFERING: [&str; 2] = ["mixed", "traces"];

/// Schedules on which `endurance` is held to a bar: one with a VM whose reads are not read again, and one
/// with VMs that mostly write.
const WEARING: [&str; 2] = ["mixed", "writers"];

/// SSD writes that `endurance` saves of those of `mrc`, percent, and the hit ratio of reads that it may cost,
/// points.
const ENDURANCE_PERCENT: f64 = 30.0;
const ENDURANCE_POINTS: f64 = 1.0;

/// How much more traffic than the best partition it may cause, and than a static one, percent.
const ORACLE_PERCENT: f64 = 1.0;
const STATIC_PERCENT: f64 = 2.0;

/// How many times as much of what is there is used when what is idle is lent (Sun et al., "FleetIO", ASPLOS 2025;
/// there, bandwidth).
const FLEETIO_TIMES: f64 = 1.4;

/// How far a promise may be missed, percent (Koller et al., "Centaur", ICAC 2015).
const CENTAUR_PERCENT: f64 = 10.0;

/// Judges the rows.
pub(super) fn judge(
    rows: &[MultiplexRow],
    guests: &[MultiplexQemuRow],
    scales: &[MultiplexScaleRow],
    population: &[MultiplexPopulationRow],
) -> Verdict {
    let schedules = distinct(rows.iter().map(|row| row.schedule.as_str()));
    let tables = schedules.iter().map(|schedule| table(rows, schedule));
    Verdict::new("How to divide one SSD among many VMs")
        .require(
            "Every access was served, with the counts of hits and misses that the guests reported.",
            Measured::every(rows, "trials", |row| {
                row.failed == 0 && row.hits + row.misses == row.accesses && row.accesses > 0
            }),
        )
        .require(
            "In no period did VMs hold more blocks than the pool has.",
            Measured::none(
                rows.iter().map(|row| row.violations).sum(),
                rows.iter().map(|row| u64::from(row.periods)).sum(),
                "periods",
            ),
        )
        .require_if_measured(
            "No guest that picks gave its blocks too late.",
            late(rows),
        )
        .require_if_measured(
            format!(
                "On the mixed workload and on traces, `mrc` causes at least {OSCA_PERCENT} % less origin traffic than \
                 `equal`."
            ),
            worst(&DIFFERING, |schedule| saved(rows, schedule, "mrc", "equal", OSCA_PERCENT)),
        )
        .require_if_measured(
            format!(
                "There `mrc` causes at most {ORACLE_PERCENT} % more origin traffic than `oracle`."
            ),
            worst(&DIFFERING, |schedule| saved(rows, schedule, "mrc", "oracle", -ORACLE_PERCENT)),
        )
        .require_if_measured(
            format!(
                "Under every schedule, `mrc` causes at most {STATIC_PERCENT} % more origin traffic than `static`."
            ),
            never_worse(rows, &schedules),
        )
        .require_if_measured(
            format!(
                "On `{}` and `{}`, `endurance` writes at least {ENDURANCE_PERCENT} % less to the SSD than `mrc`."
                , WEARING[0], WEARING[1]
            ),
            worst(&WEARING, |schedule| spared(rows, schedule)),
        )
        .require_if_measured(
            format!(
                "There the vSSDs serve at most {ENDURANCE_POINTS} point less of the reads under `endurance` than under \
                 `mrc`."
            ),
            worst(&WEARING, |schedule| served(rows, schedule)),
        )
        .require_if_measured(
            "Under `weights`, the share error of `shares` is below 5 % once half of the time between two changes is \
             over.",
            share_error(rows, "weights"),
        )
        .require_if_measured(
            "As VMs arrive and depart, the share error of `shares` in a `crowd` is below 5 %.",
            share_error(rows, "crowd"),
        )
        .require_if_measured(
            format!("Under `reservation-limit`, no VM held {CENTAUR_PERCENT} % less than its reservation."),
            promised(rows, "reservation-limit", "reservation", |row| row.reservation_short_ppm),
        )
        .require_if_measured(
            format!("Under `goals`, `slo` comes within {CENTAUR_PERCENT} % of every hit ratio that was promised."),
            goals(rows),
        )
        .require_if_measured(
            "Under `harvest`, every shrink of a VM that holds more than it owns ends by the deadline.",
            reclaimed(rows),
        )
        .require_if_measured(
            format!("By day and night, `harvest` uses at least {FLEETIO_TIMES} times as much of the pool as `static`."),
            harvested(rows),
        )
        .require_if_measured(
            "Guests under QEMU count what twins count.",
            Measured::every(guests, "runs", |row| row.equals_twins && row.late == 0),
        )
        .require_if_measured(
            format!(
                "Under QEMU, under every schedule, `mrc` causes at most {STATIC_PERCENT} % more origin traffic than \
                 `static`."
            ),
            guests::never_worse(guests),
        )
        .require_if_measured(
            format!(
                "Under QEMU, by day and night, the p99 of accesses under `harvest` is at most {} times that under \
                 `static`.",
                guests::P99_TIMES
            ),
            guests::p99(guests),
        )
        .findings(schedules.iter().filter_map(|schedule| finding(rows, schedule)))
        .findings(grid::findings(rows))
        .findings(scales.iter().map(scale))
        .findings(matched(population))
        .tables(tables)
        .tables(grid::tables(rows))
        .tables(guests::table(guests))
}

fn of<'a>(
    rows: &'a [MultiplexRow],
    schedule: &'a str,
    policy: &'a str,
) -> impl Iterator<Item = &'a MultiplexRow> {
    rows.iter()
        .filter(move |row| row.schedule == schedule && row.policy == policy && row.pick == GUEST)
}

fn late(rows: &[MultiplexRow]) -> Option<Measured> {
    let of_guests = || rows.iter().filter(|row| row.pick == GUEST);
    let late = of_guests().map(|row| row.late).sum();
    Measured::none(late, of_guests().map(|row| row.resizes).sum(), "resizes")
}

/// The mean, for its text, and the same for a comparison with a bar.
fn mean(values: &[f64]) -> Option<(Mean, Interval)> {
    let interval = Interval::of(values.len(), |drawn| {
        drawn.iter().map(|at| values[*at]).sum::<f64>() / drawn.len() as f64
    })?;
    Some((Mean::of(values)?, interval))
}

/// What one policy saves of the traffic of another in each pair of one seed, percent.
pub(super) fn pairs(rows: &[MultiplexRow], schedule: &str, policy: &str, other: &str) -> Vec<f64> {
    let others: BTreeMap<u64, f64> = of(rows, schedule, other)
        .map(|row| (row.seed, row.traffic_percent()))
        .collect();
    let saved = of(rows, schedule, policy).filter_map(|row| {
        let other = *others.get(&row.seed)?;
        let saved = other - row.traffic_percent();
        Some(if other > 0.0 {
            100.0 * saved / other
        } else {
            0.0
        })
    });
    saved.collect()
}

/// Whether a policy saves so much of the traffic of another; percent, below 0 for what it may cost.
fn saved(
    rows: &[MultiplexRow],
    schedule: &str,
    policy: &str,
    other: &str,
    bar: f64,
) -> Option<Measured> {
    less(&pairs(rows, schedule, policy, other), bar, "seeds")
}

/// Whether savings, in percent, are at least `bar`.
fn less(pairs: &[f64], bar: f64, unit: &str) -> Option<Measured> {
    let (mean, interval) = mean(pairs)?;
    Some(Measured::new(
        interval.at_least(bar),
        format!("{}, over {} {unit}.", less_or_more(&mean), pairs.len()),
    ))
}

/// A mean of savings, in percent, in words.
fn less_or_more(saved: &Mean) -> String {
    if saved.value < 0.0 {
        format!("{} % more", saved.negated().text(1))
    } else {
        format!("{} % less", saved.text(1))
    }
}

/// What SSD writes `endurance` saves of those of `mrc`.
fn spared(rows: &[MultiplexRow], schedule: &str) -> Option<Measured> {
    let pairs = paired(rows, schedule, ["endurance", "mrc"], |one, other| {
        let other = other.ssd_percent();
        (other > 0.0).then(|| 100.0 * (other - one.ssd_percent()) / other)
    });
    less(&pairs, ENDURANCE_PERCENT, "seeds")
}

/// By how much more of the reads the vSSDs serve under `endurance` than under `mrc`.
fn served(rows: &[MultiplexRow], schedule: &str) -> Option<Measured> {
    let pairs = paired(rows, schedule, ["endurance", "mrc"], |one, other| {
        Some(one.read_hit_percent() - other.read_hit_percent())
    });
    let (mean, interval) = mean(&pairs)?;
    Some(Measured::new(
        interval.at_least(-ENDURANCE_POINTS),
        format!("{} points more, over {} seeds.", mean.text(2), pairs.len()),
    ))
}

/// Two policies compared in each pair of one seed.
fn paired(
    rows: &[MultiplexRow],
    schedule: &str,
    [policy, other]: [&str; 2],
    compare: impl Fn(&MultiplexRow, &MultiplexRow) -> Option<f64>,
) -> Vec<f64> {
    let others: BTreeMap<u64, &MultiplexRow> = of(rows, schedule, other)
        .map(|row| (row.seed, row))
        .collect();
    let pairs = of(rows, schedule, policy);
    pairs
        .filter_map(|row| compare(row, others.get(&row.seed)?))
        .collect()
}

fn never_worse(rows: &[MultiplexRow], schedules: &[&str]) -> Option<Measured> {
    worst(schedules, |schedule| {
        saved(rows, schedule, "mrc", STATIC, -STATIC_PERCENT)
    })
}

/// What holds on each of these schedules, as far as they were run.
fn worst(schedules: &[&str], measure: impl Fn(&str) -> Option<Measured>) -> Option<Measured> {
    let mut outcome = Outcome::Holds;
    let mut evidence = Vec::new();
    for schedule in schedules {
        let Some(of_schedule) = measure(schedule) else {
            continue;
        };
        evidence.push(format!(
            "{schedule} {}",
            of_schedule.evidence.trim_end_matches('.')
        ));
        if outcome == Outcome::Holds || of_schedule.outcome == Outcome::DoesNotHold {
            outcome = of_schedule.outcome;
        }
    }
    (!evidence.is_empty()).then(|| Measured::new(outcome, evidence.join("; ") + "."))
}

/// How much more of the pool is used than with what VMs own.
fn harvested(rows: &[MultiplexRow]) -> Option<Measured> {
    let of_static: BTreeMap<u64, u64> = of(rows, "day-night", STATIC)
        .map(|row| (row.seed, row.used_ppm))
        .collect();
    let times = of(rows, "day-night", "harvest").filter_map(|row| {
        let of_static = *of_static.get(&row.seed)?;
        (of_static > 0).then(|| row.used_ppm as f64 / of_static as f64)
    });
    let (mean, interval) = mean(&times.collect::<Vec<_>>())?;
    Some(Measured::new(
        interval.at_least(FLEETIO_TIMES),
        format!("{} times as much.", mean.text(2)),
    ))
}

fn share_error(rows: &[MultiplexRow], schedule: &str) -> Option<Measured> {
    let errors = of(rows, schedule, "shares").map(|row| row.share_error_ppm as f64 / 1e4);
    let errors: Vec<f64> = errors.collect();
    let (mean, interval) = mean(&errors)?;
    Some(Measured::new(
        interval.below(5.0),
        format!("{} % in the mean over VMs and periods.", mean.text(2)),
    ))
}

/// How far a policy missed what it promises, at worst.
fn promised(
    rows: &[MultiplexRow],
    policy: &str,
    what: &str,
    short_ppm: fn(&MultiplexRow) -> u64,
) -> Option<Measured> {
    let of_policy = rows
        .iter()
        .filter(|row| row.policy == policy && row.pick == GUEST);
    let worst = of_policy
        .map(|row| short_ppm(row) as f64 / 1e4)
        .reduce(f64::max)?;
    Some(Measured::new(
        worst < CENTAUR_PERCENT,
        format!("At most {worst:.1} % below the {what}, of all VMs and periods."),
    ))
}

fn goals(rows: &[MultiplexRow]) -> Option<Measured> {
    let short = |policy| {
        let short = of(rows, "goals", policy).map(|row| row.goal_short_ppm as f64 / 1e4);
        short.reduce(f64::max)
    };
    let worst = short("slo")?;
    let beside = short("equal").map_or(String::new(), |equal| {
        format!(" Under `equal` it is {equal:.1} %.")
    });
    Some(Measured::new(
        worst < CENTAUR_PERCENT,
        format!("At most {worst:.1} % below the promise, of all VMs and seeds.{beside}"),
    ))
}

fn reclaimed(rows: &[MultiplexRow]) -> Option<Measured> {
    let of_guests = || rows.iter().filter(|row| row.pick == GUEST);
    let late = of_guests().map(|row| row.late_reclaims).sum();
    Measured::none(late, of_guests().map(|row| row.reclaims).sum(), "reclaims")
}

fn scale(row: &MultiplexScaleRow) -> String {
    let each = |ns: u64, what: &str| format!("{what} took {} ms", millis(ns));
    format!(
        "Twins of {} VMs on {} threads made {:.2} million accesses a second and took {:.0} KiB of memory each; {} and \
         {}.",
        row.vms,
        row.threads,
        row.accesses as f64 / row.accesses_ns.max(1) as f64 * 1e3,
        row.memory_bytes_per_vm as f64 / 1024.0,
        each(row.reports_ns, "a report of each"),
        each(row.decision_ns, "one decision of `mrc` about all of them"),
    )
}

/// How well made-up accesses match the population that they are of.
fn matched(population: &[MultiplexPopulationRow]) -> Option<String> {
    let errors: Vec<f64> = population
        .iter()
        .map(|row| row.error_ppm as f64 / 1e6)
        .collect();
    let worst = errors.iter().copied().reduce(f64::max)?;
    let kinds = distinct(population.iter().map(|row| row.workload.as_str()));
    Some(format!(
        "The {} VMs of the population are like {} of the file; the miss ratios of their accesses differ from those by \
         {} in the mean over ten sizes, by {worst:.3} at worst.",
        population.len(),
        kinds.len(),
        Mean::of(&errors)?.text(4),
    ))
}

/// What the policies save of the traffic of a static partition, the best first.
fn finding(rows: &[MultiplexRow], schedule: &str) -> Option<String> {
    let of_schedule = rows.iter().filter(|row| row.schedule == schedule);
    let policies = distinct(of_schedule.map(|row| row.policy.as_str()));
    let mut saved: Vec<(Mean, &str)> = policies
        .into_iter()
        .filter(|policy| *policy != STATIC)
        .filter_map(|policy| {
            let pairs = pairs(rows, schedule, policy, STATIC);
            Some((Mean::of(&pairs)?, policy))
        })
        .collect();
    saved.sort_by(|a, b| b.0.value.total_cmp(&a.0.value));
    let saved: Vec<String> = saved
        .iter()
        .map(|(mean, policy)| format!("`{policy}` {} %", mean.text(1)))
        .collect();
    (!saved.is_empty()).then(|| {
        format!(
            "`{schedule}`: origin traffic saved over `static`: {}.",
            saved.join(", ")
        )
    })
}

fn table(rows: &[MultiplexRow], schedule: &str) -> Table {
    let of_schedule = || rows.iter().filter(|row| row.schedule == schedule);
    let mut ways: Vec<(&str, &str)> = Vec::new();
    for row in of_schedule() {
        let way = (row.policy.as_str(), row.pick.as_str());
        if !ways.contains(&way) {
            ways.push(way);
        }
    }
    let mean = |way: &(&str, &str), of: fn(&MultiplexRow) -> f64, decimals: usize| {
        let of_way = of_schedule().filter(|row| (row.policy.as_str(), row.pick.as_str()) == *way);
        let values: Vec<f64> = of_way.map(of).collect();
        Mean::of(&values).map_or(String::new(), |mean| mean.text(decimals))
    };
    Table::of(
        format!("Policies under `{schedule}`"),
        &ways,
        &[
            ("policy", &|way| way.0.to_owned()),
            ("picks", &|way| way.1.to_owned()),
            ("hits (%)", &|way| mean(way, MultiplexRow::hit_percent, 2)),
            ("read hits (% of reads)", &|way| {
                mean(way, MultiplexRow::read_hit_percent, 2)
            }),
            ("origin traffic (% of accesses)", &|way| {
                mean(way, MultiplexRow::traffic_percent, 2)
            }),
            ("SSD writes (% of accesses)", &|way| {
                mean(way, MultiplexRow::ssd_percent, 2)
            }),
            ("blocks moved", &|way| {
                mean(way, |row| row.moved_blocks as f64, 0)
            }),
            ("resizes", &|way| mean(way, |row| row.resizes as f64, 0)),
            ("share error (%)", &|way| {
                mean(way, |row| row.share_error_ppm as f64 / 1e4, 2)
            }),
            ("periods to converge", &|way| {
                mean(way, |row| f64::from(row.converge_periods), 1)
            }),
            ("Jain's index", &|way| {
                mean(way, |row| row.jain_ppm as f64 / 1e6, 3)
            }),
            ("pool used (%)", &|way| {
                mean(way, |row| row.used_ppm as f64 / 1e4, 1)
            }),
        ],
    )
}

#[cfg(test)]
mod tests;
