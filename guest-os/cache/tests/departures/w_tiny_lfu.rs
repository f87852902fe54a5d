//! W-TinyLFU that counts as the simulator does: of the requests those that hit the
//! main part, beside them a block's coming in and its leaving the window, in wide
//! counters of which each adds to all ten of a block's, least or not.

use std::collections::{HashMap, HashSet};
use std::f64::consts::LN_2;

use super::order::Order;

/// The 64-bit xxHash of a block as 8 bytes, by its public specification.
fn xxh64(block: u32, seed: u64) -> u64 {
    const P: [u64; 5] = [
        0x9e37_79b1_85eb_ca87,
        0xc2b2_ae3d_27d4_eb4f,
        0x1656_67b1_9e37_79f9,
        0x85eb_ca77_c2b2_ae63,
        0x27d4_eb2f_1656_67c5,
    ];
    let lane = u64::from(block).wrapping_mul(P[1]).rotate_left(31);
    let mut hash = seed.wrapping_add(P[4]).wrapping_add(8) ^ lane.wrapping_mul(P[0]);
    hash = hash.rotate_left(27).wrapping_mul(P[0]).wrapping_add(P[3]);
    hash = (hash ^ (hash >> 33)).wrapping_mul(P[1]);
    hash = (hash ^ (hash >> 29)).wrapping_mul(P[2]);
    hash ^ (hash >> 32)
}

struct Counters {
    counts: Vec<u32>,
    hashes: u32,
    places: HashMap<u32, Vec<usize>>,
}

impl Counters {
    /// A counting Bloom filter for as many blocks with an error of 0.1 %.
    fn new(blocks: usize) -> Self {
        let per_block = -0.001f64.ln() / LN_2.powi(2);
        Self {
            counts: vec![0; (per_block * blocks as f64).ceil() as usize],
            hashes: (LN_2 * per_block).ceil() as u32,
            places: HashMap::new(),
        }
    }

    fn places(&mut self, block: u32) -> &[usize] {
        let len = self.counts.len();
        let hashes = 0..self.hashes;
        self.places.entry(block).or_insert_with(|| {
            let (first, step) = (
                xxh64(block, 0x1234_5678) as u32,
                xxh64(block, 0x1234_4321) as u32,
            );
            let places = hashes.map(|i| first.wrapping_add(i.wrapping_mul(step)) as usize % len);
            places.collect()
        })
    }

    fn count(&mut self, block: u32) -> u32 {
        let places = self.places(block).to_vec();
        let counts = places.into_iter().map(|place| self.counts[place]);
        counts.min().expect("ten counters")
    }

    fn add(&mut self, block: u32) {
        for place in self.places(block).to_vec() {
            self.counts[place] += 1;
        }
    }
}

struct WTinyLfu {
    counters: Counters,
    window: Order,
    /// The main part's two, what goes first first.
    parts: [Order; 2],
    limits: [usize; 2],
    main: usize,
    cached: HashSet<u32>,
    hits: usize,
}

impl WTinyLfu {
    fn new(capacity: usize) -> Self {
        let main = capacity - capacity / 100;
        Self {
            counters: Counters::new(main),
            window: Order::default(),
            parts: Default::default(),
            limits: [main / 5, (0.8 * main as f64) as usize],
            main,
            cached: HashSet::new(),
            hits: 0,
        }
    }

    fn main_len(&self) -> usize {
        self.parts[0].len() + self.parts[1].len()
    }

    fn hit_main(&mut self, block: u32) {
        self.parts[0].remove(block);
        self.parts[1].put(block);
        while self.parts[1].len() > self.limits[1] {
            let block = self.parts[1].take_first().expect("a protected block");
            self.parts[0].put(block);
            self.limit_probation();
        }
        self.counters.add(block);
        self.hits += 1;
        if self.hits == 32 * self.main {
            self.hits = 0;
            self.counters
                .counts
                .iter_mut()
                .for_each(|count| *count >>= 1);
        }
    }

    /// Its two limits are rounded down: what goes down may throw something out.
    fn limit_probation(&mut self) {
        while self.parts[0].len() > self.limits[0] {
            let block = self.parts[0].take_first().expect("a block");
            self.cached.remove(&block);
        }
    }

    fn insert_main(&mut self, block: u32) {
        let part = (0..2).find(|&part| self.parts[part].len() < self.limits[part]);
        self.parts[part.unwrap_or(0)].put(block);
    }

    fn main_victim(&self) -> u32 {
        let victim = self.parts[0].first().or_else(|| self.parts[1].first());
        victim.expect("a block in the main part")
    }

    fn evict(&mut self) {
        loop {
            let candidate = self.window.take_first().expect("a block in the window");
            if self.main_len() < self.main {
                self.insert_main(candidate);
                self.counters.add(candidate);
                continue;
            }
            let victim = self.main_victim();
            if self.counters.count(candidate) > self.counters.count(victim) {
                for part in &mut self.parts {
                    part.remove(victim);
                }
                self.insert_main(candidate);
                self.cached.remove(&victim);
            } else {
                self.cached.remove(&candidate);
            }
            self.counters.add(candidate);
            return;
        }
    }
}

/// How many of the requests miss.
pub fn misses(requests: &[u32], capacity: usize) -> u64 {
    if capacity < 100 {
        return requests.len() as u64;
    }
    let mut cache = WTinyLfu::new(capacity);
    let mut misses = 0;
    for &block in requests {
        if cache.window.contains(block) {
            cache.window.put(block);
        } else if cache.cached.contains(&block) {
            cache.hit_main(block);
        } else {
            misses += 1;
            if cache.cached.len() == capacity {
                cache.evict();
            }
            cache.window.put(block);
            cache.cached.insert(block);
            cache.counters.add(block);
        }
    }
    misses
}
