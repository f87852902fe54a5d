//! The slots of a disk's request queue, and the FIFO queue of futures that wait for one.
//!
//! ```text
//!            take                arrive              collect
//!   free ──────────▶ in flight ──────────▶ back ──────────────▶ free
//!                        │ abandon           │ abandon
//!                        └─▶ … until it is back ─▶ free
//! ```
//!
//! A job takes a request as soon as it is back ([`Slots::finish`]). A future takes it when it is
//! polled next, and until then its buffer must not change: the slot is *back*. A future that is
//! dropped leaves a slot that the device still has, so it stays taken until the request is back.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::port::BlkStatus;

enum Slot<T> {
    Free,
    InFlight { request: T, abandoned: bool },
    Back { request: T, status: BlkStatus },
}

/// A place in the queue for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

/// See the module.
pub struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<usize>,
    /// Futures that found no slot, in order: otherwise the futures polled first would take
    /// all slots. Bounded by the number of transfers, which their tasks bound.
    waiting: VecDeque<Ticket>,
    next_ticket: u64,
}

impl<T> Slots<T> {
    /// Slots that are all free.
    pub fn new(count: usize) -> Self {
        Self {
            slots: (0..count).map(|_| Slot::Free).collect(),
            free: (0..count).rev().collect(),
            waiting: VecDeque::new(),
            next_ticket: 0,
        }
    }

    /// Slots that are not free.
    pub fn taken(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The slot that [`take`](Self::take) would take.
    pub fn next_free(&self) -> Option<usize> {
        self.free.last().copied()
    }

    /// Takes a slot for a request.
    ///
    /// # Panics
    /// When none is free.
    pub fn take(&mut self, request: T) -> usize {
        let slot = self.free.pop().expect("a slot is free");
        self.slots[slot] = Slot::InFlight {
            request,
            abandoned: false,
        };
        slot
    }

    /// Whether a slot is free for a future that waits for one, and all that came before it have
    /// theirs. `ticket` is its place in the queue, if it has one.
    pub fn admits(&mut self, ticket: &mut Option<Ticket>) -> bool {
        let first = self.waiting.front();
        if !self.free.is_empty() && first.is_none_or(|first| Some(*first) == *ticket) {
            if ticket.take().is_some() {
                self.waiting.pop_front();
            }
            return true;
        }
        if ticket.is_none() {
            let new = Ticket(self.next_ticket);
            self.next_ticket += 1;
            self.waiting.push_back(new);
            *ticket = Some(new);
        }
        false
    }

    /// Gives a place in the queue up.
    pub fn leave(&mut self, ticket: Ticket) {
        self.waiting.retain(|waiting| *waiting != ticket);
    }

    /// The requests that are in flight or back.
    pub fn requests(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Free => None,
            Slot::InFlight { request, .. } | Slot::Back { request, .. } => Some(request),
        })
    }

    /// The same, to be changed.
    pub fn requests_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().filter_map(|slot| match slot {
            Slot::Free => None,
            Slot::InFlight { request, .. } | Slot::Back { request, .. } => Some(request),
        })
    }

    fn free(&mut self, slot: usize) -> Slot<T> {
        self.free.push(slot);
        core::mem::replace(&mut self.slots[slot], Slot::Free)
    }

    /// A request is back and is taken at once: its slot is free.
    ///
    /// # Panics
    /// When it was not in flight.
    pub fn finish(&mut self, slot: usize) -> T {
        match self.free(slot) {
            Slot::InFlight { request, .. } => request,
            Slot::Free | Slot::Back { .. } => panic!("slot {slot} was not in flight"),
        }
    }

    /// A request is back and waits for its future.
    ///
    /// # Panics
    /// When it was not in flight.
    pub fn arrive(&mut self, slot: usize, status: BlkStatus) {
        match core::mem::replace(&mut self.slots[slot], Slot::Free) {
            Slot::InFlight {
                abandoned: true, ..
            } => self.free.push(slot),
            Slot::InFlight { request, .. } => self.slots[slot] = Slot::Back { request, status },
            Slot::Free | Slot::Back { .. } => panic!("slot {slot} was not in flight"),
        }
    }

    /// The request of a slot, if it is back. The slot is free then: read the buffer before the slot
    /// is taken again.
    pub fn collect(&mut self, slot: usize) -> Option<(T, BlkStatus)> {
        if !matches!(self.slots[slot], Slot::Back { .. }) {
            return None;
        }
        match self.free(slot) {
            Slot::Back { request, status } => Some((request, status)),
            Slot::Free | Slot::InFlight { .. } => None,
        }
    }

    /// The future of this slot's request was dropped.
    pub fn abandon(&mut self, slot: usize) {
        match &mut self.slots[slot] {
            Slot::InFlight { abandoned, .. } => *abandoned = true,
            Slot::Back { .. } => drop(self.free(slot)),
            Slot::Free => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_go_to_the_longest_waiting_future() {
        let mut slots = Slots::new(1);
        let taken = slots.take('a');
        let (mut second, mut third) = (None, None);
        assert!(!slots.admits(&mut second) && !slots.admits(&mut third));
        slots.arrive(taken, BlkStatus::Ok);
        assert!(!slots.admits(&mut second), "the first has not looked yet");
        assert_eq!(slots.collect(taken), Some(('a', BlkStatus::Ok)));
        assert!(!slots.admits(&mut third) && !slots.admits(&mut None));
        assert!(slots.admits(&mut second) && second.is_none());
        assert!(slots.admits(&mut third));
    }

    #[test]
    fn a_future_that_leaves_the_queue_blocks_no_other() {
        let mut slots = Slots::new(1);
        let taken = slots.take(());
        let (mut second, mut third) = (None, None);
        assert!(!slots.admits(&mut second) && !slots.admits(&mut third));
        slots.leave(second.unwrap());
        slots.finish(taken);
        assert!(slots.admits(&mut third));
    }

    #[test]
    fn an_abandoned_slot_is_taken_until_its_request_is_back() {
        let mut slots = Slots::new(1);
        let taken = slots.take(());
        slots.abandon(taken);
        assert_eq!((slots.taken(), slots.next_free()), (1, None));
        slots.arrive(taken, BlkStatus::Ok);
        assert_eq!((slots.taken(), slots.next_free()), (0, Some(taken)));
        slots.take(());
        slots.arrive(taken, BlkStatus::IoError);
        slots.abandon(taken);
        assert_eq!(slots.taken(), 0);
    }
}
