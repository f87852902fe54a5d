//! Which of the moves of a plan are worth it, and how much of them in one period.
//!
//! Curves are noisy, and targets follow the noise; every block that moves loses its contents.
//!
//! ```text
//!  plan ──▶ too small? ──▶ worth it? ──▶ cut to what a period takes ──▶ targets of this period
//!              due blocks skip all three
//! ```
//!
//! - A change below [`smallest_change`](Damping::smallest_change) is none, unless it goes on with a
//!   resize that is under way.
//! - With plans that [save misses](Plan::fewest_misses), a VM grows only when the misses saved over
//!   [`horizon_periods`](Damping::horizon_periods) are more than those of the VMs that shrink for it
//!   and of the moved blocks, each of which misses once at either side. Free blocks cost nothing:
//!   no VM loses them, and what fills them missed anyway.
//! - A VM grows by as much as its cache can fill in a period, and no VM shrinks faster than
//!   [`shrink_per_period`](Damping::shrink_per_period): a partition must not move faster than a
//!   cache warms, or the curves that are measured are those of a cold one.
//!
//! A VM shrinks when another grows into its blocks, those that lose least first, or when the plan
//! leaves blocks free. Targets are between floor and ceiling wherever the plan's are, and sum up to
//! the pool at most.

use super::policy::Plan;
use super::problem::Problem;

/// Parameters. See the module.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Damping {
    /// The smallest change, as a part of the blocks that a VM holds. Default 1/64: a sampled curve
    /// is off by about 1 % (Waldspurger et al., SHARDS, FAST 2015).
    pub smallest_change: f64,
    /// Periods over which a move has to pay; `None` when every move does, and all of them together
    /// too: no [books](super::regret) are kept. Default 8.
    pub horizon_periods: Option<u32>,
    /// Misses that a block costs at each side when it moves from VM to VM. Default 1.
    pub misses_per_moved_block: f64,
    /// Blocks by which a VM may grow in a period for each of its misses in the last one, as a miss
    /// fills a block. Default 1.
    pub grow_per_miss: f64,
    /// Blocks by which any VM may grow in a period, as a part of the pool, however few misses it
    /// has. Default 1/64.
    pub grow_at_least: f64,
    /// Blocks by which a VM may shrink in a period, as a part of what it holds. Default 1: what another
    /// cannot fill in the period it does not get, so what a VM gives up is of use at once.
    pub shrink_per_period: f64,
}

impl Default for Damping {
    fn default() -> Self {
        Self {
            smallest_change: 1.0 / 64.0,
            horizon_periods: Some(8),
            misses_per_moved_block: 1.0,
            grow_per_miss: 1.0,
            grow_at_least: 1.0 / 64.0,
            shrink_per_period: 1.0,
        }
    }
}

/// A parameter is negative or no number.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("invalid damping: {name} is {value}, expected 0 or more")]
pub struct BadDamping {
    /// Name of the parameter.
    pub name: &'static str,
    /// Its value.
    pub value: f64,
}

/// What of a plan is to be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Damped {
    /// Blocks that each VM should hold at the end of this period.
    pub targets: Vec<u32>,
    /// Misses per period that the growths begun are expected to save when they are complete, less
    /// those that the VMs that shrink for them have more.
    pub saved: f64,
}

/// A VM that grows.
struct Growth {
    index: usize,
    /// Blocks when it is complete.
    to: u32,
    /// Misses per period that it saves then.
    saved: f64,
}

/// Blocks that VMs can give up, those that lose least first.
struct Supply<'a> {
    problem: &'a Problem<'a>,
    /// Blocks that no VM has. Below 0 when VMs hold more than there is.
    free: i64,
    /// VMs that shrink: index, the least that it may come to, cheapest first.
    givers: Vec<(usize, u32)>,
}

impl Damping {
    /// Every change is done at once, whatever it costs.
    pub fn none() -> Self {
        Self {
            smallest_change: 0.0,
            horizon_periods: None,
            misses_per_moved_block: 0.0,
            grow_per_miss: 0.0,
            grow_at_least: 1.0,
            shrink_per_period: 1.0,
        }
    }

