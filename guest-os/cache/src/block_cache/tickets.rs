//! Whose turn it is: what a request touches it gets in the order of arrival.
//!
//! A request enters, when it arrives, the queue of everything that it touches: its
//! block, its slot, and the block that has to go for it. Those that share (reads of
//! a slot) go together, others one by one. Since a ticket enters all its queues at
//! once, it waits for earlier tickets only, so that there is no circle of waiting:
//! the argument of deterministic databases (A. Thomson et al., "Calvin: fast
//! distributed transactions for partitioned database systems", SIGMOD 2012).
//!
//! ```text
//!   block 7   [read 1][read 2] [write 4]          1 and 2 have their turn, 4 has
//!   slot 3    [read 1][read 2] [write 4]          it when both have left, 5 when
//!   block 9             [fill 3]    [read 5]      3 has
//!   slot 8              [fill 3]
//! ```
//!
//! The queues are lists through one slab of links, so that entering and leaving
//! allocates only when there are more requests than ever before.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// No link, or no ticket.
const NONE: u32 = u32::MAX;

/// What a ticket may touch at most: a block, a slot, a block that goes.
const TOUCHED: usize = 3;

/// What has a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touched {
    /// A block of the origin disk.
    Block(u32),
    /// A slot of the vSSD.
    Slot(u32),
}

/// A ticket, until it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TicketId(u32);

#[derive(Clone, Copy)]
struct Ticket {
    links: [u32; TOUCHED],
    /// Queues in which it is not its turn.
    waits: u8,
    /// Its slot has been taken away.
    is_void: bool,
}

#[derive(Clone, Copy)]
struct Link {
    ticket: u32,
    touched: Touched,
    is_shared: bool,
    has_turn: bool,
    before: u32,
    after: u32,
}

/// The ends of a queue.
#[derive(Clone, Copy)]
struct Ends {
    first: u32,
    last: u32,
}

/// All tickets and queues.
#[derive(Default)]
pub struct Tickets {
    tickets: Vec<Ticket>,
    unused_tickets: Vec<u32>,
    links: Vec<Link>,
    unused_links: Vec<u32>,
    queues: BTreeMap<Touched, Ends>,
}

/// Puts a value into an unused place of a slab, or a new one.
fn place<T>(slab: &mut Vec<T>, unused: &mut Vec<u32>, value: T) -> u32 {
    match unused.pop() {
        Some(index) => {
            slab[index as usize] = value;
            index
        }
        None => {
            slab.push(value);
            slab.len() as u32 - 1
        }
    }
}

impl Tickets {
    /// A ticket for each of `touched`, shared or not. One that is named twice counts
    /// once, as it is named first.
    ///
    /// # Panics
    /// With more than a ticket may touch.
    pub fn enter(&mut self, touched: &[(Touched, bool)]) -> TicketId {
        let ticket = Ticket {
            links: [NONE; TOUCHED],
            waits: 0,
            is_void: false,
        };
        let id = place(&mut self.tickets, &mut self.unused_tickets, ticket);
        for (at, &(what, is_shared)) in touched.iter().enumerate() {
            if touched[..at].iter().all(|&(other, _)| other != what) {
                self.join(id, at, what, is_shared);
            }
        }
        TicketId(id)
    }

    fn join(&mut self, id: u32, at: usize, touched: Touched, is_shared: bool) {
        let before = self.queues.get(&touched).map_or(NONE, |ends| ends.last);
        let has_turn = match before {
            NONE => true,
            before => {
                let before = &self.links[before as usize];
                is_shared && before.is_shared && before.has_turn
            }
        };
        let link = Link {
            ticket: id,
            touched,
            is_shared,
            has_turn,
            before,
            after: NONE,
        };
        let link = place(&mut self.links, &mut self.unused_links, link);
        if before == NONE {
            let ends = Ends {
                first: link,
                last: link,
            };
            self.queues.insert(touched, ends);
        } else {
            self.links[before as usize].after = link;
            self.queues.get_mut(&touched).expect("a queue").last = link;
        }
        let ticket = &mut self.tickets[id as usize];
        ticket.links[at] = link;
        ticket.waits += u8::from(!has_turn);
    }

    /// Whether it is the turn of a ticket in all its queues.
    pub fn has_turn(&self, id: TicketId) -> bool {
        self.tickets[id.0 as usize].waits == 0
    }

    /// Whether the slot of a ticket has been taken away since it entered.
    pub fn is_void(&self, id: TicketId) -> bool {
        self.tickets[id.0 as usize].is_void
    }

    /// Takes a ticket out of all its queues.
    pub fn leave(&mut self, id: TicketId) {
        let links = self.tickets[id.0 as usize].links;
        for link in links.into_iter().filter(|&link| link != NONE) {
            self.unlink(link);
        }
        self.unused_tickets.push(id.0);
    }

    fn unlink(&mut self, index: u32) {
        let Link {
            touched,
            before,
            after,
            ..
        } = self.links[index as usize];
        self.unused_links.push(index);
        if before == NONE && after == NONE {
            self.queues.remove(&touched);
            return;
        }
        let ends = self.queues.get_mut(&touched).expect("a queue");
        match before {
            NONE => ends.first = after,
            before => self.links[before as usize].after = after,
        }
        match after {
            NONE => ends.last = before,
            after => self.links[after as usize].before = before,
        }
        self.give_turns(after);
    }

