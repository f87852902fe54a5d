//! Parameters, checked.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Deserialize;
use vssd_host::control::protocol::EncodingName;
use vssd_host::size::ByteSize;
use workloads::{Command, GuestPick, command};

use crate::experiments::common::params::{
    Parameters, block_size, in_blocks_of, percent, positive, some, text,
};

/// See `defaults.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    #[serde(with = "text")]
    pub(super) size: ByteSize,
    #[serde(deserialize_with = "block_size")]
    pub(super) block_size: ByteSize,
    #[serde(with = "text")]
    shrink: ByteSize,
    #[serde(with = "text")]
    pub(super) pick: GuestPick,
    #[serde(deserialize_with = "some")]
    pub(super) encodings: Vec<EncodingName>,
    #[serde(deserialize_with = "positive")]
    pub(super) depth: u32,
    #[serde(deserialize_with = "percent")]
    pub(super) writes_percent: u32,
    pub(super) warmup_requests: u64,
    pub(super) fill: bool,
    #[serde(deserialize_with = "positive")]
    pub(super) cycles: u32,
    #[serde(deserialize_with = "positive")]
    pub(super) list_cycles: u32,
    pub(super) block_cycles: u32,
    #[serde(deserialize_with = "positive")]
    wait_ms: u32,
}

impl Parameters for Params {
    fn check(&self) -> Result<()> {
        let Self { size, shrink, .. } = self;
        ensure!(
            shrink.0 > 0 && shrink < size,
            "`shrink` of {shrink} leaves nothing to read of a device of {size}, or takes nothing: choose between"
        );
        in_blocks_of(self.block_size, "shrink", *shrink).map(drop)
    }
}

impl Params {
    pub(super) fn shrink_blocks(&self) -> u32 {
        (self.shrink.0 / self.block_size.0) as u32
    }

    pub(super) fn wait(&self) -> Duration {
        Duration::from_millis(self.wait_ms.into())
    }

    /// Cycles with this encoding.
    pub(super) fn cycles_of(&self, encoding: EncodingName) -> u32 {
        match encoding {
            EncodingName::Compact => self.cycles,
            EncodingName::List4096 => self.cycles.min(self.list_cycles),
        }
    }

    /// The load; 0 requests go on until the next command.
    pub(super) fn load(&self, count: u64, seed: u64) -> Command {
        Command::Stress(command::Stress {
            count,
            seed,
            depth: self.depth,
            writes: self.writes_percent,
            latency: count == 0,
        })
    }
}
