//! What a guest reports about itself and its commands.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::{DiskKind, Millis};

/// The guest is up and has agreed on its list with the device; it carries
/// out commands from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Version of the guest's image.
    pub version: String,
    /// The kind of its disk.
    pub disk: DiskKind,
    /// Bytes in a block.
    pub block_size: u32,
    /// Blocks at full size.
    pub capacity: u32,
    /// Blocks held.
    pub held: u32,
    /// From the start of the guest's clock to the completion of its first
    /// read of the device.
    pub first_io_ns: u64,
}

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            version,
            disk,
            block_size,
            capacity,
            held,
            first_io_ns,
        } = self;
        write!(
            f,
            "vssd-guest {version} ready: {disk}, {capacity} blocks of {block_size} bytes, \
             {held} held, first I/O after {}",
            Millis(*first_io_ns)
        )
    }
}

/// The command has been carried out; its reports came before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The command, as text.
    pub command: String,
    /// How long it took.
    pub elapsed_ns: u64,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            command,
            elapsed_ns,
        } = self;
        write!(f, "done in {}: {command}", Millis(*elapsed_ns))
    }
}

/// The command was not carried out, or went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The command, as it was read; empty when it was not about one.
    pub command: String,
    /// What went wrong.
    pub reason: String,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { command, reason } = self;
        if command.is_empty() {
            write!(f, "failed: {reason}")
        } else {
            write!(f, "failed: {command}: {reason}")
        }
    }
}

/// Answer to `info`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// The kind of the disk.
    pub disk: DiskKind,
    /// The disk refuses writes.
    pub read_only: bool,
    /// Bytes in a block.
    pub block_size: u32,
    /// Blocks at full size.
    pub capacity: u32,
    /// Blocks held.
    pub held: u32,
    /// Digest of the list of held blocks (SPEC.md, 4.9).
    pub digest: u64,
    /// Blocks given up since boot.
    pub surrendered: u64,
    /// Blocks granted since boot.
    pub granted: u64,
    /// Blocks lost to revocation since boot.
    pub revoked: u64,
}

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            disk,
            read_only,
            block_size,
            capacity,
            held,
            digest,
            surrendered,
            granted,
            revoked,
        } = self;
        if *disk == DiskKind::Vssd {
            write!(
                f,
                "vSSD: {held} of {capacity} blocks of {block_size} bytes held (digest \
                 {digest:016x}); since boot {surrendered} surrendered, {granted} granted, {revoked} \
                 revoked"
            )
        } else {
            let read_only = if *read_only { ", read-only" } else { "" };
            write!(
                f,
                "{disk}{read_only}: {capacity} blocks of {block_size} bytes"
            )
        }
    }
}

/// The list changed; sent as it happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resized {
    /// Blocks held.
    pub held: u32,
    /// Blocks given up in this step.
    pub surrendered: u32,
    /// Blocks granted in this step.
    pub granted: u32,
    /// Blocks revoked in this step.
    pub revoked: u32,
}

impl fmt::Display for Resized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            held,
            surrendered,
            granted,
            revoked,
        } = self;
        write!(
            f,
            "resized to {held} blocks: {surrendered} surrendered, {granted} granted, \
             {revoked} revoked"
        )
    }
}
