//! From targets to resizes: shrinks first, and grows from blocks that are really free.
//!
//! ```text
//!            shrink                    held <= to
//!  settled ──────────▶ shrinking ─────────────────────▶ settled
//!     │                    │ deadline                      ▲
//!     │                    ▼                               │
//!     │                 revoking, every period ────────────┤ held <= to
//!     │ grow               │ twice the deadline            │
//!     ▼                    ▼                               │
//!  growing ─────────▶   set aside ─────────────────────────┘ a grow: after so many periods
//!     │       deadline, cancelled
//!     └──▶ settled: held >= to
//! ```
//!
//! - A VM has one resize at a time. A target that changes meanwhile ends it early or takes less,
//!   and never asks for more before it is over, so that a deadline is a deadline.
//! - Blocks are granted when the guest accepts them, so what growing VMs have not accepted is
//!   promised and not free. Promises never exceed the free blocks.
//! - A guest that neither gives nor takes is *set aside*: it keeps what it has, is left out of the
//!   plan, and the others divide the rest. Otherwise its part would lie idle for ever.
//! - The state is the age of each resize. What a VM holds and is to hold comes from the device with
//!   every period, so that a backend that was killed starts with none: it drives on, and deadlines
//!   begin anew. A VM that is gone is forgotten; its blocks are free when the pool says so.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::vm::{Vm, VmId};

/// How long the arbiter waits for a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Periods that a guest has for a resize, at least 1. Default 4.
    pub deadline_periods: u32,
    /// Periods for which a guest that did not grow in time is set aside. Default 16.
    pub aside_periods: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            deadline_periods: 4,
            aside_periods: 16,
        }
    }
}

/// A step for one VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask the guest to surrender blocks until it holds the target.
    Shrink {
        /// Periods until blocks may be revoked.
        deadline_periods: u32,
    },
    /// Revoke blocks until the guest holds the target: it did not surrender them in time. A device
    /// that was given the deadline does so by itself, and then this changes nothing; one that is not
    /// attended (`[DEV-15]`) has to be forced.
    Revoke,
    /// Offer the guest blocks until it holds the target.
    Grow,
    /// End the resize under way: the guest is to hold what it holds.
    Cancel,
}

/// An action and what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Position of the VM.
    pub index: usize,
    /// Blocks that it is to hold.
    pub to: u32,
    /// What to do.
    pub action: Action,
}

/// What is remembered of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A shrink has been under way for so many periods.
    Shrinking(u32),
    /// A grow has.
    Growing(u32),
    /// It did not grow in time, and is set aside for so many more periods.
    Aside(u32),
}

/// Drives resizes. See the module.
#[derive(Clone, Debug, Default)]
pub struct Drive {
    patience: Patience,
    states: BTreeMap<VmId, State>,
}

impl Drive {
    /// Nothing is known to be under way.
    pub fn new(patience: Patience) -> Self {
        let deadline_periods = patience.deadline_periods.max(1);
        Self {
            patience: Patience {
                deadline_periods,
                ..patience
            },
            states: BTreeMap::new(),
        }
    }

    /// A period has passed: takes note of what is under way.
    pub fn observe(&mut self, vms: &[Vm]) {
        let mut states = BTreeMap::new();
        for vm in vms {
            let before = self.states.get(&vm.id).copied();
            if let Some(state) = self.aged(before, vm) {
                states.insert(vm.id, state);
            }
        }
        self.states = states;
    }

    fn aged(&self, before: Option<State>, vm: &Vm) -> Option<State> {
        if let Some(State::Aside(left @ 2..)) = before {
            return Some(State::Aside(left - 1));
        }
        let to = vm.resizing?;
        match (to.cmp(&vm.held), before) {
            (Ordering::Less, Some(State::Shrinking(age))) => {
                Some(State::Shrinking(age.saturating_add(1)))
            }
            (Ordering::Greater, Some(State::Growing(age))) => {
                Some(State::Growing(age.saturating_add(1)))
            }
            (Ordering::Less, _) => Some(State::Shrinking(0)),
            (Ordering::Greater, _) => Some(State::Growing(0)),
            (Ordering::Equal, _) => None,
        }
    }

