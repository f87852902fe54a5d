//! The log against a naive model, through failures, revocations and power cuts.

extern crate std;

use alloc::collections::{BTreeMap, BTreeSet};
use core::ops::Range;
use std::println;
use std::vec;

use super::*;
use crate::crash_disk::{CrashDisk, Fault, Rng, run};

/// One range, as a list of them.
fn ranges(range: Range<u32>) -> Vec<Range<u32>> {
    vec![range]
}

/// What is recorded, naively.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    slots: BTreeMap<u32, SlotState>,
    lost: BTreeSet<u32>,
}

impl State {
    fn apply(&mut self, records: &[Record]) {
        for &record in records {
            match record {
                Record::Slot {
                    slot,
                    state: SlotState::Free,
                } => {
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

    /// The cursor is where to go on, slots before lost blocks, and whether nothing was
    /// given the last time.
    fn read(&self, cursor: u64, limit: usize, out: &mut Vec<Record>) -> Option<u64> {
        let (from, gave_none) = (cursor >> 1, cursor & 1 == 1);
        if from % 5 == 0 && !gave_none {
            return Some(cursor | 1);
        }
        let slot = |(&slot, &state)| (u64::from(slot), Record::Slot { slot, state });
        let lost = |&block| (1 << 32 | u64::from(block), Record::Lost { block });
        let (first_slot, first_lost) = match from.checked_sub(1 << 32) {
            Some(block) => (u32::MAX, block as u32),
            None => (from as u32, 0),
        };
        let slots = self.slots.range(first_slot..).map(slot);
        let mut all = slots.chain(self.lost.range(first_lost..).map(lost));
        // Fewer than requested.
        for (_, record) in all.by_ref().take((limit / 2).max(1)) {
            out.push(record);
        }
        all.next().map(|(next, _)| next << 1)
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
        let log = run(MetaLog::format(&disk, seed, &ranges(0..capacity))).unwrap();
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

    fn held(&self) -> Vec<Range<u32>> {
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
                self.log.revoked(&ranges(block..block + 1));
                self.is_intact = false;
            } else if !is_held {
                self.disk.hold(block, true);
                self.log.granted(&ranges(block..block + 1));
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
    for seed in 0..200 {
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
    for seed in 0..400 {
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
    assert!(committed > 8000 && broken > 100);
}

/// A log on a disk of its own, with slots recorded.
fn filled(capacity: u32) -> (CrashDisk, RefCell<MetaLog>, State) {
    let disk = CrashDisk::new(capacity, 7);
    let log = RefCell::new(run(MetaLog::format(&disk, 7, &ranges(0..capacity))).unwrap());
    let mut state = State::default();
    for slot in region_blocks(capacity)..capacity {
        let block = slot * 3;
        let record = Record::Slot {
            slot,
            state: SlotState::Clean { block },
        };
        run(commit(&log, &disk, &[record], &state)).unwrap();
        state.apply(&[record]);
    }
    (disk, log, state)
}

#[test]
fn a_region_is_a_hundredth() {
    let regions = [0, 10, 16, 100, 1600, 1601, 1 << 24].map(region_blocks);
    assert_eq!(regions, [0, 10, 16, 16, 16, 17, 167_773]);
}

#[test]
fn other_disks_and_blank_ones_have_nothing() {
    let (disk, _, state) = filled(300);
    let recovered = run(MetaLog::recover(&disk, &ranges(0..300))).unwrap();
    assert_eq!(State::of(&recovered), state);
    let larger = CrashDisk::new(301, 0);
    for block in 0..16 {
        run(larger.write(block, &disk.block(block))).unwrap();
    }
    let nothing = run(MetaLog::recover(&larger, &ranges(0..301))).err();
    assert_eq!(nothing, Some(Unrecovered::Nothing));
    let none_held = run(MetaLog::recover(&disk, &[])).err();
    assert_eq!(none_held, Some(Unrecovered::Nothing));
    run(MetaLog::format(&disk, 8, &ranges(0..300))).unwrap();
    let formatted = run(MetaLog::recover(&disk, &ranges(0..300))).err();
    assert_eq!(formatted, Some(Unrecovered::Nothing));
}

/// With a commit a slot many a checkpoint is written; all the while as many blocks
/// are in use as there are, and each commit is short.
#[test]
fn metadata_are_small_beside_what_they_speak_of() {
    let (_, log, state) = filled(2000);
    let log = log.into_inner();
    let commits = state.slots.len() as u64;
    let written = log.blocks_written();
    assert!(
        written < 5 * commits,
        "{written} blocks for {commits} commits"
    );
    assert!(log.memory_bytes() < 1024);
}

#[test]
fn region_blocks_go_last_and_come_back() {
    let (disk, log, state) = filled(300);
    assert!(log.borrow().is_durable(state.len()));
    let free = log.borrow_mut().surrender(4);
    assert_eq!(free.len(), 4);
    let recovered = run(MetaLog::recover(&disk, &ranges(0..300))).unwrap();
    assert_eq!(State::of(&recovered), state);
    free.iter().for_each(|&block| disk.hold(block, false));
    // The blocks that are given up are there until the hypervisor takes them, and what they
    // say with those that are left must not be believed any longer.
    let mut rest = log.borrow_mut().surrender(100);
    assert_eq!(log.borrow().held(), 1, "the root is yet to be erased");
    while log.borrow().held() > 0 {
        let _ = run(commit(&log, &disk, &[], &State::default()));
        rest.extend(log.borrow_mut().surrender(100));
        assert!(rest.len() < 100, "no end of it");
    }
    let found = run(MetaLog::recover(&disk, &ranges(0..300)));
    assert!(found.is_err(), "what was there before is found again");
    assert_eq!(rest.len(), 12);
    rest.iter().for_each(|&block| disk.hold(block, false));
    assert!(log.borrow().is_void() && !log.borrow().is_durable(0));
    let full = run(commit(&log, &disk, &[], &State::default()));
    let expected = MetaError::Full {
        held: 0,
        records: 0,
    };
    assert_eq!(full, Err(expected));
    (0..16).for_each(|block| disk.hold(block, true));
    log.borrow_mut().granted(&ranges(0..16));
    assert!(log.borrow().is_durable(state.len()));
    let record = Record::Lost { block: 5 };
    run(commit(&log, &disk, &[record], &state)).unwrap();
    let recovered = run(MetaLog::recover(&disk, &ranges(0..300))).unwrap();
    assert_eq!(recovered.lost, [5]);
    assert!(recovered.slots().eq(state.slots));
}

#[test]
fn what_is_forgotten_is_not_found() {
    let (disk, log, state) = filled(300);
    log.borrow_mut().forget();
    assert!(!log.borrow().is_void());
    run(commit(&log, &disk, &[], &State::default())).unwrap();
    let recovered = run(MetaLog::recover(&disk, &ranges(0..300))).unwrap();
    assert_eq!(recovered.slots().count(), 0);
    assert!(!recovered.log.needs_checkpoint(0) && !state.is_empty());
}

/// The bytes are the hypervisor's: blocks that are whole and make no sense together
/// are refused or believed, and nothing worse.
#[test]
fn blocks_in_disorder_do_no_harm() {
    let (disk, _, state) = filled(400);
    let blocks: Vec<_> = (0..16).map(|block| disk.block(block)).collect();
    for seed in 0..3000 {
        let mut rng = Rng::new(seed);
        for (place, block) in (0..).zip(&blocks) {
            run(disk.write(place, block)).unwrap();
        }
        for _ in 0..=rng.below(3) {
            let from = &blocks[rng.below(16) as usize];
            let Some(mut header) = layout::Header::decode(from) else {
                continue;
            };
            let mut records: Vec<_> = layout::records(from).map(Option::unwrap).collect();
            header.place = rng.below(16);
            match rng.below(8) {
                0 => header.next = rng.below(20),
                1 => header.sequence = u64::from(rng.below(400)),
                2 => header.previous = u64::from(rng.below(400)),
                3 => header.index = rng.below(3),
                4 => header.parts = rng.below(4) as u16,
                5 => records.push(random_record(&mut rng, 1 << 20, 1 << 20)),
                6 => header.sequence = (1 << 63) - 1,
                _ => header.previous = (1 << 63) - 1,
            }
            let mut block = vec![0; 4096];
            records.truncate(PER_BLOCK);
            header.encode(&records, &mut block);
            run(disk.write(header.place, &block)).unwrap();
        }
        if let Ok(recovered) = run(MetaLog::recover(&disk, &ranges(0..400))) {
            recovered.log.space.check();
            let log = RefCell::new(recovered.log);
            let record = Record::Found { block: 0 };
            let _ = run(commit(&log, &disk, &[record], &state));
            log.borrow().space.check();
        }
    }
}
