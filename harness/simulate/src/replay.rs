//! Simulates each policy at each size, on all processors.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::time::Instant;

use anyhow::Result;
use guest_cache::eviction::belady::Belady;
use guest_cache::{AnyCache, Cache, Policy};
use indicatif::ProgressBar;
use terminal::{interrupt, parallel};

use super::input::Input;

/// Accesses between two checks for an interrupt.
const STRIDE: usize = 1 << 18;

/// An eviction policy under comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contender {
    /// A policy of the guest's cache.
    Policy(Policy),
    /// Belady's MIN, which knows all future accesses: the lower bound of misses.
    Belady,
}

const BELADY: &str = "belady";

impl Contender {
    /// All policies, the bound last.
    pub fn all() -> impl Iterator<Item = Self> {
        let policies = Policy::ALL.iter().copied();
        policies.map(Self::Policy).chain([Self::Belady])
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Policy(policy) => policy.name(),
            Self::Belady => BELADY,
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Contender {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::all()
            .find(|contender| contender.name() == name)
            .ok_or_else(|| {
                let names: Vec<_> = Self::all().map(Self::name).collect();
                format!(
                    "invalid policy `{name}`; expected all, {}",
                    names.join(", ")
                )
            })
    }
}

/// Counts of a policy at a size. Accesses of the warm-up are not counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub policy: String,
    pub cache_blocks: u32,
    pub reads: u64,
    pub read_misses: u64,
    pub writes: u64,
    pub write_misses: u64,
    /// Memory of the cache, bytes; that of Belady's MIN includes the future accesses.
    pub memory_bytes: u64,
    /// Time of all accesses, nanoseconds.
    pub elapsed_ns: u64,
}

impl Outcome {
    pub fn misses(&self) -> u64 {
        self.read_misses + self.write_misses
    }
}

/// Simulates all contenders at all sizes, in this order. The first `warmup` accesses are not
/// counted.
///
/// # Errors
/// When interrupted.
pub fn run(
    input: &Input,
    contenders: &[Contender],
    sizes: &[u32],
    warmup: usize,
    bar: &ProgressBar,
) -> Result<Vec<Outcome>> {
    let cells: Vec<(Contender, u32)> = contenders
        .iter()
        .flat_map(|of| sizes.iter().map(move |size| (*of, *size)))
        .collect();
    let outcomes = parallel::each(&cells, bar, |&(contender, blocks)| {
        on_slots(input, contender, blocks, 0..blocks, warmup)
    });
    interrupt::check()?;
    outcomes.into_iter().collect()
}

/// A cache with any policy.
trait Simulated {
    /// Looks a block up and updates the policy; true on a hit.
    fn is_hit(&mut self, block: u32) -> bool;

    /// Inserts a block after a miss.
    fn insert(&mut self, block: u32);

    fn heap_bytes(&self) -> usize;
}

macro_rules! simulated {
    ($cache:ty) => {
        impl Simulated for $cache {
            #[inline]
            fn is_hit(&mut self, block: u32) -> bool {
                self.access(block).is_some()
            }

            #[inline]
            fn insert(&mut self, block: u32) {
                self.admit(block);
            }

            fn heap_bytes(&self) -> usize {
                self.memory_bytes()
            }
        }
    };
}

simulated!(AnyCache);
simulated!(Cache<Belady>);

/// Simulates one contender in a cache with the slots `held` of `may_have`. The first `warmup`
/// accesses are not counted.
///
/// # Errors
/// When interrupted.
pub fn on_slots(
    input: &Input,
    contender: Contender,
    may_have: u32,
    held: Range<u32>,
    warmup: usize,
) -> Result<Outcome> {
    let blocks = held.len() as u32;
    match contender {
        Contender::Belady => {
            let mut cache = Cache::with_policy(may_have, Belady::of(&input.blocks, may_have));
            cache.grow(held);
            replay(input, contender, blocks, cache, warmup)
        }
        Contender::Policy(policy) => {
            let mut cache = policy.cache(may_have);
            cache.grow(held);
            replay(input, contender, blocks, cache, warmup)
        }
    }
}

fn replay(
    input: &Input,
    contender: Contender,
    blocks: u32,
    mut cache: impl Simulated,
    warmup: usize,
) -> Result<Outcome> {
    let began = Instant::now();
    let (mut accesses, mut misses) = ([0u64; 2], [0u64; 2]);
    for (stride, part) in input.blocks.chunks(STRIDE).enumerate() {
        interrupt::check()?;
        for (at, &block) in (stride * STRIDE..).zip(part) {
            let missed = !cache.is_hit(block);
            if missed {
                cache.insert(block);
            }
            if at >= warmup {
                let kind = usize::from(input.is_write(at));
                accesses[kind] += 1;
                misses[kind] += u64::from(missed);
            }
        }
    }
    Ok(Outcome {
        policy: contender.name().to_owned(),
        cache_blocks: blocks,
        reads: accesses[0],
        read_misses: misses[0],
        writes: accesses[1],
        write_misses: misses[1],
        memory_bytes: cache.heap_bytes() as u64,
        elapsed_ns: began.elapsed().as_nanos() as u64,
    })
}
