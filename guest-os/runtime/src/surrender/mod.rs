//! Which blocks to give up: the application's answer to the hypervisor.
//!
//! In the 2017 system an application wrote its answer to a /proc file; here it
//! implements [`Surrender`]. One policy a file; adding one is a file, a variant
//! of [`workloads::Policy`] and a test.

mod counts;
mod highest;
mod lfu;
mod lru;
mod random;
mod refuse;
mod sample;
mod scattered;

use alloc::boxed::Box;

use vssd::block_set::BlockSet;
use workloads::Policy;

pub use sample::Sample;

/// Picks the blocks of a shrink.
pub trait Surrender {
    /// The application accesses a block, whether it holds it or not.
    fn accessed(&mut self, _block: u32) {}

    /// At most `count` of the blocks in `held`; fewer when the guest has no
    /// more to give for now.
    fn choose(&mut self, count: u32, held: &BlockSet) -> BlockSet;
}

/// The picker of a policy for a device of `capacity` blocks. `sample` is what
/// [`Policy::Sample`] goes by.
pub fn picker(policy: Policy, seed: u64, capacity: u32, sample: Sample) -> Box<dyn Surrender> {
    match policy {
        Policy::Sample => Box::new(sample::BySample::new(sample, seed)),
        Policy::Lru => Box::new(lru::Lru::new(capacity, seed)),
        Policy::Lfu => Box::new(lfu::Lfu::new(capacity, seed)),
        Policy::Counts => Box::new(counts::Counts::new(capacity, seed)),
        Policy::Random => Box::new(random::Random::new(seed)),
        Policy::Scattered => Box::new(scattered::Scattered),
        Policy::Highest => Box::new(highest::Highest),
        Policy::Refuse => Box::new(refuse::Refuse),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use workloads::Pattern;

    fn held() -> BlockSet {
        let mut held = BlockSet::full(1000);
        held.remove_range(100, 50);
        held.remove(999);
        held
    }

    #[test]
    fn every_policy_picks_as_many_held_blocks_as_asked() {
        let held = held();
        for policy in [
            Policy::Sample,
            Policy::Lru,
            Policy::Lfu,
            Policy::Counts,
            Policy::Random,
            Policy::Scattered,
            Policy::Highest,
        ] {
            for count in [0, 1, 63, 64, 500, 949, 2000] {
                let mut sample = Sample::default();
                sample
                    .draw(Pattern::Uniform.into(), 3, 0, 200, 1000)
                    .unwrap();
                let mut picker = picker(policy, 7, 1000, sample);
                (0..1000)
                    .step_by(3)
                    .for_each(|block| picker.accessed(block));
                let chosen = picker.choose(count, &held);
                assert_eq!(chosen.len(), count.min(held.len()), "{policy} {count}");
                assert!(chosen.is_subset_of(&held), "{policy} {count}");
            }
        }
        let refused = picker(Policy::Refuse, 0, 1000, Sample::default()).choose(10, &held);
        assert!(refused.is_empty());
    }

    #[test]
    fn a_sample_keeps_what_it_touched_most() {
        let mut sample = Sample::default();
        let pattern = Pattern::Gaussian {
            mean: 500.0,
            sd: 20.0,
        };
        sample.draw(pattern.into(), 3, 0, 10_000, 1000).unwrap();
        let chosen = picker(Policy::Sample, 7, 1000, sample).choose(900, &BlockSet::full(1000));
        assert!(!chosen.intersects_range(480, 40), "gave up the hottest");
    }

    /// Blocks 0 to 9 were hot long ago, 10 to 19 a little and lately, the others never.
    #[test]
    fn recency_and_frequency_keep_what_they_stand_for() {
        for (policy, kept) in [(Policy::Counts, 0), (Policy::Lru, 10), (Policy::Lfu, 10)] {
            let mut picker = picker(policy, 7, 160, Sample::default());
            for round in 0..60 {
                let first = if round < 50 { 0 } else { 10 };
                (first..first + 10).for_each(|block| picker.accessed(block));
            }
            let chosen = picker.choose(150, &BlockSet::full(160));
            assert!(!chosen.intersects_range(kept, 10), "{policy}");
        }
    }

    #[test]
    fn highest_is_contiguous_and_scattered_is_not() {
        let full = BlockSet::full(1000);
        let highest = picker(Policy::Highest, 0, 1000, Sample::default()).choose(400, &full);
        assert!(highest.contains_range(600, 400));
        let scattered = picker(Policy::Scattered, 0, 1000, Sample::default()).choose(500, &full);
        assert_eq!(scattered.runs().count(), 500);
    }
}
