//! The log against a naive model, through failures, revocations and power cuts.

extern crate std;

use alloc::collections::{BTreeMap, BTreeSet};
use std::println;
use std::vec;

use super::*;
use crate::crash_disk::{CrashDisk, Fault, Rng, run};

/// What is on record, naively.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    slots: BTreeMap<u32, SlotState>,
    lost: BTreeSet<u32>,
}

impl State {
    fn apply(&mut self, records: &[Record]) {
        for &record in records {
            match record {
                Record::Slot { slot, state } if state == SlotState::Free => {
                    self.slots.remove(&slot);
                }
                Record::Slot { slot, state } => {
                    self.slots.insert(slot, state);
                }
                Record::Lost { block } => {
                    self.lost.insert(block);
                }
                Record::Found { block } => {
                    self.lost.remove(&block);
                }
            }
        }
    }

    fn of(recovered: &Recovered) -> Self {
        Self {
            slots: recovered.slots().collect(),
            lost: recovered.lost.iter().copied().collect(),
        }
    }
}

impl Snapshot for State {
    fn len(&self) -> usize {
        self.slots.len() + self.lost.len()
    }

    fn read(&self, cursor: u64, limit: usize, out: &mut Vec<Record>) -> Option<u64> {
        let slots = self
            .slots
            .iter()
            .map(|(&slot, &state)| Record::Slot { slot, state });
        let lost = self.lost.iter().map(|&block| Record::Lost { block });
        // Fewer than asked for, and sometimes none.
        let take =
            (limit / 2 + 1).min(limit) * usize::from(!cursor.is_multiple_of(5) || cursor == 0);
        let from = (cursor >> 1) as usize;
        out.extend(slots.chain(lost).skip(from).take(take));
        let next = from + take;
        let flip = u64::from(take == 0 && cursor & 1 == 0);
        (next < self.len()).then_some((next as u64) << 1 | flip)
    }
}

fn random_record(rng: &mut Rng, capacity: u32, slots: u32) -> Record {
    let block = rng.next();
    let first = region_blocks(capacity);
    let slot = first + rng.below(slots.min(capacity - first));
    let state = match rng.below(3) {
        0 => SlotState::Free,
        1 => SlotState::Clean { block },
        _ => SlotState::Dirty {
            block,
            epoch: rng.next(),
            zeros: rng.chance(50),
        },
    };
    match rng.below(20) {
        0 => Record::Lost { block: block % 32 },
        1 => Record::Found { block: block % 32 },
        _ => Record::Slot { slot, state },
    }
}

