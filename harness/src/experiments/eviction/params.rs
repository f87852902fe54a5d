//! Parameters of the eviction experiment, checked.

use std::str::FromStr;

use anyhow::{Result, ensure};
use serde::{Deserialize, Deserializer};
use vssd_host::size::ByteSize;
use workloads::pattern::PhaseChange;
use workloads::{Pattern, Workload};

use super::picker::Picker;
use crate::experiments::common::params::{
    Parameters, block_size, check_workload, in_blocks_of, positive, some, text, within,
};

/// See `defaults.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Full size of the vSSD.
    #[serde(with = "text")]
    pub size: ByteSize,
    /// Bytes in a block.
    #[serde(deserialize_with = "block_size")]
    pub block_size: ByteSize,
    shrink_percent: f64,
    #[serde(with = "text")]
    workload: Kind,
    mean: f64,
    sd: f64,
    exponent: f64,
    hot_blocks: u32,
    hot_share: f64,
    hot_speed: f64,
    phase_shift: u32,
    /// Accesses before the shrink, for pickers that go by what they saw.
    pub warmup: u64,
    /// Accesses in the guest's sample.
    pub sample: u64,
    /// Accesses between the end of the sample and the shrink.
    pub staleness: u64,
    /// Reads after the shrink.
    #[serde(deserialize_with = "positive")]
    pub reads: u64,
    /// Reads in flight.
    pub depth: u32,
    /// Number of seeds.
    #[serde(deserialize_with = "within::<1, 10_000, _, _>")]
    pub repetitions: u32,
    /// Who is compared.
    #[serde(deserialize_with = "pickers")]
    pub pickers: Vec<Picker>,
}

/// A workload whose numbers are parameters of their own, or one with its numbers.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Gaussian,
    Zipf,
    Hotspot,
    Complete(Workload),
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "gaussian" => Self::Gaussian,
            "zipf" => Self::Zipf,
            "hotspot" => Self::Hotspot,
            _ => Self::Complete(text.parse().map_err(|_| {
                format!(
                    "invalid workload `{text}`; expected gaussian, uniform, zipf, sequential or \
                     hotspot, or one with its parameters such as zipf:1.2"
                )
            })?),
        })
    }
}

/// At least one picker, each once, in their order.
pub(super) fn pickers<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Picker>, D::Error> {
    let mut pickers: Vec<Picker> = some(from)?;
    pickers.sort();
    pickers.dedup();
    Ok(pickers)
}

impl Parameters for Params {
    fn check(&self) -> Result<()> {
        let percent = self.shrink_percent;
        ensure!(
            (0.0..100.0).contains(&percent),
            "`shrink_percent` of {percent} leaves nothing to read, or is not a share of the device: \
             choose 0 to less than 100"
        );
        ensure!(
            self.sample
                .checked_add(self.staleness)
                .is_some_and(|ago| ago <= self.warmup),
            "`sample` of {} and `staleness` of {} are more than the {} accesses before the shrink: \
             choose less, or a longer `warmup`",
            self.sample,
            self.staleness,
            self.warmup
        );
        let capacity = in_blocks_of(self.block_size, "size", self.size)?;
        check_workload("workload", &self.workload(), capacity)
    }
}

impl Params {
    pub(super) fn capacity(&self) -> u32 {
        (self.size.0 / self.block_size.0) as u32
    }

    /// Blocks that the guest is to hold after the shrink.
    pub(super) fn target(&self) -> u32 {
        let capacity = self.capacity();
        let shrink = (f64::from(capacity) * self.shrink_percent / 100.0).round() as u32;
        capacity - shrink.min(capacity)
    }

    /// What is read, with the change of phase at the end of the sample.
    pub(super) fn workload(&self) -> Workload {
        let mut workload = match self.workload {
            Kind::Gaussian => Workload::from(Pattern::Gaussian {
                mean: self.mean,
                sd: self.sd,
            }),
            Kind::Zipf => Workload::from(Pattern::Zipf {
                exponent: self.exponent,
            }),
            Kind::Hotspot => Workload::from(Pattern::Hotspot {
                blocks: self.hot_blocks,
                share: self.hot_share,
                speed: self.hot_speed,
            }),
            Kind::Complete(workload) => workload,
        };
        if self.phase_shift > 0 {
            workload.phase = Some(PhaseChange {
                at: self.warmup - self.staleness,
                offset: self.phase_shift,
            });
        }
        workload
    }
}
