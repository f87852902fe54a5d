//! Holes in real files, whose blocks the file system counts.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;
use vm_memory::VolatileSlice;
use vssd::block_set::BlockSet;

use super::*;
use crate::backing::{Backing, FileBacking, FileOptions, MemoryBacking};
use crate::io::EngineName;
use crate::permissions::FilePermissions;
use crate::pool::allocator::{Bounds, Denied};
use crate::pool::crash::host::Host;
use crate::pool::crash::{BLOCKS, SHAPE};
use crate::pool::journal::BootId;
use crate::progress::Progress;

const BLOCK: usize = SHAPE.block_size as usize;
const SECTORS: u32 = SHAPE.block_size / 512;
const BOOT: BootId = BootId([1; 16]);

/// A pool in a file, with two vSSDs.
struct Sparse {
    host: Host,
    sizes: Sizes,
    file: Arc<File>,
    folder: TempDir,
}

impl Sparse {
    fn new(is_durable: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let backing = backing(&folder.path().join("disk"));
        let file = backing.file().unwrap();
        let pool = if is_durable {
            Pool::create(backing, SHAPE, EngineName::Sync, BOOT).unwrap()
        } else {
            Arc::new(Pool::volatile(backing, SHAPE.block_size, 1000))
        };
        Self::on(pool, file, folder)
    }

    fn on(pool: Arc<Pool>, file: Arc<File>, folder: TempDir) -> Self {
        let sizes = pool.track_holes().unwrap();
        Self {
            host: Host::new(pool, 2),
            sizes,
            file,
            folder,
        }
    }

    fn punch_all(&self) {
        self.host.pool.punch_all(self.sizes);
    }

    /// Bytes that the file takes.
    fn space(&self) -> u64 {
        self.file.sync_all().unwrap();
        self.file.metadata().unwrap().blocks() * 512
    }

    fn fill(&mut self, content: u8) {
        let mut bytes = vec![content; BLOCK * BLOCKS as usize];
        assert!(self.host.write(0, 0, &mut bytes));
        assert!(self.host.flush(0));
    }

    fn read(&mut self, vssd: usize, block: u32) -> Vec<u8> {
        self.host.read(vssd, block * SECTORS, SECTORS).unwrap()
    }
}

fn backing(path: &Path) -> Arc<FileBacking> {
    let options = FileOptions {
        create: Some(FilePermissions::default()),
        direct: false,
    };
    let mut backing = FileBacking::open(path, options).unwrap();
    if backing.is_empty() {
        let made = backing.made();
        let room = SHAPE.room();
        backing.lay_out(&room, &mut Progress::quiet()).unwrap();
        made.keep();
    }
    Arc::new(backing)
}

fn some(blocks: Range<u32>) -> BlockSet {
    let mut set = BlockSet::empty(BLOCKS);
    set.insert_range(blocks.start, blocks.end - blocks.start);
    set
}

/// The file becomes smaller after a discard, but not before that is on record, and after a shrink.
#[test]
fn a_file_becomes_smaller_when_blocks_are_free() {
    for is_durable in [false, true] {
        let mut sparse = Sparse::new(is_durable);
        sparse.fill(7);
        sparse.punch_all();
        let full = sparse.space();
        let unit = u64::from(sparse.sizes.unit * SHAPE.block_size);
        // The ends of a range may share a unit with what stays.
        let least = |blocks: u32| u64::from(blocks * SHAPE.block_size) - 2 * unit;

        assert!(sparse.host.discard(0, 100 * SECTORS, 200 * SECTORS));
        sparse.punch_all();
        if is_durable {
            assert_eq!(sparse.space(), full, "a crash would bring these back");
        }
        assert!(sparse.host.flush(0));
        sparse.punch_all();
        let discarded = sparse.space();
        assert!(discarded <= full - least(200), "{full} {discarded}");

        assert!(sparse.host.resize(0, &some(400..700), true));
        sparse.punch_all();
        let shrunk = sparse.space();
        assert!(shrunk <= discarded - least(300), "{discarded} {shrunk}");

        assert!(sparse.host.resize(0, &some(400..700), false));
        for block in 0..BLOCKS {
            let is_kept = block < 100 || (300..400).contains(&block);
            let content = if is_kept { 7 } else { 0 };
            assert_eq!(sparse.read(0, block), [content; BLOCK], "block {block}");
        }
    }
}

/// Whatever a backend has not done, the next one does.
#[test]
fn a_pool_that_is_opened_again_gives_up_what_is_free() {
    let mut sparse = Sparse::new(true);
    sparse.fill(7);
    let full = sparse.space();
    assert!(sparse.host.resize(0, &some(0..600), true));
    assert!(sparse.space() >= full);
    // A session that has ended checks nothing more.
    sparse.host.pool.stop_serving();
    let Sparse {
        host, file, folder, ..
    } = sparse;
    drop(host);
    let again = backing(&folder.path().join("disk"));
    let pool = Pool::open(again, EngineName::Sync, BOOT).unwrap();
    let mut sparse = Sparse::on(pool, file, folder);
    sparse.punch_all();
    let space = sparse.space();
    let least = 590 * u64::from(SHAPE.block_size);
    assert!(space <= full - least, "{full} {space}");
    assert_eq!(sparse.read(0, 650), [7; BLOCK]);
}

