//! The miss-ratio curve of LRU, exact and sampled.

use std::fmt;
use std::str::FromStr;
use std::time::Instant;

use anyhow::Result;
use terminal::interrupt;

use super::input::Input;
use crate::mrc::{Curve, Exact, FixedRate, FixedSize};

/// Accesses between two checks for an interrupt.
const STRIDE: usize = 1 << 16;

/// How a curve is computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// From all accesses.
    Exact,
    /// SHARDS with this sampling rate.
    FixedRate(f64),
    /// SHARDS with a sample of this many blocks.
    FixedSize(usize),
}

impl FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || {
            format!(
                "invalid method `{text}`; expected exact, shards, shards:RATE or fixed:BLOCKS, e.g. shards:0.01"
            )
        };
        let (name, value) = match text.split_once(':') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        match (name, value) {
            ("exact", None) => Ok(Self::Exact),
            ("shards", None) => Ok(Self::FixedRate(0.01)),
            ("shards", Some(value)) => {
                let rate = value.parse().map_err(|_| unknown())?;
                FixedRate::new(rate, 0).map_err(|error| error.to_string())?;
                Ok(Self::FixedRate(rate))
            }
            ("fixed", Some(value)) => {
                let blocks = value.parse().map_err(|_| unknown())?;
                FixedSize::new(blocks, 0).map_err(|error| error.to_string())?;
                Ok(Self::FixedSize(blocks))
            }
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact => f.write_str("exact"),
            Self::FixedRate(rate) => write!(f, "shards:{rate}"),
            Self::FixedSize(blocks) => write!(f, "fixed:{blocks}"),
        }
    }
}

/// A computed curve.
#[derive(Clone, Debug)]
pub struct Counted {
    pub method: Method,
    /// `None` if no block was sampled.
    pub curve: Option<Curve>,
    pub sampled_blocks: u64,
    /// Time of the computation, nanoseconds.
    pub elapsed_ns: u64,
}

/// Computes the curve of an input. Without sampling, its misses equal those of the simulated
/// LRU.
///
/// # Errors
/// When interrupted.
pub fn count(input: &Input, method: Method, seed: u64) -> Result<Counted> {
    let began = Instant::now();
    let (curve, sampled_blocks) = match method {
        Method::Exact => {
            let mut exact = Exact::new();
            each(input, |block| exact.access(block))?;
            (Some(exact.curve()), exact.blocks())
        }
        Method::FixedRate(rate) => {
            let mut sample = FixedRate::new(rate, seed)?;
            each(input, |block| sample.access(block))?;
            (sample.curve(), sample.blocks())
        }
        Method::FixedSize(blocks) => {
            let mut sample = FixedSize::new(blocks, seed)?;
            each(input, |block| sample.access(block))?;
            (Some(sample.curve()), sample.blocks() as u64)
        }
    };
    Ok(Counted {
        method,
        curve,
        sampled_blocks,
        elapsed_ns: began.elapsed().as_nanos() as u64,
    })
}

fn each(input: &Input, mut access: impl FnMut(u64)) -> Result<()> {
    for part in input.blocks.chunks(STRIDE) {
        interrupt::check()?;
        part.iter().for_each(|block| access(u64::from(*block)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_parse_as_they_print() {
        for text in ["exact", "shards:0.01", "fixed:8192"] {
            assert_eq!(text.parse::<Method>().unwrap().to_string(), text);
        }
        assert_eq!("shards".parse(), Ok(Method::FixedRate(0.01)));
        for text in [
            "", "fixed", "fixed:0", "shards:0", "shards:2", "exact:1", "mrc",
        ] {
            assert!(text.parse::<Method>().is_err(), "{text}");
        }
    }
}
