//! `mrc`: the fewest misses by the curves themselves, by dynamic programming (Zhang et al., "OSCA:
//! An online-model based cache allocation scheme in cloud block storage systems", ATC 2020).
//!
//! That costs VMs times blocks squared, so it is done in steps, each within [`WORK`]:
//!
//! 1. The greedy division of [`hull`](super::hull) is the first solution. At the slope where it
//!    stops, most VMs are at a size that beats every other of theirs by far. The program divides
//!    only among the [`CORE`] VMs that are nearest to another size (the core of a multiple-choice
//!    knapsack: Pisinger, "A minimal algorithm for the multiple-choice knapsack problem", EJOR 1995).
//! 2. It does so in steps of as many blocks as the work allows, by powers of two.
//! 3. Then again around the best solution so far, in steps four times smaller, down to one block.
//!
//! When the first step is one block and the core has all VMs, the result is optimal; else it is
//! never worse than that of the hulls. What no VM gains from is divided as there.

use super::{Plan, Policy, PolicyName};
use crate::arbiter::curve::Curve;
use crate::arbiter::descent::{Descent, descend};
use crate::arbiter::problem::Problem;
use crate::arbiter::span::Span;

/// The most comparisons of the program in one step.
pub const WORK: u64 = 1_000_000;

/// The most VMs that the program divides among.
pub const CORE: usize = 32;

/// How many times smaller a step is than the one before.
const ZOOM: u32 = 4;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Mrc;

impl Policy for Mrc {
    fn name(&self) -> PolicyName {
        PolicyName::Mrc
    }

    fn plan(&self, problem: &Problem) -> Plan {
        let mut targets = fewest_misses(problem);
        problem.hand_out_rest(&mut targets);
        Plan::minimal(targets, problem)
    }
}

/// The VMs that the program divides among, and what it has for them.
struct Core<'a> {
    curves: Vec<&'a Curve>,
    spans: Vec<Span>,
    /// Blocks for all of them.
    blocks: u32,
}

/// The targets with the fewest misses that can be found. Blocks that save none stay.
fn fewest_misses(problem: &Problem) -> Vec<u32> {
    let Problem {
        blocks,
        spans,
        curves,
        ..
    } = problem;
    let Descent { mut targets, slope } = descend(*blocks, curves, spans);
    let mut vms: Vec<(f64, usize)> = (0..targets.len())
        .map(|vm| (regret(&curves[vm], spans[vm], targets[vm], slope), vm))
        .collect();
    // When every VM has its best size at one price of a block, no division is better.
    if vms.iter().all(|(regret, _)| *regret >= 0.0) {
        return targets;
    }
    if vms.len() > CORE {
        vms.select_nth_unstable_by(CORE, |one, other| one.0.total_cmp(&other.0));
        vms.truncate(CORE);
        vms.sort_unstable_by_key(|(_, vm)| *vm);
    }
    let first: Vec<u32> = vms.iter().map(|&(_, vm)| targets[vm]).collect();
    let sum = |targets: &[u32]| targets.iter().map(|&target| u64::from(target)).sum::<u64>();
    let core = Core {
        curves: vms.iter().map(|&(_, vm)| &curves[vm]).collect(),
        spans: vms.iter().map(|&(_, vm)| spans[vm]).collect(),
        blocks: (u64::from(*blocks) + sum(&first)).saturating_sub(sum(&targets)) as u32,
    };
    for (&(_, vm), target) in vms.iter().zip(core.solve(first)) {
        targets[vm] = target;
    }
    targets
}

/// How much worse than `target` the next best size of a curve is, in misses, when each block costs
/// `slope` of them. Below 0 when that size is better.
fn regret(curve: &Curve, span: Span, target: u32, slope: f64) -> f64 {
    let cost = |blocks: u32, misses: f64| misses + slope * f64::from(blocks);
    let ends = [span.floor, span.ceiling].into_iter();
    let ends = ends.map(|blocks| (blocks, curve.misses(blocks)));
    let points = curve.points().iter();
    let points = points.map(|point| (point.blocks, point.misses));
    let others = points
        .chain(ends)
        .filter(|(blocks, _)| *blocks != target && (span.floor..=span.ceiling).contains(blocks));
    let costs = others.map(|(blocks, misses)| cost(blocks, misses));
    let own = cost(target, curve.misses(target));
    let regret = costs.fold(f64::INFINITY, f64::min) - own;
    // Within the rounding of sums, the two are equal.
    if regret.abs() <= 1e-12 * own {
        0.0
    } else {
        regret
    }
}

