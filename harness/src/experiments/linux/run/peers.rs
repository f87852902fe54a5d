//! What else could give a part of a disk back whose file system is mounted: each way once on a
//! file system that is half full, and was fuller before.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lab::linux::launch::{CPUS, LinuxDisk};
use lab::linux::testbed::LinuxTestbed;
use results::store::RunFolder;
use strum::VariantArray as _;
use tempfile::TempDir;
use vssd_host::size::ByteSize;

use super::agent;
use super::churn::{DISK, PATIENCE};
use super::overhead::sparse;
use super::scripts;
use super::site::Site;
use crate::experiments::common::params::in_blocks_of;
use crate::experiments::linux::file_system::{FileSystem, MOUNT};
use crate::experiments::linux::rows::{LinuxPeerRow, WayBack};

/// The disk to which files are copied.
const COPY: &str = "/dev/vdb";

/// A file that takes all space.
const FULL: &str = "/mnt/full";

/// Blocks that can be given up.
const LIST: &str = "/run/list";

/// Where it is mounted at first.
const COPY_MOUNT: &str = "/run/copy";

pub(super) fn run(site: &Site<'_>, folder: &mut RunFolder) -> Result<()> {
    let peers = &site.params.peers;
    let count = WayBack::VARIANTS.len() * peers.repetitions as usize;
    let bar = site.lab.progress.bar("ways to give back", count as u64);
    for repetition in 0..peers.repetitions {
        let mut trial = Trial::start(site)?;
        for way in WayBack::VARIANTS {
            let row = trial.row(*way, repetition);
            let row = row.with_context(|| format!("give a part of a disk back by {way}"))?;
            folder.append(&row)?;
            bar.inc(1);
        }
        trial.testbed.shut_down()?;
    }
    bar.finish_and_clear();
    Ok(())
}

/// A guest with the disk of which a part is given back, and a smaller one.
struct Trial {
    testbed: LinuxTestbed,
    /// The smaller one's file.
    copy: PathBuf,
    size: ByteSize,
    change: ByteSize,
    block_size: u64,
    capacity: u32,
    change_blocks: u32,
    _place: TempDir,
}

/// How long a way took, and for how long of that the file system could not be written.
#[derive(Clone, Copy, Debug, Default)]
struct Took {
    elapsed: Duration,
    unwritable: Duration,
}

impl Trial {
    fn start(site: &Site<'_>) -> Result<Self> {
        let (params, peers) = (site.params, &site.params.peers);
        let (size, change) = (peers.size, peers.change);
        let place = tempfile::Builder::new()
            .prefix("vssd-")
            .tempdir()
            .context("make a temporary folder")?;
        let copy = sparse(place.path(), "copy.img", ByteSize(size.0 - change.0))?;
        let more = vec![LinuxDisk::File {
            path: copy.clone(),
            queues: CPUS as u16,
        }];
        let testbed = site.guest(size, ByteSize(2 * size.0), more)?;
        Ok(Self {
            capacity: testbed.vssd.status()?.capacity,
            testbed,
            copy,
            size,
            change,
            block_size: params.block_size.0,
            change_blocks: in_blocks_of(params.block_size, "peers.change", change)?,
            _place: place,
        })
    }

    fn row(&mut self, way: WayBack, repetition: u32) -> Result<LinuxPeerRow> {
        self.script(&FileSystem::Ext4.make(DISK))?;
        self.script(&FileSystem::Ext4.mount(DISK))?;
        self.script(&scripts::fill())?;
        let full = self.used()?;
        self.script(&scripts::thin_out())?;
        let took = match way {
            WayBack::Agent => self.agent()?,
            WayBack::Resize2fs => self.resize2fs()?,
            WayBack::Copy => self.copy()?,
            WayBack::Fstrim => Took {
                elapsed: self.timed(&format!("fstrim {MOUNT}"))?,
                unwritable: Duration::ZERO,
            },
        };
        let given = full.saturating_sub(self.used()?);
        self.fill_up()?;
        let kept = full.saturating_sub(self.used()?);
        self.restore(way)?;
        Ok(LinuxPeerRow {
            way,
            repetition,
            size_bytes: self.size.0,
            change_bytes: self.change.0,
            elapsed_ns: took.elapsed.as_nanos() as u64,
            unwritable_ns: took.unwritable.as_nanos() as u64,
            given_bytes: given,
            kept_bytes: kept,
        })
    }

