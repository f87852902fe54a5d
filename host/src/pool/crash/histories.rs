//! Every history of three operations on a pool of four blocks, with a crash after each operation on
//! the backing, and every way in which it may leave what was not flushed: Mohan et al., *Finding
//! Crash-Consistency Bugs with Bounded Black-Box Crash Testing* (B3), OSDI 2018.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use parking_lot::Mutex;
use vssd::block_set::BlockSet;

use super::SECTORS_PER_BLOCK;
use super::host::{Host, name};
use super::model::{Content, Model, ZEROS, content_of, sector};
use crate::backing::trace::{Crash, Event, Fate, Image, TraceBacking};
use crate::io::EngineName;
use crate::pool::journal::BootId;
use crate::pool::{Pool, Shape};

const SHAPE: Shape = Shape {
    block_size: 512 * SECTORS_PER_BLOCK,
    physical_blocks: 4,
    overcommit_permille: 1500,
};

/// Blocks of a vSSD.
const BLOCKS: u32 = 3;

/// Blocks that each vSSD holds at first.
const HELD: [u32; 2] = [3, 2];

/// Writes of which any may be lost; of more, the last ones.
const REORDERED: usize = 5;

const BOOT: BootId = BootId([1; 16]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    /// A block of a vSSD.
    Write(usize, u32),
    Discard(usize, u32),
    Flush,
    /// The guest gives up its first block.
    Shrink(usize),
    /// The hypervisor takes the last block.
    Revoke(usize),
    /// The first block that the vSSD does not hold.
    Grow(usize),
    Remove,
    Add,
}

/// The vSSD that comes and goes.
const GUEST: usize = 1;

const OPS: [Op; 15] = [
    Op::Write(0, 0),
    Op::Write(0, 1),
    Op::Write(GUEST, 0),
    Op::Write(GUEST, 1),
    Op::Discard(0, 0),
    Op::Discard(GUEST, 0),
    Op::Flush,
    Op::Shrink(0),
    Op::Shrink(GUEST),
    Op::Revoke(0),
    Op::Revoke(GUEST),
    Op::Grow(0),
    Op::Grow(GUEST),
    Op::Remove,
    Op::Add,
];

/// The vSSDs, as far as they exist.
type State = Vec<Option<Model>>;

/// A state that a crash may find, and the one it may find instead because something was under way.
#[derive(Clone)]
struct Possible {
    before: State,
    after: State,
}

fn one(block: u32) -> BlockSet {
    let mut set = BlockSet::empty(BLOCKS);
    set.insert(block);
    set
}

fn new_model(held: u32) -> Model {
    let mut set = BlockSet::empty(BLOCKS);
    set.insert_range(0, held);
    Model {
        held: set,
        sectors: BTreeMap::new(),
    }
}

fn flushed(state: &mut State) {
    state.iter_mut().flatten().for_each(Model::flushed);
}

impl Op {
    /// The state after it, of what was not flushed too, and whether it makes all durable; `None` if
    /// it is not possible in this state.
    fn applied(self, state: &State, content: Content) -> Option<(State, bool)> {
        let mut after = state.clone();
        let sectors = |block| block * SECTORS_PER_BLOCK..(block + 1) * SECTORS_PER_BLOCK;
        let moved = |vssd: usize, block: Option<u32>| block.filter(|_| state[vssd].is_some());
        let is_durable = match self {
            Self::Write(vssd, block) | Self::Discard(vssd, block) => {
                let model = after[vssd]
                    .as_mut()
                    .filter(|model| model.held.contains(block))?;
                let is_write = matches!(self, Self::Write(..));
                model.change(sectors(block), if is_write { content } else { ZEROS });
                false
            }
            Self::Flush => true,
            Self::Shrink(vssd) | Self::Revoke(vssd) | Self::Grow(vssd) => {
                let block = moved(vssd, self.block(state))?;
                let model = after[vssd].as_mut()?;
                if matches!(self, Self::Grow(_)) {
                    model.held.insert(block);
                } else {
                    model.released(&one(block));
                }
                true
            }
            Self::Remove => {
                after[GUEST].take()?;
                true
            }
            Self::Add => {
                if after[GUEST].replace(new_model(HELD[GUEST])).is_some() {
                    return None;
                }
                true
            }
        };
        Some((after, is_durable))
    }

    /// The block that a resize moves.
    fn block(self, state: &State) -> Option<u32> {
        let held = |vssd: usize| state[vssd].as_ref().map(|model| &model.held);
        match self {
            Self::Shrink(vssd) => held(vssd)?.iter().next(),
            Self::Revoke(vssd) => held(vssd)?.iter().last(),
            Self::Grow(vssd) => {
                (0..BLOCKS).find(|block| !held(vssd).is_some_and(|held| held.contains(*block)))
            }
            _ => None,
        }
    }