    /// Gives the turn to a link whose predecessor has left, and to those after it
    /// that share with it.
    fn give_turns(&mut self, mut index: u32) {
        while index != NONE {
            let link = self.links[index as usize];
            let is_next = match link.before {
                NONE => true,
                before => {
                    let before = &self.links[before as usize];
                    link.is_shared && before.is_shared && before.has_turn
                }
            };
            if link.has_turn || !is_next {
                return;
            }
            self.links[index as usize].has_turn = true;
            self.tickets[link.ticket as usize].waits -= 1;
            index = link.after;
        }
    }

    /// Whether nobody is in the queue.
    pub fn is_idle(&self, touched: Touched) -> bool {
        !self.queues.contains_key(&touched)
    }

    /// The slot has been taken away: whoever is in its queue must not use it, except the
    /// ticket by which it was.
    pub fn void(&mut self, slot: u32, except: Option<TicketId>) {
        self.void_those(slot, except, |_| true);
    }

    /// The slot does not have `block`: whoever has come for that must not use it. Those that
    /// bring something else into it may.
    pub fn void_block(&mut self, slot: u32, block: u32, except: TicketId) {
        self.void_those(slot, Some(except), |first| first == Touched::Block(block));
    }

    /// Voids tickets in the queue of a slot, by what they touch first.
    fn void_those(
        &mut self,
        slot: u32,
        except: Option<TicketId>,
        is_void: impl Fn(Touched) -> bool,
    ) {
        let ends = self.queues.get(&Touched::Slot(slot));
        let mut index = ends.map_or(NONE, |ends| ends.first);
        while index != NONE {
            let Link { ticket, after, .. } = self.links[index as usize];
            let [first, ..] = self.tickets[ticket as usize].links;
            if except != Some(TicketId(ticket)) && is_void(self.links[first as usize].touched) {
                self.tickets[ticket as usize].is_void = true;
            }
            index = after;
        }
    }

    /// Bytes of heap.
    pub fn memory_bytes(&self) -> usize {
        self.tickets.capacity() * size_of::<Ticket>()
            + self.links.capacity() * size_of::<Link>()
            + (self.unused_tickets.capacity() + self.unused_links.capacity()) * size_of::<u32>()
            + self.queues.len() * size_of::<(Touched, Ends)>()
    }
}

#[cfg(test)]
mod tests {
    use super::Touched::{Block, Slot};
    use super::*;

    #[test]
    fn those_that_share_go_together_and_others_one_by_one() {
        let mut tickets = Tickets::default();
        let first = tickets.enter(&[(Block(7), true), (Slot(3), true)]);
        let second = tickets.enter(&[(Block(7), true), (Slot(3), true)]);
        let fill = tickets.enter(&[(Block(1), false), (Slot(8), false), (Block(9), false)]);
        let write = tickets.enter(&[(Block(7), false), (Slot(3), false)]);
        let after = tickets.enter(&[(Block(7), true), (Slot(3), true)]);
        let evicted = tickets.enter(&[(Block(9), true)]);
        assert!([first, second, fill].iter().all(|&id| tickets.has_turn(id)));
        assert!(
            [write, after, evicted]
                .iter()
                .all(|&id| !tickets.has_turn(id))
        );
        tickets.leave(first);
        assert!(!tickets.has_turn(write));
        tickets.leave(second);
        assert!(tickets.has_turn(write) && !tickets.has_turn(after));
        tickets.leave(fill);
        assert!(tickets.has_turn(evicted));
        tickets.leave(write);
        assert!(tickets.has_turn(after));
        assert!(tickets.is_idle(Slot(8)) && !tickets.is_idle(Slot(3)));
    }

    #[test]
    fn one_that_leaves_before_its_turn_lets_others_share() {
        let mut tickets = Tickets::default();
        let first = tickets.enter(&[(Block(7), true)]);
        let write = tickets.enter(&[(Block(7), false)]);
        let second = tickets.enter(&[(Block(7), true)]);
        tickets.leave(write);
        assert!(tickets.has_turn(first) && tickets.has_turn(second));
    }

    #[test]
    fn a_slot_that_goes_is_gone_for_those_in_its_queue_only() {
        let mut tickets = Tickets::default();
        let before = tickets.enter(&[(Block(7), true), (Slot(3), true)]);
        tickets.void(3, None);
        let after = tickets.enter(&[(Block(8), false), (Slot(3), false)]);
        assert!(tickets.is_void(before) && !tickets.is_void(after));
        assert!(!tickets.has_turn(after));
    }

    #[test]
    fn a_slot_without_its_block_is_still_there_for_another() {
        let mut tickets = Tickets::default();
        let fill = tickets.enter(&[(Block(7), false), (Slot(3), false)]);
        let hit = tickets.enter(&[(Block(7), true), (Slot(3), true)]);
        let next = tickets.enter(&[(Block(8), false), (Slot(3), false), (Block(7), false)]);
        tickets.void_block(3, 7, fill);
        let voids = [fill, hit, next].map(|id| tickets.is_void(id));
        assert_eq!(voids, [false, true, false]);
    }

    #[test]
    fn what_is_named_twice_counts_once() {
        let mut tickets = Tickets::default();
        let twice = tickets.enter(&[(Block(7), false), (Slot(1), false), (Block(7), false)]);
        assert!(tickets.has_turn(twice));
        tickets.leave(twice);
        assert!(tickets.is_idle(Block(7)));
    }
}
