//! Which blocks a workload touches.
//!
//! A [`Pattern`] is a family with its parameters, and a [`Workload`] a pattern that
//! may change over time, which is what a command names; [`Workload::stream`] turns it
//! into an endless sequence of block numbers from a seed. One file for each family.
//!
//! Workloads have a time of their own: the number of accesses since the
//! beginning. A stream can start anywhere on that axis, so that a sample of
//! the past and the reads to come are of the same workload, at their own times.

mod files;
mod gaussian;
mod hotspot;
mod sequential;
mod uniform;
mod workload;
mod zipf;

use alloc::boxed::Box;
use core::fmt;

use rand::{Rng as _, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::access::AccessKind;

pub use files::{DEFAULT_LIFETIME, FilesError};
pub use gaussian::GaussianError;
pub use hotspot::HotspotError;
pub use workload::{PhaseChange, Workload};
pub use zipf::ZipfError;

/// The generator behind every random choice of a workload: PCG XSL 128/64
/// (MCG), small, fast and the same on every machine.
pub type Rng = Pcg64Mcg;

/// A generator from a seed.
pub fn rng(seed: u64) -> Rng {
    Rng::seed_from_u64(seed)
}

/// The seed of one of several uses of randomness that together go by one
/// `seed`: neighbouring seeds and uses share nothing.
pub fn derive_seed(seed: u64, purpose: u64) -> u64 {
    rng(seed).next_u64() ^ rng(!purpose).next_u64()
}

/// A family of access patterns with its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pattern {
    /// Every block equally likely.
    Uniform,
    /// Normally distributed block numbers, rounded down; draws outside the
    /// device are drawn again.
    Gaussian {
        /// Mean block number.
        mean: f64,
        /// Standard deviation, blocks.
        sd: f64,
    },
    /// Zipf's law: the block of rank r is accessed in proportion to r to the
    /// power of minus the exponent. Ranks are scattered over the device, in
    /// the same way whatever the seed.
    Zipf {
        /// The exponent; 0 is uniform.
        exponent: f64,
    },
    /// Block 0, 1, 2, … and from 0 again; the seed is not used.
    Sequential,
    /// Uniform over a window of blocks for a share of the accesses, and uniform
    /// over the device for the others.
    Hotspot {
        /// Blocks in the window.
        blocks: u32,
        /// Share of the accesses that go there, 0 to 1.
        share: f64,
        /// Blocks by which the window moves on with every access.
        speed: f64,
    },
    /// Files that are created, extended, read, rewritten and deleted: it has its own writes,
    /// and discards. A sequence of blocks leaves the discards out.
    Files {
        /// Share of the written blocks that are those of temporary files, 0 to 1.
        share: f64,
        /// Mean lifetime of these, accesses.
        lifetime: u32,
    },
}