    fn script(&mut self, script: &str) -> Result<String> {
        self.testbed.guest.expect(script, PATIENCE)
    }

    fn timed(&mut self, script: &str) -> Result<Duration> {
        let began = Instant::now();
        self.script(script)?;
        Ok(began.elapsed())
    }

    /// Writes one more file until there is no space left.
    fn fill_up(&mut self) -> Result<()> {
        let script = format!("dd if=/dev/zero of={FULL} bs=1M 2>/dev/null; sync");
        self.script(&script).map(drop)
    }

    /// Bytes that both disks take at the host.
    fn used(&self) -> Result<u64> {
        let used = u64::from(self.testbed.vssd.status()?.used) * self.block_size;
        let copy = fs::metadata(&self.copy);
        let copy = copy.with_context(|| format!("look at {}", self.copy.display()))?;
        Ok(used + copy.blocks() * 512)
    }

    fn agent(&mut self) -> Result<Took> {
        agent::start(&mut self.testbed)?;
        let began = Instant::now();
        agent::resize(&mut self.testbed, self.capacity - self.change_blocks)?;
        Ok(Took {
            elapsed: began.elapsed(),
            unwritable: Duration::ZERO,
        })
    }

    /// The end of the disk, which the file system no longer has, is given up as a list of blocks.
    fn resize2fs(&mut self) -> Result<Took> {
        let left = self.capacity - self.change_blocks;
        let kib = u64::from(left) * self.block_size / 1024;
        let unwritable = self.timed(&format!(
            "umount {MOUNT} && e2fsck -f -p {DISK} >/dev/null && resize2fs {DISK} {kib}K 2>&1 && {}",
            FileSystem::Ext4.mount(DISK)
        ))?;
        let list = format!("echo {left}-{} >{LIST}", self.capacity - 1);
        self.script(&list)?;
        agent::start_with(&mut self.testbed, &format!("--raw {LIST}"))?;
        let began = Instant::now();
        agent::resize(&mut self.testbed, left)?;
        Ok(Took {
            elapsed: unwritable + began.elapsed(),
            unwritable,
        })
    }

    /// Nothing is written while files are copied.
    fn copy(&mut self) -> Result<Took> {
        let make = format!(
            "{} && mkdir -p {COPY_MOUNT} && mount -t ext4 {COPY} {COPY_MOUNT}",
            FileSystem::Ext4.make(COPY)
        );
        let made = self.timed(&make)?;
        let unwritable = self.timed(&format!(
            "mount -o remount,ro {MOUNT} && cp -a {MOUNT}/. {COPY_MOUNT}/ && umount {COPY_MOUNT} && \
             umount {MOUNT} && {}",
            FileSystem::Ext4.mount(COPY)
        ))?;
        let dropped = self.timed(&format!("blkdiscard {DISK}"))?;
        Ok(Took {
            elapsed: made + unwritable + dropped,
            unwritable,
        })
    }

    /// Both disks as at first.
    fn restore(&mut self, way: WayBack) -> Result<()> {
        if matches!(way, WayBack::Agent | WayBack::Resize2fs) {
            self.script(&format!("rm {FULL} && sync"))?;
            agent::resize(&mut self.testbed, self.capacity)?;
            agent::stop(&mut self.testbed.guest)?;
        }
        self.script(&format!("umount {MOUNT} && blkdiscard {COPY}"))?;
        Ok(())
    }
}