    /// The VM keeps what it holds, whatever it is to hold: its guest does not answer.
    pub fn is_aside(&self, id: VmId) -> bool {
        match self.states.get(&id) {
            Some(State::Aside(_)) => true,
            Some(State::Shrinking(age)) => *age / 2 >= self.patience.deadline_periods,
            _ => false,
        }
    }

    /// The steps of this period, shrinks first. `free` is the number of blocks that no VM holds,
    /// `targets` and `due` what each VM should hold and what of it is due at once, blocks.
    pub fn steps(&mut self, free: u32, vms: &[Vm], targets: &[u32], due: &[u32]) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut growing: Vec<usize> = Vec::new();
        for (index, vm) in vms.iter().enumerate() {
            let resizing = vm.resizing.filter(|to| *to != vm.held);
            if let Some((to, action)) = self.shrink(vm, targets[index], resizing) {
                steps.push(Step { index, to, action });
            } else if targets[index] > vm.held && !self.is_aside(vm.id) {
                growing.push(index);
            }
        }
        let promised = vms
            .iter()
            .map(|vm| vm.resizing.unwrap_or(0).saturating_sub(vm.held));
        let promised: u64 = promised.map(u64::from).sum();
        let mut left = u64::from(free).saturating_sub(promised) as u32;
        // Who lacks what is due first, then who has the smallest part of the target.
        let part = |index: &usize| f64::from(vms[*index].held) / f64::from(targets[*index]);
        growing.sort_by(|one, other| {
            let has = |index: &usize| vms[*index].held >= due[*index];
            has(one)
                .cmp(&has(other))
                .then(part(one).total_cmp(&part(other)))
        });
        for index in growing {
            let vm = &vms[index];
            if let Some((to, action)) = self.grow(vm, targets[index], left) {
                left -= match (action, vm.resizing) {
                    (Action::Grow, resizing) if resizing.is_none_or(|to| to <= vm.held) => {
                        to - vm.held
                    }
                    _ => 0,
                };
                steps.push(Step { index, to, action });
            }
        }
        steps
    }

    /// The step of a VM that is to hold no more than it does, or gives blocks up already.
    fn shrink(&mut self, vm: &Vm, target: u32, resizing: Option<u32>) -> Option<(u32, Action)> {
        let deadline_periods = self.patience.deadline_periods;
        let shrink = Action::Shrink { deadline_periods };
        let state = self.states.get(&vm.id).copied();
        match (state, resizing) {
            (Some(State::Shrinking(_)), Some(to)) if self.is_aside(vm.id) => {
                Some((to, Action::Revoke))
            }
            (Some(State::Shrinking(age)), Some(to)) if target < vm.held => {
                let to = to.max(target);
                if age >= deadline_periods {
                    return Some((to, Action::Revoke));
                }
                (vm.resizing != Some(to)).then_some((to, shrink))
            }
            _ if target < vm.held && !self.is_aside(vm.id) => {
                self.states.insert(vm.id, State::Shrinking(0));
                Some((target, shrink))
            }
            (state, Some(_)) if target <= vm.held => {
                if !matches!(state, Some(State::Aside(_))) {
                    self.states.remove(&vm.id);
                }
                Some((vm.held, Action::Cancel))
            }
            _ => None,
        }
    }

    /// The step of a VM that is to hold more, of which there are `left`.
    fn grow(&mut self, vm: &Vm, target: u32, left: u32) -> Option<(u32, Action)> {
        match (self.states.get(&vm.id), vm.resizing) {
            (Some(State::Growing(age)), Some(_)) if *age >= self.patience.deadline_periods => {
                self.states
                    .insert(vm.id, State::Aside(self.patience.aside_periods.max(1)));
                Some((vm.held, Action::Cancel))
            }
            // Fewer than were promised: the rest is free in the next period.
            (Some(State::Growing(_)), Some(to)) => (target < to).then_some((target, Action::Grow)),
            (_, resizing) => {
                let more = (target - vm.held).min(left);
                if more > 0 {
                    self.states.insert(vm.id, State::Growing(0));
                    return Some((vm.held + more, Action::Grow));
                }
                let shrinking = resizing.is_some_and(|to| to < vm.held);
                shrinking.then(|| {
                    self.states.remove(&vm.id);
                    (vm.held, Action::Cancel)
                })
            }
        }
    }
}

#[cfg(test)]
mod tests;
