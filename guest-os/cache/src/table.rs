//! Blocks by slot and slots by block, and lists of slots: what every policy is
//! built of.
//!
//! An entry is 12 bytes. Its links are 27 bits wide; the block is not stored but
//! follows from where the entry is: a hash bucket is named by the high bits of
//! the block's scrambled number, the entry has the low ones, and a chain
//! ends in the number of its own bucket, so that the bucket of an entry is found
//! by walking to the chain's end (1.5 to 2 steps in a full table).
//!
//! ```text
//!          31      29 28 27 26                                0
//! word 0  | place   | count | previous in the list             |
//! word 1  | mark, f | low 2 | next in the list                 |
//! word 2  | the rest of the scrambled block | next in the chain|
//! ```
//!
//! With `b` bits of bucket number the chain link takes `b + 2` bits (an entry or
//! a bucket), which leaves `30 - b` of the `32 - b` bits that the bucket does not
//! tell; the lowest 2 are in word 1. With as many buckets as slots or up to half
//! as few this is 14 to 16 bytes a slot. An entry with the block and a chain
//! link in full, or an open-addressed table beside the links, would be 18 to 20.
//!
//! A list is a ring through a sentinel entry after the last slot, so that taking
//! a slot out of its list needs neither the list nor a branch.

use alloc::boxed::Box;
use alloc::vec;

use crate::permutation::{scramble, unscramble};

const LINK_BITS: u32 = 27;
const LINK: u32 = (1 << LINK_BITS) - 1;
const LOW: u32 = 3 << LINK_BITS;
const COUNT_SHIFT: u32 = LINK_BITS;
const COUNT: u32 = 3 << COUNT_SHIFT;
const PLACE_SHIFT: u32 = 29;
const PLACE: u32 = 7 << PLACE_SHIFT;
const FLAG: u32 = 1 << 29;
const MARK_SHIFT: u32 = 30;
const MARK: u32 = 3 << MARK_SHIFT;

/// Lists that a table can have.
pub const MAX_LISTS: u32 = 8;

/// Slots that a table can have: what a link can tell apart, less the lists.
pub const MAX_SLOTS: u32 = (1 << LINK_BITS) - MAX_LISTS;

/// Where a slot is, 3 bits. The first two are the same for every policy; what the
/// others mean is the policy's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u8);

impl Place {
    /// Not the guest's for now.
    pub const ABSENT: Self = Self(0);
    /// The guest's, with nothing in it.
    pub const FREE: Self = Self(1);

    /// One of the 6 places of a policy.
    pub const fn of_policy(index: u8) -> Self {
        assert!(index < 6, "a policy has 6 places");
        Self(index + 2)
    }

    /// Whether a block is in a slot at this place.
    #[inline]
    pub fn is_cached(self) -> bool {
        self.0 >= 2
    }
}

/// A list of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct List(u32);

/// Blocks in slots, and lists of slots.
#[derive(Clone, Debug)]
pub struct Table {
    /// The first entry of each chain, or the end of an empty one.
    heads: Box<[u32]>,
    /// The slots, then the sentinels of the lists.
    entries: Box<[[u32; 3]]>,
    slots: u32,
    bucket_bits: u32,
    /// The bits of word 2 that are the chain's link.
    chain: u32,
}

impl Table {
    /// A table of `slots` slots, all absent, and `lists` empty lists.
    ///
    /// # Panics
    /// With more than [`MAX_SLOTS`] or [`MAX_LISTS`].
    pub fn new(slots: u32, lists: u32) -> Self {
        assert!(slots <= MAX_SLOTS, "{slots} slots: at most {MAX_SLOTS}");
        assert!(lists <= MAX_LISTS, "{lists} lists: at most {MAX_LISTS}");
        let bucket_bits = slots.max(1).ilog2();
        let mut table = Self {
            heads: (slots..slots + (1 << bucket_bits)).collect(),
            entries: vec![[0; 3]; (slots + lists) as usize].into_boxed_slice(),
            slots,
            bucket_bits,
            chain: (1 << (bucket_bits + 2)) - 1,
        };
        for sentinel in slots..slots + lists {
            table.entries[sentinel as usize] = [sentinel, sentinel, 0];
        }
        table
    }

    /// How many slots there are, present or absent.
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// The list of a number.
    #[inline]
    pub fn list(&self, number: u32) -> List {
        debug_assert!(self.slots + number < self.entries.len() as u32);
        List(self.slots + number)
    }

    /// Bytes of heap.
    pub fn memory_bytes(&self) -> usize {
        size_of_val(&*self.heads) + size_of_val(&*self.entries)
    }

    fn bucket(&self, scrambled: u32) -> usize {
        (u64::from(scrambled) >> (32 - self.bucket_bits)) as usize
    }

    /// The slot that `block` is in.
    #[inline]
    pub fn find(&self, block: u32) -> Option<u32> {
        let scrambled = scramble(block);
        let rest = scrambled << self.bucket_bits;
        let low = scrambled << LINK_BITS;
        let mut slot = self.heads[self.bucket(scrambled)];
        while slot < self.slots {
            let [_, next, chain] = self.entries[slot as usize];
            if (chain ^ rest) <= self.chain && (next ^ low) & LOW == 0 {
                return Some(slot);
            }
            slot = chain & self.chain;
        }
        None
    }

