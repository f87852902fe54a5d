//! Which write each block of the origin disk may read as, told naively.
//!
//! A block has versions, one a write, in the order in which the writes arrived; the first is what
//! was there before. Sectors carry the numbers of their writes, so that a torn block shows its
//! parts.
//!
//! ```text
//! versions   0    1    2    3    4    5
//!                 ^         ^         ^
//!                 kept      origin    the newest: what a read gives
//! ```
//!
//! A discard takes the promises back: until the next write the block may be any version up to
//! the newest, and which one may differ from read to read.
//!
//! What is promised to survive is the *floor*: the oldest version that may be found. There is one
//! for the end of the guest and one for a loss of power, each for both disks together and for the
//! origin disk alone. A version whose only copy may have been revoked is *at risk*: a block can
//! turn out lost up to there.

mod after;

use guest_cache::device::BLOCK_LEN;
use guest_cache::{CacheError, Served};
use workloads::stamp::Stamp;

use super::crash::SECTOR_LEN;
use super::disk::Disk;

/// Sectors of a block.
pub const SECTORS: usize = BLOCK_LEN / SECTOR_LEN;

/// The number of the write in each sector; 0 is zeros.
pub type Sectors = [u64; SECTORS];

/// A crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The guest ended, the disks went on.
    Kill,
    /// The disks lost what was not flushed.
    Cut,
}

pub const CRASHES: [Crash; 2] = [Crash::Kill, Crash::Cut];

/// One thing for each kind of crash.
#[derive(Clone, Copy, Default)]
struct PerCrash<T> {
    kill: T,
    cut: T,
}

impl<T: Copy> PerCrash<T> {
    fn of(&self, crash: Crash) -> T {
        match crash {
            Crash::Kill => self.kill,
            Crash::Cut => self.cut,
        }
    }
}

impl PerCrash<usize> {
    fn raise(&mut self, version: usize) {
        self.kill = self.kill.max(version);
        self.cut = self.cut.max(version);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Pending,
    Done,
    /// It may have taken place.
    Failed,
}

/// A write.
#[derive(Clone, Copy)]
struct Version {
    sectors: Sectors,
    /// The number of the write, in the order of all of them.
    number: u64,
    outcome: Outcome,
    /// When it arrived and when it was acknowledged.
    arrived: u64,
    ended: u64,
    /// When a discard of it arrived.
    discarded: Option<u64>,
}

/// Versions of a block up to which it can be lost by what was revoked.
#[derive(Clone, Copy, Default)]
struct Risk {
    /// The cache does not know that the origin disk has it.
    now: Option<usize>,
    /// After a crash: the cache may have recorded that the origin disk has not got it, or
    /// it has not got it permanently.
    crash: Option<usize>,
    /// The revocation that did it.
    since: u32,
}

/// What is known of a block.
#[derive(Clone)]
struct Block {
    versions: Vec<Version>,
    floor: PerCrash<usize>,
    origin_floor: PerCrash<usize>,
    risk: Risk,
    /// Versions up to this one were found lost.
    lost: Option<usize>,
    /// A flush has succeeded since.
    lost_for_good: bool,
    /// The first version of this session.
    session: usize,
    /// This session has written back the versions before this one.
    home: usize,
    /// Versions up to this one were discarded.
    discarded: Option<usize>,
    /// Before this version, a loss of power may have left some sectors of one and some of
    /// another.
    torn: usize,
}

impl Block {
    fn newest(&self) -> usize {
        self.versions.len() - 1
    }

    fn newest_done(&self) -> usize {
        let done = |version: &Version| version.outcome == Outcome::Done;
        self.versions.iter().rposition(done).expect("the first is")
    }

    /// Versions that a read may give that arrived when `newest` was that: this one, and if it
    /// failed, also the one before.
    fn readable(&self, newest: usize) -> std::ops::RangeInclusive<usize> {
        let failed = |version: &Version| version.outcome != Outcome::Failed;
        let before = &self.versions[..=newest];
        before.iter().rposition(failed).expect("the first has not")..=newest
    }

