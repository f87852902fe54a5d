//! ARC: two LRU lists, of blocks requested once (T1) and more often (T2), and as
//! much memory of what went from each (B1, B2). A request for a block remembered
//! in B1 says that T1 is too short, one in B2 that T2 is: the target length `p`
//! of T1 moves.
//!
//! N. Megiddo, D. S. Modha, "ARC: a self-tuning, low overhead replacement cache",
//! FAST 2003, Figure 4. As in libCacheSim, `p` and its steps are fractions.
//!
//! The paper's limits, |T1| + |B1| <= c and all four <= 2c, are held when a block
//! has come in rather than before one goes, which comes to the same with a full
//! cache and also holds with free slots.

use super::ghosts::{Ghosts, STEPS};
use super::{Eviction, check_lists, list};
use crate::table::{Place, Table};

const ONCE: Place = Place::of_policy(0);
const OFTEN: Place = Place::of_policy(1);
const T1: u32 = 0;
const T2: u32 = 1;
const B1: u8 = 0;
const B2: u8 = 1;

/// ARC. What was requested last is in front.
#[derive(Clone, Debug)]
pub struct Arc {
    ghosts: Ghosts,
    capacity: u32,
    once: u32,
    often: u32,
    /// The target length of T1.
    p: f64,
    /// Which of B1 and B2 had the block that is coming in.
    remembered: Option<u8>,
}

impl Arc {
    /// Forgets what is beyond the limits, or some of it.
    fn trim(&mut self) {
        for _ in 0..STEPS {
            let [b1, b2] = [self.ghosts.len(B1), self.ghosts.len(B2)];
            if b1 > 0 && self.once + b1 > self.capacity {
                self.ghosts.forget_oldest(B1);
            } else if b1 + b2 > self.capacity {
                self.ghosts.forget_oldest(if b2 > 0 { B2 } else { B1 });
            }
        }
    }
}

impl Eviction for Arc {
    const LISTS: u32 = 2;

    fn new(slots: u32) -> Self {
        Self {
            // One more between a block's going and the next one's coming.
            ghosts: Ghosts::new(slots + 1),
            capacity: 0,
            once: 0,
            often: 0,
            p: 0.0,
            remembered: None,
        }
    }

    fn resize(&mut self, capacity: u32) {
        self.capacity = capacity;
        self.p = self.p.min(f64::from(capacity));
    }

    #[inline]
    fn hit(&mut self, table: &mut Table, slot: u32, _block: u32) {
        if table.place(slot) == ONCE {
            table.set_place(slot, OFTEN);
            self.once -= 1;
            self.often += 1;
        }
        table.move_to_front(list(table, T2), slot);
    }

    fn prepare(&mut self, block: u32) {
        let lens = [self.ghosts.len(B1), self.ghosts.len(B2)].map(f64::from);
        self.remembered = self.ghosts.take(block);
        match self.remembered {
            Some(B1) => {
                let longer = self.p + (lens[1] / lens[0]).max(1.0);
                self.p = longer.min(f64::from(self.capacity));
            }
            Some(_) => self.p = (self.p - (lens[0] / lens[1]).max(1.0)).max(0.0),
            None => {}
        }
    }

    /// REPLACE of the paper.
    fn evict(&mut self, table: &mut Table, incoming: Option<u32>) -> u32 {
        let once = f64::from(self.once);
        let in_b2 = incoming.is_some() && self.remembered == Some(B2);
        let is_long = once > self.p || once == self.p && in_b2;
        let (queue, ghosts) = if self.often == 0 || self.once > 0 && is_long {
            self.once -= 1;
            (T1, B1)
        } else {
            self.often -= 1;
            (T2, B2)
        };
        let slot = table.pop_back(list(table, queue)).expect("a cached block");
        if incoming.is_some() {
            self.ghosts.remember(ghosts, table.block(slot));
        }
        slot
    }

    #[inline]
    fn insert(&mut self, table: &mut Table, slot: u32, _block: u32) {
        let (place, queue) = if self.remembered.is_some() {
            self.often += 1;
            (OFTEN, T2)
        } else {
            self.once += 1;
            (ONCE, T1)
        };
        table.set_place(slot, place);
        table.push_front(list(table, queue), slot);
        self.trim();
    }

    fn remove(&mut self, table: &mut Table, slot: u32) {
        if table.place(slot) == ONCE {
            self.once -= 1;
        } else {
            self.often -= 1;
        }
        table.unlink(slot);
    }

    fn memory_bytes(&self) -> usize {
        self.ghosts.memory_bytes()
    }

    fn check(&self, table: &Table, len: u32) {
        assert_eq!(self.once + self.often, len);
        check_lists(table, &[(ONCE, self.once), (OFTEN, self.often)]);
        assert!(self.ghosts.len(B1) + self.ghosts.len(B2) <= table.slots());
        self.ghosts.check(table);
    }
}