/// A log, its disk, and what recovery may find.
struct World {
    seed: u64,
    rng: Rng,
    disk: CrashDisk,
    log: MetaLog,
    /// What the last commit that ended well left.
    committed: State,
    /// What the commits since may have left.
    attempts: Vec<State>,
    /// Whether recovery has to succeed: no block of the region was revoked since a
    /// commit ended well.
    is_intact: bool,
    slots: u32,
    committed_times: u32,
    broken_times: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let capacity = [200, 1700, 2500, 4000][rng.below(4) as usize];
        let slots = [4, 300, 4000][rng.below(3) as usize];
        let disk = CrashDisk::new(capacity, seed);
        let log = run(MetaLog::format(&disk, seed, &[0..capacity])).unwrap();
        Self {
            seed,
            rng,
            disk,
            log,
            committed: State::default(),
            attempts: vec![],
            is_intact: false,
            slots,
            committed_times: 0,
            broken_times: 0,
        }
    }

    fn capacity(&self) -> u32 {
        self.disk.blocks()
    }

    fn held(&self) -> Vec<core::ops::Range<u32>> {
        let held = (0..self.capacity()).filter(|&block| self.disk.is_held(block));
        held.map(|block| block..block + 1).collect()
    }

    /// Revokes or grants some of the region.
    fn shake(&mut self) {
        let region = region_blocks(self.capacity());
        for _ in 0..=self.rng.below(3) {
            let block = self.rng.below(region);
            let is_held = self.disk.is_held(block);
            if is_held && self.rng.chance(40) {
                self.disk.hold(block, false);
                self.log.revoked(&[block..block + 1]);
                self.is_intact = false;
            } else if !is_held {
                self.disk.hold(block, true);
                self.log.granted(&[block..block + 1]);
            }
        }
    }

    fn random_records(&mut self) -> Vec<Record> {
        let most = if self.rng.chance(10) { 1000 } else { 20 };
        let count = self.rng.below(most);
        let (rng, capacity, slots) = (&mut self.rng, self.disk.blocks(), self.slots);
        (0..count)
            .map(|_| random_record(rng, capacity, slots))
            .collect()
    }

    /// One commit, to its end or its failure.
    fn commit(&mut self, shakes: bool) {
        let records = self.random_records();
        let mut after = self.committed.clone();
        after.apply(&records);
        let mut steps = 0;
        loop {
            steps += 1;
            assert!(steps < 1000, "seed {}: the commit does not end", self.seed);
            let len = self.committed.len();
            let is_durable = self.log.is_durable(len.max(after.len()) + records.len());
            let plan = match self.log.plan(&records, &self.committed) {
                Ok(plan) => plan,
                Err(error) => {
                    assert!(!is_durable, "seed {}: {error}", self.seed);
                    return self.log.space.check();
                }
            };
            if shakes && self.rng.chance(10) {
                self.shake();
            }
            self.attempts.push(after.clone());
            let written = run(plan.write(&self.disk));
            if shakes && self.rng.chance(10) {
                self.shake();
            }
            let step = self.log.finish(plan, written);
            self.log.space.check();
            match step {
                Ok(Step::Committed) => {
                    self.committed = after;
                    self.attempts.clear();
                    self.is_intact = true;
                    self.committed_times += 1;
                    return;
                }
                Ok(Step::Again) => {}
                Err(_) => return,
            }
        }
    }

    /// The guest is started anew, after some of the region was revoked or not.
    fn reboot(&mut self) {
        self.disk.cut();
        if self.rng.chance(20) {
            let block = self.rng.below(region_blocks(self.capacity()));
            self.disk.hold(block, false);
            if self.rng.chance(50) {
                self.disk.hold(block, true);
            }
            self.is_intact = false;
        }
        match run(MetaLog::recover(&self.disk, &self.held())) {
            Ok(recovered) => {
                let state = State::of(&recovered);
                assert!(
                    state == self.committed || self.attempts.contains(&state),
                    "seed {}: stale or wrong: {} slots, committed {}, {} attempts",
                    self.seed,
                    state.slots.len(),
                    self.committed.slots.len(),
                    self.attempts.len()
                );
                self.committed = state;
                self.attempts.clear();
                self.log = recovered.log;
                self.log.space.check();
            }
            Err(unrecovered) => {
                assert!(!self.is_intact, "seed {}: {unrecovered}", self.seed);
                self.broken_times += 1;
                let id = self.seed + u64::from(self.broken_times) * 1000;
                self.log = run(MetaLog::format(&self.disk, id, &self.held())).unwrap();
                self.committed = State::default();
                self.attempts.clear();
                self.is_intact = false;
            }
        }
    }
}

/// Commits, and a cut after every so many of their writes.
#[test]
fn recovery_finds_the_last_commit_or_the_one_under_way() {
    let mut cuts = 0;
    for seed in 0..400 {
        let mut world = World::new(seed);
        for _ in 0..8 {
            for _ in 0..world.rng.below(20) {
                world.commit(false);
            }
            let after = world.rng.below(12);
            world.disk.fault.set(Fault::CutAfter(after));
            while world.attempts.is_empty() {
                world.commit(false);
            }
            cuts += 1;
            world.reboot();
        }
    }
    println!("{cuts} cuts");
}

/// The same with failures and revocations in between.
#[test]
fn recovery_never_finds_what_is_no_longer_so() {
    let (mut committed, mut broken) = (0, 0);
    for seed in 0..1000 {
        let mut world = World::new(seed);
        for _ in 0..10 {
            for _ in 0..world.rng.below(12) {
                match world.rng.below(10) {
                    0 => world.shake(),
                    1 => world.disk.fault.set(Fault::After(world.rng.below(6))),
                    _ => {}
                }
                world.commit(true);
            }
            if world.rng.chance(50) {
                world.disk.fault.set(Fault::CutAfter(world.rng.below(8)));
                world.commit(true);
            }
            world.reboot();
        }
        committed += world.committed_times;
        broken += world.broken_times;
    }
    println!("{committed} commits, {broken} times not recovered");
    assert!(committed > 20_000 && broken > 100);
}
