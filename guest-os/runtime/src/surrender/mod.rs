//! Which blocks to give up: the application's answer to the hypervisor.
//!
//! In the 2017 system an application wrote its answer to a /proc file; here it
//! implements [`Surrender`]. One policy a file; adding one is a file, a variant
//! of [`workloads::Policy`] and a test.

mod highest;
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
    /// At most `count` of the blocks in `held`; fewer when the guest has no
    /// more to give for now.
    fn choose(&mut self, count: u32, held: &BlockSet) -> BlockSet;
}

/// The picker of a policy. `sample` is what [`Policy::Sample`] goes by.
pub fn picker(policy: Policy, seed: u64, sample: Sample) -> Box<dyn Surrender> {
    match policy {
        Policy::Sample => Box::new(sample::BySample::new(sample, seed)),
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
            Policy::Random,
            Policy::Scattered,
            Policy::Highest,
        ] {
            for count in [0, 1, 63, 64, 500, 949, 2000] {
                let mut sample = Sample::default();
                sample.draw(Pattern::Uniform, 3, 200, 1000).unwrap();
                let chosen = picker(policy, 7, sample).choose(count, &held);
                assert_eq!(chosen.len(), count.min(held.len()), "{policy} {count}");
                assert!(chosen.is_subset_of(&held), "{policy} {count}");
            }
        }
        let refused = picker(Policy::Refuse, 0, Sample::default()).choose(10, &held);
        assert!(refused.is_empty());
    }

    #[test]
    fn a_sample_keeps_what_it_touched_most() {
        let mut sample = Sample::default();
        let pattern = Pattern::Gaussian {
            mean: 500.0,
            sd: 20.0,
        };
        sample.draw(pattern, 3, 10_000, 1000).unwrap();
        let chosen = picker(Policy::Sample, 7, sample).choose(900, &BlockSet::full(1000));
        assert!(!chosen.intersects_range(480, 40), "gave up the hottest");
    }

    #[test]
    fn highest_is_contiguous_and_scattered_is_not() {
        let full = BlockSet::full(1000);
        let highest = picker(Policy::Highest, 0, Sample::default()).choose(400, &full);
        assert!(highest.contains_range(600, 400));
        let scattered = picker(Policy::Scattered, 0, Sample::default()).choose(500, &full);
        assert_eq!(scattered.runs().count(), 500);
    }
}
