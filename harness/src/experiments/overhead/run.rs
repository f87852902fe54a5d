//! How it runs.

use std::time::{Duration, Instant};

use anyhow::Result;
use lab::testbed::{Shape, Transport, resize_timed};
use results::store::RunFolder;
use vssd_host::control::protocol::{EncodingName, Resized};
use vssd_host::size::ByteSize;

use super::ablation::Ablation;
use super::params::Params;
use super::rows::{OverheadLeftOutRow, OverheadRow, OverheadTimingRow};
use crate::experiments::common::lab::Lab;

/// How long one resize may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// Whether all blocks moved by the guest's own picks, and the driver confirmed that.
fn is_sound(resized: &Resized) -> bool {
    resized.is_complete() && resized.agreed && resized.revoked == 0
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
            testbed.guest().set_pick(pick, lab.seed, PATIENCE)?;
            for repetition in 0..params.repetitions {
                for &encoding in &params.encodings {
                    let is_ablation = encoding == EncodingName::List4096;
                    if is_ablation && (!fits || repetition >= params.list_repetitions) {
                        continue;
                    }
                    let began = Instant::now();
                    testbed.set_encoding(encoding)?;
                    let (shrink, shrink_ns) =
                        resize_timed(&mut *testbed, capacity - blocks, PATIENCE)?;
                    let (grow, grow_ns) = resize_timed(&mut *testbed, capacity, PATIENCE)?;
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
                        agreed: is_sound(&shrink) && is_sound(&grow),
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
                            shrink_ns,
                            shrink_device_ns: shrink.device_ns,
                            grow_ns,
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