    /// Checks the parameters.
    ///
    /// # Errors
    /// When one is negative or no number.
    pub fn check(&self) -> Result<(), BadDamping> {
        let parameters = [
            ("smallest_change", self.smallest_change),
            ("misses_per_moved_block", self.misses_per_moved_block),
            ("grow_per_miss", self.grow_per_miss),
            ("grow_at_least", self.grow_at_least),
            ("shrink_per_period", self.shrink_per_period),
        ];
        let is_bad = |(_, value): &(_, f64)| !(0.0..).contains(value);
        match parameters.into_iter().find(is_bad) {
            Some((name, value)) => Err(BadDamping { name, value }),
            None => Ok(()),
        }
    }

    /// What of `plan` is to be done in this period.
    pub fn damp(&self, problem: &Problem, plan: &Plan) -> Damped {
        let vms = problem.held.iter().zip(&problem.spans);
        // What is above a ceiling goes in any case.
        let mut now: Vec<u32> = vms.map(|(held, span)| *held.min(&span.ceiling)).collect();
        let before = now.clone();
        let held: i64 = now.iter().map(|&held| i64::from(held)).sum();
        let mut supply = Supply::of(problem, plan, &now, i64::from(problem.blocks) - held);
        // Due blocks, and those that VMs hold and the pool does not have.
        for (now, &due) in now.iter_mut().zip(&plan.due) {
            let missing = due.saturating_sub(*now);
            supply.free -= i64::from(missing);
            *now += missing;
        }
        supply.take(&mut now, |_| 0);
        let mut saved = 0.0;
        let slowest = |index: usize| self.slowest(problem.held[index], before[index]);
        let mut most = supply.within(&now, slowest);
        for growth in self.worthwhile(problem, plan, &now, &supply) {
            let Growth { index, to, .. } = growth;
            let warm = self.growth(problem, index).max(1);
            let more = (to - now[index]).min(warm).min(most);
            if more > 0 {
                now[index] += more;
                supply.free -= i64::from(more);
                most -= more;
                saved += growth.saved;
            }
        }
        supply.take(&mut now, slowest);
        self.leave_free(problem, plan, &mut supply, &mut now, slowest);
        Damped {
            targets: now,
            saved,
        }
    }

    /// The growths that are large enough and pay, the best first.
    fn worthwhile(
        &self,
        problem: &Problem,
        plan: &Plan,
        now: &[u32],
        supply: &Supply,
    ) -> Vec<Growth> {
        let growths = (0..now.len()).filter(|&index| plan.targets[index] > now[index]);
        let growths = growths.filter(|&index| self.is_change(problem, plan, index, now[index]));
        let growths = growths.map(|index| Growth {
            index,
            to: plan.targets[index],
            saved: loss(problem, index, plan.targets[index], now[index]),
        });
        let mut growths: Vec<Growth> = growths.collect();
        let blocks = |growth: &Growth| growth.to - now[growth.index];
        let rate = |growth: &Growth| growth.saved / f64::from(blocks(growth));
        growths.sort_by(|one, other| rate(other).total_cmp(&rate(one)));
        let horizon = self.horizon_periods.filter(|_| plan.fewest_misses);
        let mut rest = supply.after(now);
        growths.retain_mut(|growth| {
            let blocks = blocks(growth);
            let (taken, lost) = rest.cost(blocks);
            growth.saved -= lost;
            let moved = 2.0 * self.misses_per_moved_block * f64::from(taken);
            let pays = horizon.is_none_or(|periods| growth.saved * f64::from(periods) > moved);
            if pays {
                rest.spend(blocks);
            }
            pays
        });
        growths
    }

    /// A change from `now` to the plan's target is large enough, or goes on.
    fn is_change(&self, problem: &Problem, plan: &Plan, index: usize, now: u32) -> bool {
        let vm = &problem.vms[index];
        let target = plan.targets[index];
        let goes_on = vm
            .resizing
            .is_some_and(|to| to.cmp(&vm.held) == target.cmp(&vm.held));
        let change = f64::from(target.abs_diff(now));
        goes_on || change >= self.smallest_change * f64::from(problem.held[index])
    }

    /// Blocks by which a VM may grow in this period.
    fn growth(&self, problem: &Problem, index: usize) -> u32 {
        let filled = self.grow_per_miss * problem.vms[index].demand.misses() as f64;
        let least = self.grow_at_least * f64::from(problem.blocks);
        filled.max(least).ceil() as u32
    }

    /// What a VM that holds `held`, and `before` within its ceiling, keeps at least in this period.
    fn slowest(&self, held: u32, before: u32) -> u32 {
        let fewer = (self.shrink_per_period * f64::from(held)).ceil() as u32;
        before.saturating_sub(fewer.max(1))
    }