    /// Carries it out; false when the pool refused it.
    fn carry_out(self, host: &mut Host, state: &State, content: Content) -> bool {
        match self {
            Self::Write(vssd, block) => {
                let first = block * SECTORS_PER_BLOCK;
                let sectors = first..first + SECTORS_PER_BLOCK;
                let mut bytes: Vec<u8> = sectors.flat_map(|s| sector(vssd, s, content)).collect();
                host.write(vssd, first, &mut bytes)
            }
            Self::Discard(vssd, block) => {
                host.discard(vssd, block * SECTORS_PER_BLOCK, SECTORS_PER_BLOCK)
            }
            Self::Flush => host.flush(0),
            Self::Shrink(vssd) | Self::Revoke(vssd) | Self::Grow(vssd) => {
                let block = self.block(state).expect("a block moves");
                host.resize(vssd, &one(block), !matches!(self, Self::Grow(_)))
            }
            Self::Remove => {
                host.guests.truncate(GUEST);
                host.pool.remove(&name(GUEST)).is_ok()
            }
            Self::Add => {
                let pool = host.pool.clone();
                *host = Host::with(pool, BLOCKS, &HELD);
                true
            }
        }
    }
}

/// A pool of which the first vSSD has written two blocks, so that two physical blocks are free.
fn prepared() -> (Image, State) {
    let backing = Arc::new(TraceBacking::new(SHAPE.backing_len(), Image::default()));
    let pool = Pool::create(backing.clone(), SHAPE, EngineName::Sync, BOOT).unwrap();
    let mut host = Host::with(pool, BLOCKS, &HELD);
    let mut state: State = HELD.iter().map(|held| Some(new_model(*held))).collect();
    for (content, op) in (1..).zip([Op::Write(0, 0), Op::Write(0, 1), Op::Flush]) {
        assert!(op.carry_out(&mut host, &state, content));
        (state, _) = op.applied(&state, content).expect("it is possible");
    }
    flushed(&mut state);
    drop(host);
    (backing.image(), state)
}

/// Carries out a history; the events of the backing, and what may be found after each mark. `None`
/// when an operation is not possible.
fn run(start: &Image, first: &State, history: &[Op]) -> Option<(Vec<Event>, Vec<Possible>)> {
    let mut states = vec![first.clone()];
    for (op, content) in history.iter().zip(10..) {
        let (mut after, is_durable) = op.applied(states.last()?, content)?;
        if is_durable {
            flushed(&mut after);
        }
        states.push(after);
    }
    let backing = Arc::new(TraceBacking::new(SHAPE.backing_len(), start.clone()));
    let pool = Pool::open(backing.clone(), EngineName::Sync, BOOT).unwrap();
    let mut host = Host::with(pool, BLOCKS, &HELD);
    let mut all = Vec::new();
    for ((op, content), states) in history.iter().zip(10..).zip(states.windows(2)) {
        let (before, after) = (&states[0], &states[1]);
        // What was not flushed before may be lost even if the operation is found.
        let (instead, _) = op.applied(before, content).expect("it was possible");
        let mut found = |before: &State, after: &State| {
            all.push(Possible {
                before: before.clone(),
                after: after.clone(),
            });
            backing.mark(all.len() - 1);
        };
        found(before, &instead);
        // Writes without a free physical block fail, and what they leave is undefined; a grow beyond
        // what the pool may promise is refused.
        if !op.carry_out(&mut host, before, content) {
            return None;
        }
        found(after, after);
    }
    drop(host);
    Some((backing.events(), all))
}

