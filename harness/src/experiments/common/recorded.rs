//! Recorded traces as input of guests.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use simulate::trace::image::Converted;
use simulate::trace::trace_image;
use tempfile::{NamedTempFile, TempPath};
use terminal::progress::Progress;
use workloads::replay::{Access, AccessKind};
use workloads::trace::{Beyond, Options};
use workloads::trace_disk::{AccessRecord, BLOCK_BYTES, Header, RECORD_BYTES};

/// A trace, converted to the disk that a guest replays.
pub(crate) struct Recorded {
    image: TempPath,
    /// Number of accesses.
    pub accesses: u64,
    /// Different blocks among them.
    pub distinct: u32,
}

impl Recorded {
    /// Reads the trace that the parameter called `key` names. With `disk_bytes`, accesses beyond a disk
    /// of that size are skipped.
    ///
    /// # Errors
    /// When it cannot be read, or accesses no block.
    pub(crate) fn read(
        key: &str,
        path: &Path,
        disk_bytes: Option<u64>,
        progress: Progress,
    ) -> Result<(Self, Converted)> {
        let options = Options {
            disk_bytes,
            beyond: Beyond::Skip,
            ..Options::default()
        };
        let (image, made) =
            trace_image(path, options, &std::env::temp_dir(), progress).with_context(|| {
                format!(
                    "read the parameter `{key}` (`harness trace convert FILE OUT` has options for such a trace, and \
                     OUT can be the parameter)"
                )
            })?;
        let recorded = Self {
            image,
            accesses: made.summary.accesses(),
            distinct: u32::try_from(made.distinct.blocks).unwrap_or(u32::MAX),
        };
        Ok((recorded, made))
    }

    /// Writes made-up accesses to the disk that a guest replays.
    ///
    /// # Errors
    /// When there is no room for it.
    pub(crate) fn of(accesses: &[Access]) -> Result<Self> {
        let write = || -> std::io::Result<TempPath> {
            let mut image = BufWriter::new(NamedTempFile::new()?);
            let header = Header {
                accesses: accesses.len() as u64,
            };
            image.write_all(&header.encode())?;
            for (number, access) in (0..).zip(accesses) {
                let write = access.kind == AccessKind::Write;
                image.write_all(&AccessRecord::new(access.block, write, number).encode())?;
            }
            let file = image.into_inner()?;
            file.as_file()
                .set_len(header.disk_blocks() * BLOCK_BYTES as u64)?;
            Ok(file.into_temp_path())
        };
        let distinct: HashSet<u32> = accesses.iter().map(|access| access.block).collect();
        Ok(Self {
            image: write().context("write made-up accesses to a temporary file")?,
            accesses: accesses.len() as u64,
            distinct: distinct.len() as u32,
        })
    }

    /// The image of the trace disk, which is there as long as this is.
    pub(crate) fn image(&self) -> &Path {
        &self.image
    }

    /// All accesses, in order.
    ///
    /// # Errors
    /// When the image cannot be read.
    pub(crate) fn list(&self) -> Result<Vec<Access>> {
        let reading = || format!("read {}", self.image.display());
        let mut file = BufReader::new(File::open(&self.image).with_context(reading)?);
        let mut block = [0; BLOCK_BYTES];
        file.read_exact(&mut block).with_context(reading)?;
        let header = Header::decode(&block, u64::MAX);
        let header = header.map_err(|error| anyhow::anyhow!("{}: {error}", reading()))?;
        ensure!(
            header.accesses == self.accesses,
            "{}: it has changed",
            reading()
        );
        let mut accesses = Vec::with_capacity(self.accesses as usize);
        for _ in 0..self.accesses {
            let mut bytes = [0; RECORD_BYTES];
            file.read_exact(&mut bytes).with_context(reading)?;
            let AccessRecord { block, write, .. } = AccessRecord::decode(bytes);
            let kind = if write {
                AccessKind::Write
            } else {
                AccessKind::Read
            };
            accesses.push(Access { block, kind });
        }
        Ok(accesses)
    }
}
