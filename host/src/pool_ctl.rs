//! `vssdctl pool`: pools that no backend has open.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use clap::Subcommand;
use serde_json::json;

use crate::medium::{FileMedium, FileOptions};
use crate::output::{OutputError, print, print_line};
use crate::pool::Shape;
use crate::pool::journal::{BootId, Journal, PoolImage, erase, is_blank};
use crate::size::ByteSize;
use crate::spec::Overcommit;

/// Faults that are listed.
const FAULTS_SHOWN: usize = 100;

/// What can be done to a pool.
#[derive(Clone, Debug, Subcommand)]
pub enum PoolCommand {
    /// Make a pool in a file, which is made if missing, or on a block device.
    Create {
        /// File or block device.
        file: PathBuf,
        /// Room for the blocks of vSSDs; what the pool keeps of itself comes on top.
        #[arg(long)]
        size: ByteSize,
        /// Bytes in a block.
        #[arg(long, default_value = "4KiB")]
        block_size: ByteSize,
        /// How many times its size it may promise to vSSDs.
        #[arg(long, default_value_t = Overcommit::NONE)]
        overcommit: Overcommit,
        /// Also where something is already, which is lost.
        #[arg(long)]
        force: bool,
    },
    /// Show what is in a pool.
    Status {
        /// File or block device.
        file: PathBuf,
    },
    /// Look for faults. Exit code: 0 there are none, 1 there are.
    Check {
        /// File or block device.
        file: PathBuf,
    },
    /// Remove a pool: its file, or from a block device what makes it a pool.
    Rm {
        /// File or block device.
        file: PathBuf,
        /// Also when it has vSSDs, which are lost, or cannot be read.
        #[arg(long)]
        force: bool,
    },
}

/// Carries a command out.
///
/// # Errors
/// One sentence on what is wrong and what to do.
pub fn run(command: &PoolCommand, json: bool) -> Result<ExitCode> {
    match command {
        PoolCommand::Create {
            file,
            size,
            block_size,
            overcommit,
            force,
        } => {
            let shape = Shape {
                block_size: u32::try_from(block_size.0).unwrap_or(0),
                places: u32::try_from(size.0.checked_div(block_size.0).unwrap_or(0)).unwrap_or(0),
                overcommit_permille: overcommit.0,
            };
            create(file, shape, *size, *force)?;
            say(json, "made", || {
                format!("made a pool of {size} in {}", file.display())
            })?;
        }
        PoolCommand::Status { file } => {
            let image = open(file)?;
            match json {
                true => print_line(describe_json(&image))?,
                false => print(describe(&image))?,
            }
        }
        PoolCommand::Check { file } => {
            let image = open(file)?;
            let faults = image.check(FAULTS_SHOWN);
            let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
            match json {
                true => print_line(json!({ "faults": faults }))?,
                false if faults.is_empty() => print_line(format_args!(
                    "{}: {} vSSDs, {} blocks written, no fault",
                    file.display(),
                    image.volumes.len(),
                    image
                        .volumes
                        .values()
                        .map(|v| u64::from(v.written()))
                        .sum::<u64>()
                ))?,
                false => faults.iter().try_for_each(print_line)?,
            }
            if !faults.is_empty() {
                return Ok(ExitCode::FAILURE);
            }
        }
        PoolCommand::Rm { file, force } => {
            remove(file, *force)?;
            say(json, "removed", || {
                format!("removed the pool in {}", file.display())
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn say(json: bool, what: &str, text: impl FnOnce() -> String) -> Result<(), OutputError> {
    match json {
        true => print_line(json!({ "done": what })),
        false => print_line(text()),
    }
}

/// The medium, locked; through the page cache, which any file system has.
fn medium(file: &Path, create: bool) -> Result<FileMedium> {
    let options = FileOptions {
        create,
        direct: false,
    };
    Ok(FileMedium::open(file, options)?)
}

fn boot() -> Result<BootId> {
    BootId::current().context("ask which boot of the machine this is")
}

fn create(file: &Path, shape: Shape, size: ByteSize, force: bool) -> Result<()> {
    ensure!(
        shape.is_possible() && shape.places_len() == size.0,
        "a pool of {size} in blocks of {} bytes cannot be: blocks are a power of two from 512 bytes \
         to 1MiB, and the size is a number of them",
        shape.block_size
    );
    let mut medium = medium(file, true)?;
    let describe = || format!("make a pool in {}", file.display());
    ensure!(
        force || is_blank(&medium).with_context(describe)?,
        "{} has something in it: add --force to lose that",
        file.display()
    );
    medium
        .lay_out(shape.medium_len(), shape.metadata_len())
        .with_context(describe)?;
    Journal::create(Arc::new(medium), shape, boot()?).with_context(describe)?;
    Ok(())
}

fn open(file: &Path) -> Result<PoolImage> {
    let medium = medium(file, false)?;
    let (_, image) = Journal::open(Arc::new(medium), boot()?)
        .with_context(|| format!("read the pool in {}", file.display()))?;
    Ok(image)
}

fn remove(file: &Path, force: bool) -> Result<()> {
    let medium = Arc::new(medium(file, false)?);
    if !force {
        let (_, image) = Journal::open(medium.clone(), boot()?).with_context(|| {
            format!(
                "read the pool in {} (--force removes it unread)",
                file.display()
            )
        })?;
        let names: Vec<_> = image.volumes.values().map(|v| v.name.as_str()).collect();
        ensure!(
            names.is_empty(),
            "{} has vSSDs: {}; add --force to lose them",
            file.display(),
            names.join(", ")
        );
    }
    erase(&*medium).with_context(|| format!("erase the pool in {}", file.display()))?;
    if !medium.is_device() {
        std::fs::remove_file(file).with_context(|| format!("remove {}", file.display()))?;
    }
    Ok(())
}

fn describe(image: &PoolImage) -> String {
    use std::fmt::Write as _;
    let shape = image.shape;
    let bytes = |blocks: u32| ByteSize(u64::from(blocks) * u64::from(shape.block_size));
    let mut text = format!(
        "{} in blocks of {} bytes, overcommit {}\n{:<20} {:>9} {:>9} {:>9} {:>9} {:>9}\n",
        bytes(shape.places),
        shape.block_size,
        Overcommit(shape.overcommit_permille),
        "NAME",
        "SIZE",
        "QUOTA",
        "RESERVED",
        "HELD",
        "WRITTEN",
    );
    for volume in image.volumes.values() {
        let sizes = [
            volume.blocks,
            volume.bounds.quota,
            volume.bounds.reservation,
            volume.held.len(),
            volume.written(),
        ];
        let _ = write!(text, "{:<20}", volume.name);
        for blocks in sizes {
            let _ = write!(text, " {:>9}", bytes(blocks).to_string());
        }
        text.push('\n');
    }
    text
}

fn describe_json(image: &PoolImage) -> serde_json::Value {
    let volumes = image.volumes.values().map(|volume| {
        json!({
            "name": volume.name,
            "blocks": volume.blocks,
            "quota": volume.bounds.quota,
            "reservation": volume.bounds.reservation,
            "held": volume.held.len(),
            "written": volume.written(),
        })
    });
    json!({
        "block_size": image.shape.block_size,
        "places": image.shape.places,
        "overcommit_permille": image.shape.overcommit_permille,
        "vssds": volumes.collect::<Vec<_>>(),
    })
}
