//! `vssdctl pool`: pools that no backend has open.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use clap::Subcommand;
use serde_json::json;
use vssd::units::MAX_BLOCKS;

use crate::backing::{FileOptions, survive_size_limits};
use crate::output::{OutputError, print, print_line, warn};
use crate::permissions::{FilePermissions, Group, Mode};
use crate::pool::journal::{
    BootId, Evidence, Journal, Overlap, PoolImage, Reading, Suspect, erase,
};
use crate::pool::{Pool, Shape};
use crate::pool_file::{NewPool, PoolFile, list};
use crate::size::ByteSize;
use crate::spec::Overcommit;

/// Faults that are listed.
const FAULTS_SHOWN: usize = 100;

/// The commands on a pool.
#[derive(Clone, Debug, Subcommand)]
pub enum PoolCommand {
    /// Create a pool in a file, which is created if missing, or on a block device.
    Create {
        /// File or block device.
        file: PathBuf,
        /// Capacity for blocks of vSSDs; the pool's metadata takes extra space.
        #[arg(long)]
        size: ByteSize,
        /// Bytes in a block.
        #[arg(long, default_value = "4KiB")]
        block_size: ByteSize,
        /// Overcommit factor: how many times its size the pool may commit to vSSDs.
        #[arg(long, default_value_t = Overcommit::NONE)]
        overcommit: Overcommit,
        /// Overwrite existing contents.
        #[arg(long)]
        force: bool,
        /// Group of a newly created file; default: none.
        #[arg(long)]
        group: Option<Group>,
        /// Permissions of a newly created file, in octal; default: 600, or 660 with --group.
        #[arg(long)]
        mode: Option<Mode>,
        /// For a backend with --buffered: blocks may be smaller than the sectors of the device.
        #[arg(long)]
        buffered: bool,
    },
    /// Show what is in a pool.
    Status {
        /// File or block device.
        file: PathBuf,
    },
    /// Check a pool for faults. Exit code: 0 none found, 1 faults found.
    Check {
        /// File or block device.
        file: PathBuf,
        /// Accept a pool that two backends had open at the same time, in the state of its newest
        /// records.
        #[arg(long)]
        accept: bool,
    },
    /// Remove a pool: delete its file, or erase its metadata on a block device.
    Rm {
        /// File or block device.
        file: PathBuf,
        /// Remove it even if it is damaged or has vSSDs, which are lost.
        #[arg(long)]
        force: bool,
    },
}

