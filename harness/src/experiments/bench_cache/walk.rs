//! A yardstick: the time of dependent memory accesses on this machine.

use std::hint::black_box;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

/// A cache line that names the next one of the walk.
#[derive(Clone)]
#[repr(align(64))]
struct Line(u32);

/// Cache lines in a single cycle of random order.
pub(super) struct Walk(Vec<Line>);

impl Walk {
    /// A cycle of so many lines, at least one.
    pub(super) fn new(lines: u32, rng: &mut SmallRng) -> Self {
        let mut order: Vec<u32> = (0..lines).collect();
        order.shuffle(rng);
        let mut circle = vec![Line(0); order.len()];
        let next = order.iter().cycle().skip(1);
        for (at, next) in order.iter().zip(next) {
            circle[*at as usize] = Line(*next);
        }
        Self(circle)
    }

    pub(super) fn bytes(&self) -> u64 {
        size_of_val(self.0.as_slice()) as u64
    }

    /// Times so many dependent accesses: the processor cannot fetch a line before the one that names
    /// it. All lines are accessed once before, so that they are as warm in the processor's caches
    /// as the table of a cache that has just been filled.
    pub(super) fn time(&self, steps: u32) -> Duration {
        black_box(self.after(self.0.len() as u32));
        let began = Instant::now();
        black_box(self.after(steps));
        began.elapsed()
    }

    /// The line after so many steps from the first.
    fn after(&self, steps: u32) -> u32 {
        (0..steps).fold(0, |at, _| self.0[at as usize].0)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_walk_visits_every_line_once() {
        let walk = Walk::new(1000, &mut SmallRng::seed_from_u64(1));
        assert_eq!(walk.bytes(), 64_000);
        let mut visited: Vec<u32> = (0..1000).map(|steps| walk.after(steps)).collect();
        assert_eq!(walk.after(1000), visited[0], "it is a circle");
        visited.sort_unstable();
        assert!(visited.into_iter().eq(0..1000));
    }
}
