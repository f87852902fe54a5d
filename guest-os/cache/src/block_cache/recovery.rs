//! Opening a cache: restores what an earlier cache left on the vSSD, as far as it is still there.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::ops::Range;

use super::BlockCache;
use super::api::{Config, OpenError, Opened};
use super::dirty::Version;
use super::group::Group;
use super::metadata::{CLEAN, DIRTY, ZEROS};
use super::requests::is_zeros;
use super::state::Core;
use super::wait::all;
use crate::cache::{Admission, MAX_SLOTS};
use crate::device::{BLOCK_LEN, BlockDevice, IoError};
use crate::metadata::{
    MetaError, MetaLog, Record, Recovered, SlotState, Unrecovered, region_blocks,
};
use crate::origin_journal::{OriginJournal, Unreplayed, journal_blocks};
use crate::write_policy::WritePolicy;

/// Dirty blocks that are checked concurrently.
const SIDE_BY_SIDE: usize = 32;

/// A dirty block that was recorded.
#[derive(Clone, Copy)]
struct Found {
    slot: u32,
    block: u32,
    epoch: u32,
    zeros: bool,
    /// The record says zeros, and the slot has other data.
    is_outdated: bool,
    is_there: bool,
}

/// What was recorded, and what of it is there.
#[derive(Default)]
struct State {
    /// Slots and blocks.
    clean: Vec<(u32, u32)>,
    /// By epoch.
    dirty: Vec<Found>,
    lost: BTreeSet<u32>,
    /// What the record says of each slot, usable or not.
    marks: Vec<(u32, u32, u8)>,
}

pub async fn open<S: BlockDevice, O: BlockDevice>(
    ssd: S,
    origin: O,
    held: &[Range<u32>],
    config: Config,
    now_ns: Box<dyn Fn() -> u64>,
) -> Result<(BlockCache<S, O>, Opened), OpenError> {
    let slots = ssd.blocks();
    if slots > MAX_SLOTS {
        return Err(OpenError::VssdTooLarge { blocks: slots });
    }
    // What a killed guest wrote last may be where we read it and yet be lost with power:
    // nothing is built on it before it is durable.
    origin.flush().await.map_err(OpenError::Origin)?;
    ssd.flush().await.map_err(OpenError::Vssd)?;
    let (journal, _) = OriginJournal::recover(&origin).await?;
    let origin_blocks = usable_blocks(&origin, &config, journal.is_some())?;
    let region = region_blocks(slots);
    let (log, on_record, is_broken) = open_log(&ssd, held, &config, now_ns()).await?;
    let mut core = Core::new(&config, region, slots, origin_blocks);
    let held = Held::new(held);
    let state = match &on_record {
        Some(on_record) => look(&ssd, on_record, &held, &core).await,
        None => State::default(),
    };
    let opened = restore(&mut core, &state, &held, now_ns());
    let cache = BlockCache {
        ssd,
        origin,
        config,
        core: RefCell::new(core),
        journal,
        log_is_full: Cell::new(false),
        has_restored_dirty: Cell::new(opened.restored_dirty > 0),
        revocations: Cell::new(0),
        vssd_writes: Cell::new(0),
        vssd_flushed: Cell::new(0),
        origin_writes: Cell::new(0),
        origin_flushed: Cell::new(0),
        commits: Group::default(),
        vssd_flushes: Group::default(),
        origin_flushes: Group::default(),
        applications: Group::default(),
        now_ns,
        log: RefCell::new(log),
    };
    // [C7] What is lost is recorded as such before anything else is.
    cache.commit().await;
    if !config.write.keeps_dirty() {
        // These policies promise that the origin is up to date.
        cache.write_back().await;
    }
    let metadata_blocks = cache.log.borrow().held();
    let opened = Opened {
        metadata_blocks,
        origin_blocks,
        is_broken,
        ..opened
    };
    Ok((cache, opened))
}

