//! How it runs.

use std::time::{Duration, Instant};

use anyhow::Result;
use lab::testbed::{ResizeOptions, Shape, Testbed, Transport};
use results::store::RunFolder;
use vssd_host::control::protocol::EncodingName;
use vssd_host::size::ByteSize;
use workloads::Pick;
use workloads::{Command, command};

use super::ablation::Ablation;
use super::params::Params;
use super::rows::{OverheadLeftOutRow, OverheadRow, OverheadTimingRow};
use crate::experiments::common::lab::Lab;

/// How long one resize may take.
const PATIENCE: Duration = Duration::from_secs(300);

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
        pick: Pick::Guest,
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

pub(crate) fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
    let sizes = params.sizes_blocks();
    let pairs = sizes.len() * params.picks.len() * params.encodings.len();
    let bar = lab
        .progress
        .bar("overhead", pairs as u64 * u64::from(params.repetitions));
    let shape = Shape {
        size: params.size,
        block_size: params.block_size,
        written: ByteSize(0),
    };
    let mut testbed = lab.testbed(shape, folder)?;
    let capacity = testbed.capacity();
    let budget = Duration::from_secs(params.ablation_budget_s);
    let is_timed = testbed.transport() == Transport::Qemu;
    let mut ablation = Ablation::new(is_timed.then_some(budget));
    // The encodings take turns at every point, so that a slow moment of the
    // machine does not fall on one of them alone.
    for blocks in sizes {
        let fits = ablation.fits(blocks);
        if !fits && params.encodings.contains(&EncodingName::List4096) {
            folder.append(&OverheadLeftOutRow {
                encoding: EncodingName::List4096.to_string(),
                block_size_bytes: params.block_size.0 as u32,
                blocks,
                predicted_ns: ablation.predicted(blocks).as_nanos() as u64,
                spent_ns: ablation.spent().as_nanos() as u64,
                budget_ns: budget.as_nanos() as u64,
            })?;
        }
        let mut in_ablation = Duration::ZERO;
        for &pick in &params.picks {
            let seed = lab.seed;
            testbed
                .guest()
                .run(&Command::Policy(command::Policy { pick, seed }), PATIENCE)?;
            for repetition in 0..params.repetitions {
                for &encoding in &params.encodings {
                    let is_ablation = encoding == EncodingName::List4096;
                    if is_ablation && (!fits || repetition >= params.list_repetitions) {
                        continue;
                    }
                    let began = Instant::now();
                    testbed.set_encoding(encoding)?;
                    let shrink = timed(&mut *testbed, capacity - blocks)?;
                    let grow = timed(&mut *testbed, capacity)?;
                    if is_ablation {
                        in_ablation += began.elapsed();
                    }
                    folder.append(&OverheadRow {
                        encoding: encoding.to_string(),
                        pick: pick.to_string(),
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
                    if is_timed {
                        folder.append(&OverheadTimingRow {
                            encoding: encoding.to_string(),
                            pick: pick.to_string(),
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
        if fits {
            ablation.record(blocks, in_ablation);
        }
    }
    bar.finish_and_clear();
    testbed.shut_down()
}
