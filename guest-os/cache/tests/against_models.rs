//! Every policy against its naive model, while slots come and go at random.

#![allow(clippy::print_stdout, reason = "a test prints its seed")]

mod common;
mod models;

use std::collections::{BTreeMap, BTreeSet};

use common::{Rng, Zipf};
use guest_cache::{Admission, AnyCache, Cached, Policy, Revoked};
use models::{Model, model};

/// A cache, its model, and what a caller knows of its slots.
struct Pair {
    cache: AnyCache,
    model: Box<dyn Model>,
    slots: u32,
    free: BTreeSet<u32>,
    cached: BTreeMap<u32, (u32, bool)>,
    /// Of every slot, absent ones too.
    marks: Vec<u8>,
}

impl Pair {
    fn new(policy: Policy, slots: u32) -> Self {
        Self {
            cache: policy.cache(slots),
            model: model(policy, slots),
            slots,
            free: BTreeSet::new(),
            cached: BTreeMap::new(),
            marks: vec![0; slots as usize],
        }
    }

    fn capacity(&self) -> usize {
        self.free.len() + self.cached.len()
    }

    fn request(&mut self, block: u32, admit: bool) {
        let found = self.cache.access(block);
        assert_eq!(found, self.cached.get(&block).map(|known| known.0));
        if found.is_some() {
            self.model.hit(block);
            return;
        }
        self.model.missed(block);
        if admit {
            self.admit(block);
        }
    }

    fn admit(&mut self, block: u32) {
        let Admission::Admitted { slot, evicted } = self.cache.admit(block) else {
            assert_eq!(self.capacity(), 0, "bypassed with room");
            return;
        };
        self.model.prepare(block);
        if let Some(evicted) = evicted {
            assert!(self.free.is_empty(), "evicted with a free slot");
            let expected = self.model.evict(Some(block));
            self.gone(expected, evicted);
            assert_eq!(evicted.slot, slot);
        } else {
            assert!(self.free.remove(&slot), "slot {slot} was not free");
        }
        self.model.insert(block);
        self.cached.insert(block, (slot, false));
    }

    /// The cache says that `cached` goes, and it should be `expected`.
    fn gone(&mut self, expected: u32, cached: Cached) {
        assert_eq!(cached.block, expected);
        let known = self.cached.remove(&cached.block);
        assert_eq!(known, Some((cached.slot, cached.flag)));
    }

    fn discard(&mut self, block: u32) {
        let Some(cached) = self.cache.discard(block) else {
            assert!(!self.cached.contains_key(&block));
            return;
        };
        self.gone(block, cached);
        self.model.remove(block);
        self.free.insert(cached.slot);
    }

    fn revoke(&mut self, slot: u32) {
        match self.cache.revoke(slot) {
            Revoked::Absent => {
                assert!(!self.free.contains(&slot));
                assert!(self.cached.values().all(|known| known.0 != slot));
                return;
            }
            Revoked::Free => assert!(self.free.remove(&slot)),
            Revoked::Cached(cached) => {
                assert_eq!(cached.slot, slot);
                self.gone(cached.block, cached);
                self.model.remove(cached.block);
            }
        }
        self.model.resize(self.capacity());
    }

    fn surrender(&mut self, count: u32) {
        let mut given = Vec::new();
        let expected = (count as usize).min(self.capacity());
        let said = self
            .cache
            .surrender(count, |slot, cached| given.push((slot, cached)));
        assert_eq!((said as usize, given.len()), (expected, expected));
        for (slot, cached) in given {
            let Some(cached) = cached else {
                assert!(self.free.remove(&slot));
                continue;
            };
            assert!(self.free.is_empty(), "gave up a block before a free slot");
            assert_eq!(cached.slot, slot);
            let expected = self.model.evict(None);
            self.gone(expected, cached);
        }
        self.model.resize(self.capacity());
    }

    /// Gives slots up, but blocks that `keep` says only after all others.
    fn surrender_keeping(&mut self, count: u32, keep: impl Fn(u32) -> bool) {
        let block_in: BTreeMap<u32, u32> = self.cached.iter().map(|(&b, &(s, _))| (s, b)).collect();
        let mut rest = self.cache.clone();
        let mut order = Vec::new();
        rest.surrender(u32::MAX, |_, cached| {
            order.extend(cached.map(|cached| cached.block));
        });
        let (kept, others): (Vec<u32>, Vec<u32>) = order.into_iter().partition(|&it| keep(it));
        let mut expected = others.into_iter().chain(kept);
        let given = (count as usize).min(self.capacity());
        let free = given.min(self.free.len());
        let mut gone = Vec::new();
        let is_kept = |slot, block| {
            assert_eq!(block_in.get(&slot), Some(&block));
            keep(block)
        };
        let said = self
            .cache
            .surrender_keeping(count, is_kept, |slot, cached| gone.push((slot, cached)));
        assert_eq!((said as usize, gone.len()), (given, given));
        for (at, (slot, cached)) in gone.into_iter().enumerate() {
            assert_eq!(cached.is_none(), at < free, "slot {slot} is number {at}");
            let Some(cached) = cached else {
                assert!(self.free.remove(&slot));
                continue;
            };
            assert_eq!(cached.slot, slot);
            let expected = expected.next().expect("a block");
            self.gone(expected, cached);
            self.model.remove(expected);
        }
        self.model.resize(self.capacity());
    }

