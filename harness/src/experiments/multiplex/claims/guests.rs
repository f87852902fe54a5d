//! What guests under QEMU show beside their twins: times.

use results::stats::{Mean, Ratio};
use results::table::Table;
use results::verdict::Measured;

use super::STATIC;
use crate::experiments::multiplex::rows::MultiplexQemuRow;

/// How much longer than under `static` the p99 of accesses may be under `harvest`.
pub(super) const P99_TIMES: f64 = 1.05;

/// The p99 of accesses under `harvest` over that under `static`, in pairs by guests and seed.
pub(super) fn p99(guests: &[MultiplexQemuRow]) -> Option<Measured> {
    let of = |policy: &'static str| {
        guests
            .iter()
            .filter(move |row| row.schedule == "day-night" && row.policy == policy)
    };
    let ratios = of("harvest").filter_map(|row| {
        let mut others = of(STATIC);
        let other = others.find(|other| other.vms == row.vms && other.seed == row.seed)?;
        (other.p99_ns > 0).then(|| row.p99_ns as f64 / other.p99_ns as f64)
    });
    let ratio = Ratio::of_pairs(ratios)?;
    Some(ratio.judged(|interval| interval.at_most(P99_TIMES)))
}

/// All runs, by schedule, guests and policy.
pub(super) fn table(guests: &[MultiplexQemuRow]) -> Option<Table> {
    let mut ways: Vec<(&str, u32, &str)> = Vec::new();
    for row in guests {
        let way = (row.schedule.as_str(), row.vms, row.policy.as_str());
        if !ways.contains(&way) {
            ways.push(way);
        }
    }
    ways.sort_by_key(|(schedule, vms, _)| (*schedule, *vms));
    let mean = |way: &(&str, u32, &str), of: fn(&MultiplexQemuRow) -> f64, decimals: usize| {
        let of_way = guests
            .iter()
            .filter(|row| (row.schedule.as_str(), row.vms, row.policy.as_str()) == *way);
        let values: Vec<f64> = of_way.map(of).collect();
        Mean::of(&values).map_or(String::new(), |mean| mean.text(decimals))
    };
    (!ways.is_empty()).then(|| {
        Table::of(
            "Guests under QEMU",
            &ways,
            &[
                ("schedule", &|way| way.0.to_owned()),
                ("guests", &|way| way.1.to_string()),
                ("policy", &|way| way.2.to_owned()),
                ("hits (%)", &|way| {
                    mean(
                        way,
                        |row| 100.0 * row.hits as f64 / row.accesses.max(1) as f64,
                        2,
                    )
                }),
                ("origin traffic (% of accesses)", &|way| {
                    mean(
                        way,
                        |row| 100.0 * row.origin_blocks as f64 / row.accesses.max(1) as f64,
                        2,
                    )
                }),
                ("pool used (%)", &|way| {
                    mean(way, |row| row.used_ppm as f64 / 1e4, 1)
                }),
                ("blocks moved", &|way| {
                    mean(way, |row| row.moved_blocks as f64, 0)
                }),
                ("p50 (us)", &|way| {
                    mean(way, |row| row.p50_ns as f64 / 1e3, 0)
                }),
                ("p99 (us)", &|way| {
                    mean(way, |row| row.p99_ns as f64 / 1e3, 0)
                }),
                ("longest resize (ms)", &|way| {
                    mean(way, |row| row.resize_ns as f64 / 1e6, 1)
                }),
            ],
        )
    })
}
