//! Parameters of the eviction experiment, checked.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use vssd_host::size::{Amount, ByteSize};
use workloads::pattern::PhaseChange;
use workloads::{Pattern, Workload};

use super::picker::Picker;
use crate::experiments::common::params;

/// The most repetitions that a run takes.
const MAX_REPETITIONS: u32 = 10_000;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    size: String,
    block_size: String,
    shrink_percent: f64,
    workload: String,
    mean: f64,
    sd: f64,
    exponent: f64,
    hot_blocks: u32,
    hot_share: f64,
    hot_speed: f64,
    phase_shift: u32,
    warmup: u64,
    sample: u64,
    staleness: u64,
    reads: u64,
    depth: u32,
    repetitions: u32,
    pickers: Vec<String>,
}

/// Checked parameters; see `defaults.toml`.
#[derive(Clone, Debug)]
pub struct Params {
    /// Full size of the vSSD.
    pub size: ByteSize,
    /// Bytes in a block.
    pub block_size: ByteSize,
    /// Blocks that the guest is to hold after the shrink.
    pub target: u32,
    /// What is read.
    pub workload: Workload,
    /// Accesses before the shrink, for pickers that go by what they saw.
    pub warmup: u64,
    /// Accesses in the guest's sample.
    pub sample: u64,
    /// Accesses between the end of the sample and the shrink.
    pub staleness: u64,
    /// Reads after the shrink.
    pub reads: u64,
    /// Reads in flight.
    pub depth: u32,
    /// Number of seeds.
    pub repetitions: u32,
    /// Who is compared.
    pub pickers: Vec<Picker>,
}

impl Raw {
    fn pattern(&self) -> Result<Workload> {
        let pattern = match self.workload.as_str() {
            "gaussian" => Pattern::Gaussian {
                mean: self.mean,
                sd: self.sd,
            },
            "uniform" => Pattern::Uniform,
            "zipf" => Pattern::Zipf {
                exponent: self.exponent,
            },
            "sequential" => Pattern::Sequential,
            "hotspot" => Pattern::Hotspot {
                blocks: self.hot_blocks,
                share: self.hot_share,
                speed: self.hot_speed,
            },
            text => {
                return text.parse().ok().with_context(|| {
                    format!(
                        "`workload` is `{text}`: choose gaussian, uniform, zipf, sequential or \
                         hotspot, or one with its parameters such as zipf:1.2"
                    )
                });
            }
        };
        Ok(pattern.into())
    }

    /// The workload, with the change of phase at the end of the sample.
    fn workload(&self) -> Result<Workload> {
        let mut workload = self.pattern()?;
        if self.phase_shift > 0 {
            workload.phase = Some(PhaseChange {
                at: self.warmup - self.staleness,
                offset: self.phase_shift,
            });
        }
        Ok(workload)
    }
}

impl TryFrom<Raw> for Params {
    type Error = anyhow::Error;

    fn try_from(raw: Raw) -> Result<Self> {
        let size = params::size("size", &raw.size)?;
        let block_size = params::size("block_size", &raw.block_size)?;
        let bytes = u32::try_from(block_size.0).unwrap_or(0);
        ensure!(
            bytes > 0,
            "invalid `block_size` {block_size}; expected e.g. 4KiB"
        );
        let capacity = u32::try_from(Amount::Bytes(size).in_blocks(bytes)?)
            .context("a vSSD has less than 2^32 blocks")?;
        let percent = raw.shrink_percent;
        ensure!(
            (0.0..100.0).contains(&percent),
            "`shrink_percent` of {percent} leaves nothing to read, or is not a share of the device: \
             choose 0 to less than 100"
        );
        let shrink = (f64::from(capacity) * percent / 100.0).round() as u32;
        ensure!(
            raw.sample
                .checked_add(raw.staleness)
                .is_some_and(|ago| ago <= raw.warmup),
            "`sample` of {} and `staleness` of {} are more than the {} accesses before the shrink: \
             choose less, or a longer `warmup`",
            raw.sample,
            raw.staleness,
            raw.warmup
        );
        let workload = raw.workload()?;
        workload.stream(capacity, 0, 0)?;
        ensure!(raw.reads > 0, "`reads` of 0 shows nothing");
        ensure!(
            (1..=MAX_REPETITIONS).contains(&raw.repetitions),
            "`repetitions` is a number of seeds, 1 to {MAX_REPETITIONS}"
        );
        let mut pickers = raw
            .pickers
            .iter()
            .map(|name| name.parse().map_err(anyhow::Error::msg))
            .collect::<Result<Vec<Picker>>>()
            .context("`pickers` is wrong")?;
        pickers.sort();
        pickers.dedup();
        ensure!(
            !pickers.is_empty(),
            "`pickers` is empty: name at least one picker"
        );
        Ok(Self {
            size,
            block_size,
            target: capacity - shrink.min(capacity),
            workload,
            warmup: raw.warmup,
            sample: raw.sample,
            staleness: raw.staleness,
            reads: raw.reads,
            depth: raw.depth,
            repetitions: raw.repetitions,
            pickers,
        })
    }
}
