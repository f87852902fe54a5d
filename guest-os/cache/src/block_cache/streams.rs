//! Requests that bypass the cache: long sequential runs, and blocks requested too rarely.
//!
//! A run is found as bcache does it (`drivers/md/bcache/request.c`, `check_should_bypass`):
//! the ends of the latest runs are remembered, and a request where one ends makes
//! it longer. A disk serves such a run well by itself, and it would sweep the cache.

use crate::eviction::Sketch;

/// Runs that are remembered: as many as may well go on side by side.
const STREAMS: usize = 8;

#[derive(Clone, Copy, Default)]
struct Stream {
    /// The block that would go on with it.
    next: u32,
    len: u32,
    /// When it went on last, in requests.
    at: u64,
}

/// The latest runs.
#[derive(Default)]
pub struct Streams {
    streams: [Stream; STREAMS],
    requests: u64,
}

impl Streams {
    /// Counts a request: how many blocks its run had before.
    pub fn request(&mut self, block: u32) -> u32 {
        self.requests += 1;
        let mut oldest = 0;
        for at in 0..STREAMS {
            let stream = &mut self.streams[at];
            if stream.len > 0 && stream.next == block {
                let before = stream.len;
                *stream = Stream {
                    next: block.wrapping_add(1),
                    len: before.saturating_add(1),
                    at: self.requests,
                };
                return before;
            }
            if stream.at < self.streams[oldest].at {
                oldest = at;
            }
        }
        self.streams[oldest] = Stream {
            next: block.wrapping_add(1),
            len: 1,
            at: self.requests,
        };
        0
    }
}

/// Lets a block in at its n-th request within recent memory, which a sketch keeps: a
/// count may be too high for a block that shares its counters, never too low but for
/// age.
pub struct Promotion {
    sketch: Option<Sketch>,
    needed: u64,
}

impl Promotion {
    /// For a cache of up to `slots` slots.
    pub fn new(needed: u8, slots: u32) -> Self {
        let sketch = (needed > 1).then(|| Sketch::new(slots));
        let mut promotion = Self {
            sketch,
            needed: u64::from(needed.min(15)),
        };
        promotion.resize(slots);
        promotion
    }

    /// For so many slots from now on.
    pub fn resize(&mut self, slots: u32) {
        if let Some(sketch) = &mut self.sketch {
            sketch.resize(slots);
        }
    }

    /// Counts a request: whether the block may be admitted.
    pub fn request(&mut self, block: u32) -> bool {
        match &mut self.sketch {
            None => true,
            Some(sketch) => {
                sketch.add(block);
                sketch.count(block) >= self.needed
            }
        }
    }

    /// Bytes of heap.
    pub fn memory_bytes(&self) -> usize {
        self.sketch.as_ref().map_or(0, Sketch::memory_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_side_by_side_are_told_apart() {
        let mut streams = Streams::default();
        for step in 0..100 {
            for run in 0..8 {
                assert_eq!(streams.request(run * 1000 + step), step, "run {run}");
            }
        }
        assert_eq!(streams.request(50_000), 0);
        assert_eq!(streams.request(100), 0, "the oldest run was forgotten");
        assert_eq!(streams.request(1100), 0, "and then the next, by this");
        assert_eq!(streams.request(7100), 100);
    }

    #[test]
    fn a_block_is_let_in_at_its_nth_request() {
        let mut promotion = Promotion::new(3, 1000);
        assert!(!promotion.request(7) && !promotion.request(7));
        assert!(!promotion.request(8));
        assert!(promotion.request(7) && promotion.request(7));
        assert!(Promotion::new(1, 1000).request(7));
        assert!(Promotion::new(0, 1000).request(7));
    }
}
