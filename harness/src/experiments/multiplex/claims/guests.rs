//! What guests under QEMU show beside their twins: times.

use results::stats::{Mean, Ratio};
use results::table::Table;
use results::verdict::{Measured, distinct};

use super::{STATIC, STATIC_PERCENT, less, worst};
use crate::experiments::multiplex::rows::MultiplexQemuRow;

/// How much longer than under `static` the p99 of accesses may be under `harvest`.
pub(super) const P99_TIMES: f64 = 1.05;

/// The p99 of accesses under `harvest` over that under `static`, in pairs by guests and seed.
pub(super) fn p99(guests: &[MultiplexQemuRow]) -> Option<Measured> {
    let ratios = beside_static(guests, "day-night", "harvest", |row| row.p99_ns);
    let ratio = Ratio::of_pairs(ratios)?;
    Some(ratio.judged(|interval| interval.at_most(P99_TIMES)))
}

/// Whether `mrc` causes hardly more traffic than `static`, in such pairs, under each schedule.
pub(super) fn never_worse(guests: &[MultiplexQemuRow]) -> Option<Measured> {
    worst(
        &distinct(guests.iter().map(|row| row.schedule.as_str())),
        |schedule| {
            let ratios = beside_static(guests, schedule, "mrc", |row| row.origin_blocks);
            let saved = ratios.iter().map(|ratio| 100.0 * (1.0 - ratio));
            less(&saved.collect::<Vec<_>>(), -STATIC_PERCENT, "pairs")
        },
    )
}

/// A count of each run under a policy, over that of the run under `static` with as many guests and the same seed.
fn beside_static(
    guests: &[MultiplexQemuRow],
    schedule: &str,
    policy: &str,
    count: impl Fn(&MultiplexQemuRow) -> u64,
) -> Vec<f64> {
    let of = |row: &MultiplexQemuRow, policy| row.schedule == schedule && row.policy == policy;
    let pairs = guests.iter().filter_map(|row| {
        let is_other = |other: &&MultiplexQemuRow| {
            of(other, STATIC) && (other.vms, other.seed) == (row.vms, row.seed)
        };
        let other = guests.iter().find(is_other).filter(|_| of(row, policy))?;
        (count(other) > 0).then(|| count(row) as f64 / count(other) as f64)
    });
    pairs.collect()
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
