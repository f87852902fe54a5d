//! Which blocks to give up: the application's answer to the hypervisor.
//!
//! In the 2017 system an application wrote its answer to a /proc file; here it
//! implements [`Surrender`]. One pick a file; adding one is a file, a variant
//! of [`workloads::GuestPick`] and a test.

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
use workloads::GuestPick;

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
/// [`GuestPick::Sample`] goes by.
pub fn picker(pick: GuestPick, seed: u64, capacity: u32, sample: Sample) -> Box<dyn Surrender> {
    match pick {
        GuestPick::Sample => Box::new(sample::BySample::new(sample, seed)),
        GuestPick::Lru => Box::new(lru::Lru::new(capacity, seed)),
        GuestPick::Lfu => Box::new(lfu::Lfu::new(capacity, seed)),
        GuestPick::Counts => Box::new(counts::Counts::new(capacity, seed)),
        GuestPick::Random => Box::new(random::Random::new(seed)),
        GuestPick::Scattered => Box::new(scattered::Scattered),
        GuestPick::Highest => Box::new(highest::Highest),
        GuestPick::Refuse => Box::new(refuse::Refuse),
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
    fn every_pick_gives_as_many_held_blocks_as_asked() {
        let held = held();
        for pick in GuestPick::all().filter(|pick| *pick != GuestPick::Refuse) {
            for count in [0, 1, 63, 64, 500, 949, 2000] {
                let mut sample = Sample::default();
                sample
                    .draw(Pattern::Uniform.into(), 3, 0, 200, 1000)
                    .unwrap();
                let mut picker = picker(pick, 7, 1000, sample);
                (0..1000)
                    .step_by(3)
                    .for_each(|block| picker.accessed(block));
                let chosen = picker.choose(count, &held);
                assert_eq!(chosen.len(), count.min(held.len()), "{pick} {count}");
                assert!(chosen.is_subset_of(&held), "{pick} {count}");
            }
        }
        let refused = picker(GuestPick::Refuse, 0, 1000, Sample::default()).choose(10, &held);
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
        let chosen = picker(GuestPick::Sample, 7, 1000, sample).choose(900, &BlockSet::full(1000));
        assert!(!chosen.intersects_range(480, 40), "gave up the hottest");
    }

    /// Blocks 0 to 9 were hot long ago, 10 to 19 a little and lately, the others never.
    #[test]
    fn recency_and_frequency_keep_what_they_stand_for() {
        for (pick, kept) in [
            (GuestPick::Counts, 0),
            (GuestPick::Lru, 10),
            (GuestPick::Lfu, 10),
        ] {
            let mut picker = picker(pick, 7, 160, Sample::default());
            for round in 0..60 {
                let first = if round < 50 { 0 } else { 10 };
                (first..first + 10).for_each(|block| picker.accessed(block));
            }
            let chosen = picker.choose(150, &BlockSet::full(160));
            assert!(!chosen.intersects_range(kept, 10), "{pick}");
        }
    }

    #[test]
    fn highest_is_contiguous_and_scattered_is_not() {
        let full = BlockSet::full(1000);
        let highest = picker(GuestPick::Highest, 0, 1000, Sample::default()).choose(400, &full);
        assert!(highest.contains_range(600, 400));
        let scattered = picker(GuestPick::Scattered, 0, 1000, Sample::default()).choose(500, &full);
        assert_eq!(scattered.runs().count(), 500);
    }
}
