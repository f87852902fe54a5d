//! Converts a trace to the disk image that a guest replays.
//!
//! [`workloads::trace_disk`] defines the layout. The image is written to a temporary file in the
//! same folder; header and final name are written last. So no incomplete image is ever visible,
//! and an error or interrupt removes the temporary file.

use std::fs::{File, Permissions};
use std::io::{BufWriter, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use tempfile::TempPath;
use terminal::progress::Progress;
use workloads::trace::{BLOCK_BYTES, Op, Options, Record};
use workloads::trace_disk::{AccessRecord, Header};

use super::distinct::{Count, Distinct};
use super::pass::{Summary, pass};

/// The largest disk whose blocks an image can address.
pub const DISK_BYTES_MAX: u64 = (1 << u32::BITS) * BLOCK_BYTES;

const BUFFER_BYTES: usize = 1 << 18;

/// A converted trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    pub summary: Summary,
    /// Distinct blocks accessed.
    pub distinct: Count,
    pub image_bytes: u64,
}

/// Converts the trace at `path` to the new file `out`.
///
/// # Errors
/// When `out` exists or cannot be written, the trace cannot be read to its end or accesses no
/// block, or on an interrupt. `out` is then not created.
pub fn convert(path: &Path, options: Options, out: &Path, progress: Progress) -> Result<Converted> {
    let exists = || format!("{} already exists: choose another name", out.display());
    ensure!(out.symlink_metadata().is_err(), exists());
    let folder = match out.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let (image, converted) = trace_image(path, options, folder, progress)?;
    image.persist_noclobber(out).map_err(|failed| {
        anyhow!(failed.error).context(format!("rename the image to {}", out.display()))
    })?;
    Ok(converted)
}

/// Converts the trace at `path` to a temporary file in `folder`.
///
/// # Errors
/// When the file cannot be written, the trace cannot be read to its end or accesses no block, or
/// on an interrupt.
pub fn trace_image(
    path: &Path,
    mut options: Options,
    folder: &Path,
    progress: Progress,
) -> Result<(TempPath, Converted)> {
    options.disk_bytes.get_or_insert(DISK_BYTES_MAX);
    ensure!(
        options.disk_bytes <= Some(DISK_BYTES_MAX),
        "a trace disk addresses at most 16TiB: set a smaller --disk"
    );
    let writing = || {
        format!(
            "write the image of {} in {}",
            path.display(),
            folder.display()
        )
    };
    let file = tempfile::Builder::new()
        .prefix(".trace-disk-")
        // The mode of an ordinary new file, subject to the umask.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .with_context(writing)?;
    let (file, image) = file.into_parts();
    let mut writer = Writer::new(file).with_context(writing)?;
    let mut distinct = Distinct::default();
    let summary = pass(path, options, progress, "converting", |record| {
        record.blocks().for_each(|block| distinct.add(block));
        writer.add(record).with_context(writing)
    })?;
    let image_bytes = writer.finish().with_context(writing)?;
    let converted = Converted {
        summary,
        distinct: distinct.count(),
        image_bytes,
    };
    Ok((image, converted))
}

/// An image that is being written.
struct Writer {
    file: BufWriter<File>,
    header: Header,
    requests: u64,
}

impl Writer {
    fn new(file: File) -> std::io::Result<Self> {
        let mut file = BufWriter::with_capacity(BUFFER_BYTES, file);
        // A placeholder for the header, which is written at the end.
        file.write_all(&[0; BLOCK_BYTES as usize])?;
        Ok(Self {
            file,
            header: Header { accesses: 0 },
            requests: 0,
        })
    }

    fn add(&mut self, record: &Record) -> Result<()> {
        let write = record.op() == Op::Write;
        for block in record.blocks() {
            // The reader checks each request against a disk of at most DISK_BYTES_MAX.
            let block = u32::try_from(block).context("block number past 32 bits")?;
            let access = AccessRecord::new(block, write, self.requests);
            self.file.write_all(&access.encode())?;
            self.header.accesses += 1;
        }
        self.requests += 1;
        Ok(())
    }

    /// Pads the last block and writes the header; returns the size of the image.
    fn finish(self) -> std::io::Result<u64> {
        let image_bytes = self.header.disk_blocks() * BLOCK_BYTES;
        let mut file = self
            .file
            .into_inner()
            .map_err(|failed| failed.into_error())?;
        file.set_len(image_bytes)?;
        file.rewind()?;
        file.write_all(&self.header.encode())?;
        Ok(image_bytes)
    }
}