    /// The version that a promise is about: the oldest if this one was discarded since.
    fn promised(&self, version: usize) -> usize {
        if self.discarded >= Some(version) {
            0
        } else {
            version
        }
    }

    /// The version that a sector is of, when that can be told.
    fn version_of(&self, at: usize, number: u64) -> Option<usize> {
        let mut all = self.versions.iter();
        let same = |version: &Version| version.sectors[at] == number;
        let is_clear = number > 0 || all.clone().filter(|version| same(version)).count() == 1;
        all.rposition(same).filter(|_| is_clear)
    }
}

/// What a write was given when it arrived.
#[derive(Clone, Copy)]
pub struct Arrived {
    pub block: u32,
    version: usize,
    /// What was known as lost.
    lost: Option<usize>,
}

/// What there was when a flush arrived.
pub struct Before {
    /// Per block the version that was acknowledged, and whether it was at risk, or
    /// known to be lost.
    blocks: Vec<(usize, bool, bool)>,
    /// The revocations of which the cache had been told.
    told: u32,
    records_losses: bool,
}

/// What a block was found as.
pub type Found = Result<Sectors, CacheError>;

/// All blocks.
#[derive(Clone)]
pub struct Model {
    stamp: Stamp,
    blocks: Vec<Block>,
    now: u64,
    next_number: u64,
    /// Whether a write is acknowledged before the origin disk has it.
    keeps_dirty: bool,
    /// Requests may fail, because disks do.
    pub faulty: bool,
    /// A transfer may have failed or been dropped, and have taken place.
    pub cut_short: bool,
    /// The origin disk has been in order since the run began, or since everything dirty
    /// was written back.
    in_order: bool,
    /// How often something was revoked.
    revocations: u32,
    /// Of these, how many the cache has been notified of.
    told: u32,
    /// The last time that it were blocks with what the cache knows, if no flush has mended
    /// that: until then a crash leaves what the origin disk has.
    unmended: Option<u32>,
    /// The cache has room to record what is lost.
    records_losses: bool,
    /// It has none for what it knows, so that two reads after a crash may give two versions,
    /// either of which it may give.
    pub unrecorded: bool,
}

impl Model {
    /// Disks of zeros, of which `blocks` blocks are used.
    pub fn new(blocks: u32, seed: u64) -> Self {
        let first = Version {
            sectors: [0; SECTORS],
            number: 0,
            outcome: Outcome::Done,
            arrived: 0,
            ended: 0,
            discarded: None,
        };
        let block = Block {
            versions: vec![first],
            floor: PerCrash::default(),
            origin_floor: PerCrash::default(),
            risk: Risk::default(),
            lost: None,
            lost_for_good: false,
            session: 1,
            home: 0,
            discarded: None,
            torn: 0,
        };
        Self {
            stamp: Stamp::new(seed),
            blocks: vec![block; blocks as usize],
            now: 0,
            next_number: 1,
            keeps_dirty: false,
            faulty: false,
            cut_short: false,
            in_order: true,
            revocations: 0,
            told: 0,
            unmended: None,
            records_losses: true,
            unrecorded: false,
        }
    }

    /// A cache has been opened. One that keeps nothing dirty has written everything back.
    pub fn begin(&mut self, keeps_dirty: bool) {
        self.keeps_dirty = keeps_dirty;
        self.records_losses = true;
        self.unrecorded = false;
        for block in &mut self.blocks {
            block.session = block.versions.len();
            block.home = 0;
            if !keeps_dirty && block.lost.is_none() {
                block.floor.raise(block.newest());
                block.origin_floor.raise(block.newest());
            }
        }
    }

    pub fn blocks(&self) -> u32 {
        self.blocks.len() as u32
    }

    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    /// A read arrives.
    pub fn reading(&self, block: u32) -> Arrived {
        let known = &self.blocks[block as usize];
        Arrived {
            block,
            version: known.newest(),
            lost: known.lost,
        }
    }