    /// Puts `block` into a slot that has none. Its place is for the caller to set.
    #[inline]
    pub fn insert(&mut self, slot: u32, block: u32) {
        let scrambled = scramble(block);
        let bucket = self.bucket(scrambled);
        let entry = &mut self.entries[slot as usize];
        entry[2] = (scrambled << self.bucket_bits) & !self.chain | self.heads[bucket];
        entry[1] = entry[1] & !LOW | (scrambled << LINK_BITS) & LOW;
        self.heads[bucket] = slot;
    }

    /// The bucket of a slot's chain.
    #[inline]
    fn bucket_of(&self, slot: u32) -> u32 {
        let mut at = slot;
        while at < self.slots {
            at = self.entries[at as usize][2] & self.chain;
        }
        at - self.slots
    }

    #[inline]
    fn block_in(&self, slot: u32, bucket: u32) -> u32 {
        let [_, next, chain] = self.entries[slot as usize];
        let high = (u64::from(bucket) << (32 - self.bucket_bits)) as u32;
        let rest = (chain & !self.chain) >> self.bucket_bits;
        unscramble(high | rest | (next & LOW) >> LINK_BITS)
    }

    /// The block in a slot that has one.
    #[inline]
    pub fn block(&self, slot: u32) -> u32 {
        self.block_in(slot, self.bucket_of(slot))
    }

    /// Takes the block out of a slot that has one.
    #[inline]
    pub fn remove(&mut self, slot: u32) -> u32 {
        let bucket = self.bucket_of(slot);
        let block = self.block_in(slot, bucket);
        let after = self.entries[slot as usize][2] & self.chain;
        let first = self.heads[bucket as usize];
        if first == slot {
            self.heads[bucket as usize] = after;
            return block;
        }
        let mut before = first as usize;
        while self.entries[before][2] & self.chain != slot {
            before = (self.entries[before][2] & self.chain) as usize;
        }
        self.entries[before][2] = self.entries[before][2] & !self.chain | after;
        block
    }

    /// Where a slot is.
    #[inline]
    pub fn place(&self, slot: u32) -> Place {
        Place((self.entries[slot as usize][0] >> PLACE_SHIFT) as u8)
    }

    /// Says where a slot is from now on.
    #[inline]
    pub fn set_place(&mut self, slot: u32, place: Place) {
        let word = &mut self.entries[slot as usize][0];
        *word = *word & !PLACE | u32::from(place.0) << PLACE_SHIFT;
    }

    /// A slot's count, 0 to 3, the policy's own.
    #[inline]
    pub fn count(&self, slot: u32) -> u32 {
        (self.entries[slot as usize][0] & COUNT) >> COUNT_SHIFT
    }

    /// Sets a slot's count, 0 to 3.
    #[inline]
    pub fn set_count(&mut self, slot: u32, count: u32) {
        debug_assert!(count <= 3);
        let word = &mut self.entries[slot as usize][0];
        *word = *word & !COUNT | count << COUNT_SHIFT;
    }

    /// A slot's flag, which no policy looks at.
    #[inline]
    pub fn has_flag(&self, slot: u32) -> bool {
        self.entries[slot as usize][1] & FLAG != 0
    }

    /// Sets a slot's flag.
    #[inline]
    pub fn set_flag(&mut self, slot: u32, flag: bool) {
        let word = &mut self.entries[slot as usize][1];
        *word = *word & !FLAG | if flag { FLAG } else { 0 };
    }

    /// A slot's mark, 0 to 3, which no policy looks at.
    #[inline]
    pub fn mark(&self, slot: u32) -> u8 {
        (self.entries[slot as usize][1] >> MARK_SHIFT) as u8
    }

    /// Sets a slot's mark, 0 to 3.
    #[inline]
    pub fn set_mark(&mut self, slot: u32, mark: u8) {
        debug_assert!(mark < 4);
        let word = &mut self.entries[slot as usize][1];
        *word = *word & !MARK | u32::from(mark) << MARK_SHIFT;
    }

    #[inline]
    fn previous(&self, entry: u32) -> u32 {
        self.entries[entry as usize][0] & LINK
    }

    #[inline]
    fn next(&self, entry: u32) -> u32 {
        self.entries[entry as usize][1] & LINK
    }

    #[inline]
    fn join(&mut self, left: u32, right: u32) {
        let word = &mut self.entries[left as usize][1];
        *word = *word & !LINK | right;
        let word = &mut self.entries[right as usize][0];
        *word = *word & !LINK | left;
    }

    /// Puts a slot that is in no list before all others of `list`.
    #[inline]
    pub fn push_front(&mut self, list: List, slot: u32) {
        let front = self.next(list.0);
        self.join(slot, front);
        self.join(list.0, slot);
    }

    /// Puts a slot that is in no list after all others of `list`.
    #[inline]
    pub fn push_back(&mut self, list: List, slot: u32) {
        let back = self.previous(list.0);
        self.join(back, slot);
        self.join(slot, list.0);
    }

