//! The canonical form of a driver ([`Names`]).

use super::{Driver, State};
use crate::model::Names;
use crate::wire::{Goal, Opcode};

impl Driver {
    /// The session of the command in flight; 0 for a HELLO.
    pub(crate) fn session_in_flight(&self) -> u64 {
        match self.in_flight {
            Some(Opcode::Hello) => 0,
            _ => self.session,
        }
    }

    /// Goals of smaller generations change nothing, if the device has come to `newest`: the response
    /// to the next HELLO brings that or a newer one.
    pub(crate) fn oldest_goal(&self, newest: u64, is_answer_on_its_way: bool) -> u64 {
        match self.state {
            State::Detached if is_answer_on_its_way => 0,
            State::Detached => newest,
            _ => self.goal.generation,
        }
    }

    pub(crate) fn visit(&mut self, names: &mut Names) {
        if matches!(self.state, State::Detached) {
            // HELLO's response brings new ones.
            self.goal = Goal::default();
            self.session = 0;
            self.sequence = 0;
        }
        names.sequence(self.session_in_flight(), &mut self.sequence);
        names.session(&mut self.session);
        let generation = self.goal.generation;
        self.declined = self.declined.filter(|declined| *declined == generation);
        names.goal(&mut self.goal);
        if let Some(declined) = &mut self.declined {
            *declined = self.goal.generation;
        }
        for doubt in [&mut self.doubts, &mut self.asked] {
            doubt.0 = doubt.0.wrapping_sub(self.resolved.0);
        }
        self.resolved.0 = 0;
    }
}