    /// A write arrives; its data.
    pub fn writing(&mut self, block: u32, zeros: bool) -> (Arrived, [u8; BLOCK_LEN]) {
        let number = self.next_number;
        self.next_number += 1;
        let arrived = self.tick();
        let mut data = [0; BLOCK_LEN];
        if !zeros {
            for (at, sector) in data.chunks_exact_mut(SECTOR_LEN).enumerate() {
                self.stamp.fill(place(block, at), number, sector);
            }
        }
        self.blocks[block as usize].versions.push(Version {
            sectors: [if zeros { 0 } else { number }; SECTORS],
            number,
            outcome: Outcome::Pending,
            arrived,
            ended: u64::MAX,
            discarded: None,
        });
        (self.reading(block), data)
    }

    /// A discard arrives.
    pub fn discarding(&mut self, block: u32) {
        let now = self.tick();
        let block = &mut self.blocks[block as usize];
        let newest = block.newest();
        block.discarded = Some(newest);
        for version in &mut block.versions {
            version.discarded.get_or_insert(now);
        }
        block.floor = PerCrash::default();
        block.origin_floor = PerCrash::default();
    }

    /// The read has ended.
    pub fn read(&mut self, read: Arrived, result: Result<Served, CacheError>, bytes: &[u8]) {
        let number = read.block;
        let found = result.map(|_| self.decode(number, bytes));
        let faulty = self.faulty;
        let block = &mut self.blocks[number as usize];
        let mut readable = block.readable(read.version);
        // The discard can have come while the read was under way, and writes after it have failed.
        if block.discarded >= Some(*readable.start()) {
            readable = 0..=read.version;
        }
        match found {
            Ok(sectors) => assert!(
                readable.clone().any(|version| {
                    Some(version) > read.lost && block.versions[version].sectors == sectors
                }),
                "block {number} reads as {sectors:?}, which is not {}",
                describe(block, readable.clone(), read.lost)
            ),
            Err(CacheError::Lost) => {
                let risk = block.risk.now;
                assert!(
                    readable.any(|version| Some(version) <= risk),
                    "block {number} is lost at {}, but at risk was only {risk:?}",
                    describe(block, block.readable(read.version), None)
                );
                block.lost = block.lost.max(risk.min(Some(read.version)));
            }
            Err(error) => assert!(faulty, "block {number}: {error}"),
        }
    }

    /// The write has ended.
    pub fn written(&mut self, write: Arrived, result: Result<Served, CacheError>) {
        let ended = self.tick();
        let block = &mut self.blocks[write.block as usize];
        let version = &mut block.versions[write.version];
        version.ended = ended;
        version.outcome = match result {
            Ok(_) => Outcome::Done,
            Err(_) => Outcome::Failed,
        };
        if let Err(error) = result {
            assert!(
                self.faulty && error == CacheError::Failed,
                "block {}: {error}",
                write.block
            );
        } else if !self.keeps_dirty {
            let version = block.promised(write.version);
            block.floor.kill = block.floor.kill.max(version);
            block.origin_floor.kill = block.origin_floor.kill.max(version);
        }
    }

    /// The write was dropped before its end, unless it has ended.
    pub fn dropped(&mut self, write: Arrived) {
        let ended = self.tick();
        let version = &mut self.blocks[write.block as usize].versions[write.version];
        if version.outcome == Outcome::Pending {
            version.outcome = Outcome::Failed;
            version.ended = ended;
        }
    }

    /// A flush arrives, or everything is to be written back.
    pub fn flushing(&self) -> Before {
        let blocks = self.blocks.iter();
        let known = blocks.map(|block| {
            let done = block.newest_done();
            let at_risk = block.risk.now >= Some(done);
            (done, at_risk, block.lost >= Some(done))
        });
        Before {
            blocks: known.collect(),
            told: self.told,
            records_losses: self.records_losses,
        }
    }

    /// The flush has ended well.
    pub fn flushed(&mut self, before: &Before) {
        self.unmended = self.unmended.filter(|&revoked| revoked > before.told);
        let records_losses = before.records_losses && self.records_losses;
        for (block, &(done, was_at_risk, lost)) in self.blocks.iter_mut().zip(&before.blocks) {
            let at_risk = was_at_risk || block.risk.now >= Some(done);
            let promised = block.promised(done);
            if !at_risk || records_losses {
                block.floor.raise(promised);
            }
            if !self.keeps_dirty && done >= block.session {
                block.origin_floor.raise(promised);
            }
            // What is recorded about the slots that are gone has been changed.
            if !at_risk && block.risk.crash <= Some(done) && block.risk.since <= before.told {
                block.risk.crash = block.risk.now;
            }
            block.lost_for_good |= lost && records_losses;
        }
    }