    /// Takes the blocks that the plan leaves free.
    fn leave_free(
        &self,
        problem: &Problem,
        plan: &Plan,
        supply: &mut Supply,
        now: &mut [u32],
        slowest: impl Fn(usize) -> u32,
    ) {
        let planned: i64 = plan.targets.iter().map(|&target| i64::from(target)).sum();
        let small = |index: &usize| !self.is_change(problem, plan, *index, now[*index]);
        let small: Vec<usize> = (0..now.len()).filter(small).collect();
        let keep = |index: usize| match small.binary_search(&index) {
            Ok(_) => u32::MAX,
            Err(_) => slowest(index),
        };
        supply.free -= i64::from(problem.blocks) - planned;
        supply.take(now, keep);
    }
}

/// Misses per period that VM `index` has more with `to` blocks than with `from`.
fn loss(problem: &Problem, index: usize, from: u32, to: u32) -> f64 {
    let curve = &problem.curves[index];
    curve.misses(to) - curve.misses(from)
}

impl<'a> Supply<'a> {
    fn of(problem: &'a Problem<'a>, plan: &Plan, now: &[u32], free: i64) -> Self {
        let givers = (0..now.len()).filter(|&index| plan.targets[index] < now[index]);
        let rate = |index: usize| {
            let (from, to) = (now[index], plan.targets[index]);
            loss(problem, index, from, to) / f64::from(from - to)
        };
        let mut givers: Vec<(f64, usize)> = givers.map(|index| (rate(index), index)).collect();
        givers.sort_by(|one, other| one.0.total_cmp(&other.0));
        Self {
            problem,
            free,
            givers: givers
                .into_iter()
                .map(|(_, index)| (index, plan.targets[index]))
                .collect(),
        }
    }

    /// Blocks that there are when no VM comes below `keep`, or below its target.
    fn within(&self, now: &[u32], keep: impl Fn(usize) -> u32) -> u32 {
        let givers = self.givers.iter();
        let more: i64 = givers
            .map(|&(index, least)| i64::from(now[index].saturating_sub(least.max(keep(index)))))
            .sum();
        (self.free + more).clamp(0, u32::MAX.into()) as u32
    }

    /// Shrinks VMs until no free block is missing, none below `keep`.
    fn take(&mut self, now: &mut [u32], keep: impl Fn(usize) -> u32) {
        for &(index, least) in &self.givers {
            if self.free >= 0 {
                return;
            }
            let most = now[index].saturating_sub(least.max(keep(index)));
            let fewer = i64::from(most).min(-self.free);
            now[index] -= fewer as u32;
            self.free += fewer;
        }
    }

    /// The blocks behind those that `now` says are gone.
    fn after(&self, now: &[u32]) -> Rest<'_> {
        let givers = self.givers.iter();
        Rest {
            problem: self.problem,
            free: self.free.max(0) as u64,
            givers: givers
                .map(|&(index, least)| (index, now[index], least))
                .collect(),
            next: 0,
        }
    }
}

/// Blocks that growths have not spent: a dry run of a [`Supply`] without regard to the period.
struct Rest<'a> {
    problem: &'a Problem<'a>,
    free: u64,
    /// Index, blocks, and what it may come to.
    givers: Vec<(usize, u32, u32)>,
    /// The first giver that has blocks left.
    next: usize,
}

impl Rest<'_> {
    /// Blocks that VMs would have to give up for a growth by `blocks`, and the misses per period
    /// that they would have more.
    fn cost(&self, blocks: u32) -> (u32, f64) {
        let mut missing = u64::from(blocks).saturating_sub(self.free) as u32;
        let taken = missing;
        let mut lost = 0.0;
        for &(index, now, least) in &self.givers[self.next..] {
            if missing == 0 {
                break;
            }
            let fewer = missing.min(now - least);
            lost += loss(self.problem, index, now, now - fewer);
            missing -= fewer;
        }
        (taken, lost)
    }

    fn spend(&mut self, blocks: u32) {
        let free = self.free.min(blocks.into());
        self.free -= free;
        let mut missing = blocks - free as u32;
        while missing > 0
            && let Some((_, now, least)) = self.givers.get_mut(self.next)
        {
            let fewer = missing.min(*now - *least);
            *now -= fewer;
            missing -= fewer;
            if now == least {
                self.next += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;
