//! Disks as the cache uses them: runs of 4 KiB blocks, read and written by futures.

use core::future::{Future, ready};

/// Bytes of a block.
pub const BLOCK_LEN: usize = 4096;

/// Why a transfer failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoError {
    /// The medium failed it.
    Failed,
    /// A block of it is not held, or was revoked while it was in flight.
    Gone,
}

impl core::fmt::Display for IoError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Failed => "the medium failed the transfer",
            Self::Gone => "a block of the transfer is no longer held",
        })
    }
}

impl core::error::Error for IoError {}

/// A disk of blocks of [`BLOCK_LEN`] bytes.
///
/// Transfers may be under way side by side and end in any order. One that was
/// dropped before its end may or may not have taken place.
pub trait BlockDevice {
    /// Number of blocks.
    fn blocks(&self) -> u32;

    /// Blocks that one transfer may have, at least 1.
    fn max_run(&self) -> u32;

    /// Fills `out`, whole blocks, from block `first` on.
    ///
    /// # Errors
    /// When the device failed it; `out` is undefined then.
    fn read(&self, first: u32, out: &mut [u8]) -> impl Future<Output = Result<(), IoError>>;

    /// Writes `data`, whole blocks, from block `first` on.
    ///
    /// # Errors
    /// When the device failed it; each of its blocks is as before or written.
    fn write(&self, first: u32, data: &[u8]) -> impl Future<Output = Result<(), IoError>>;

    /// Makes durable what was written before.
    ///
    /// # Errors
    /// When the device failed it; nothing is known to be durable then.
    fn flush(&self) -> impl Future<Output = Result<(), IoError>>;

    /// Says that what is in a block is of no value: it reads as it was or as zeros until it is
    /// written again. A device may have no use for that.
    ///
    /// # Errors
    /// When the device failed it.
    fn discard(&self, block: u32) -> impl Future<Output = Result<(), IoError>> {
        let _ = block;
        ready(Ok(()))
    }
}

impl<T: BlockDevice> BlockDevice for &T {
    fn blocks(&self) -> u32 {
        (**self).blocks()
    }

    fn max_run(&self) -> u32 {
        (**self).max_run()
    }

    fn read(&self, first: u32, out: &mut [u8]) -> impl Future<Output = Result<(), IoError>> {
        (**self).read(first, out)
    }

    fn write(&self, first: u32, data: &[u8]) -> impl Future<Output = Result<(), IoError>> {
        (**self).write(first, data)
    }

    fn flush(&self) -> impl Future<Output = Result<(), IoError>> {
        (**self).flush()
    }

    fn discard(&self, block: u32) -> impl Future<Output = Result<(), IoError>> {
        (**self).discard(block)
    }
}
