//! What VMs do under a schedule, period by period.

use workloads::Workload;
use workloads::command::Discard;
use workloads::pattern::Pattern;

use super::params::Params;
use super::schedule::{DESKTOPS, Schedule};
use crate::experiments::common::cached::CacheLoad;

/// Periods that a desktop boots.
const BOOT_PERIODS: u32 = 3;

/// Periods that one half of the VMs works: of a crowd, and where moves come too late.
const CROWD_PERIODS: u32 = 8;
const SHIFT_PERIODS: u32 = 4;

/// What a VM does in a period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Load {
    /// `None` for the VM's trace.
    pub(super) workload: Option<Workload>,
    /// The first block of the origin disk that it uses.
    pub(super) first: u32,
    /// Blocks that it uses from there on.
    pub(super) span: u32,
    pub(super) writes_percent: u32,
    /// Number of accesses.
    pub(super) accesses: u64,
}

impl Load {
    /// As the command of a cache: from access number `start` on, so many at a time.
    pub(super) fn of_cache(self, seed: u64, start: u64, depth: u32) -> CacheLoad {
        let Self {
            workload,
            first,
            span,
            writes_percent,
            accesses: count,
        } = self;
        CacheLoad {
            workload,
            first,
            span,
            seed,
            start,
            count,
            writes_percent,
            depth,
            discard: Discard::None,
            flush: 0,
            every: 0,
            check: false,
        }
    }
}

/// A VM's place in a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// Number of the VM, from 0 in the order of arrival.
    pub(super) vm: u32,
    /// The period in which it arrives.
    pub(super) arrives: u32,
    /// The period in which it is there no more.
    pub(super) departs: u32,
}

impl Schedule {
    /// All VMs, in the order of arrival.
    pub(super) fn slots(self, params: &Params) -> Vec<Slot> {
        let vms = params.vms_of(self);
        let at_a_time = (0..vms).map(|vm| Slot {
            vm,
            arrives: 0,
            departs: params.periods,
        });
        if self == Self::Weights {
            let departs = |vm| match vm {
                0 => self.begins(3, params),
                _ => params.periods,
            };
            let slots = at_a_time.map(|slot| Slot {
                departs: departs(slot.vm),
                ..slot
            });
            return slots.collect();
        }
        if !self.changes_vms() {
            return at_a_time.collect();
        }
        // In each period one departs and another takes its place, each after as many periods.
        let first = at_a_time.map(|slot| Slot {
            departs: (slot.vm + 1).min(params.periods),
            ..slot
        });
        let others = (1..params.periods).map(|period| Slot {
            vm: vms - 1 + period,
            arrives: period,
            departs: (period + vms).min(params.periods),
        });
        first.chain(others).collect()
    }

    /// The weight of a VM in a period.
    pub(super) fn weight(self, vm: u32, period: u32, params: &Params) -> u32 {
        match (self, self.phase(period, params), vm) {
            (Self::Weights, 0, _) => vm + 1,
            (Self::Weights, 1, 2) => 3,
            (Self::Weights, _, 2) => 1,
            (Self::Weights, _, _) => 2,
            (Self::Crowd, _, _) => vm % 3 + 1,
            _ => 1,
        }
    }

    /// The hit ratio that a VM is promised.
    pub(super) fn goal(self, vm: u32) -> Option<f64> {
        match (self, vm % 4) {
            (Self::Goals, 0) => Some(0.85),
            (Self::Goals, 1) => Some(0.90),
            (Self::Goals, 2) => Some(0.70),
            _ => None,
        }
    }

    /// Which quarter of the run a period is in.
    fn phase(self, period: u32, params: &Params) -> u32 {
        (u64::from(period) * 4 / u64::from(params.periods)) as u32
    }

    /// The first period of a quarter.
    fn begins(self, phase: u32, params: &Params) -> u32 {
        let begins = (u64::from(phase) * u64::from(params.periods)).div_ceil(4);
        begins as u32
    }

    /// Periods since what VMs are due last changed; `None` if that is always or never.
    pub(super) fn since_change(self, period: u32, params: &Params) -> Option<u32> {
        (self == Self::Weights).then(|| period - self.begins(self.phase(period, params), params))
    }

    /// Whether VMs may be expected to have what they are due: in the second half of the time between
    /// two changes.
    pub(super) fn is_settled(self, period: u32, params: &Params) -> bool {
        let half = params.periods.div_ceil(8);
        self.since_change(period, params)
            .is_none_or(|since| since >= half)
    }

