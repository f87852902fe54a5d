//! The demand of a period: its accesses, and how often they would miss by the size of the cache.

use alloc::vec::Vec;
use core::mem;

use hashbrown::HashSet;

use super::bins::Bins;
use super::curve::Curve;
use super::hash::BuildBlockHasher;
use super::sample::{NoSample, Sample, Sampled};

/// The seed by which blocks are sampled. Guests need not differ in it: each has blocks of its own.
const SEED: u64 = 1;

/// The accesses of a period.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Demand {
    /// Accesses.
    pub accesses: u64,
    /// Those that hit.
    pub hits: u64,
    /// Those that wrote.
    pub writes: u64,
    /// The miss ratio of LRU by the number of blocks, ascending; empty without accesses.
    pub curve: Vec<(u64, f64)>,
    /// The share of the accesses that are no read hits, which is what a write is that is not read
    /// again: *useful* reuse (Ahmadian, Mutlu and Asadi, "ECI-Cache", SIGMETRICS 2018).
    pub reads: Vec<(u64, f64)>,
}

/// Samples accesses, and reports on them period by period. What was accessed before a period
/// counts for the distances in it.
///
/// It takes some 100 bytes for each sampled block, and at most 120 KiB for counts, whatever the
/// number of blocks.
#[derive(Clone, Debug)]
pub struct DemandSampler {
    sample: Sample,
    /// All accesses, and reads.
    all: Bins,
    reads: Bins,
    /// Sampled blocks that were written past the cache since their last access: the next one misses.
    past: HashSet<u64, BuildBlockHasher>,
    /// Blocks written past the cache from which on those that are sampled no longer are left out.
    past_max: usize,
    /// Accesses in the sample, with their weights.
    sampled: f64,
    accesses: u64,
    hits: u64,
    writes: u64,
}

impl DemandSampler {
    /// Samples at most `blocks` blocks.
    ///
    /// # Errors
    /// When these are none.
    pub fn new(blocks: usize) -> Result<Self, NoSample> {
        Ok(Self {
            sample: Sample::new(blocks, SEED)?,
            all: Bins::default(),
            reads: Bins::default(),
            past: HashSet::default(),
            past_max: blocks,
            sampled: 0.0,
            accesses: 0,
            hits: 0,
            writes: 0,
        })
    }

    /// A block is accessed.
    #[inline]
    pub fn access(&mut self, block: u32, is_hit: bool, is_write: bool) {
        self.count(is_hit, is_write);
        if let Some(sampled) = self.sample.access(block.into()) {
            self.access_sampled(sampled, block.into(), is_write);
        }
    }

    /// A block is written to the origin disk alone, and leaves the cache: neither this access nor the
    /// next one to the block hits, at any size. So a cache that bypasses writes is not taken to
    /// need blocks that it would not use (Ahmadian, Salkhordeh, Mutlu and Asadi, "ETICA: Efficient
    /// two-level I/O caching architecture for virtualized platforms", IEEE TPDS 2021).
    pub fn write_past(&mut self, block: u32, is_hit: bool) {
        self.count(is_hit, true);
        let block = u64::from(block);
        if let Some(Sampled { weight, .. }) = self.sample.access(block) {
            self.sampled += weight;
            self.past.insert(block);
            if self.past.len() > self.past_max {
                let sample = &self.sample;
                self.past.retain(|block| sample.has(*block));
            }
        }
    }

    #[inline]
    fn count(&mut self, is_hit: bool, is_write: bool) {
        self.accesses += 1;
        self.hits += u64::from(is_hit);
        self.writes += u64::from(is_write);
    }

    fn access_sampled(&mut self, sampled: Sampled, block: u64, is_write: bool) {
        let Sampled { weight, distance } = sampled;
        self.sampled += weight;
        let was_past = !self.past.is_empty() && self.past.remove(&block);
        if let Some(distance) = distance.filter(|_| !was_past) {
            self.all.add(distance, weight);
            if !is_write {
                self.reads.add(distance, weight);
            }
        }
    }

    /// The demand since the last call. Each curve has at most `points` points, which is at least 1.
    pub fn take(&mut self, points: usize) -> Demand {
        let (accesses, writes) = (mem::take(&mut self.accesses), mem::take(&mut self.writes));
        let sampled = mem::take(&mut self.sampled);
        // As in SHARDS-adj: a hot block in the sample, or missing from it, shifts the curve.
        let excess = accesses as f64 - sampled;
        let share_read = (accesses - writes) as f64 / accesses.max(1) as f64;
        let curve = |hits: &mut Bins, excess: f64| {
            let shortest = hits.iter().next().map(|(distance, _)| (distance, excess));
            let hits_and_excess = shortest.into_iter().chain(hits.iter());
            let curve = Curve::of(accesses.max(1) as f64, hits_and_excess);
            hits.clear();
            thinned(&curve, points)
        };
        Demand {
            accesses,
            hits: mem::take(&mut self.hits),
            writes,
            curve: curve(&mut self.all, excess),
            reads: curve(&mut self.reads, excess * share_read),
        }
    }