/// Stops the thread that punches, also when a check has failed.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// First writes, discards and holes at the same time: what was written is there.
#[test]
fn no_hole_is_punched_into_what_was_written() {
    for is_durable in [false, true] {
        let mut sparse = Sparse::new(is_durable);
        let (pool, sizes) = (sparse.host.pool.clone(), sparse.sizes);
        let has_ended = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !has_ended.load(Ordering::Relaxed) {
                    pool.punch_all(sizes);
                }
            });
            let _ended = Ended(&has_ended);
            hammer(&mut sparse);
        });
        pool.assert_consistent();
    }
}

fn hammer(sparse: &mut Sparse) {
    let mut rng = SmallRng::seed_from_u64(1);
    // Both vSSDs together have as many blocks as the durable pool, which is soon full.
    let mut contents = [[0; BLOCKS as usize]; 2];
    for step in 0..6000 {
        let vssd = rng.random_range(0..2);
        let first = rng.random_range(0..BLOCKS);
        let count = rng.random_range(1..30).min(BLOCKS - first);
        let blocks = first as usize..(first + count) as usize;
        if rng.random() {
            let content = rng.random_range(1..=255);
            let mut bytes = vec![content; count as usize * BLOCK];
            assert!(sparse.host.write(vssd, first * SECTORS, &mut bytes));
            contents[vssd][blocks].fill(content);
        } else {
            assert!(sparse.host.discard(vssd, first * SECTORS, count * SECTORS));
            contents[vssd][blocks].fill(0);
        }
        let block = rng.random_range(0..BLOCKS);
        let content = contents[vssd][block as usize];
        assert_eq!(sparse.read(vssd, block), [content; BLOCK], "step {step}");
    }
    for (vssd, contents) in contents.iter().enumerate() {
        for (block, content) in (0..).zip(contents) {
            assert_eq!(sparse.read(vssd, block), [*content; BLOCK], "block {block}");
        }
    }
}

/// Memory that takes as long to punch a hole as the test wants.
struct Slow {
    memory: MemoryBacking,
    begun: mpsc::Sender<()>,
    end: Mutex<mpsc::Receiver<()>>,
}

impl Backing for Slow {
    fn read(&self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        self.memory.read(offset, buffers)
    }

    fn write(&self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        self.memory.write(offset, buffers)
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> u64 {
        self.memory.len()
    }

    fn hole_unit(&self) -> Option<u64> {
        Some(512)
    }

    fn punch(&self, _range: Range<u64>) -> io::Result<()> {
        self.begun.send(()).unwrap();
        self.end.lock().recv().map_err(io::Error::other)
    }
}

/// A first write that finds only physical blocks where a hole is being punched waits for that, and
/// does not fail.
#[test]
fn a_first_write_waits_for_the_last_free_blocks() {
    const COUNT: u32 = 64;
    let (begun, has_begun) = mpsc::channel();
    let (end, ends) = mpsc::channel();
    let slow = Slow {
        memory: MemoryBacking::new(u64::from(COUNT) * 512).unwrap(),
        begun,
        end: Mutex::new(ends),
    };
    let pool = Pool::volatile(Arc::new(slow), 512, 1000);
    let bounds = Bounds {
        quota: COUNT,
        reservation: 0,
    };
    let volume = pool.add("vm1", COUNT, bounds, COUNT).unwrap();
    let sizes = pool.track_holes().unwrap();
    let allocate = |block| {
        loop {
            let found = volume.allocate(&mut pool.state().allocator, block);
            match found {
                Err(Denied::Punching) => pool.wait_for_hole(),
                other => break other,
            }
        }
    };
    for block in 0..COUNT - 1 {
        assert_eq!(allocate(block), Ok(block));
    }
    thread::scope(|scope| {
        let punched = scope.spawn(|| pool.punch(0..COUNT, sizes).unwrap());
        has_begun.recv().unwrap();
        let found = volume.allocate(&mut pool.state().allocator, COUNT - 1);
        assert_eq!(found, Err(Denied::Punching));
        assert_eq!(pool.usage().free, 1);
        let waiting = scope.spawn(|| allocate(COUNT - 1));
        end.send(()).unwrap();
        assert_eq!(waiting.join().unwrap(), Ok(COUNT - 1));
        assert_eq!(punched.join().unwrap().map(|run| run.len), Some(1));
    });
    assert_eq!(pool.usage().free, 0);
    pool.assert_consistent();
}
