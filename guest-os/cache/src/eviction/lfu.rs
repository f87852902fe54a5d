//! Least frequently used: what was requested least often since it came goes, the
//! one that has had its count longest first.
//!
//! The perfect form of what A. V. Aho, P. J. Denning, J. D. Ullman, "Principles of
//! optimal page replacement", JACM 18(1), 1971 show to be best for independent
//! requests; in constant time after K. Shah, A. Mitra, D. Matani, "An O(1)
//! algorithm for implementing the LFU cache eviction scheme", 2010.
//!
//! All slots are in one list by count, and those of a count are a group that
//! knows its last slot, after which the next one that reaches the count belongs.
//! There are as many groups as counts in use: with n different ones there were at
//! least n²/2 requests, so that they stay few.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use super::{Eviction, check_single, list};
use crate::table::{Place, Table};

const CACHED: Place = Place::of_policy(0);

/// The slots of one count.
#[derive(Clone, Debug)]
struct Group {
    count: u64,
    last: u32,
    len: u32,
}

/// LFU. What goes first is in front.
#[derive(Clone, Debug)]
pub struct Lfu {
    group_of: Box<[u32]>,
    groups: Vec<Group>,
    /// Groups of no slot.
    unused: Vec<u32>,
}

impl Lfu {
    fn group(&mut self, slot: u32) -> &mut Group {
        &mut self.groups[self.group_of[slot as usize] as usize]
    }

    /// Makes a group of one slot.
    fn found(&mut self, slot: u32, count: u64) {
        let group = Group {
            count,
            last: slot,
            len: 1,
        };
        self.group_of[slot as usize] = match self.unused.pop() {
            Some(unused) => {
                self.groups[unused as usize] = group;
                unused
            }
            None => {
                self.groups.push(group);
                self.groups.len() as u32 - 1
            }
        };
    }

    /// Puts a slot that is in no list at the end of the group of `member`.
    fn join(&mut self, table: &mut Table, slot: u32, member: u32) {
        self.group_of[slot as usize] = self.group_of[member as usize];
        let group = self.group(member);
        let last = core::mem::replace(&mut group.last, slot);
        group.len += 1;
        table.push_after(last, slot);
    }

    /// Takes a slot out of its group and the list.
    fn leave(&mut self, table: &mut Table, slot: u32) {
        let group = self.group(slot);
        group.len -= 1;
        if group.len == 0 {
            self.unused.push(self.group_of[slot as usize]);
        } else if group.last == slot {
            group.last = table.before(slot).expect("the rest of its group");
        }
        table.unlink(slot);
    }
}

impl Eviction for Lfu {
    const LISTS: u32 = 1;

    fn new(slots: u32) -> Self {
        Self {
            group_of: vec![0; slots as usize].into_boxed_slice(),
            groups: Vec::new(),
            unused: Vec::new(),
        }
    }

    fn hit(&mut self, table: &mut Table, slot: u32, _block: u32) {
        let &mut Group { count, last, len } = self.group(slot);
        let next = table.after(last);
        let next = next.filter(|&next| self.group(next).count == count + 1);
        match next {
            Some(next) => {
                self.leave(table, slot);
                self.join(table, slot, next);
            }
            None if len == 1 => self.group(slot).count += 1,
            None => {
                let name = self.group_of[slot as usize];
                self.leave(table, slot);
                table.push_after(self.groups[name as usize].last, slot);
                self.found(slot, count + 1);
            }
        }
    }

    fn evict(&mut self, table: &mut Table, _incoming: Option<u32>) -> u32 {
        let slot = table.front(list(table, 0)).expect("a cached block");
        self.leave(table, slot);
        slot
    }

    fn insert(&mut self, table: &mut Table, slot: u32, _block: u32) {
        table.set_place(slot, CACHED);
        match table.front(list(table, 0)) {
            Some(front) if self.group(front).count == 1 => self.join(table, slot, front),
            _ => {
                table.push_front(list(table, 0), slot);
                self.found(slot, 1);
            }
        }
    }

    fn remove(&mut self, table: &mut Table, slot: u32) {
        self.leave(table, slot);
    }

    fn memory_bytes(&self) -> usize {
        size_of_val(&*self.group_of)
            + self.groups.capacity() * size_of::<Group>()
            + self.unused.capacity() * size_of::<u32>()
    }

    fn check(&self, table: &Table, len: u32) {
        check_single(table, len);
        let mut slots = table.forwards(list(table, 0)).peekable();
        let mut count = 0;
        while let Some(first) = slots.next() {
            let name = self.group_of[first as usize];
            let group = &self.groups[name as usize];
            assert!(group.count > count && !self.unused.contains(&name));
            count = group.count;
            let mut last = (first, 1);
            while let Some(slot) = slots.next_if(|&slot| self.group_of[slot as usize] == name) {
                last = (slot, last.1 + 1);
            }
            assert_eq!((group.last, group.len), last);
        }
    }
}