    /// What a VM does in a period. `None` if it is switched off.
    pub(super) fn load(self, vm: u32, period: u32, params: &Params) -> Option<Load> {
        let of = |pattern: Pattern, part: u32, writes_percent: u32| Load {
            workload: Some(Workload::from(pattern)),
            first: 0,
            span: (params.span / part).max(1),
            writes_percent,
            accesses: params.accesses,
        };
        let zipf = |exponent: f64| Pattern::Zipf { exponent };
        let rate = |load: Load, percent: u32| Load {
            accesses: (load.accesses * u64::from(percent) / 100).max(1),
            ..load
        };
        let mixed = |vm: u32| match vm % 4 {
            0 => of(zipf(1.2), 1, 10),
            1 => of(Pattern::Uniform, 8, 10),
            2 => rate(of(zipf(0.8), 1, 10), 200),
            _ => of(Pattern::Sequential, 1, 0),
        };
        let writers = |vm: u32| match vm % 4 {
            0 => of(zipf(0.9), 1, 5),
            1 => of(zipf(0.9), 1, 90),
            2 => of(zipf(1.2), 1, 20),
            _ => of(Pattern::Sequential, 1, 95),
        };
        Some(match self {
            Self::Mixed | Self::Arrivals | Self::Goals => mixed(vm),
            Self::Crowd => {
                let works = (period / CROWD_PERIODS + vm).is_multiple_of(2);
                rate(mixed(vm / 2), if works { 100 } else { params.idle_percent })
            }
            Self::Writers => writers(vm),
            Self::Weights => of(Pattern::Uniform, 1, 10),
            Self::DayNight | Self::Shifts => {
                let turn = match self {
                    Self::Shifts => period / SHIFT_PERIODS,
                    _ => self.phase(period, params),
                };
                let works = turn % 2 == vm % 2;
                let load = of(zipf(0.9), 1, 10);
                rate(load, if works { 100 } else { params.idle_percent })
            }
            Self::BootStorm => {
                // As many boot in each period as all have booted in half of the run.
                let begins = vm * (params.periods / 2) / DESKTOPS;
                match period.checked_sub(begins) {
                    None => return None,
                    Some(age) if age < BOOT_PERIODS => of(Pattern::Sequential, 8, 5),
                    Some(_) => rate(of(zipf(1.0), 4, 30), 25),
                }
            }
            Self::Bully if vm == 0 => {
                let scan = of(Pattern::Sequential, 1, 0);
                Load {
                    span: params.span.saturating_mul(8),
                    ..rate(scan, 400)
                }
            }
            Self::Bully => of(zipf(0.9), 1, 10),
            Self::Traces | Self::Population => Load {
                workload: None,
                first: 0,
                span: 0,
                writes_percent: 0,
                accesses: params.accesses,
            },
        })
    }

    /// Blocks of the origin disk that any VM uses.
    pub(super) fn origin_blocks(params: &Params) -> u32 {
        params.span.saturating_mul(8)
    }
}

#[cfg(test)]
mod tests {
    use strum::VariantNames;

    use super::*;
    use crate::experiments::common::params::{Form, Overrides, checked, resolve};

    fn params(full: bool) -> Params {
        let overrides = Overrides {
            form: full.then_some(Form::Full),
            ..Overrides::default()
        };
        let table = resolve(include_str!("defaults.toml"), &overrides).unwrap();
        checked(&table).unwrap()
    }

    fn all() -> impl Iterator<Item = Schedule> {
        let all = Schedule::VARIANTS.iter().map(|name| name.parse().unwrap());
        all.filter(|schedule| !matches!(schedule, Schedule::Traces | Schedule::Population))
    }

    #[test]
    fn as_many_vms_are_there_at_a_time_as_are_said() {
        for (schedule, full) in all().flat_map(|of| [(of, false), (of, true)]) {
            let params = params(full);
            let slots = schedule.slots(&params);
            let numbers: Vec<u32> = slots.iter().map(|slot| slot.vm).collect();
            assert!(numbers.iter().copied().eq(0..slots.len() as u32));
            assert!(slots.is_sorted_by_key(|slot| slot.arrives));
            for period in 0..params.periods {
                let there = slots
                    .iter()
                    .filter(|slot| (slot.arrives..slot.departs).contains(&period));
                let all = params.vms_of(schedule) as usize;
                let one_is_gone =
                    schedule == Schedule::Weights && schedule.phase(period, &params) == 3;
                assert_eq!(
                    there.count(),
                    all - usize::from(one_is_gone),
                    "{schedule} {period}"
                );
            }
        }
    }

    #[test]
    fn loads_stay_on_the_disk() {
        let params = params(false);
        for schedule in all() {
            for slot in schedule.slots(&params) {
                let loads = (slot.arrives..slot.departs)
                    .filter_map(|period| schedule.load(slot.vm, period, &params));
                for load in loads {
                    assert!(load.accesses > 0 && load.span > 0);
                    assert!(load.first + load.span <= Schedule::origin_blocks(&params));
                }
            }
        }
    }

    #[test]
    fn weights_are_those_of_symflex() {
        let params = params(false);
        let of = |phase: u32| {
            let period = Schedule::Weights.begins(phase, &params);
            [0, 1, 2].map(|vm| Schedule::Weights.weight(vm, period, &params))
        };
        assert_eq!([of(0), of(1), of(2)], [[1, 2, 3], [2, 2, 3], [2, 2, 1]]);
        let begins = Schedule::Weights.begins(1, &params);
        let since = |period| Schedule::Weights.since_change(period, &params);
        assert_eq!(
            (since(begins - 1), since(begins)),
            (Some(begins - 1), Some(0))
        );
        assert!(!Schedule::Weights.is_settled(begins, &params));
        assert!(Schedule::Weights.is_settled(begins - 1, &params));
    }
}
