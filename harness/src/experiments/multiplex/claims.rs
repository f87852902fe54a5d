//! Claims of the multiplex experiment.

use std::collections::BTreeMap;

use results::stats::{Interval, Mean};
use results::table::Table;
use results::verdict::{Measured, Outcome, Verdict, distinct};

use super::rows::MultiplexRow;

/// The picks with which policies are compared.
const GUEST: &str = "guest";

/// What a policy by miss-ratio curves saves of the traffic of an equal division (Zhang et al., "OSCA",
/// USENIX ATC 2020), percent.
const OSCA_PERCENT: f64 = 13.2;

/// How much more traffic than the best partition it may cause, and than a static one, percent.
const ORACLE_PERCENT: f64 = 1.0;
const STATIC_PERCENT: f64 = 2.0;

/// Judges the rows.
pub(super) fn judge(rows: &[MultiplexRow]) -> Verdict {
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
                "On the mixed workload, `mrc` causes at least {OSCA_PERCENT} % less origin traffic than `equal`."
            ),
            saved(rows, "mixed", "mrc", "equal", OSCA_PERCENT),
        )
        .require_if_measured(
            format!(
                "On the mixed workload, `mrc` causes at most {ORACLE_PERCENT} % more origin traffic than `oracle`."
            ),
            saved(rows, "mixed", "mrc", "oracle", -ORACLE_PERCENT),
        )
        .require_if_measured(
            format!(
                "Under every schedule, `mrc` causes at most {STATIC_PERCENT} % more origin traffic than `static`."
            ),
            never_worse(rows, &schedules),
        )
        .require_if_measured(
            "Under `weights`, the share error of `shares` is below 5 % once half of the time between two changes is \
             over.",
            share_error(rows),
        )
        .findings(schedules.iter().filter_map(|schedule| finding(rows, schedule)))
        .tables(tables)
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

/// What one policy saves of the traffic of another in each pair of one seed, percent.
fn pairs(rows: &[MultiplexRow], schedule: &str, policy: &str, other: &str) -> Vec<f64> {
    let others: BTreeMap<u64, f64> = of(rows, schedule, other)
        .map(|row| (row.seed, row.traffic_percent()))
        .collect();
    let saved = of(rows, schedule, policy).filter_map(|row| {
        let other = *others.get(&row.seed)?;
        Some(100.0 * (other - row.traffic_percent()) / other)
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
    let pairs = pairs(rows, schedule, policy, other);
    let mean = Mean::of(&pairs)?;
    let interval = Interval::of(pairs.len(), |drawn| {
        drawn.iter().map(|at| pairs[*at]).sum::<f64>() / drawn.len() as f64
    })?;
    Some(Measured::new(
        interval.at_least(bar),
        format!("{} % less, over {} seeds.", mean.text(1), pairs.len()),
    ))
}

fn never_worse(rows: &[MultiplexRow], schedules: &[&str]) -> Option<Measured> {
    let mut outcome = Outcome::Holds;
    let mut evidence = Vec::new();
    for schedule in schedules {
        let Some(of_schedule) = saved(rows, schedule, "mrc", "static", -STATIC_PERCENT) else {
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

fn share_error(rows: &[MultiplexRow]) -> Option<Measured> {
    let errors = of(rows, "weights", "shares").map(|row| row.share_error_ppm as f64 / 1e4);
    let errors: Vec<f64> = errors.collect();
    let mean = Mean::of(&errors)?;
    let interval = Interval::of(errors.len(), |drawn| {
        drawn.iter().map(|at| errors[*at]).sum::<f64>() / drawn.len() as f64
    })?;
    Some(Measured::new(
        interval.below(5.0),
        format!("{} % in the mean over VMs and periods.", mean.text(2)),
    ))
}

/// What the policies save of the traffic of a static partition, the best first.
fn finding(rows: &[MultiplexRow], schedule: &str) -> Option<String> {
    let of_schedule = rows.iter().filter(|row| row.schedule == schedule);
    let policies = distinct(of_schedule.map(|row| row.policy.as_str()));
    let mut saved: Vec<(Mean, &str)> = policies
        .into_iter()
        .filter(|policy| *policy != "static")
        .filter_map(|policy| {
            let pairs = pairs(rows, schedule, policy, "static");
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
