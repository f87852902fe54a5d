//! Guest-managed against hypervisor-managed eviction under Gaussian reads.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use vssd_host::control::protocol::EvictName;
use vssd_host::size::{Amount, ByteSize};
use workloads::{Command, Pattern, Policy, Report};

use super::{Lab, params};
use crate::backend::ResizeOptions;
use crate::present::store::RunFolder;
use crate::record::{EvictionBlockRow, EvictionRow};

/// How long the fill, the resize or the reads may take.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    size: String,
    block_size: String,
    shrink: String,
    mean: f64,
    sd: f64,
    reads: u64,
    sample: u64,
    depth: u32,
}

/// Checked parameters; see `experiments/eviction.toml`.
#[derive(Clone, Debug)]
pub struct Params {
    size: ByteSize,
    block_size: ByteSize,
    shrink_blocks: u32,
    pattern: Pattern,
    reads: u64,
    sample: u64,
    depth: u32,
}

impl Params {
    /// Checks a table.
    pub fn from_table(table: &toml::Table) -> Result<Self> {
        let raw: Raw = params::typed(table)?;
        let size = params::size("size", &raw.size)?;
        let block_size = params::size("block_size", &raw.block_size)?;
        let shrink = params::size("shrink", &raw.shrink)?;
        ensure!(
            shrink < size,
            "`shrink` of {shrink} leaves nothing of a device of {size}: choose less"
        );
        let bytes = u32::try_from(block_size.0).unwrap_or(0);
        let blocks = |amount| -> Result<u32> {
            ensure!(bytes > 0, "`block_size` of {block_size} is no block size");
            u32::try_from(Amount::Bytes(amount).in_blocks(bytes)?)
                .context("a vSSD has less than 2^32 blocks")
        };
        let pattern = Pattern::Gaussian {
            mean: raw.mean,
            sd: raw.sd,
        };
        pattern.stream(blocks(size)?, 0)?;
        ensure!(raw.reads > 0, "`reads` of 0 shows nothing");
        Ok(Self {
            size,
            block_size,
            shrink_blocks: blocks(shrink)?,
            pattern,
            reads: raw.reads,
            sample: raw.sample,
            depth: raw.depth,
        })
    }
}

/// Hits and misses of each block: by the guest's picks, by the hypervisor's.
type PerBlock = BTreeMap<u32, [(u32, u32); 2]>;

/// Runs the experiment.
pub fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
    let bar = lab.progress.bar("eviction", 6);
    let mut per_block = PerBlock::new();
    for (side, managed_by) in ["guest", "hypervisor"].into_iter().enumerate() {
        let mut bench = lab.bench(
            "eviction",
            params.size,
            params.block_size,
            params.size,
            folder,
        )?;
        let capacity = bench.guest.ready.capacity;
        bench.fill(lab.seed)?;
        bar.inc(1);
        let by_guest = managed_by == "guest";
        if by_guest {
            // Another seed than that of the reads: the guest knows the
            // distribution by a sample of it, not what comes.
            bench.guest.run(
                &Command::Hint {
                    pattern: params.pattern,
                    seed: lab.seed.wrapping_add(1),
                    count: params.sample,
                },
                PATIENCE,
            )?;
            bench.guest.run(
                &Command::Policy {
                    policy: Policy::Sample,
                    seed: lab.seed.wrapping_add(2),
                },
                PATIENCE,
            )?;
        }
        let options = ResizeOptions {
            evict: match by_guest {
                true => EvictName::Guest,
                false => EvictName::Uniform,
            },
            deadline: PATIENCE,
            seed: lab.seed.wrapping_add(3),
        };
        let target = capacity - params.shrink_blocks;
        let resized = bench
            .backend
            .resizer(PATIENCE)?
            .resize_to(target, options)?;
        ensure!(
            resized.is_complete() && resized.agreed,
            "the shrink ended as {} with {} of {target} blocks held",
            resized.end,
            resized.held
        );
        bench.guest.await_resized(target, PATIENCE)?;
        bar.inc(1);
        let read = Command::Read {
            pattern: params.pattern,
            seed: lab.seed,
            count: params.reads,
            depth: params.depth,
            per_block: true,
        };
        let reports = bench.guest.run(&read, PATIENCE)?;
        bar.inc(1);
        let mut totals = None;
        for report in reports {
            match report {
                Report::Counts { counts } => {
                    for (block, hits, misses) in counts {
                        per_block.entry(block).or_default()[side] = (hits, misses);
                    }
                }
                Report::Read {
                    hits,
                    misses,
                    errors,
                    elapsed_ns,
                } => totals = Some((hits, misses, errors, elapsed_ns)),
                _ => {}
            }
        }
        let (hits, misses, errors, read_guest_ns) =
            totals.context("the guest did not say how its reads went")?;
        folder.append(&EvictionRow {
            managed_by: managed_by.to_owned(),
            capacity_blocks: capacity,
            held_blocks: resized.held,
            surrendered_blocks: resized.from - resized.held - resized.revoked,
            revoked_blocks: resized.revoked,
            sample_draws: if by_guest { params.sample } else { 0 },
            reads: params.reads,
            hits,
            misses,
            errors,
            shrink_ns: resized.elapsed_ns,
            read_guest_ns,
        })?;
        bench.shut_down()?;
    }
    for (block, [guest, hypervisor]) in per_block {
        folder.append(&EvictionBlockRow {
            block,
            guest_hits: guest.0,
            guest_misses: guest.1,
            hypervisor_hits: hypervisor.0,
            hypervisor_misses: hypervisor.1,
        })?;
    }
    bar.finish_and_clear();
    Ok(())
}
