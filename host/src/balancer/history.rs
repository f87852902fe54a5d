//! The last decisions for a vSSD, and the number of all.

use std::collections::{BTreeMap, VecDeque};

use crate::arbiter::{Action, Decision};

/// Decisions that are kept.
const KEPT: usize = 20;

/// A decision that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at_ns: u64,
    /// What and why, in one line.
    pub line: String,
    /// Why it was not carried out, if it was not.
    pub refused: Option<String>,
}

/// Decisions by what they do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The guest was asked to surrender blocks.
    pub shrink: u64,
    /// It was offered blocks.
    pub grow: u64,
    /// Blocks were revoked.
    pub revoke: u64,
    /// A resize was cancelled.
    pub cancel: u64,
}

impl Counts {
    /// The same by name.
    pub fn by_action(&self) -> BTreeMap<String, u64> {
        let Self {
            shrink,
            grow,
            revoke,
            cancel,
        } = *self;
        let named = [
            ("shrink", shrink),
            ("grow", grow),
            ("revoke", revoke),
            ("cancel", cancel),
        ];
        named.map(|(name, count)| (name.to_owned(), count)).into()
    }
}

/// What was decided for a vSSD.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The newest first.
    entries: VecDeque<Entry>,
    counts: Counts,
}

impl History {
    /// Adds a decision.
    pub(super) fn add(&mut self, at_ns: u64, decision: &Decision, line: &str) {
        match decision.action {
            Action::Shrink { .. } => self.counts.shrink += 1,
            Action::Grow => self.counts.grow += 1,
            Action::Revoke => self.counts.revoke += 1,
            Action::Cancel => self.counts.cancel += 1,
        }
        self.note(at_ns, line.to_owned());
    }

    /// Adds what is no resize.
    pub(super) fn note(&mut self, at_ns: u64, line: String) {
        self.entries.truncate(KEPT - 1);
        self.entries.push_front(Entry {
            at_ns,
            line,
            refused: None,
        });
    }

    /// The newest was not carried out.
    pub(super) fn refuse(&mut self, why: &str) {
        if let Some(newest) = self.entries.front_mut() {
            newest.refused = Some(why.to_owned());
        }
    }

    /// The last decisions, the newest first.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// All decisions.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}