impl From<Unreplayed> for OpenError {
    fn from(reason: Unreplayed) -> Self {
        match reason {
            Unreplayed::Device(error) => Self::Origin(error),
            Unreplayed::OtherVersion(version) => Self::OriginVersion { version },
        }
    }
}

/// Blocks of the origin that are not its journal's.
fn usable_blocks(
    origin: &impl BlockDevice,
    config: &Config,
    has_journal: bool,
) -> Result<u32, OpenError> {
    let blocks = origin.blocks();
    let reserved = match config.write {
        WritePolicy::Journaled => journal_blocks(blocks),
        _ => 0,
    };
    let lacks_journal = config.write == WritePolicy::Journaled && !has_journal;
    if blocks == reserved || lacks_journal {
        return Err(OpenError::OriginTooSmall { blocks, reserved });
    }
    Ok(blocks - reserved)
}

/// What was recorded.
struct OnRecord {
    slots: Vec<(u32, SlotState)>,
    lost: Vec<u32>,
}

/// The log that was there, with what it says, or an empty one. Also whether there was one
/// of which too much is gone.
async fn open_log(
    ssd: &impl BlockDevice,
    held: &[Range<u32>],
    config: &Config,
    id: u64,
) -> Result<(MetaLog, Option<OnRecord>, bool), OpenError> {
    let mut is_broken = false;
    if !config.fresh {
        match MetaLog::recover(ssd, held).await {
            Ok(recovered) => {
                let slots = recovered.slots().collect();
                let Recovered { log, lost, .. } = recovered;
                return Ok((log, Some(OnRecord { slots, lost }), false));
            }
            Err(Unrecovered::OtherVersion(version)) => {
                return Err(OpenError::VssdVersion { version });
            }
            Err(Unrecovered::Nothing) => {}
            Err(Unrecovered::Broken) => is_broken = true,
        }
    }
    match MetaLog::format(ssd, id, held).await {
        Ok(log) => Ok((log, None, is_broken)),
        Err(MetaError::Device(error)) => Err(OpenError::Vssd(error)),
        Err(MetaError::Full { .. }) => Err(OpenError::Vssd(IoError::Gone)),
    }
}

/// Checks which of the recorded blocks are still there.
async fn look(ssd: &impl BlockDevice, on_record: &OnRecord, held: &Held, core: &Core) -> State {
    let mut state = State {
        lost: on_record.lost.iter().copied().collect(),
        ..State::default()
    };
    let mut dirty = Vec::new();
    let slots = core.region..core.slots;
    for &(slot, found) in on_record
        .slots
        .iter()
        .filter(|(slot, _)| slots.contains(slot))
    {
        match found {
            SlotState::Free => {}
            SlotState::Clean { block } => {
                state.marks.push((slot, block, CLEAN));
                if held.contains(slot) && block < core.origin_blocks {
                    state.clean.push((slot, block));
                }
            }
            SlotState::Dirty {
                block,
                epoch,
                zeros,
            } => {
                state
                    .marks
                    .push((slot, block, if zeros { ZEROS } else { DIRTY }));
                dirty.push(Found {
                    slot,
                    block,
                    epoch,
                    zeros,
                    is_outdated: false,
                    is_there: held.contains(slot) && block < core.origin_blocks,
                });
            }
        }
    }
    let mut rest = dirty.into_iter();
    let next = || rest.next().map(|found| look_at(ssd, found));
    all(SIDE_BY_SIDE, next, |found| state.dirty.push(found)).await;
    state.dirty.sort_by_key(|found| (found.epoch, found.slot));
    state
}

