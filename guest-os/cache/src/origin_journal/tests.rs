//! The journal through power cuts at any write: after recovery the blocks are as
//! they were after a whole number of transactions, in their order.

use alloc::collections::BTreeMap;

use super::*;
use crate::crash_disk::{CrashDisk, Fault, Rng, run};

const BLOCKS: u32 = 4 * JOURNAL_BLOCKS;

/// The last version written of each block.
type State = BTreeMap<u32, u32>;

fn content(block: u32, version: u32) -> Vec<u8> {
    let word = u64::from(block) << 32 | u64::from(version);
    word.to_le_bytes().repeat(BLOCK_LEN / 8)
}

fn check(disk: &CrashDisk, state: &State) -> bool {
    let is_so = |(&block, &version): (&u32, &u32)| disk.block(block) == content(block, version);
    state.iter().all(is_so)
}

struct World {
    rng: Rng,
    disk: CrashDisk,
    journal: OriginJournal,
    /// What the committed transactions and direct writes have made of the blocks.
    state: State,
    /// Transactions that are committed and not known to be applied.
    pending: Vec<Transaction>,
    /// What a transaction that failed would have made.
    attempt: Option<State>,
    version: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let disk = CrashDisk::new(BLOCKS, seed);
        let (journal, replayed) = run(OriginJournal::recover(&disk)).unwrap();
        assert_eq!(replayed, Replayed::default());
        let mut world = Self {
            rng: Rng::new(seed),
            disk,
            journal: journal.expect("the disk is large enough"),
            state: State::new(),
            pending: Vec::new(),
            attempt: None,
            version: 0,
        };
        // Blocks that a transaction has not changed are checked too.
        for block in 0..40 {
            run(world.disk.write(block, &content(block, 0))).unwrap();
            world.state.insert(block, 0);
        }
        run(world.disk.flush()).unwrap();
        world
    }

    /// Few different blocks, some of them neighbours, and now and then as many as go.
    fn transaction(&mut self) -> (Transaction, State) {
        let most = if self.rng.chance(5) { 256 } else { 12 };
        let (mut transaction, mut state) = (Transaction::new(), self.state.clone());
        let mut block = self.rng.below(30);
        for _ in 0..=self.rng.below(most) {
            self.version += 1;
            transaction.push(block, &content(block, self.version));
            state.insert(block, self.version);
            block = if self.rng.chance(70) {
                (block + 1) % 400
            } else {
                self.rng.below(40)
            };
        }
        (transaction, state)
    }

    /// Writes the oldest pending transaction to its places.
    fn apply(&mut self) -> Result<(), IoError> {
        if !self.pending.is_empty() {
            run(self.pending[0].write_in_place(&self.disk))?;
            run(self.disk.flush())?;
            self.pending.remove(0);
            self.journal.applied();
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), IoError> {
        if self.pending.len() == 2 || self.rng.chance(40) {
            return self.apply();
        }
        if self.rng.chance(20) {
            return self.write_directly();
        }
        let (mut transaction, state) = self.transaction();
        self.attempt = Some(state.clone());
        run(self.journal.write(&self.disk, &mut transaction))?;
        self.attempt = None;
        self.state = state;
        self.pending.push(transaction);
        Ok(())
    }

    /// A write past the journal, which nothing in the journal may undo.
    fn write_directly(&mut self) -> Result<(), IoError> {
        while !self.pending.is_empty() {
            self.apply()?;
        }
        run(self.journal.settle(&self.disk))?;
        let fault = self.disk.fault.replace(Fault::Never);
        self.version += 1;
        let block = self.rng.below(40);
        run(self.disk.write(block, &content(block, self.version))).unwrap();
        run(self.disk.flush()).unwrap();
        self.disk.fault.set(fault);
        self.state.insert(block, self.version);
        Ok(())
    }

    /// The power goes, and again while the journal is recovered.
    fn reboot(&mut self, seed: u64) -> u32 {
        self.disk.cut();
        if self.rng.chance(50) {
            self.disk.fault.set(Fault::CutAfter(self.rng.below(8)));
            let _ = run(OriginJournal::recover(&self.disk));
            self.disk.cut();
        }
        let (journal, replayed) = run(OriginJournal::recover(&self.disk)).unwrap();
        self.journal = journal.unwrap();
        let attempt = self.attempt.take();
        if !check(&self.disk, &self.state) {
            self.state = attempt.expect("only what was under way may have changed");
            assert!(check(&self.disk, &self.state), "seed {seed}");
        }
        self.pending.clear();
        let (_, again) = run(OriginJournal::recover(&self.disk)).unwrap();
        assert_eq!(again, Replayed::default(), "seed {seed}");
        replayed.transactions
    }
}

#[test]
fn blocks_are_as_between_two_transactions_after_any_cut() {
    let mut replayed = 0;
    for seed in 0..60 {
        let mut world = World::new(seed);
        for _ in 0..10 {
            let after = world.rng.below(60);
            world.disk.fault.set(Fault::CutAfter(after));
            while world.step().is_ok() {}
            replayed += world.reboot(seed);
        }
    }
    assert!(replayed > 300, "{replayed} replayed");
}

/// A transaction that failed is written again or given up.
#[test]
fn failed_transactions_do_not_come_back() {
    for seed in 100..140 {
        let mut world = World::new(seed);
        for _ in 0..40 {
            world.disk.fault.set(Fault::After(world.rng.below(20)));
            if world.step().is_ok() {
                continue;
            }
            world.disk.fault.set(Fault::Never);
            while world.step().is_err() || world.attempt.is_some() {
                // What failed may be what recovery finds, unless this gives it up.
                world.attempt = None;
                world.write_directly().unwrap();
            }
        }
        world.reboot(seed);
    }
}

#[test]
fn disks_are_too_small_or_have_a_journal() {
    assert_eq!(journal_blocks(0), 0);
    assert_eq!(journal_blocks(BLOCKS - 1), 0);
    assert_eq!(journal_blocks(BLOCKS), 515);
    assert_eq!(journal_blocks(u32::MAX), 515);
    let disk = CrashDisk::new(BLOCKS - 1, 0);
    let (journal, _) = run(OriginJournal::recover(&disk)).unwrap();
    assert!(journal.is_none());
}

#[test]
#[should_panic(expected = "a block of the journal")]
fn no_transaction_reaches_into_the_journal() {
    let world = World::new(0);
    let mut transaction = Transaction::new();
    transaction.push(world.journal.first(), &content(0, 0));
    let _ = run(world.journal.write(&world.disk, &mut transaction));
}

#[test]
#[should_panic(expected = "both areas are in use")]
fn no_transaction_is_overwritten_before_it_is_applied() {
    let mut world = World::new(0);
    for _ in 0..3 {
        let (mut transaction, _) = world.transaction();
        let _ = run(world.journal.write(&world.disk, &mut transaction));
    }
}
