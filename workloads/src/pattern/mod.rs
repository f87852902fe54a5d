//! Which blocks a workload touches.
//!
//! A [`Pattern`] is what a command names; [`Pattern::stream`] turns it into an
//! endless sequence of block numbers from a seed. One file for each family.

mod gaussian;
mod sequential;
mod uniform;

use core::fmt;

use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

pub use gaussian::GaussianError;

/// The generator behind every random choice of a workload: PCG XSL 128/64
/// (MCG), small, fast and the same on every machine.
pub type Rng = Pcg64Mcg;

/// A generator from a seed.
pub fn rng(seed: u64) -> Rng {
    Rng::seed_from_u64(seed)
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
    /// Block 0, 1, 2, … and from 0 again; the seed is not used.
    Sequential,
}

/// Why a pattern cannot be drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PatternError {
    /// The device has no blocks.
    NoBlocks,
    /// The normal distribution cannot be.
    Gaussian(GaussianError),
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBlocks => f.write_str("the device has no blocks to touch"),
            Self::Gaussian(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for PatternError {}

/// An endless sequence of block numbers.
#[derive(Clone, Debug)]
pub enum Stream {
    /// See [`Pattern::Uniform`].
    Uniform(uniform::Uniform),
    /// See [`Pattern::Gaussian`].
    Gaussian(gaussian::Gaussian),
    /// See [`Pattern::Sequential`].
    Sequential(sequential::Sequential),
}

impl Pattern {
    /// The sequence for a device of `capacity` blocks.
    pub fn stream(&self, capacity: u32, seed: u64) -> Result<Stream, PatternError> {
        if capacity == 0 {
            return Err(PatternError::NoBlocks);
        }
        Ok(match *self {
            Self::Uniform => Stream::Uniform(uniform::Uniform::new(capacity, rng(seed))),
            Self::Gaussian { mean, sd } => Stream::Gaussian(
                gaussian::Gaussian::new(mean, sd, capacity, rng(seed))
                    .map_err(PatternError::Gaussian)?,
            ),
            Self::Sequential => Stream::Sequential(sequential::Sequential::new(capacity)),
        })
    }
}

impl Stream {
    /// The next block number.
    pub fn next_block(&mut self) -> u32 {
        match self {
            Self::Uniform(stream) => stream.next_block(),
            Self::Gaussian(stream) => stream.next_block(),
            Self::Sequential(stream) => stream.next_block(),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => f.write_str("uniform"),
            Self::Gaussian { mean, sd } => write!(f, "gaussian:{mean},{sd}"),
            Self::Sequential => f.write_str("sequential"),
        }
    }
}

/// The text is none of the patterns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAPattern;

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
            _ => Err(NotAPattern),
        }
    }
}
