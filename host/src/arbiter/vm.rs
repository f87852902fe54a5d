//! What the arbiter knows of a VM.

use std::fmt;

use super::curve::Curve;

/// The largest weight.
pub const MAX_WEIGHT: u32 = 10_000;

/// A VM with a vSSD, as its host numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VmId(pub u32);

impl fmt::Display for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vm{}", self.0)
    }
}

/// Why bounds are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBounds {
    /// The weight is out of range.
    #[error("invalid weight {0}: expected 1 to {MAX_WEIGHT}")]
    Weight(u32),
    /// The limit is below the reservation.
    #[error("invalid limit of {limit} blocks: expected at least the reservation of {reservation}")]
    Limit {
        /// The limit, blocks.
        limit: u32,
        /// The reservation, blocks.
        reservation: u32,
    },
}

/// What a VM may have at least and at most, and its part of the rest: the min, max and shares of
/// Waldspurger, "Memory resource management in VMware ESX Server", OSDI 2002.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    reservation: u32,
    limit: u32,
    weight: u32,
}

impl Bounds {
    /// At least `reservation` blocks, at most `limit`, and `weight` parts of what is divided.
    ///
    /// # Errors
    /// When the weight is not 1 to [`MAX_WEIGHT`], or the limit is below the reservation.
    pub fn new(reservation: u32, limit: u32, weight: u32) -> Result<Self, BadBounds> {
        if !(1..=MAX_WEIGHT).contains(&weight) {
            return Err(BadBounds::Weight(weight));
        }
        if limit < reservation {
            return Err(BadBounds::Limit { limit, reservation });
        }
        Ok(Self {
            reservation,
            limit,
            weight,
        })
    }

    /// Blocks that it has at least, if it can hold them.
    pub fn reservation(&self) -> u32 {
        self.reservation
    }

    /// Blocks that it has at most.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Its part of what is divided, relative to the others.
    pub fn weight(&self) -> u32 {
        self.weight
    }
}

/// A pool has too few blocks for another reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot reserve {reservation} blocks: the pool has {pool_blocks}, of which {reserved} are \
     reserved for other VMs"
)]
pub struct NotAdmitted {
    /// Blocks of the reservation.
    pub reservation: u32,
    /// Blocks of the pool.
    pub pool_blocks: u32,
    /// Blocks reserved for others.
    pub reserved: u64,
}

/// Makes sure that a pool of `pool_blocks` has the blocks that `new` reserves, beside those of
/// the `admitted` VMs. To be called before a VM joins or its bounds change.
///
/// # Errors
/// When the reservations would be more than the pool.
pub fn admit(
    pool_blocks: u32,
    admitted: impl IntoIterator<Item = Bounds>,
    new: Bounds,
) -> Result<(), NotAdmitted> {
    let reservations = admitted.into_iter();
    let reserved = reservations
        .map(|bounds| u64::from(bounds.reservation))
        .sum();
    if reserved + u64::from(new.reservation) > u64::from(pool_blocks) {
        return Err(NotAdmitted {
            reservation: new.reservation,
            pool_blocks,
            reserved,
        });
    }
    Ok(())
}

/// A hit ratio or a rate that is none.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum BadGoal {
    /// The ratio is out of range.
    #[error("invalid hit ratio {0}: expected 0 to 1")]
    HitRatio(f64),
    /// The rate is negative or no number.
    #[error("invalid rate of {0} hits a period: expected 0 or more")]
    Hits(f64),
}

/// What a VM was promised (Koller et al., "Centaur: Host-side SSD caching for storage performance
/// control", ICAC 2015).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal(Kind);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    HitRatio(f64),
    Hits(f64),
}

impl Goal {
    /// At least this part of the accesses hits, 0 to 1.
    ///
    /// # Errors
    /// When it is not 0 to 1.
    pub fn hit_ratio(ratio: f64) -> Result<Self, BadGoal> {
        let valid = (0.0..=1.0).contains(&ratio);
        valid
            .then_some(Self(Kind::HitRatio(ratio)))
            .ok_or(BadGoal::HitRatio(ratio))
    }

    /// At least so many accesses a period are served by the vSSD: a bandwidth, in blocks. A VM
    /// that accesses fewer has met it when all of them hit.
    ///
    /// # Errors
    /// When it is negative, infinite or no number.
    pub fn served(hits: f64) -> Result<Self, BadGoal> {
        let valid = hits.is_finite() && hits >= 0.0;
        valid
            .then_some(Self(Kind::Hits(hits)))
            .ok_or(BadGoal::Hits(hits))
    }

    /// The least size, in blocks, that meets it by `curve`; `None` when no known size does.
    pub fn size(self, curve: &Curve) -> Option<u32> {
        let accesses = curve.accesses();
        let hits = match self.0 {
            Kind::HitRatio(ratio) => ratio * accesses,
            Kind::Hits(hits) => hits.min(accesses),
        };
        curve.size_for(accesses - hits)
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Kind::HitRatio(ratio) => write!(f, "a hit ratio of {ratio}"),
            Kind::Hits(hits) => write!(f, "{hits} hits a period"),
        }
    }
}

/// What a VM did in the last period. The counts are the host's own. The curves and `wanted` may
/// come from the guest: they are hints, and a false one harms within the bounds at most.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Demand {
    /// Accesses to the cache, in blocks. They scale the curves, which give the shape only: a
    /// curve may cover several periods or a sample, or come from a guest that exaggerates.
    pub accesses: u64,
    /// Accesses that hit. More than `accesses` counts as all of them.
    pub hits: u64,
    /// Accesses that write. More than `accesses` counts as all of them.
    pub writes: u64,
    /// Misses of any request.
    pub curve: Option<Curve>,
    /// The same of reads alone: a write is an access that misses at any size, and brings its block in.
    pub reads: Option<Curve>,
    /// How many of its blocks are among the most recently used of the whole pool, by as many
    /// blocks as the pool has.
    pub recent: Option<u32>,
    /// Blocks that the guest asks for.
    pub wanted: Option<u32>,
}

impl Demand {
    /// Accesses that missed.
    pub fn misses(&self) -> u64 {
        self.accesses.saturating_sub(self.hits)
    }

    /// Writes as a part of the accesses, 0 to 1; 0 without accesses.
    pub fn write_ratio(&self) -> f64 {
        self.writes.min(self.accesses) as f64 / self.accesses.max(1) as f64
    }
}

/// A VM at the end of a period.
#[derive(Clone, Debug, PartialEq)]
pub struct Vm {
    /// Which.
    pub id: VmId,
    /// What it may have.
    pub bounds: Bounds,
    /// Blocks that it gets when nothing is moved, as with a disk of fixed size.
    pub base: u32,
    /// What it was promised.
    pub goal: Option<Goal>,
    /// Blocks that its guest holds.
    pub held: u32,
    /// Blocks that it is to hold when the resize under way ends; `None` when none is.
    pub resizing: Option<u32>,
    /// What it did.
    pub demand: Demand,
}

impl Vm {
    /// Its expected misses: the curve that was reported, for the accesses that the host counted,
    /// or else the [estimate](Curve::estimated).
    pub fn curve(&self) -> Curve {
        let Demand { accesses, hits, .. } = self.demand;
        let reported = self.demand.curve.as_ref();
        reported
            .and_then(|curve| curve.rescaled(accesses as f64))
            .unwrap_or_else(|| Curve::estimated(accesses, hits, self.held, self.base))
    }
}

#[cfg(test)]
mod tests;