    /// Everything was written back, and the origin disk flushed.
    pub fn written_back(&mut self, before: &Before) {
        self.flushed(before);
        for (block, &(done, ..)) in self.blocks.iter_mut().zip(&before.blocks) {
            let promised = block.promised(done);
            if block.risk.now < Some(promised) {
                block.origin_floor.raise(promised);
                block.home = block.home.max(promised + 1);
            }
        }
        self.in_order = true;
    }

    /// Blocks of the vSSD are about to be revoked, which can be some with what the cache knows.
    /// What the origin disk has not got is at risk. A write under way is not, unless the cache is
    /// notified `late`: it can have ended by then.
    pub fn revoking(&mut self, origin: &Disk, of_metadata: bool, late: bool) {
        self.revocations += 1;
        if of_metadata {
            self.unmended = Some(self.revocations);
        }
        let mut bytes = [0; BLOCK_LEN];
        for number in 0..self.blocks() {
            origin.peek(number, &mut bytes);
            let visible = self.decode(number, &bytes);
            let block = &mut self.blocks[number as usize];
            let newest = if late {
                block.newest()
            } else {
                block.newest_done()
            };
            // That the origin disk had it before, has it by a write that was cut short, or as many
            // zeros, the cache cannot know.
            let is_seen = !self.cut_short
                && newest >= block.session
                && visible == block.versions[newest].sectors
                && visible != [0; SECTORS];
            if self.keeps_dirty && !is_seen && newest >= block.home {
                block.risk.now = block.risk.now.max(Some(newest));
            }
            if self.keeps_dirty || newest < block.session {
                block.risk.crash = block.risk.crash.max(Some(newest));
                block.risk.since = self.revocations;
            }
        }
    }

    /// The cache has been told of all that was revoked.
    pub fn told(&mut self) {
        self.told = self.revocations;
    }

    /// There is no room left to record losses. When there is again, the cache need
    /// not know for a while.
    pub fn cannot_record_losses(&mut self) {
        self.records_losses = false;
        for block in &mut self.blocks {
            block.lost_for_good = false;
            if block.risk.now >= Some(block.floor.kill) {
                block.floor = block.origin_floor;
            }
        }
    }

    /// Everything was read, with nothing under way: only what was found lost is so.
    pub fn settled(&mut self) {
        for block in &mut self.blocks {
            block.risk.now = block.lost;
        }
    }

    /// What a block reads as.
    ///
    /// # Panics
    /// If a sector is of no write to this block.
    fn decode(&self, block: u32, bytes: &[u8]) -> Sectors {
        let mut sectors = [0; SECTORS];
        for (at, sector) in bytes.chunks_exact(SECTOR_LEN).enumerate() {
            let number = self.stamp.read(place(block, at), sector);
            sectors[at] = number.unwrap_or_else(|_| {
                panic!(
                    "sector {at} of block {block} is foreign: {:x?}",
                    &sector[..16]
                )
            });
        }
        sectors
    }
}

/// What the stamp of a sector says that it is for.
fn place(block: u32, sector: usize) -> u32 {
    block * SECTORS as u32 + sector as u32
}

fn describe(
    block: &Block,
    versions: std::ops::RangeInclusive<usize>,
    lost: Option<usize>,
) -> String {
    let all = versions.clone().filter_map(|version| {
        let known = block.versions.get(version)?;
        let outcome = match known.outcome {
            Outcome::Pending => " pending",
            Outcome::Done => "",
            Outcome::Failed => " failed",
        };
        Some(format!("{version}: {:?}{outcome}", known.sectors[0]))
    });
    let all = all.collect::<Vec<_>>().join(", ");
    format!(
        "one of {all} (lost up to {lost:?}, {} in all)",
        block.versions.len()
    )
}
