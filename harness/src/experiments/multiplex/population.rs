//! A population of real VMs, by the hits that caches of several sizes would have had, and made-up accesses
//! whose curves match.
//!
//! Accesses are drawn by the LRU stack model (Spirn, "Program Behavior: Models and Measurements", 1977): each is
//! to a block that was never accessed, or to the one at a depth of the LRU stack, and depths are as often as the
//! VM's curve says. So the curve of LRU is met by construction, and the order of accesses is not.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use guest_cache::mrc::DemandSampler;
use rand::{Rng, RngExt};
use serde::Deserialize;
use workloads::pattern::{derive_seed, rng};
use workloads::replay::{Access, AccessKind};

/// Most VMs that a file may describe.
const MOST_ROWS: usize = 10_000;

/// Most blocks of a VM's LRU stack.
const MOST_BLOCKS: f64 = 65_536.0;

/// Steps of the hits: a tenth each.
const STEPS: usize = 10;

/// Points of the curve that is compared.
const CURVE_POINTS: usize = 2_000;

/// A line of the file: sizes, in MB, at which a VM has tenths of the hits that it can have.
#[derive(Clone, Debug, Deserialize)]
struct Line {
    workload: String,
    hr_10: f64,
    hr_20: f64,
    hr_30: f64,
    hr_40: f64,
    hr_50: f64,
    hr_60: f64,
    hr_70: f64,
    hr_80: f64,
    hr_90: f64,
    hr_100: f64,
    write_ratio: f64,
    cold_miss_rate: f64,
}

/// A VM of the population, scaled.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Kind {
    /// As the file calls it.
    pub(super) name: String,
    /// Blocks at which it has each tenth of the hits that it can have; ascending.
    pub(super) sizes: [u32; STEPS],
    /// The part of the accesses that write.
    pub(super) writes: f64,
    /// The part of the accesses that are the first to their block.
    pub(super) cold: f64,
}

/// Reads a population, a block for each `mb_per_block` MB.
///
/// # Errors
/// When the file cannot be read, or a line makes no sense.
pub(super) fn read(path: &Path, mb_per_block: u32) -> Result<Vec<Kind>> {
    let reading = || format!("read the parameter `population` from {}", path.display());
    let mut reader = csv::Reader::from_path(path).with_context(reading)?;
    let mut kinds = Vec::new();
    for line in reader.deserialize() {
        ensure!(
            kinds.len() < MOST_ROWS,
            "{} describes more than {MOST_ROWS} VMs",
            path.display()
        );
        let line: Line = line.with_context(reading)?;
        kinds.push(line.scaled(mb_per_block).with_context(reading)?);
    }
    ensure!(!kinds.is_empty(), "{} describes no VM", path.display());
    Ok(kinds)
}

impl Line {
    fn scaled(self, mb_per_block: u32) -> Result<Kind> {
        let sizes = [
            self.hr_10,
            self.hr_20,
            self.hr_30,
            self.hr_40,
            self.hr_50,
            self.hr_60,
            self.hr_70,
            self.hr_80,
            self.hr_90,
            self.hr_100,
        ];
        let name = self.workload;
        // Both are false for NaN.
        let are_sizes = sizes.iter().all(|size| (0.0..f64::INFINITY).contains(size));
        if !are_sizes || !sizes.is_sorted() {
            bail!("the sizes of {name} must be 0 or more, and ascend from hr_10 to hr_100");
        }
        for (column, value) in [
            ("write_ratio", self.write_ratio),
            ("cold_miss_rate", self.cold_miss_rate),
        ] {
            ensure!(
                (0.0..=1.0).contains(&value),
                "invalid {column} {value} of {name}; expected 0 to 1"
            );
        }
        let blocks = |mb: f64| {
            (mb / f64::from(mb_per_block))
                .ceil()
                .clamp(1.0, MOST_BLOCKS)
        };
        Ok(Kind {
            name,
            sizes: sizes.map(|mb| blocks(mb) as u32),
            writes: self.write_ratio,
            cold: self.cold_miss_rate,
        })
    }
}

impl Kind {
    /// The miss ratio of LRU at the size of step `step`, counted from 0.
    fn misses(&self, step: usize) -> f64 {
        // Steps of one size are had together.
        let had = self
            .sizes
            .iter()
            .filter(|size| **size <= self.sizes[step])
            .count();
        1.0 - (1.0 - self.cold) * had as f64 / STEPS as f64
    }

