//! Records in the order of their times.

use core::fmt;
use core::str::FromStr;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::string::String;

use super::{Position, Problem, Record};

/// What to do about a record that is earlier than one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeOrder {
    /// Refuse the trace: the default, as the two others change what was
    /// recorded.
    #[default]
    Reject,
    /// Keep the order of the file; a record that is too early gets the time of
    /// the one before. Such records are counted.
    Clamp,
    /// Give records as the file has them, with the times that it has: for who wants to
    /// know how far out of order they are.
    Keep,
    /// Sort by time, records of one time as in the file, looking ahead over so
    /// many records. What is further out of place is refused. A window past
    /// [`TimeOrder::WINDOW_MAX`] is taken as that.
    Sort {
        /// How many records are held back.
        window: usize,
    },
}

impl TimeOrder {
    /// The widest window: about 64 MiB of records.
    pub const WINDOW_MAX: usize = 1 << 20;
}

impl fmt::Display for TimeOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reject => f.write_str("refuse"),
            Self::Clamp => f.write_str("clamp"),
            Self::Keep => f.write_str("keep"),
            Self::Sort { window } => write!(f, "sort:{window}"),
        }
    }
}

impl FromStr for TimeOrder {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let window = text.strip_prefix("sort:").map(str::parse);
        match (text, window) {
            ("refuse", _) => Ok(Self::Reject),
            ("clamp", _) => Ok(Self::Clamp),
            (_, Some(Ok(window))) if (1..=Self::WINDOW_MAX).contains(&window) => {
                Ok(Self::Sort { window })
            }
            _ => Err(std::format!(
                "invalid value `{text}`; expected refuse, clamp, or sort:RECORDS with 1 to {} records",
                Self::WINDOW_MAX
            )),
        }
    }
}

/// Time, then place in the file, which is different for each record.
struct Waiting {
    key: (u64, u64),
    position: Position,
    record: Record,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

/// Takes records as the file has them and gives them in order, their times
/// counted from the first given.
pub(super) struct Order {
    policy: TimeOrder,
    waiting: BinaryHeap<Reverse<Waiting>>,
    taken: u64,
    first_ns: Option<u64>,
    last_ns: u64,
    clamped: u64,
}

impl Order {
    pub(super) fn new(policy: TimeOrder) -> Self {
        Self {
            policy,
            waiting: BinaryHeap::new(),
            taken: 0,
            first_ns: None,
            last_ns: 0,
            clamped: 0,
        }
    }

    /// How many records got a later time than they had.
    pub(super) fn clamped(&self) -> u64 {
        self.clamped
    }

    /// How many records may wait for earlier ones.
    fn window(&self) -> usize {
        match self.policy {
            TimeOrder::Reject | TimeOrder::Clamp | TimeOrder::Keep => 0,
            TimeOrder::Sort { window } => window.min(TimeOrder::WINDOW_MAX),
        }
    }

    /// Takes the next record of the file and gives one where the window is full.
    pub(super) fn push(
        &mut self,
        position: Position,
        record: Record,
    ) -> Result<Option<Record>, (Position, Problem)> {
        if self.window() == 0 {
            return self.give(position, record).map(Some);
        }
        let key = (record.time_ns(), self.taken);
        self.taken += 1;
        self.waiting.push(Reverse(Waiting {
            key,
            position,
            record,
        }));
        if self.waiting.len() > self.window() {
            self.pop()
        } else {
            Ok(None)
        }
    }

    /// Gives a record that waits, once the file has no more.
    pub(super) fn pop(&mut self) -> Result<Option<Record>, (Position, Problem)> {
        match self.waiting.pop() {
            Some(Reverse(next)) => self.give(next.position, next.record).map(Some),
            None => Ok(None),
        }
    }

    fn give(&mut self, position: Position, record: Record) -> Result<Record, (Position, Problem)> {
        if self.policy == TimeOrder::Keep {
            return Ok(record);
        }
        let mut time_ns = record.time_ns();
        let first_ns = *self.first_ns.get_or_insert(time_ns);
        if time_ns < self.last_ns {
            if self.policy != TimeOrder::Clamp {
                let by_ns = self.last_ns - time_ns;
                return Err((position, Problem::TimeGoesBack { by_ns }));
            }
            self.clamped += 1;
            time_ns = self.last_ns;
        }
        self.last_ns = time_ns;
        Ok(record.at(time_ns - first_ns))
    }
}