    fn grow(&mut self, first: u32, count: u32) {
        let slots = first..(first + count).min(self.slots);
        self.cache.grow(slots.clone());
        let cached: BTreeSet<u32> = self.cached.values().map(|known| known.0).collect();
        self.free
            .extend(slots.filter(|slot| !cached.contains(slot)));
        self.model.resize(self.capacity());
    }

    fn flag(&mut self, block: u32, flag: bool) {
        if let Some(known) = self.cached.get_mut(&block) {
            known.1 = flag;
            self.cache.set_flag(known.0, flag);
        }
    }

    fn mark(&mut self, slot: u32, mark: u8) {
        self.cache.set_mark(slot, mark);
        self.marks[slot as usize] = mark;
    }

    fn check(&self) {
        self.cache.check();
        assert_eq!(self.cache.capacity() as usize, self.capacity());
        assert_eq!(self.cache.len() as usize, self.cached.len());
        let mut seen = BTreeMap::new();
        self.cache.for_each(|(block, slot)| {
            assert_eq!(self.cache.block(slot), Some(block));
            seen.insert(block, (slot, self.cache.has_flag(slot)));
        });
        assert_eq!(seen, self.cached);
        let marks = (0..self.slots).map(|slot| self.cache.mark(slot));
        assert!(marks.eq(self.marks.iter().copied()), "a mark moved");
    }
}

/// `steps` steps on a cache of up to `slots` slots. `quiet` ones are requests for
/// the greater part, so that policies get into their stride; else slots come and
/// go all the time.
fn run(policy: Policy, slots: u32, seed: u64, steps: u32, quiet: bool) {
    println!("{policy}: {slots} slots, seed {seed}, quiet {quiet}");
    let mut rng = Rng::new(seed);
    let mut pair = Pair::new(policy, slots);
    pair.grow(0, slots);
    let zipf = Zipf::new(4 * slots + 4);
    for step in 0..steps {
        let block = common::block(match rng.below(4) {
            0 => step % (2 * slots + 2),
            _ => zipf.next(&mut rng),
        });
        match rng.below(if quiet { 4000 } else { 100 }) {
            0 => pair.surrender(rng.below(slots / 4 + 2)),
            1 => {
                let odds = rng.below(5);
                let keep = |block: u32| !block.is_multiple_of(odds);
                pair.surrender_keeping(rng.below(slots / 4 + 2), keep);
            }
            2 if rng.below(20) == 0 => pair.surrender(u32::MAX),
            2..7 => pair.revoke(rng.below(slots)),
            7..14 => pair.grow(rng.below(slots), slots / 4 + 1),
            14..17 => pair.discard(block),
            17..19 => pair.flag(block, rng.below(2) == 1),
            19 => pair.mark(rng.below(slots), rng.below(4) as u8),
            20..24 => pair.request(block, false),
            _ => pair.request(block, true),
        }
        if step % 64 == 0 {
            pair.check();
        }
    }
    pair.check();
}

#[test]
fn policies_do_as_their_models_do() {
    for &policy in Policy::ALL {
        for seed in 0..40 {
            let slots = 1 + Rng::new(seed ^ 0x5107).below(60);
            run(policy, slots, seed, 3000, seed % 2 == 0);
        }
        run(policy, 400, 99, 20_000, true);
    }
}

#[test]
fn without_a_slot_everything_bypasses() {
    for &policy in Policy::ALL {
        for mut cache in [policy.cache(0), policy.cache(5)] {
            assert_eq!(cache.access(3), None);
            assert_eq!(cache.admit(3), Admission::Bypassed);
            assert_eq!(cache.surrender(7, |_, _| panic!("no slot")), 0);
            let keep = |_, _| panic!("no block");
            let each = |_, _| panic!("no slot");
            assert_eq!(cache.surrender_keeping(7, keep, each), 0);
            cache.check();
        }
    }
}
