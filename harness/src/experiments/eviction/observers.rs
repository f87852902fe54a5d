//! What it costs the backend to remember requests for its picks.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;
use results::store::RunFolder;
use vssd::block_set::BlockSet;
use vssd_host::pick::Tracker;
use workloads::HostPick;

use super::params::Params;
use super::rows::ObserverRow;

/// How often each is measured; they take turns.
const REPETITIONS: u32 = 5;

/// Requests that are shown to an observer at a time, at most.
const REQUESTS: u64 = 1_000_000;

/// Shows each observer the requests of the workload, and takes the time.
pub(crate) fn measure(params: &Params, seed: u64, folder: &mut RunFolder) -> Result<()> {
    let capacity = params.capacity();
    let mut stream = params.workload().stream(capacity, seed, params.warmup)?;
    let requests = params.reads.min(REQUESTS);
    let blocks: Vec<u32> = (0..requests).map(|_| stream.next_block()).collect();
    let held = BlockSet::full(capacity);
    for repetition in 0..REPETITIONS {
        for pick in HostPick::tracked() {
            let Some(mut observer) = Tracker::new(pick, &held)? else {
                continue;
            };
            let started = Instant::now();
            for &block in &blocks {
                black_box(&mut observer).accessed(block, 1);
            }
            let elapsed_ns = started.elapsed().as_nanos() as u64;
            folder.append(&ObserverRow {
                observer: pick.to_string(),
                capacity_blocks: capacity,
                memory_bytes: observer.memory_bytes() as u64,
                repetition,
                requests,
                elapsed_ns,
            })?;
        }
    }
    Ok(())
}
