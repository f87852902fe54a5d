//! Why an allocator refuses.

use std::fmt;

use crate::size::Blocks;

/// Why the allocator refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// More than the volume may hold.
    Quota {
        /// Its quota.
        quota: u32,
        /// Blocks held.
        held: u32,
        /// Blocks asked for.
        asked: u32,
    },
    /// More than the pool may commit.
    Commitment {
        /// Blocks that can still be committed.
        left: u64,
        /// Blocks asked for.
        asked: u64,
    },
    /// More reserved than is free.
    Reservation {
        /// Physical blocks free and not reserved.
        free: u64,
        /// Physical blocks asked for.
        asked: u64,
    },
    /// A reservation above the quota.
    Bounds {
        /// The reservation.
        reservation: u32,
        /// The quota.
        quota: u32,
    },
    /// Every physical block is used or reserved for others.
    Full {
        /// Some will be free once the next commit is durable.
        settling: bool,
    },
    /// Holes are being punched where the last free physical blocks are; they are free again soon.
    Punching,
}

/// Why the allocator refuses, in sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refusal {
    /// The reason.
    pub denied: Denied,
    /// Bytes in a block of the pool.
    pub block_size: u32,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blocks = |count: u64| Blocks {
            count,
            block_size: self.block_size,
        };
        match self.denied {
            Denied::Quota {
                quota,
                held,
                asked: 0,
            } => write!(
                f,
                "a quota of {} is less than the {} that it holds",
                blocks(quota.into()),
                blocks(held.into())
            ),
            Denied::Quota { quota, held, asked } => write!(
                f,
                "its quota is {}, it holds {}, and {} more were requested",
                blocks(quota.into()),
                blocks(held.into()),
                blocks(asked.into())
            ),
            Denied::Commitment { left, asked } => write!(
                f,
                "the pool can commit {} more, but {} were requested",
                blocks(left),
                blocks(asked)
            ),
            Denied::Reservation { free, asked } => write!(
                f,
                "{} of the pool are neither used nor reserved, but {} were requested",
                blocks(free),
                blocks(asked)
            ),
            Denied::Bounds { reservation, quota } => write!(
                f,
                "a reservation of {} is more than the quota of {}",
                blocks(reservation.into()),
                blocks(quota.into())
            ),
            Denied::Full { .. } | Denied::Punching => {
                f.write_str("no physical block is left in the pool")
            }
        }
    }
}
