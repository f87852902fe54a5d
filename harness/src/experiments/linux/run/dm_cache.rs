//! A stock dm-cache on a vSSD that shrinks and grows back, beside this project's cache, which
//! chooses what goes. Both have the same accesses.
//!
//! ```text
//!  vda, the vSSD   kept free │ blocks of the cache                       │ kept free
//!  vdb             the cache's metadata │ origin
//!  vdc             accesses of each window, as fio reads them
//! ```

use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use guest_cache::WritePolicy;
use lab::linux::launch::{CPUS, LinuxDisk};
use lab::linux::testbed::LinuxTestbed;
use lab::testbed::{ResizeOptions, Testbed as _};
use lab::twin::Twin;
use results::store::RunFolder;
use tempfile::TempDir;
use vssd_host::size::ByteSize;
use workloads::{HostPick, Pick};

use super::agent;
use super::churn::{DISK, PATIENCE};
use super::overhead::sparse;
use super::site::Site;
use crate::experiments::common::cached::{self, Cache, CacheLoad, Replayed};
use crate::experiments::common::params::in_blocks_of;
use crate::experiments::linux::rows::{CacheKind, CachePhase, LinuxCacheRow};

/// Bytes in a block of dm-cache: the least that it takes.
const BLOCK: u64 = 32 << 10;

/// Bytes of an access.
const ACCESS: u64 = 4096;

/// Bytes at the start and the end of the vSSD that the agent never gives up.
const KEPT: (u64, u64) = (8 << 20, 2 << 20);

/// Bytes of the cache's metadata.
const METADATA: u64 = 8 << 20;

/// Bytes on the third disk for the accesses of a window.
const ROOM: u64 = 1 << 20;

const SECTOR: u64 = 512;

/// The accesses of a window: its phase, and blocks of the origin.
type Window = (CachePhase, Vec<u32>);

pub(super) fn run(site: &Site<'_>, folder: &mut RunFolder) -> Result<()> {
    let loads = site.params.dm_cache.loads(site.lab.seed);
    stock(site, &windows(&loads)?, folder).context("dm-cache")?;
    for (cache, pick) in [
        (CacheKind::Own, Pick::Guest),
        (CacheKind::OwnTail, Pick::Host(HostPick::Sequential)),
    ] {
        own(site, &loads, (cache, pick), folder).context("this project's cache")?;
    }
    Ok(())
}

fn windows(loads: &[(CachePhase, CacheLoad)]) -> Result<Vec<Window>> {
    let mut all = Vec::new();
    for (phase, load) in loads {
        let mut blocks = load.accesses()?.map(|access| access.block);
        for _ in 0..load.count / load.every {
            let window = blocks.by_ref().take(load.every as usize);
            all.push((*phase, window.collect()));
        }
    }
    Ok(all)
}

/// A guest with a dm-cache, and the agent on it.
struct Stock {
    testbed: LinuxTestbed,
    _place: TempDir,
}

/// What `dmsetup status` says.
struct Counted {
    hits: u64,
    misses: u64,
    slots: u64,
    used: u64,
}

impl Stock {
    fn start(site: &Site<'_>, windows: &[Window]) -> Result<Self> {
        let cache = &site.params.dm_cache;
        let place = tempfile::Builder::new()
            .prefix("vssd-")
            .tempdir()
            .context("make a temporary folder")?;
        let origin = u64::from(cache.span) * BLOCK;
        let disk = |name, size| -> Result<LinuxDisk> {
            Ok(LinuxDisk::File {
                path: sparse(place.path(), name, ByteSize(size))?,
                queues: CPUS as u16,
            })
        };
        let slow = disk("origin.img", METADATA + origin)?;
        let log = disk("accesses.img", ROOM * windows.len() as u64)?;
        if let LinuxDisk::File { path, .. } = &log {
            let file = File::options().write(true).open(path);
            let file = file.with_context(|| format!("write {}", path.display()))?;
            for (number, (_, blocks)) in windows.iter().enumerate() {
                let text = iolog(blocks);
                ensure!(
                    text.len() as u64 <= ROOM,
                    "a window of {} accesses is too long: choose a smaller `dm_cache.window`",
                    blocks.len()
                );
                file.write_all_at(text.as_bytes(), number as u64 * ROOM)
                    .with_context(|| format!("write {}", path.display()))?;
            }
        }
        let fast = u64::from(cache.slots) * BLOCK;
        let size = ByteSize(KEPT.0 + fast + KEPT.1);
        let mut testbed =
            site.guest(size, ByteSize(size.0 + METADATA + origin), vec![slow, log])?;
        let sectors = |bytes: u64| bytes / SECTOR;
        // Elsewhere udev makes the nodes; here `mknodes` does.
        let script = format!(
            "modprobe dm-cache && modprobe dm-cache-smq && \
             dmsetup create fast --table '0 {fast} linear {DISK} {front}' && \
             dmsetup create meta --table '0 {metadata} linear /dev/vdb 0' && \
             dmsetup create slow --table '0 {slow} linear /dev/vdb {metadata}' && \
             dmsetup mknodes && dd if=/dev/zero of=/dev/mapper/meta bs=4k count=1 2>/dev/null && \
             dmsetup create cached --table '0 {slow} cache /dev/mapper/meta /dev/mapper/fast \
             /dev/mapper/slow {block} 1 writethrough smq 0' && dmsetup mknodes || {{ dmesg | tail -n 4; exit 1; }}",
            fast = sectors(fast),
            front = sectors(KEPT.0),
            metadata = sectors(METADATA),
            slow = sectors(origin),
            block = sectors(BLOCK),
        );
        testbed.guest.expect(&script, PATIENCE)?;
        agent::start_with(&mut testbed, "--dm-cache cached")?;
        Ok(Self {
            testbed,
            _place: place,
        })
    }