/// Opens what a crash left, and compares it with what may be found.
fn check(image: Image, boot: BootId, found: &Possible, is_killed: bool, what: &dyn Fn() -> String) {
    let backing = Arc::new(TraceBacking::new(SHAPE.backing_len(), image));
    let pool = Pool::open(backing, EngineName::Sync, boot)
        .unwrap_or_else(|error| panic!("{}: {error}", what()));
    pool.assert_consistent();
    let there = HELD.iter().enumerate();
    let there = there.take_while(|(vssd, _)| pool.member(&name(*vssd)).is_some());
    let there: Vec<u32> = there.map(|(_, held)| *held).collect();
    let mut host = Host::with(pool, BLOCKS, &there);
    for (vssd, (before, after)) in found.before.iter().zip(&found.after).enumerate() {
        if vssd >= there.len() {
            let may_miss = before.is_none() || after.is_none();
            assert!(may_miss, "{}: vSSD {vssd} is gone", what());
            continue;
        }
        let held = host.guests[vssd].0.volume.held();
        let mut alike = [before, after]
            .into_iter()
            .flatten()
            .filter(|model| model.held == held);
        let Some(model) = alike.next() else {
            panic!(
                "{}: vSSD {vssd} holds {:?}",
                what(),
                held.iter().collect::<Vec<_>>()
            );
        };
        let later = after.as_ref().unwrap_or(model);
        for s in 0..BLOCKS * SECTORS_PER_BLOCK {
            let read = host.read(vssd, s, 1);
            let is_held = held.contains(s / SECTORS_PER_BLOCK);
            assert_eq!(
                read.is_some(),
                is_held,
                "{}: sector {s} of vSSD {vssd}",
                what()
            );
            let Some(read) = read else { continue };
            let earlier = before.as_ref().unwrap_or(model).contents(s);
            // A killed process leaves the last of what had ended, or what was under way; a power
            // cut anything since the last flush.
            let earlier = if is_killed {
                &earlier[earlier.len() - 1..]
            } else {
                earlier
            };
            let mut allowed = earlier.iter().chain(later.contents(s).last());
            let content = content_of(vssd, s, &read);
            assert!(
                content.is_some_and(|content| allowed.any(|c| *c == content)),
                "{}: sector {s} of vSSD {vssd} has content {content:?}",
                what()
            );
        }
    }
}

/// Every fate of the pending writes, or those of the last ones if they are many: any of them lost,
/// and each of them torn while the others are whole, or lost.
fn fates(pending: usize) -> Vec<Vec<Fate>> {
    let reordered = pending.min(REORDERED);
    let mut all = Vec::new();
    for lost in 0..1_u32 << reordered {
        let mut fates = vec![Fate::Whole; pending];
        for (number, fate) in fates[pending - reordered..].iter_mut().enumerate() {
            if lost >> number & 1 == 1 {
                *fate = Fate::Lost;
            }
        }
        all.push(fates);
    }
    for torn in 0..pending {
        for half in [Fate::FirstHalf, Fate::SecondHalf] {
            for others in [Fate::Whole, Fate::Lost] {
                let mut fates = vec![others; pending];
                fates[torn] = half;
                all.push(fates);
            }
        }
    }
    all
}

/// Compares what crashes leave at every operation of a history; their number.
fn crash_everywhere(start: &Image, first: &State, history: &[Op]) -> Option<u64> {
    let (events, possible) = run(start, first, history)?;
    let mut crashes = 0;
    let mut crash = Crash::new(start.clone());
    let mut now = Possible {
        before: first.clone(),
        after: first.clone(),
    };
    for (at, event) in events.iter().enumerate() {
        crash.happened(event);
        if let Event::Mark(index) = event {
            now = possible[*index].clone();
            // More may be found when an operation begins, and nothing else is there.
            if index % 2 == 0 {
                continue;
            }
        }
        let what = || format!("{history:?}, killed after operation {at}");
        check(crash.killed(), BOOT, &now, true, &what);
        let fates = fates(crash.pending());
        crashes += 1 + fates.len() as u64;
        for fates in fates {
            let what = || format!("{history:?}, power cut after operation {at}, {fates:?}");
            let image = crash.left(|number| fates[number]);
            check(image, BootId([2; 16]), &now, false, &what);
        }
    }
    Some(crashes)
}

#[test]
fn every_crash_of_every_short_history_is_sound() {
    let begun = Instant::now();
    let (start, first) = prepared();
    let (histories, crashes) = (AtomicU64::new(0), AtomicU64::new(0));
    let pairs = OPS.iter().flat_map(|a| OPS.iter().map(move |b| (*a, *b)));
    let pairs = Mutex::new(pairs);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                let next = || pairs.lock().next();
                while let Some((a, b)) = next() {
                    for c in OPS {
                        let crashed = crash_everywhere(&start, &first, &[a, b, c]);
                        histories.fetch_add(u64::from(crashed.is_some()), Relaxed);
                        crashes.fetch_add(crashed.unwrap_or(0), Relaxed);
                    }
                }
            });
        }
    });
    let (histories, crashes) = (histories.into_inner(), crashes.into_inner());
    let seconds = begun.elapsed().as_secs_f64();
    eprintln!("{histories} histories, {crashes} crashes, {seconds:.1} s");
    // Most can be carried out.
    assert!(histories > 1_000, "{histories} histories");
}
