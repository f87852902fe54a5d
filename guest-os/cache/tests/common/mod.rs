//! Requests for the tests: integer arithmetic only, so that `golden.py` makes
//! the same ones.
#![allow(dead_code, reason = "each test uses some")]

pub mod golden;

/// PCG32: 64 bits of state, 32 out.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        let mut rng = Self(seed);
        rng.next();
        rng
    }

    pub fn next(&mut self) -> u32 {
        let old = self.0;
        self.0 = old
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let folded = (((old >> 18) ^ old) >> 27) as u32;
        folded.rotate_right((old >> 59) as u32)
    }

    pub fn below(&mut self, limit: u32) -> u32 {
        ((u64::from(self.next()) * u64::from(limit)) >> 32) as u32
    }
}

/// Ranks from 0, the n-th as often as 1/(n + 1).
pub struct Zipf(Vec<u64>);

impl Zipf {
    pub fn new(blocks: u32) -> Self {
        let mut total = 0;
        let sums = (1..=u64::from(blocks)).map(|rank| {
            total += (1 << 32) / rank;
            total
        });
        Self(sums.collect())
    }

    pub fn next(&self, rng: &mut Rng) -> u32 {
        let total = self.0[self.0.len() - 1];
        let drawn = (u128::from(total) * u128::from(rng.next())) >> 32;
        self.0.partition_point(|&sum| u128::from(sum) <= drawn) as u32
    }
}

/// The block of a number: the whole of `u32` is used, and 0 is not.
pub fn block(number: u32) -> u32 {
    (number + 1).wrapping_mul(2_654_435_761)
}

/// The requests of a named sequence.
pub fn sequence(name: &str, requests: u32) -> Vec<u32> {
    let mut rng = Rng::new(name.bytes().map(u64::from).sum());
    let zipf = Zipf::new(50_000);
    let next = |i: u32| match name {
        "zipf" => zipf.next(&mut rng),
        "uniform" => rng.below(50_000),
        // Every other 1000 requests a scan of new blocks.
        "scan" if i / 1000 % 2 == 1 => 50_000 + i,
        "scan" => zipf.next(&mut rng),
        "loop" => i % 5000,
        // What is hot moves on every 5000 requests.
        "shift" => zipf.next(&mut rng) + i / 5000 * 100,
        _ => panic!("no sequence {name}"),
    };
    (0..requests).map(next).map(block).collect()
}