impl Core<'_> {
    fn misses(&self, targets: &[u32]) -> f64 {
        let vms = self.curves.iter().zip(targets);
        vms.map(|(curve, target)| curve.misses(*target)).sum()
    }

    /// The best division that can be found, `first` or a better one.
    fn solve(&self, first: Vec<u32>) -> Vec<u32> {
        let mut best = first;
        let mut step = self.first_step();
        let mut spans = self.spans.clone();
        loop {
            let found = self.divide(&spans, step);
            if self.misses(&found) < self.misses(&best) {
                best = found;
            }
            if step == 1 {
                break;
            }
            spans = self.around(&best, step);
            step = (step / ZOOM).max(1);
        }
        // Steps leave a few blocks.
        let spans = self.spans.iter().zip(&best);
        let spans: Vec<Span> = spans
            .map(|(span, &floor)| Span { floor, ..*span })
            .collect();
        descend(self.blocks, self.curves.iter().copied(), &spans).targets
    }

    /// One step around `targets`, within the spans.
    fn around(&self, targets: &[u32], step: u32) -> Vec<Span> {
        let vms = self.spans.iter().zip(targets);
        vms.map(|(span, target)| Span {
            floor: target.saturating_sub(step).max(span.floor),
            ceiling: target.saturating_add(step).min(span.ceiling),
        })
        .collect()
    }

    /// The least power of two with which [`divide`](Self::divide) is within [`WORK`].
    fn first_step(&self) -> u32 {
        let floors: u64 = self.spans.iter().map(|span| u64::from(span.floor)).sum();
        let blocks = u64::from(self.blocks).saturating_sub(floors);
        let work = |step: u64| {
            let units = blocks / step + 1;
            let options = self.spans.iter().map(|span| {
                let options = u64::from(span.ceiling - span.floor).div_ceil(step) + 1;
                options.min(units)
            });
            // An option fits into as many sums as are left above it: about half.
            options.sum::<u64>().saturating_mul(units) / 2
        };
        let steps = (0..31).map(|power| 1 << power);
        let mut fitting = steps.filter(|&step| work(step.into()) <= WORK);
        fitting.next().unwrap_or(1 << 31)
    }

    /// The fewest misses with sizes of `step` blocks apart in `spans`, by dynamic programming over
    /// the VMs: `least[units]` is the fewest misses of the VMs so far with `units` steps in all.
    fn divide(&self, spans: &[Span], step: u32) -> Vec<u32> {
        let floors: u64 = spans.iter().map(|span| u64::from(span.floor)).sum();
        let options = |span: Span| (span.ceiling - span.floor).div_ceil(step) as usize;
        let all: usize = spans.iter().map(|&span| options(span)).sum();
        let blocks = u64::from(self.blocks).saturating_sub(floors);
        let units = all.min((blocks / u64::from(step)) as usize);
        let size = |span: Span, option: usize| {
            let more = option as u64 * u64::from(step);
            (u64::from(span.floor) + more).min(span.ceiling.into()) as u32
        };
        let mut least = vec![0.0; units + 1];
        let mut chosen: Vec<Vec<u32>> = Vec::with_capacity(spans.len());
        for (curve, &span) in self.curves.iter().zip(spans) {
            let alone = curve.misses(span.floor);
            let mut next: Vec<f64> = least.iter().map(|misses| misses + alone).collect();
            let mut choice = vec![0; units + 1];
            for option in 1..=options(span).min(units) {
                let own = curve.misses(size(span, option));
                let sums = next[option..].iter_mut().zip(&mut choice[option..]);
                for ((sum, choice), others) in sums.zip(&least) {
                    if others + own < *sum {
                        *sum = others + own;
                        *choice = option as u32;
                    }
                }
            }
            least = next;
            chosen.push(choice);
        }
        let mut left = units;
        let mut targets = vec![0; spans.len()];
        for ((target, choice), &span) in targets.iter_mut().zip(&chosen).zip(spans).rev() {
            let option = choice[left] as usize;
            *target = size(span, option);
            left -= option;
        }
        targets
    }
}
