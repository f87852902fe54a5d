//! The disk that a guest replays, made of a trace.
//!
//! The layout is that of [`workloads::trace_disk`]. The image grows in a file beside its
//! place and gets its header, and then its name, when it is complete: no run sees half of one,
//! and whatever ends the work before takes the file away.

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

/// The largest disk whose blocks an image can name.
pub const DISK_BYTES_MAX: u64 = (1 << u32::BITS) * BLOCK_BYTES;

/// What is written at a time.
const BUFFER_BYTES: usize = 1 << 18;

/// What an image was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    /// The trace.
    pub summary: Summary,
    /// Different blocks that it accesses.
    pub distinct: Count,
    /// The size of the image.
    pub image_bytes: u64,
}

/// Makes an image of the trace at `path`, as the new file `out`.
///
/// # Errors
/// When `out` is there already or cannot be written, when the trace cannot be read to its
/// end or accesses nothing, or when the run is to stop. There is no `out` then.
pub fn convert(path: &Path, options: Options, out: &Path, progress: Progress) -> Result<Converted> {
    let exists = || format!("{} exists already: choose another name", out.display());
    ensure!(out.symlink_metadata().is_err(), exists());
    let folder = match out.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let (image, converted) = trace_image(path, options, folder, progress)?;
    image.persist_noclobber(out).map_err(|failed| {
        anyhow!(failed.error).context(format!("name the image {}", out.display()))
    })?;
    Ok(converted)
}

/// Makes an image of the trace at `path`, as a file in `folder` that goes when its path is
/// dropped.
///
/// # Errors
/// When the file cannot be written, when the trace cannot be read to its end or accesses
/// nothing, or when the run is to stop.
pub fn trace_image(
    path: &Path,
    mut options: Options,
    folder: &Path,
    progress: Progress,
) -> Result<(TempPath, Converted)> {
    options.disk_bytes.get_or_insert(DISK_BYTES_MAX);
    ensure!(
        options.disk_bytes <= Some(DISK_BYTES_MAX),
        "a trace disk names blocks of a disk of up to 16TiB: give a smaller --disk"
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
        // As any new file: the mask of the process still counts.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .with_context(writing)?;
    let (file, image) = file.into_parts();
    let mut writer = Writer::new(file).with_context(writing)?;
    let mut distinct = Distinct::default();
    let made = pass(path, options, progress, "converting", |record| {
        record.blocks().for_each(|block| distinct.add(block));
        writer.add(record).with_context(writing)
    });
    let summary = made?;
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
        // Room for the header, which is not known yet.
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
            // The reader holds every request against a disk of at most DISK_BYTES_MAX.
            let block = u32::try_from(block).context("a block past the disk")?;
            let access = AccessRecord::new(block, write, self.requests);
            self.file.write_all(&access.encode())?;
            self.header.accesses += 1;
        }
        self.requests += 1;
        Ok(())
    }

    /// Fills the last block, writes the header, and says how long the image is.
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
