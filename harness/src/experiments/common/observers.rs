//! What it costs the backend to remember requests for its picks.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;
use results::row::Row;
use results::stats::median;
use results::table::{Table, or_dash};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vssd::block_set::BlockSet;
use vssd_host::pick::Tracker;
use workloads::{HostPick, Workload};

/// How often each is measured; they take turns.
const REPETITIONS: u32 = 5;

/// Requests that are shown to an observer at a time, at most.
const MOST_REQUESTS: u64 = 1_000_000;

/// One row for each repetition of a measurement that feeds the requests of the workload to a tracker
/// of the backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObserverRow {
    /// Tracker, by the name of the pick that needs it, such as `lru`.
    pub observer: String,
    /// Blocks in the device.
    pub capacity_blocks: u32,
    /// Memory of the tracker.
    pub memory_bytes: u64,
    /// Counts from 0.
    pub repetition: u32,
    /// Requests fed to the tracker.
    pub requests: u64,
    /// Duration by the host's clock.
    pub elapsed_ns: u64,
}

impl Row for ObserverRow {
    const FILE: &'static str = "observers.csv";
}

/// The blocks of `count` accesses of a workload from access `start` on, or of as many as are
/// measured.
pub(crate) fn requests(
    workload: &Workload,
    capacity: u32,
    seed: u64,
    start: u64,
    count: u64,
) -> Result<Vec<u32>> {
    let mut stream = workload.stream(capacity, seed, start)?;
    let count = count.min(MOST_REQUESTS);
    Ok((0..count).map(|_| stream.next_block()).collect())
}

/// Shows the observer of each pick that needs one requests for these blocks of a vSSD that holds
/// all of its `capacity`, and takes the time.
///
/// # Errors
/// When the vSSD has too many blocks for a pick.
pub(crate) fn measure(
    picks: &[HostPick],
    capacity: u32,
    blocks: &[u32],
) -> Result<Vec<ObserverRow>> {
    let held = BlockSet::full(capacity);
    let mut costs = Vec::new();
    for repetition in 0..REPETITIONS {
        for pick in picks {
            let Some(mut observer) = Tracker::new(*pick, &held)? else {
                continue;
            };
            let started = Instant::now();
            for &block in blocks {
                black_box(&mut observer).accessed(block, 1);
            }
            let elapsed_ns = started.elapsed().as_nanos() as u64;
            costs.push(ObserverRow {
                observer: pick.to_string(),
                capacity_blocks: capacity,
                memory_bytes: observer.memory_bytes() as u64,
                repetition,
                requests: blocks.len() as u64,
                elapsed_ns,
            });
        }
    }
    Ok(costs)
}

/// What each observer costs: medians over the repetitions.
pub(crate) fn table<'a>(costs: impl IntoIterator<Item = &'a ObserverRow>) -> Table {
    let mut by_observer: BTreeMap<&str, Vec<&ObserverRow>> = BTreeMap::new();
    for cost in costs.into_iter().filter(|cost| cost.requests > 0) {
        by_observer.entry(&cost.observer).or_default().push(cost);
    }
    let bytes_per_block =
        |cost: &ObserverRow| cost.memory_bytes as f64 / f64::from(cost.capacity_blocks.max(1));
    let ns = |costs: &[&ObserverRow]| {
        median(
            costs
                .iter()
                .map(|cost| cost.elapsed_ns as f64 / cost.requests as f64),
        )
    };
    Table::of(
        "Cost of request tracking in the backend",
        by_observer,
        &[
            ("tracker", &|(observer, _)| (*observer).to_owned()),
            ("memory (KiB)", &|(_, costs)| {
                format!("{:.0}", costs[0].memory_bytes as f64 / 1024.0)
            }),
            ("memory per block (bytes)", &|(_, costs)| {
                format!("{:.3}", bytes_per_block(costs[0]))
            }),
            ("time per request (ns)", &|(_, costs)| {
                or_dash(ns(costs), |ns| format!("{ns:.2}"))
            }),
            ("repetitions", &|(_, costs)| costs.len().to_string()),
        ],
    )
}

#[cfg(test)]
mod tests {
    use workloads::Pattern;

    use super::*;

    #[test]
    fn costs_are_medians() {
        let costs = [30, 10, 20].map(|ns| ObserverRow {
            observer: "lru".to_owned(),
            capacity_blocks: 1024,
            memory_bytes: 4096,
            repetition: 0,
            requests: 10,
            elapsed_ns: ns,
        });
        let table = table(&costs);
        assert_eq!(table.rows[0], ["lru", "4", "4.000", "2.00", "3"]);
    }

    #[test]
    fn picks_that_need_an_observer_take_turns() {
        let workload = Workload::from(Pattern::Zipf { exponent: 0.99 });
        let blocks = requests(&workload, 1024, 1, 0, 100).unwrap();
        let picks = [HostPick::Lru, HostPick::Uniform, HostPick::Clock];
        let costs = measure(&picks, 1024, &blocks).unwrap();
        // Bits for the contents, and times of four bytes or bits of reference.
        let expected = [("lru", 4096 + 128), ("clock", 128 + 128)];
        for (turn, cost) in costs.chunks(expected.len()).enumerate() {
            for (cost, (observer, bytes)) in cost.iter().zip(expected) {
                assert_eq!((&*cost.observer, cost.memory_bytes), (observer, bytes));
                assert_eq!((cost.requests, cost.repetition), (100, turn as u32));
            }
        }
        assert_eq!(costs.len(), expected.len() * REPETITIONS as usize);
    }
}