/// [C6] A dirty slot that reads as zeros, and was not, has been revoked since. One whose record says
/// zeros may have been overwritten since, and is not to be taken for zeros when it is revoked.
async fn look_at(ssd: &impl BlockDevice, mut found: Found) -> Found {
    if !found.is_there {
        return found;
    }
    let mut data = vec![0; BLOCK_LEN];
    found.is_there = match ssd.read(found.slot, &mut data).await {
        Ok(()) => {
            let is_zeros = is_zeros(&data);
            found.is_outdated = found.zeros && !is_zeros;
            found.zeros || !is_zeros
        }
        // A later read may succeed, and there is no other copy.
        Err(IoError::Failed) => true,
        Err(IoError::Gone) => false,
    };
    found
}

/// Fills the cache with what is there.
fn restore(core: &mut Core, state: &State, held: &Held, now_ns: u64) -> Opened {
    let mut opened = Opened::default();
    core.lost.extend(&state.lost);
    let mut owned = BTreeSet::new();
    let newest: BTreeMap<u32, u32> = state.dirty.iter().map(|it| (it.block, it.slot)).collect();
    for found in &state.dirty {
        let is_newest = newest[&found.block] == found.slot;
        // The record does not say whether this was before or after it; if it was written again
        // after, no flush had come to its end.
        let is_lost = state.lost.contains(&found.block);
        if !found.is_there {
            if is_newest && core.lost.insert(found.block) {
                core.metadata.push(Record::Lost { block: found.block });
            }
        } else if is_newest && !is_lost {
            admit(core, found.slot, found.block);
            add_version(core, found, false, now_ns);
            opened.restored_dirty += 1;
        } else if core.is_ordered() {
            owned.insert(found.slot);
            add_version(core, found, true, now_ns);
        }
    }
    core.dirty.close_epoch();
    for &(slot, block) in &state.clean {
        let is_superseded = newest.contains_key(&block) || core.lost.contains(&block);
        if !is_superseded && core.cache.find(block).is_none() {
            admit(core, slot, block);
            core.cache.set_flag(slot, true);
        }
    }
    for &(slot, block, mark) in &state.marks {
        core.set_mark(slot, mark);
        if core.cache.block(slot) != Some(block) {
            core.outdated.insert(slot, block);
            if !owned.contains(&slot) {
                core.free_record(slot);
            }
        }
    }
    for run in &held.0 {
        let run = run.start.max(core.region)..run.end.min(core.slots);
        core.cache.grow(run.filter(|slot| !owned.contains(slot)));
    }
    core.resize();
    opened.restored = core.cache.len();
    opened.slots = core.cache.capacity();
    opened.lost = core.lost.len() as u32;
    opened
}

/// Puts a block into a slot that the cache does not have yet: it is the only free one.
fn admit(core: &mut Core, slot: u32, block: u32) {
    core.cache.grow([slot]);
    let admission = core.cache.admit(block);
    let expected = Admission::Admitted {
        slot,
        evicted: None,
    };
    assert_eq!(admission, expected, "the only free slot");
}

fn add_version(core: &mut Core, found: &Found, is_older: bool, now_ns: u64) {
    // Epochs go on where they were, so that records stay comparable.
    core.dirty.begin_epoch(found.epoch);
    let mut version = Version::written(found.block, Some(found.slot), found.epoch, now_ns);
    version.writers = 0;
    version.is_valid = true;
    version.is_detached = is_older;
    version.owns_slot = is_older;
    version.is_zeros = found.zeros && !found.is_outdated;
    if found.is_outdated {
        let state = SlotState::Dirty {
            block: found.block,
            epoch: found.epoch,
            zeros: false,
        };
        core.metadata.set(found.slot, state);
    }
    core.dirty.add(version);
}

/// The runs of blocks that are held, ascending.
struct Held(Vec<Range<u32>>);

impl Held {
    fn new(held: &[Range<u32>]) -> Self {
        let mut runs = held.to_vec();
        runs.sort_by_key(|run| run.start);
        Self(runs)
    }

    fn contains(&self, block: u32) -> bool {
        let after = self.0.partition_point(|run| run.start <= block);
        after > 0 && block < self.0[after - 1].end
    }
}
