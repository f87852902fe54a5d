//! States that differ in names only are one state.
//!
//! Generations, sessions, sequences, conversations and times grow without bound, but both halves
//! of the protocol only compare them. So a state is compared and hashed in a canonical form, in
//! which these have the smallest numbers with the same comparisons.
//! What has no influence on the protocol is reset in that form. The names:
//!
//! - generations up to the device's, which is the one that grows, keep their order; those beyond
//!   it, of an earlier life of the device, their distance from it;
//! - sessions and conversations keep which are equal: a new one differs from all;
//! - sequences of a session keep their distances; times theirs from now, while they are ahead.

use alloc::vec::Vec;

use crate::wire::{Event, Goal, Request, Response};

/// The names in a state: collected in a first visit of it, and changed in a second one.
pub(crate) struct Names {
    is_renaming: bool,
    now_ns: u64,
    /// The generation of the device's goal.
    newest: u64,
    generations: Vec<u64>,
    sessions: Vec<u64>,
    conversations: Vec<u64>,
    /// The smallest sequence of each session.
    sequences: Vec<(u64, u32)>,
}

/// What of a driver decides about messages to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OfDriver {
    /// The session of the command in flight; 0 for a HELLO.
    pub(crate) session: u64,
    /// It ignores goals of smaller generations.
    pub(crate) oldest_goal: u64,
}

impl Names {
    /// Visits a state twice.
    pub(crate) fn rename<S>(
        state: &mut S,
        now_ns: u64,
        newest: u64,
        visit: impl Fn(&mut S, &mut Self),
    ) {
        let mut names = Self {
            is_renaming: false,
            now_ns,
            newest,
            generations: Vec::new(),
            sessions: Vec::new(),
            conversations: Vec::new(),
            sequences: Vec::new(),
        };
        visit(state, &mut names);
        names.generations.push(newest);
        names.generations.retain(|generation| *generation <= newest);
        names.generations.sort_unstable();
        names.generations.dedup();
        names.is_renaming = true;
        visit(state, &mut names);
    }

    pub(crate) fn generation(&mut self, generation: &mut u64) {
        if !self.is_renaming {
            self.generations.push(*generation);
            return;
        }
        let beyond = generation.saturating_sub(self.newest);
        let known = *generation - beyond;
        let rank = self.generations.partition_point(|other| *other < known);
        *generation = rank as u64 + beyond;
    }

    /// A session, or 0 for none.
    pub(crate) fn session(&mut self, session: &mut u64) {
        number(&mut self.sessions, self.is_renaming, session);
    }

    /// A conversation, or 0 for none.
    pub(crate) fn conversation(&mut self, conversation: &mut u64) {
        number(&mut self.conversations, self.is_renaming, conversation);
    }

    /// A sequence of this session, before that is renamed.
    pub(crate) fn sequence(&mut self, session: u64, sequence: &mut u32) {
        let known = self.sequences.iter_mut().find(|(of, _)| *of == session);
        match known {
            Some((_, least)) if self.is_renaming => *sequence -= *least,
            Some((_, least)) => *least = (*least).min(*sequence),
            None => self.sequences.push((session, *sequence)),
        }
    }

    pub(crate) fn instant(&mut self, at_ns: &mut u64) {
        if self.is_renaming {
            *at_ns = at_ns.saturating_sub(self.now_ns);
        }
    }

    pub(crate) fn goal(&mut self, goal: &mut Goal) {
        self.generation(&mut goal.generation);
        // For the application only.
        goal.deadline_ms = 0;
    }

    /// An event, for a driver that ignores goals before `oldest`.
    pub(crate) fn event(&mut self, oldest: u64, bytes: &mut [u8]) {
        if let Some(Event::Goal(mut goal)) = Event::decode(bytes) {
            if goal.generation < oldest && !self.is_renaming {
                bytes.fill(0);
                return;
            }
            self.goal(&mut goal);
            bytes.copy_from_slice(&Event::Goal(goal).encode());
        }
    }

    pub(crate) fn command(&mut self, bytes: &mut [u8]) {
        if let Ok((mut request, payload)) = Request::decode(bytes) {
            let len = payload.len();
            self.sequence(request.session, &mut request.sequence);
            self.session(&mut request.session);
            request.encode(len, bytes);
        }
    }

    /// A response to a command of `session`.
    pub(crate) fn response(&mut self, session: u64, bytes: &mut [u8]) {
        if let Some((mut response, payload)) = Response::decode(bytes) {
            let len = payload.len();
            self.sequence(session, &mut response.sequence);
            self.session(&mut response.session);
            self.goal(&mut response.goal);
            response.encode(len, bytes);
        }
    }
}

/// Numbers names from 1, in the order in which they were found.
fn number(found: &mut Vec<u64>, is_renaming: bool, name: &mut u64) {
    if *name == 0 {
        return;
    }
    let at = found.iter().position(|other| other == name);
    match at {
        Some(at) if is_renaming => *name = at as u64 + 1,
        None if !is_renaming => found.push(*name),
        _ => {}
    }
}
