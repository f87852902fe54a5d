//! Parameters, checked.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use vssd_host::control::protocol::EncodingName;
use vssd_host::size::{Amount, ByteSize};
use workloads::{Command, GuestPick, command};

use crate::experiments::common::params;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raw {
    pub(super) size: String,
    pub(super) block_size: String,
    pub(super) shrink: String,
    pub(super) pick: String,
    pub(super) encodings: Vec<String>,
    pub(super) depth: u32,
    pub(super) writes_percent: u32,
    pub(super) warmup_requests: u64,
    pub(super) fill: bool,
    pub(super) cycles: u32,
    pub(super) list_cycles: u32,
    pub(super) flush_cycles: u32,
    pub(super) wait_ms: u32,
}

/// Checked parameters; see `defaults.toml`.
#[derive(Clone, Debug)]
pub(crate) struct Params {
    pub(super) size: ByteSize,
    pub(super) block_size: ByteSize,
    pub(super) shrink_blocks: u32,
    pub(super) pick: GuestPick,
    pub(super) encodings: Vec<EncodingName>,
    pub(super) depth: u32,
    pub(super) writes_percent: u32,
    pub(super) warmup_requests: u64,
    pub(super) fill: bool,
    pub(super) cycles: u32,
    pub(super) list_cycles: u32,
    pub(super) flush_cycles: u32,
    pub(super) wait: Duration,
}

impl TryFrom<Raw> for Params {
    type Error = anyhow::Error;

    fn try_from(raw: Raw) -> Result<Self> {
        let size = params::size("size", &raw.size)?;
        let block_size = params::size("block_size", &raw.block_size)?;
        let shrink = params::size("shrink", &raw.shrink)?;
        ensure!(
            shrink.0 > 0 && shrink < size,
            "`shrink` of {shrink} leaves nothing to read of a device of {size}, or takes nothing: choose between"
        );
        let bytes = u32::try_from(block_size.0).unwrap_or(0);
        ensure!(
            bytes > 0,
            "invalid `block_size` {block_size}; expected e.g. 4KiB"
        );
        let blocks = Amount::Bytes(shrink).in_blocks(bytes)?;
        ensure!(
            raw.writes_percent <= 100,
            "`writes_percent` of {} is more than all requests: choose 0 to 100",
            raw.writes_percent
        );
        ensure!(
            raw.depth > 0 && raw.cycles > 0 && raw.list_cycles > 0 && raw.wait_ms > 0,
            "`depth`, `cycles`, `list_cycles` and `wait_ms` count from 1"
        );
        let encodings = raw
            .encodings
            .iter()
            .map(|name| name.parse().map_err(anyhow::Error::msg))
            .collect::<Result<Vec<_>>>()
            .context("`encodings` is wrong")?;
        ensure!(!encodings.is_empty(), "`encodings` names no encoding");
        Ok(Self {
            size,
            block_size,
            shrink_blocks: u32::try_from(blocks).context("a vSSD has less than 2^32 blocks")?,
            pick: params::pick("pick", &raw.pick)?,
            encodings,
            depth: raw.depth,
            writes_percent: raw.writes_percent,
            warmup_requests: raw.warmup_requests,
            fill: raw.fill,
            cycles: raw.cycles,
            list_cycles: raw.list_cycles,
            flush_cycles: raw.flush_cycles,
            wait: Duration::from_millis(raw.wait_ms.into()),
        })
    }
}

impl Params {
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