    /// Bytes of heap, about.
    pub fn memory_bytes(&self) -> usize {
        let bins = self.all.memory_bytes() + self.reads.memory_bytes();
        let past = self.past.capacity() * (size_of::<u64>() + 1);
        self.sample.memory_bytes() + bins + past
    }
}

/// At most `points` points of a curve, between which the miss ratio changes about equally.
fn thinned(curve: &Curve, points: usize) -> Vec<(u64, f64)> {
    let steps: Vec<(u64, f64)> = falling(curve.steps()).collect();
    let Some((_, least)) = steps.last().copied() else {
        return Vec::new();
    };
    let step = (1.0 - least) / points as f64;
    let mut thinned: Vec<(u64, f64)> = Vec::new();
    let mut last = 1.0;
    for (blocks, ratio) in steps {
        if last - ratio >= step || ratio <= least {
            thinned.push((blocks, ratio));
            last = ratio;
            if ratio <= least {
                break;
            }
        }
    }
    thinned
}

/// Steps that do not rise: the correction can make the first ratio less than those after it.
fn falling(steps: impl Iterator<Item = (u64, f64)>) -> impl Iterator<Item = (u64, f64)> {
    let mut least = 1.0;
    steps.map(move |(blocks, ratio)| {
        least = ratio.min(least);
        (blocks, least)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accesses to 100 blocks in a circle, `count` of them.
    fn circle(sampler: &mut DemandSampler, count: u32, is_write: bool) {
        for access in 0..count {
            sampler.access(access % 100, access >= 100, is_write);
        }
    }

    #[test]
    fn a_circle_hits_from_its_length_on() {
        let mut sampler = DemandSampler::new(1000).unwrap();
        circle(&mut sampler, 400, false);
        let demand = sampler.take(10);
        assert_eq!((demand.accesses, demand.hits, demand.writes), (400, 300, 0));
        assert_eq!(demand.curve, [(100, 0.25)]);
        assert_eq!(demand.reads, demand.curve);
    }

    #[test]
    fn periods_are_apart_and_distances_go_on() {
        let mut sampler = DemandSampler::new(1000).unwrap();
        circle(&mut sampler, 100, false);
        assert_eq!(sampler.take(10).curve, []);
        circle(&mut sampler, 100, true);
        let demand = sampler.take(10);
        assert_eq!((demand.accesses, demand.writes), (100, 100));
        assert_eq!(demand.curve, [(100, 0.0)]);
        assert_eq!(demand.reads, [], "writes are of no use");
        assert_eq!(sampler.take(10), Demand::default());
    }

    #[test]
    fn what_is_written_past_the_cache_misses_when_it_is_accessed_next() {
        let mut sampler = DemandSampler::new(1000).unwrap();
        for block in 0..100 {
            sampler.write_past(block, false);
        }
        circle(&mut sampler, 200, false);
        let demand = sampler.take(10);
        assert_eq!((demand.accesses, demand.writes), (300, 100));
        // Of the reads the first hundred miss, and the writes do.
        let third = 1.0 - 100.0 / 300.0;
        assert_eq!(demand.curve.len(), 1);
        assert!((demand.curve[0].1 - third).abs() < 1e-9, "{demand:?}");
        assert_eq!(demand.curve, demand.reads);
        // A few sampled blocks of many: what is remembered is bounded.
        let mut sampler = DemandSampler::new(16).unwrap();
        for block in 0..100_000 {
            sampler.write_past(block, false);
        }
        assert!(sampler.past.len() <= 17, "{}", sampler.past.len());
    }

    #[test]
    fn curves_have_few_points_and_never_rise() {
        let mut sampler = DemandSampler::new(64).unwrap();
        let mut block = 1_u32;
        for _ in 0..100_000 {
            block = block.wrapping_mul(0x9e37_79b1).wrapping_add(7);
            sampler.access(
                block % 5000 * (block % 7) / 7,
                false,
                block.is_multiple_of(3),
            );
        }
        let demand = sampler.take(16);
        for curve in [&demand.curve, &demand.reads] {
            assert!((2..=17).contains(&curve.len()), "{curve:?}");
            assert!(
                curve.is_sorted_by(|a, b| a.0 < b.0 && a.1 >= b.1),
                "{curve:?}"
            );
        }
        let last = |curve: &[(u64, f64)]| curve.last().unwrap().1;
        assert!(last(&demand.curve) < 0.2);
        assert!(last(&demand.reads) > 0.3, "a third are writes");
        assert!(sampler.memory_bytes() < 64 * 1024);
    }
}
