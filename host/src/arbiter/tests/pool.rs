//! A model of a pool: guests that hold blocks, and a device that does what is decided.

use std::collections::BTreeMap;

use super::super::{Action, Arbiter, Bounds, Demand, Patience, Round, Vm, VmId};

/// How a guest answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It moves up to 600 blocks in a period.
    Answers,
    /// It moves one block in a period.
    Slow,
    /// It moves nothing; the device revokes its blocks.
    Silent,
    /// It moves nothing, and its device is not attended and not forced: nothing is revoked.
    Unforced,
}

/// A guest and its device.
#[derive(Clone, Debug)]
pub struct Guest {
    pub manner: Manner,
    pub held: u32,
    bounds: Bounds,
    /// What it is to hold.
    goal: u32,
}

impl Guest {
    pub fn new((reservation, limit, weight): (u32, u32, u32), held: u32, manner: Manner) -> Self {
        Self {
            manner,
            held,
            bounds: Bounds::new(reservation, limit, weight).expect("bounds"),
            goal: held,
        }
    }

    pub fn weigh(&mut self, weight: u32) {
        let (reservation, limit) = (self.bounds.reservation(), self.bounds.limit());
        self.bounds = Bounds::new(reservation, limit, weight).expect("bounds");
    }

    /// What it must have at least, unless blocks are stuck with others or reservations do not fit.
    pub fn floor(&self, pool: &Pool, aside: &[VmId]) -> u32 {
        let others = pool.guests.iter();
        let stuck = others
            .clone()
            .any(|(id, guest)| aside.contains(id) || guest.manner != Manner::Answers);
        let reserved: u32 = others.map(|(_, guest)| guest.bounds.reservation()).sum();
        if stuck || reserved > pool.blocks {
            0
        } else {
            self.bounds.reservation()
        }
    }

    fn moves(&mut self) {
        let missing = self.goal.abs_diff(self.held);
        let moved = match self.manner {
            Manner::Answers => missing.min(600),
            Manner::Slow => missing.min(1),
            Manner::Silent | Manner::Unforced => 0,
        };
        if self.goal < self.held {
            self.held -= moved;
        } else {
            self.held += moved;
        }
    }

    fn vm(&self, id: VmId) -> Vm {
        Vm {
            id,
            bounds: self.bounds,
            base: self.bounds.limit() / 2,
            goal: None,
            held: self.held,
            resizing: (self.goal != self.held).then_some(self.goal),
            demand: Demand {
                accesses: 1000 * u64::from(id.0 % 3),
                hits: u64::from(self.held.min(1000)) * u64::from(id.0 % 3),
                ..Demand::default()
            },
        }
    }
}

/// The guests of a pool.
#[derive(Debug)]
pub struct Pool {
    pub blocks: u32,
    pub guests: BTreeMap<VmId, Guest>,
    deadline_periods: u32,
}

impl Pool {
    pub fn new(blocks: u32, patience: Patience) -> Self {
        Self {
            blocks,
            guests: BTreeMap::new(),
            deadline_periods: patience.deadline_periods,
        }
    }

    pub fn join(&mut self, id: u32, guest: Guest) {
        self.guests.insert(VmId(id), guest);
    }

    pub fn change(&mut self, at: usize, change: impl FnOnce(&mut Guest)) {
        let count = self.guests.len().max(1);
        if let Some(guest) = self.guests.values_mut().nth(at % count) {
            change(guest);
        }
    }

    pub fn vanish(&mut self, at: usize) {
        let count = self.guests.len().max(1);
        if let Some(id) = self.guests.keys().nth(at % count).copied() {
            self.guests.remove(&id);
        }
    }

    pub fn held(&self) -> Vec<u32> {
        self.guests.values().map(|guest| guest.held).collect()
    }

    pub fn all_answer(&self) -> bool {
        let mut guests = self.guests.values();
        guests.all(|guest| guest.manner == Manner::Answers)
    }

    /// A period: decide, do, and let the guests move.
    pub fn period(&mut self, arbiter: &mut Arbiter) -> Round {
        let vms: Vec<Vm> = self
            .guests
            .iter()
            .map(|(id, guest)| guest.vm(*id))
            .collect();
        let round = arbiter.decide(self.blocks, self.free(), &vms);
        let mut grown = false;
        for decision in &round.decisions {
            let guest = self
                .guests
                .get_mut(&decision.id)
                .expect("a guest of the pool");
            assert_eq!(decision.from, guest.held);
            match decision.action {
                Action::Shrink { deadline_periods } => {
                    assert_eq!(deadline_periods, self.deadline_periods);
                    assert!(decision.to < guest.held && !grown, "{decision}");
                    guest.goal = decision.to;
                }
                Action::Revoke => {
                    assert!(
                        decision.to < guest.held && decision.to >= guest.goal,
                        "{decision}"
                    );
                    guest.goal = decision.to;
                    if guest.manner != Manner::Unforced {
                        guest.held = decision.to;
                    }
                }
                Action::Grow => {
                    assert!(decision.to > guest.held, "{decision}");
                    assert!(decision.to <= guest.bounds.limit(), "{decision}");
                    grown = true;
                    guest.goal = decision.to;
                }
                Action::Cancel => guest.goal = guest.held,
            }
        }
        let promised: u32 = self
            .guests
            .values()
            .map(|guest| guest.goal.saturating_sub(guest.held))
            .sum();
        let free = self.free();
        assert!(
            promised <= free,
            "{promised} promised of {free} free blocks"
        );
        for guest in self.guests.values_mut() {
            guest.moves();
        }
        self.free();
        round
    }

    fn free(&self) -> u32 {
        let held: u32 = self.held().iter().sum();
        let free = self.blocks.checked_sub(held);
        free.unwrap_or_else(|| panic!("{held} of {} blocks are held", self.blocks))
    }
}