    /// `count` accesses of one that has run for long.
    pub(super) fn accesses(&self, seed: u64, count: usize) -> Vec<Access> {
        let mut rng = rng(seed);
        // The last is the most recent.
        let mut stack: Vec<u32> = (0..self.sizes[STEPS - 1]).collect();
        let depth = stack.len();
        let mut next = depth as u32;
        let accesses = std::iter::repeat_with(|| {
            let block = if rng.random_bool(self.cold) {
                next += 1;
                stack.remove(0);
                next - 1
            } else {
                stack.remove(depth - self.depth(&mut rng))
            };
            stack.push(block);
            let kind = if rng.random_bool(self.writes) {
                AccessKind::Write
            } else {
                AccessKind::Read
            };
            Access { block, kind }
        });
        accesses.take(count).collect()
    }

    /// A depth of the stack, from 1.
    fn depth(&self, rng: &mut impl Rng) -> usize {
        let step = rng.random_range(0..STEPS);
        let above = step.checked_sub(1).map_or(0, |below| self.sizes[below]);
        // Where two steps have one size, all of both hit there.
        let from = above.min(self.sizes[step] - 1) + 1;
        rng.random_range(from..=self.sizes[step]) as usize
    }

    /// How far the curve of its accesses is from its own: the mean difference of the miss ratios at its sizes.
    ///
    /// # Errors
    /// When there is nothing to compare.
    pub(super) fn error(&self, accesses: &[Access]) -> Result<f64> {
        let mut sampler = DemandSampler::new(usize::MAX).context("sample all blocks")?;
        // What has run for long has accessed all of its stack.
        for block in 0..self.sizes[STEPS - 1] {
            sampler.access(block, false, false);
        }
        sampler.take(1);
        for access in accesses {
            sampler.access(access.block, false, access.kind == AccessKind::Write);
        }
        let curve = sampler.take(CURVE_POINTS).curve;
        let found = |blocks: u32| {
            let up_to = curve
                .iter()
                .take_while(|(size, _)| *size <= u64::from(blocks));
            up_to.last().map_or(1.0, |(_, misses)| *misses)
        };
        let errors = (0..STEPS).map(|step| (found(self.sizes[step]) - self.misses(step)).abs());
        Ok(errors.sum::<f64>() / STEPS as f64)
    }
}

/// The kind of VM `vm`, drawn with replacement.
pub(super) fn draw(kinds: &[Kind], vm: u32, seed: u64) -> &Kind {
    let at = derive_seed(seed, vm.into()) % kinds.len() as u64;
    &kinds[at as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "workload,hr_10,hr_20,hr_30,hr_40,hr_50,hr_60,hr_70,hr_80,hr_90,hr_100,\
                        write_ratio,cold_miss_rate\n";

    fn read_text(lines: &str) -> Result<Vec<Kind>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{HEAD}{lines}")).unwrap();
        read(file.path(), 10)
    }

    #[test]
    fn accesses_have_the_curve_that_they_are_made_from() {
        let text = "a,0,10,10,50,100,500,900,2000,4000,6000,0.3,0.1\n\
                    b,5000,5000,5000,5000,5000,5000,5000,5000,5000,5000,1,0\n\
                    c,0,0,0,0,0,0,0,0,0,0,0,0.9\n";
        for (kind, writes) in read_text(text).unwrap().iter().zip([0.3, 1.0, 0.0]) {
            for seed in 0..3 {
                let accesses = kind.accesses(seed, 40_000);
                let error = kind.error(&accesses).unwrap();
                assert!(error < 0.01, "{} with seed {seed}: {error}", kind.name);
                let written = accesses.iter().filter(|of| of.kind == AccessKind::Write);
                let written = written.count() as f64 / accesses.len() as f64;
                assert!((written - writes).abs() < 0.02, "{written}");
            }
        }
        let kinds = read_text(text).unwrap();
        let other = Kind {
            sizes: kinds[1].sizes.map(|size| size / 2),
            ..kinds[1].clone()
        };
        let error = kinds[1].error(&other.accesses(1, 40_000)).unwrap();
        assert!(error < 0.01, "a smaller working set hits too: {error}");
        let error = other.error(&kinds[1].accesses(1, 40_000)).unwrap();
        assert!(error > 0.9, "a larger one does not: {error}");
    }

    #[test]
    fn files_that_make_no_sense_are_refused() {
        for (lines, word) in [
            ("", "no VM"),
            ("a,2,1,1,1,1,1,1,1,1,1,0,0\n", "ascend"),
            ("a,NaN,1,1,1,1,1,1,1,1,1,0,0\n", "0 or more"),
            ("a,1,1,1,1,1,1,1,1,1,1,1.5,0\n", "write_ratio 1.5"),
            ("a,1,1,1,1,1,1,1,1,1,1,0,-1\n", "cold_miss_rate -1"),
            ("a,1,1\n", "line"),
        ] {
            let error = read_text(lines).unwrap_err();
            assert!(format!("{error:#}").contains(word), "{error:#}");
        }
    }
}
