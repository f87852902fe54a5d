//! Time to take blocks from a guest and to give them back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use vssd_host::control::protocol::{EncodingName, PickName};
use vssd_host::size::{Amount, ByteSize};
use workloads::{Command, Policy};

use super::correctness::policies;
use super::{Experiment, Lab, params};
use crate::present::store::RunFolder;
use crate::record::{OverheadPaceRow, OverheadRow};
use crate::testbed::{ResizeOptions, Shape, Testbed, Transport};

/// How long one resize may take.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    size: String,
    block_size: String,
    sizes: Vec<String>,
    picks: Vec<String>,
    encodings: Vec<String>,
    repetitions: u32,
    list_repetitions: u32,
}

/// Checked parameters; see `experiments/overhead.toml`.
#[derive(Clone, Debug)]
pub struct Params {
    size: ByteSize,
    block_size: ByteSize,
    sizes_blocks: Vec<u32>,
    picks: Vec<Policy>,
    encodings: Vec<EncodingName>,
    repetitions: u32,
    list_repetitions: u32,
}

impl Params {
    /// Checks a table.
    pub fn from_table(table: &toml::Table) -> Result<Self> {
        let raw: Raw = params::typed(table)?;
        let size = params::size("size", &raw.size)?;
        let block_size = params::size("block_size", &raw.block_size)?;
        let bytes = u32::try_from(block_size.0).unwrap_or(0);
        ensure!(bytes > 0, "`block_size` of {block_size} is no block size");
        ensure!(
            raw.repetitions > 0 && raw.list_repetitions > 0,
            "`repetitions` and `list_repetitions` count from 1"
        );
        ensure!(!raw.sizes.is_empty(), "`sizes` names no size");
        let sizes_blocks = raw
            .sizes
            .iter()
            .map(|text| {
                let amount = params::size("sizes", text)?;
                ensure!(
                    amount <= size,
                    "`sizes` asks for {amount} of a device of {size}: choose less"
                );
                let blocks = Amount::Bytes(amount).in_blocks(bytes)?;
                u32::try_from(blocks).context("a vSSD has less than 2^32 blocks")
            })
            .collect::<Result<_>>()?;
        let encodings = raw
            .encodings
            .iter()
            .map(|name| name.parse().map_err(anyhow::Error::msg))
            .collect::<Result<_>>()
            .context("`encodings` is wrong")?;
        Ok(Self {
            size,
            block_size,
            sizes_blocks,
            picks: policies(&raw.picks)?,
            encodings,
            repetitions: raw.repetitions,
            list_repetitions: raw.list_repetitions,
        })
    }
}

/// One resize as the host sees it: from the command to both lists agreed.
struct Timed {
    elapsed_ns: u64,
    device_ns: u64,
    exchanges: u32,
    message_bytes: u64,
    agreed: bool,
}

fn timed(testbed: &mut dyn Testbed, target: u32) -> Result<Timed> {
    let options = ResizeOptions {
        evict: PickName::Guest,
        deadline: PATIENCE,
        seed: 0,
    };
    let started = Instant::now();
    let resized = testbed.resize_to(target, options)?;
    let elapsed_ns = started.elapsed().as_nanos() as u64;
    // The guest must be at rest before the next one is timed.
    testbed.guest().await_resized(target, PATIENCE)?;
    Ok(Timed {
        elapsed_ns,
        device_ns: resized.device_ns,
        exchanges: resized.exchanges,
        message_bytes: resized.message_bytes,
        agreed: resized.is_complete() && resized.agreed && resized.revoked == 0,
    })
}

/// Runs the experiment.
pub fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
    let pairs = params.sizes_blocks.len() * params.picks.len() * params.encodings.len();
    let bar = lab
        .progress
        .bar("overhead", pairs as u64 * u64::from(params.repetitions));
    let shape = Shape {
        size: params.size,
        block_size: params.block_size,
        written: ByteSize(0),
    };
    let mut testbed = lab.testbed(Experiment::Overhead, shape, folder)?;
    let capacity = testbed.capacity();
    // The encodings take turns at every point, so that a slow moment of the
    // machine does not fall on one of them alone.
    for &blocks in &params.sizes_blocks {
        for &policy in &params.picks {
            let seed = lab.seed;
            testbed
                .guest()
                .run(&Command::Policy { policy, seed }, PATIENCE)?;
            for repetition in 0..params.repetitions {
                for &encoding in &params.encodings {
                    if encoding == EncodingName::List4096 && repetition >= params.list_repetitions {
                        continue;
                    }
                    testbed.set_encoding(encoding)?;
                    let shrink = timed(&mut *testbed, capacity - blocks)?;
                    let grow = timed(&mut *testbed, capacity)?;
                    folder.append(&OverheadRow {
                        encoding: encoding.to_string(),
                        pick: policy.to_string(),
                        repetition,
                        block_size_bytes: params.block_size.0 as u32,
                        capacity_blocks: capacity,
                        blocks,
                        shrink_exchanges: shrink.exchanges,
                        shrink_message_bytes: shrink.message_bytes,
                        grow_exchanges: grow.exchanges,
                        grow_message_bytes: grow.message_bytes,
                        agreed: shrink.agreed && grow.agreed,
                    })?;
                    if testbed.transport() == Transport::Qemu {
                        folder.append(&OverheadPaceRow {
                            encoding: encoding.to_string(),
                            pick: policy.to_string(),
                            repetition,
                            block_size_bytes: params.block_size.0 as u32,
                            capacity_blocks: capacity,
                            blocks,
                            shrink_exchanges: shrink.exchanges,
                            shrink_ns: shrink.elapsed_ns,
                            shrink_device_ns: shrink.device_ns,
                            grow_ns: grow.elapsed_ns,
                            grow_device_ns: grow.device_ns,
                        })?;
                    }
                    bar.inc(1);
                }
            }
        }
    }
    bar.finish_and_clear();
    testbed.shut_down()
}