/// Carries a command out.
///
/// # Errors
/// One sentence on what is wrong and what to do.
pub fn run(command: &PoolCommand, json: bool) -> Result<ExitCode> {
    survive_size_limits()?;
    match command {
        PoolCommand::Create { .. } => create(command, json)?,
        PoolCommand::Status { file } => {
            let reading = read(file)?;
            if json {
                print_line(describe_json(&reading.image))?
            } else {
                print(describe(&reading.image))?
            }
            if let Some(overlap) = &reading.overlap {
                warn(overlap.summary());
            }
        }
        PoolCommand::Check { file, accept } => return check(file, *accept, json),
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
    if json {
        print_line(json!({ "done": what }))
    } else {
        print_line(text())
    }
}

/// Opens and claims the file, through the page cache, which every file system has.
fn open(file: &Path, create: Option<FilePermissions>) -> Result<PoolFile> {
    let options = FileOptions {
        create,
        direct: false,
    };
    PoolFile::open(file, options)
}

fn boot() -> Result<BootId> {
    BootId::current().context("read the boot id of this machine")
}

fn create(command: &PoolCommand, json: bool) -> Result<()> {
    let PoolCommand::Create {
        file,
        size,
        block_size,
        overcommit,
        force,
        group,
        mode,
        buffered,
    } = command
    else {
        return Ok(());
    };
    let shape = Shape {
        block_size: u32::try_from(block_size.0).unwrap_or(0),
        physical_blocks: u32::try_from(size.0.checked_div(block_size.0).unwrap_or(0)).unwrap_or(0),
        overcommit_permille: overcommit.0,
    };
    let most = ByteSize(block_size.0.saturating_mul(MAX_BLOCKS.into()));
    ensure!(
        *size <= most,
        "a pool in blocks of {block_size} has {most} at most, not {size}: choose larger blocks with \
         --block-size"
    );
    ensure!(
        shape.is_possible() && shape.data_len() == size.0,
        "a pool of {size} in blocks of {} bytes is not possible: a block is a power of two from \
         512 bytes to 1MiB, and the size is a multiple of it",
        shape.block_size
    );
    let new = NewPool {
        shape,
        direct: !buffered,
        force: *force,
    };
    let opened = open(file, Some(FilePermissions::new(*mode, *group)))?;
    let boot = boot()?;
    let make = |backing| Ok(Journal::create(backing, shape, boot)?);
    let (_, found, made) = opened.make(new, |text| warn(text), make)?;
    made.keep();
    if json {
        let over: Vec<_> = found.iter().map(ToString::to_string).collect();
        return Ok(print_line(json!({ "done": "made", "over": over }))?);
    }
    let over = if found.is_empty() {
        String::new()
    } else {
        format!(", over what was there: {}", list(&found))
    };
    Ok(print_line(format_args!(
        "created a pool of {size} in {}{over}",
        file.display()
    ))?)
}

fn read(file: &Path) -> Result<Reading> {
    let backing = open(file, None)?.into_backing();
    Journal::read(Arc::new(backing), boot()?)
        .with_context(|| format!("read the pool in {}", file.display()))
}

fn check(file: &Path, accept: bool, json: bool) -> Result<ExitCode> {
    let reading = read(file)?;
    let image = &reading.image;
    let mut faults: Vec<_> = image
        .check(FAULTS_SHOWN)
        .iter()
        .map(ToString::to_string)
        .collect();
    if accept && faults.is_empty() && reading.overlap.is_some() {
        drop(reading);
        let backing = open(file, None)?.into_backing();
        Pool::accept(Arc::new(backing), boot()?)
            .with_context(|| format!("accept the pool in {}", file.display()))?;
        say(json, "accepted", || {
            format!("accepted the pool in {} as it is", file.display())
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let suspects = match &reading.overlap {
        Some(overlap) => {
            faults.push(overlap.summary());
            &overlap.suspects[..]
        }
        None => &[],
    };
    if json {
        let suspects: Vec<_> = suspects.iter().map(suspect_json).collect();
        print_line(json!({ "faults": faults, "suspects": suspects }))?;
    } else if faults.is_empty() {
        print_line(format_args!(
            "{}: {} vSSDs, {} blocks written, no fault",
            file.display(),
            image.volumes.len(),
            image
                .volumes
                .values()
                .map(|v| u64::from(v.written()))
                .sum::<u64>()
        ))?;
    } else {
        faults.iter().try_for_each(print_line)?;
    }
    if let (false, Some(overlap)) = (json, &reading.overlap) {
        print(describe_overlap(overlap))?;
    }
    Ok(if faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn suspect_json(suspect: &Suspect) -> serde_json::Value {
    let mut json = json!({
        "vssd": suspect.vssd,
        "block": suspect.block,
        "count": suspect.count,
    });
    match suspect.evidence {
        Evidence::Recorded { physical } => {
            json["evidence"] = json!("recorded");
            json["physical_block"] = json!(physical);
        }
        Evidence::Possible => json["evidence"] = json!("possible"),
    }
    json
}

fn describe_overlap(overlap: &Overlap) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for suspect in &overlap.suspects {
        let _ = writeln!(text, "{suspect}");
    }
    if overlap.compacted {
        text.push_str(
            "the journal was compacted since: what was deleted before that is not listed\n",
        );
    }
    text.push_str(if overlap.suspects.is_empty() {
        "no block with data is in doubt"
    } else {
        "save this list; after accepting the pool, restore the listed blocks from a backup"
    });
    text.push_str(
        "\nall other blocks read as zeros: a first write there by one backend may be lost\n\
         accept the pool with `vssdctl pool check --accept`\n",
    );
    text
}

fn remove(file: &Path, force: bool) -> Result<()> {
    let opened = open(file, None)?;
    if !opened.has_pool()? {
        let found = opened.contents(|text| warn(text))?;
        let found = if found.is_empty() {
            "nothing".to_owned()
        } else {
            list(&found)
        };
        bail!(
            "{} holds no pool (found: {found}); nothing was removed",
            file.display()
        );
    }
    let backing = Arc::new(opened.into_backing());
    if !force {
        let reading = Journal::read(backing.clone(), boot()?).with_context(|| {
            format!(
                "read the pool in {} (--force removes it unread)",
                file.display()
            )
        })?;
        let volumes = reading.image.volumes.values();
        let names: Vec<_> = volumes.map(|v| v.name.as_str()).collect();
        ensure!(
            names.is_empty(),
            "{} has vSSDs: {}; add --force to delete them too",
            file.display(),
            names.join(", ")
        );
    }
    erase(&*backing).with_context(|| format!("erase the pool in {}", file.display()))?;
    if !backing.is_device() {
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
        bytes(shape.physical_blocks),
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
        "physical_blocks": image.shape.physical_blocks,
        "overcommit_permille": image.shape.overcommit_permille,
        "vssds": volumes.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlap(compacted: bool, suspects: Vec<Suspect>) -> Overlap {
        Overlap {
            older: "session 1".to_owned(),
            younger: "session 2".to_owned(),
            suspects,
            compacted,
        }
    }

    fn suspect(block: u32, count: u32, evidence: Evidence) -> Suspect {
        Suspect {
            vssd: "vm1".to_owned(),
            block,
            count,
            evidence,
        }
    }

    #[test]
    fn an_overlap_is_described_in_these_words() {
        let suspects = vec![
            suspect(7, 1, Evidence::Recorded { physical: Some(9) }),
            suspect(20, 3, Evidence::Recorded { physical: Some(40) }),
            suspect(30, 2, Evidence::Recorded { physical: None }),
            suspect(0, 4096, Evidence::Possible),
            suspect(5000, 1, Evidence::Possible),
        ];
        let lines = "in doubt: block 7 of vm1, at physical block 9\n\
             in doubt: blocks 20 to 22 of vm1, at physical blocks 40 to 42\n\
             in doubt: blocks 30 to 31 of vm1, without a physical block\n\
             possibly rewritten by both: blocks 0 to 4095 of vm1\n\
             possibly rewritten by both: block 5000 of vm1\n";
        let compacted =
            "the journal was compacted since: what was deleted before that is not listed\n";
        let rest = "all other blocks read as zeros: a first write there by one backend may be lost\n\
             accept the pool with `vssdctl pool check --accept`\n";
        let close = format!(
            "save this list; after accepting the pool, restore the listed blocks from a backup\n{rest}"
        );
        let text = describe_overlap(&overlap(false, suspects.clone()));
        assert_eq!(text, format!("{lines}{close}"));
        let text = describe_overlap(&overlap(true, suspects));
        assert_eq!(text, format!("{lines}{compacted}{close}"));
        let text = describe_overlap(&overlap(false, Vec::new()));
        assert_eq!(text, format!("no block with data is in doubt\n{rest}"));
    }
}