    /// Makes the accesses of a window.
    fn replay(&mut self, number: usize, depth: u32) -> Result<()> {
        let script = format!(
            "dd if=/dev/vdc of=/run/padded bs={ROOM} skip={number} count=1 2>/dev/null && \
             tr -d '\\0' </run/padded >/run/accesses && \
             fio --name=replay --read_iolog=/run/accesses --direct=1 --ioengine=libaio \
             --iodepth={depth} 2>&1"
        );
        let patience = PATIENCE + Duration::from_secs(60);
        self.testbed.guest.expect(&script, patience).map(drop)
    }

    fn counted(&mut self) -> Result<Counted> {
        let text = self
            .testbed
            .guest
            .expect("dmsetup status cached", PATIENCE)?;
        counted(&text).with_context(|| format!("`dmsetup status` printed: {text}"))
    }
}

/// Counts in a line of `dmsetup status`: start, length, `cache`, metadata's block and use, block,
/// `used/all`, hits and misses of reads, and more.
fn counted(status: &str) -> Option<Counted> {
    let words: Vec<&str> = status.split_ascii_whitespace().collect();
    let number = |at: usize| words.get(at)?.parse().ok();
    let (used, slots) = words.get(6)?.split_once('/')?;
    Some(Counted {
        hits: number(7)?,
        misses: number(8)?,
        slots: slots.parse().ok()?,
        used: used.parse().ok()?,
    })
}

/// Accesses as fio reads them.
fn iolog(blocks: &[u32]) -> String {
    let disk = "/dev/mapper/cached";
    let mut text = format!("fio version 2 iolog\n{disk} add\n{disk} open\n");
    for block in blocks {
        let at = u64::from(*block) * BLOCK;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{disk} read {at} {ACCESS}");
    }
    text.push_str(disk);
    text.push_str(" close\n");
    text
}

fn stock(site: &Site<'_>, windows: &[Window], folder: &mut RunFolder) -> Result<()> {
    let cache = &site.params.dm_cache;
    let mut stock = Stock::start(site, windows)?;
    let full = stock.testbed.vssd.status()?.capacity;
    let taken = in_blocks_of(
        site.params.block_size,
        "dm_cache.slots",
        ByteSize(u64::from(cache.taken()) * BLOCK),
    )?;
    let bar = site.lab.progress.bar("dm-cache", windows.len() as u64);
    let mut last = CachePhase::Before;
    for (number, (phase, blocks)) in windows.iter().enumerate() {
        if *phase != last {
            let target = match phase {
                CachePhase::Shrunk => full - taken,
                CachePhase::Before | CachePhase::Grown => full,
            };
            let resized = agent::resize(&mut stock.testbed, target)?;
            ensure!(
                resized.held == target && resized.revoked == 0,
                "a resize of the cache to {target} blocks ended with {}: {}",
                resized.held,
                resized.end
            );
            last = *phase;
        }
        let before = stock.counted()?;
        stock.replay(number, cache.depth)?;
        let after = stock.counted()?;
        folder.append(&LinuxCacheRow {
            cache: CacheKind::DmCache,
            phase: *phase,
            window: number as u32,
            accesses: blocks.len() as u64,
            hits: after.hits - before.hits,
            misses: after.misses - before.misses,
            slots: after.slots as u32,
            cached: after.used as u32,
        })?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    stock.testbed.shut_down()
}

/// A guest of this project on a twin, with as many blocks.
fn own(
    site: &Site<'_>,
    loads: &[(CachePhase, CacheLoad)],
    (kind, pick): (CacheKind, Pick),
    folder: &mut RunFolder,
) -> Result<()> {
    let cache = &site.params.dm_cache;
    let size = |blocks: u32| ByteSize(u64::from(blocks) * cached::BLOCK);
    let mut twin = Twin::start(cached::disks(size(cache.slots), size(cache.span), None))?;
    Cache::new(cache.evict, WritePolicy::WriteThrough).open(twin.guest())?;
    let capacity = twin.capacity();
    let mut window = 0;
    for (phase, load) in loads {
        let target = match phase {
            CachePhase::Before | CachePhase::Grown => capacity,
            CachePhase::Shrunk => capacity - cache.taken(),
        };
        let options = ResizeOptions {
            pick,
            deadline: PATIENCE,
            seed: site.lab.seed,
        };
        twin.resize_to(target, options)?;
        let replayed = Replayed::run(twin.guest(), load)?;
        ensure!(replayed.failed == 0, "{} accesses failed", replayed.failed);
        for sample in &replayed.samples {
            folder.append(&LinuxCacheRow {
                cache: kind,
                phase: *phase,
                window,
                accesses: load.every,
                hits: sample.read_hits,
                misses: sample.read_misses,
                slots: sample.slots,
                cached: sample.cached,
            })?;
            window += 1;
        }
    }
    Box::new(twin).shut_down()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_cache_is_read() {
        let line = "0 524288 cache 8 27/2048 64 16/1600 11 22 3 4 5 6 0 1 writethrough 2 \
                    migration_threshold 2048 smq 0 rw -";
        let of = counted(line).unwrap();
        assert_eq!((of.hits, of.misses, of.slots, of.used), (11, 22, 1600, 16));
        assert!(counted("0 524288 cache Fail").is_none());
    }

    #[test]
    fn accesses_are_written_as_fio_reads_them() {
        let text = iolog(&[0, 3]);
        let reads: Vec<&str> = text
            .lines()
            .filter(|line| line.contains(" read "))
            .collect();
        assert_eq!(
            reads,
            [
                "/dev/mapper/cached read 0 4096",
                "/dev/mapper/cached read 98304 4096"
            ]
        );
    }
}