/// Why a pattern cannot be drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PatternError {
    /// The device has no blocks.
    NoBlocks,
    /// The normal distribution cannot be.
    Gaussian(GaussianError),
    /// Zipf's law cannot be.
    Zipf(ZipfError),
    /// The hotspot cannot be.
    Hotspot(HotspotError),
    /// The files cannot be.
    Files(FilesError),
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBlocks => f.write_str("the device has no blocks to touch"),
            Self::Gaussian(error) => error.fmt(f),
            Self::Zipf(error) => error.fmt(f),
            Self::Hotspot(error) => error.fmt(f),
            Self::Files(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for PatternError {}

#[derive(Clone, Debug)]
enum Family {
    Uniform(uniform::Uniform),
    Gaussian(gaussian::Gaussian),
    Zipf(zipf::Zipf),
    Sequential(sequential::Sequential),
    Hotspot(hotspot::Hotspot),
    Files(Box<files::Files>),
}

/// An endless sequence of block numbers.
#[derive(Clone, Debug)]
pub struct Stream {
    family: Family,
    capacity: u32,
    /// Number of the next access.
    at: u64,
    phase: Option<PhaseChange>,
}

impl Pattern {
    /// The sequence of a workload that never changes phase.
    #[cfg(test)]
    fn stream(&self, capacity: u32, seed: u64, start: u64) -> Result<Stream, PatternError> {
        Workload::from(*self).stream(capacity, seed, start)
    }

    /// The family from access `start` on: one with a history has gone through it.
    fn family(&self, capacity: u32, seed: u64, start: u64) -> Result<Family, PatternError> {
        if capacity == 0 {
            return Err(PatternError::NoBlocks);
        }
        let rng = rng(seed);
        Ok(match *self {
            Self::Uniform => Family::Uniform(uniform::Uniform::new(capacity, rng)),
            Self::Gaussian { mean, sd } => Family::Gaussian(
                gaussian::Gaussian::new(mean, sd, capacity, rng).map_err(PatternError::Gaussian)?,
            ),
            Self::Zipf { exponent } => {
                Family::Zipf(zipf::Zipf::new(exponent, capacity, rng).map_err(PatternError::Zipf)?)
            }
            Self::Sequential => Family::Sequential(sequential::Sequential::new(capacity)),
            Self::Hotspot {
                blocks,
                share,
                speed,
            } => Family::Hotspot(
                hotspot::Hotspot::new(blocks, share, speed, capacity, rng)
                    .map_err(PatternError::Hotspot)?,
            ),
            Self::Files { share, lifetime } => Family::Files(Box::new(
                files::Files::new(share, lifetime, capacity, start, rng)
                    .map_err(PatternError::Files)?,
            )),
        })
    }
}

impl Stream {
    /// The next block number that is read or written.
    #[inline]
    pub fn next_block(&mut self) -> u32 {
        loop {
            match self.next_access() {
                (_, Some(AccessKind::Discard)) => {}
                (block, _) => return block,
            }
        }
    }

    /// The next block number, and what the access is where the pattern says so.
    #[inline]
    pub(crate) fn next_access(&mut self) -> (u32, Option<AccessKind>) {
        let at = self.at;
        self.at += 1;
        let block = match &mut self.family {
            Family::Uniform(family) => family.next_block(),
            Family::Gaussian(family) => family.next_block(),
            Family::Zipf(family) => family.next_block(),
            Family::Sequential(family) => family.next_block(at),
            Family::Hotspot(family) => family.next_block(at),
            Family::Files(family) => {
                let (block, kind) = family.next_access();
                return (block, Some(kind));
            }
        };
        (self.moved(at, block), None)
    }

    /// Where a block is at this access.
    #[inline]
    fn moved(&self, at: u64, block: u32) -> u32 {
        match self.phase {
            Some(phase) if at >= phase.at => {
                let moved = u64::from(block) + u64::from(phase.offset);
                (moved % u64::from(self.capacity)) as u32
            }
            _ => block,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => f.write_str("uniform"),
            Self::Gaussian { mean, sd } => write!(f, "gaussian:{mean},{sd}"),
            Self::Zipf { exponent } => write!(f, "zipf:{exponent}"),
            Self::Sequential => f.write_str("sequential"),
            Self::Hotspot {
                blocks,
                share,
                speed,
            } => write!(f, "hotspot:{blocks},{share},{speed}"),
            Self::Files {
                share,
                lifetime: DEFAULT_LIFETIME,
            } => write!(f, "files:{share}"),
            Self::Files { share, lifetime } => write!(f, "files:{share},{lifetime}"),
        }
    }
}

/// The text is none of the patterns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAPattern;

impl fmt::Display for NotAPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not a workload; expected zipf:EXPONENT, gaussian:MEAN,SD, uniform, sequential, \
             hotspot:BLOCKS,SHARE,SPEED, files:TEMP_SHARE[,LIFETIME]",
        )
    }
}

impl core::error::Error for NotAPattern {}

impl core::str::FromStr for Pattern {
    type Err = NotAPattern;

    fn from_str(text: &str) -> Result<Self, NotAPattern> {
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        match (name, rest) {
            ("uniform", "") => Ok(Self::Uniform),
            ("sequential", "") => Ok(Self::Sequential),
            ("gaussian", rest) => {
                let (mean, sd) = rest.split_once(',').ok_or(NotAPattern)?;
                Ok(Self::Gaussian {
                    mean: mean.parse().map_err(|_| NotAPattern)?,
                    sd: sd.parse().map_err(|_| NotAPattern)?,
                })
            }
            ("zipf", exponent) => Ok(Self::Zipf {
                exponent: exponent.parse().map_err(|_| NotAPattern)?,
            }),
            ("hotspot", rest) => {
                let mut values = rest.split(',');
                let mut next = || values.next().ok_or(NotAPattern);
                let (blocks, share, speed) = (next()?, next()?, next()?);
                if values.next().is_some() {
                    return Err(NotAPattern);
                }
                Ok(Self::Hotspot {
                    blocks: blocks.parse().map_err(|_| NotAPattern)?,
                    share: share.parse().map_err(|_| NotAPattern)?,
                    speed: speed.parse().map_err(|_| NotAPattern)?,
                })
            }
            ("files", rest) => {
                let (share, lifetime) = match rest.split_once(',') {
                    Some((share, lifetime)) => (share, lifetime.parse().map_err(|_| NotAPattern)?),
                    None => (rest, DEFAULT_LIFETIME),
                };
                Ok(Self::Files {
                    share: share.parse().map_err(|_| NotAPattern)?,
                    lifetime,
                })
            }
            _ => Err(NotAPattern),
        }
    }
}