    /// Puts a slot that is in no list right after `other`, which is in one.
    #[inline]
    pub fn push_after(&mut self, other: u32, slot: u32) {
        let next = self.next(other);
        self.join(slot, next);
        self.join(other, slot);
    }

    /// Takes a slot out of the list that it is in.
    #[inline]
    pub fn unlink(&mut self, slot: u32) {
        let [previous, next, _] = self.entries[slot as usize];
        self.join(previous & LINK, next & LINK);
    }

    /// Moves a slot to the front of `list`, from wherever it is.
    #[inline]
    pub fn move_to_front(&mut self, list: List, slot: u32) {
        if self.next(list.0) != slot {
            self.unlink(slot);
            self.push_front(list, slot);
        }
    }

    fn slot(&self, entry: u32) -> Option<u32> {
        (entry < self.slots).then_some(entry)
    }

    /// The first slot of a list.
    #[inline]
    pub fn front(&self, list: List) -> Option<u32> {
        self.slot(self.next(list.0))
    }

    /// The last slot of a list.
    #[inline]
    pub fn back(&self, list: List) -> Option<u32> {
        self.slot(self.previous(list.0))
    }

    /// The slot before `slot` in its list, towards the front.
    #[inline]
    pub fn before(&self, slot: u32) -> Option<u32> {
        self.slot(self.previous(slot))
    }

    /// The slot after `slot` in its list, towards the back.
    #[inline]
    pub fn after(&self, slot: u32) -> Option<u32> {
        self.slot(self.next(slot))
    }

    /// Takes the last slot of a list out of it.
    #[inline]
    pub fn pop_back(&mut self, list: List) -> Option<u32> {
        let slot = self.back(list)?;
        self.unlink(slot);
        Some(slot)
    }

    /// The slots of a list from its front to its back.
    pub fn forwards(&self, list: List) -> impl Iterator<Item = u32> {
        core::iter::successors(self.front(list), |&slot| self.after(slot))
    }

    /// The slots of a list from its back to its front.
    pub fn backwards(&self, list: List) -> impl Iterator<Item = u32> {
        core::iter::successors(self.back(list), |&slot| self.before(slot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// Blocks whose scrambled numbers differ in one bit each, so that the difference is once in
    /// every part of an entry, or in the bucket.
    fn close_blocks() -> Vec<u32> {
        let bits = (0..32).map(|bit| 1 << bit);
        [0].into_iter().chain(bits).map(unscramble).collect()
    }

    #[test]
    fn blocks_are_told_apart_in_tables_of_any_size() {
        let blocks = close_blocks();
        for slots in [33, 63, 64, 65, 127, 1000, 1 << 16, (1 << 20) - 1] {
            let mut table = Table::new(slots, 0);
            let taken = |i: usize| slots - 1 - i as u32;
            for (i, &block) in blocks.iter().enumerate() {
                assert_eq!(table.find(block), None, "{slots} slots, {block}");
                table.insert(taken(i), block);
            }
            for (i, &block) in blocks.iter().enumerate() {
                assert_eq!(table.find(block), Some(taken(i)), "{slots} slots");
                assert_eq!(table.block(taken(i)), block, "{slots} slots");
            }
            for (i, &block) in blocks.iter().enumerate().rev() {
                assert_eq!(table.remove(taken(i)), block, "{slots} slots");
                assert_eq!(table.find(block), None);
            }
        }
    }

    #[test]
    fn a_table_of_few_slots_or_none_works() {
        assert_eq!(Table::new(0, 2).find(7), None);
        for slots in 1..5 {
            let mut table = Table::new(slots, 1);
            (0..slots).for_each(|slot| table.insert(slot, slot ^ u32::MAX));
            assert!((0..slots).all(|slot| table.find(slot ^ u32::MAX) == Some(slot)));
            assert_eq!(table.remove(slots - 1), (slots - 1) ^ u32::MAX);
            assert_eq!(table.find((slots - 1) ^ u32::MAX), None);
        }
    }

    #[test]
    fn the_parts_of_an_entry_do_not_touch() {
        let mut table = Table::new(100, 1);
        let list = table.list(0);
        table.insert(99, 12_345);
        table.push_front(list, 98);
        table.push_front(list, 99);
        for (count, flag, mark, index) in [
            (3, true, 3, 5),
            (0, true, 3, 0),
            (3, false, 0, 5),
            (1, true, 2, 2),
        ] {
            table.set_count(99, count);
            table.set_flag(99, flag);
            table.set_mark(99, mark);
            table.set_place(99, Place::of_policy(index));
            assert_eq!(table.count(99), count);
            assert_eq!((table.has_flag(99), table.mark(99)), (flag, mark));
            assert_eq!(table.place(99), Place::of_policy(index));
            assert_eq!(table.find(12_345), Some(99));
            assert!(table.forwards(list).eq([99, 98]));
            assert!(table.backwards(list).eq([98, 99]));
        }
        table.unlink(98);
        assert!(table.forwards(list).eq([99]));
    }
}
