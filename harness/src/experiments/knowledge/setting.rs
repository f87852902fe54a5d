//! What a shrink is measured under: a condition, its value, and what happens before and after.

use guest_cache::{Policy, Share, WritePolicy};
use workloads::command::{Advice, Discard};
use workloads::pattern::{Pattern, derive_seed};
use workloads::{Command, HostPick, Workload, command};

use super::params::{Params, share_of};
use super::rows::{Condition, Side};
use crate::experiments::common::cached::{Cache, CacheLoad};

/// Uses of a seed: the accesses before the shrink, the last of them, those after it, and those of a
/// second application.
const BEFORE: u64 = 0;
const LATELY: u64 = 1;
const AFTER: u64 = 2;
const SECOND: u64 = 3;

/// A condition and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) condition: Condition,
    pub(super) value: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Percent(u32),
    Policy(Policy),
}

/// What a guest goes by beside its eviction policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "kebab-case")]
pub(super) enum Knowledge {
    /// Nothing.
    Policy,
    /// Which reads its memory served.
    Reads,
    /// Which blocks have a page of memory.
    Pages,
    /// What the application announces.
    Hints,
    /// Which blocks are dirty.
    CleanFirst,
}

/// How the blocks of a shrink are picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Picker {
    /// By the guest's cache.
    Guest(Knowledge),
    /// By the hypervisor; what the guest's memory shares with its cache all the same.
    Host(HostPick, Knowledge),
}

impl Picker {
    pub(super) fn side(self) -> Side {
        match self {
            Self::Guest(_) => Side::Guest,
            Self::Host(..) => Side::Host,
        }
    }

    pub(super) fn name(self) -> String {
        match self {
            Self::Guest(knowledge) => knowledge.to_string(),
            Self::Host(pick, Knowledge::Policy) => pick.to_string(),
            Self::Host(pick, knowledge) => format!("{pick}, {knowledge}"),
        }
    }

    fn knowledge(self) -> Knowledge {
        match self {
            Self::Guest(knowledge) | Self::Host(_, knowledge) => knowledge,
        }
    }
}

/// Something that a guest does before the shrink.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Load(CacheLoad),
    Command(Command),
}

/// What a guest does before the shrink, and after it.
pub(super) struct Script {
    pub(super) before: Vec<Step>,
    pub(super) after: Vec<CacheLoad>,
}

impl Setting {
    /// The value, as rows have it.
    pub(super) fn value(self) -> String {
        match self.value {
            Value::Percent(percent) => percent.to_string(),
            Value::Policy(policy) => policy.to_string(),
        }
    }

    pub(super) fn percent(self) -> u32 {
        match self.value {
            Value::Percent(percent) => percent,
            Value::Policy(_) => 0,
        }
    }

    fn memory_percent(self) -> u32 {
        match self.condition {
            Condition::Memory => self.percent(),
            _ => 0,
        }
    }

    /// What the guest can go by.
    fn knowledge(self) -> &'static [Knowledge] {
        match self.condition {
            Condition::Memory if self.percent() > 0 => {
                &[Knowledge::Policy, Knowledge::Reads, Knowledge::Pages]
            }
            Condition::Scan | Condition::Phase | Condition::Pinned if self.percent() > 0 => {
                &[Knowledge::Policy, Knowledge::Hints]
            }
            Condition::Dirty if self.percent() > 0 => &[Knowledge::Policy, Knowledge::CleanFirst],
            _ => &[Knowledge::Policy],
        }
    }
}

impl Params {
    /// All settings: each condition with each of its values.
    pub(super) fn settings(&self) -> Vec<Setting> {
        let of = |condition: &Condition| -> Vec<Setting> {
            let percents = match condition {
                Condition::Memory => &self.memory_percent,
                Condition::Files | Condition::FilesTold => &self.temporary_percent,
                Condition::Death | Condition::DeathTold => &self.deleted_percent,
                Condition::Scan => &self.scanned_percent,
                Condition::Phase => &self.ended_percent,
                Condition::Pinned => &self.announced_percent,
                Condition::Dirty => &self.written_percent,
                Condition::Policy => &Vec::new(),
            };
            let mut values: Vec<Value> = percents.iter().copied().map(Value::Percent).collect();
            if *condition == Condition::Policy {
                values.extend(self.policies.iter().copied().map(Value::Policy));
            }
            let setting = |value| Setting {
                condition: *condition,
                value,
            };
            values.into_iter().map(setting).collect()
        };
        self.conditions.iter().flat_map(of).collect()
    }

    fn evict(&self, setting: Setting) -> Policy {
        match setting.value {
            Value::Policy(policy) => policy,
            Value::Percent(_) => self.evict,
        }
    }

    /// The ways to pick that are compared: of the guest, by what it can go by; of the host, the
    /// parameter and the policy of the guest's cache, each with what the guest's memory can share.
    pub(super) fn pickers(&self, setting: Setting) -> Vec<Picker> {
        let knowledge = setting.knowledge();
        let mut picks = self.host.clone();
        // Every policy of the cache is one by which the hypervisor can pick.
        let same = self.evict(setting).name().parse();
        picks.extend(same.ok().filter(|pick| !self.host.contains(pick)));
        let guest = knowledge.iter().map(|of| Picker::Guest(*of));
        // All else matters only to a guest that picks.
        let shared = |of: &&Knowledge| matches!(of, Knowledge::Policy | Knowledge::Reads);
        let shares = knowledge.iter().filter(shared);
        let host = shares.flat_map(|share| picks.iter().map(|pick| Picker::Host(*pick, *share)));
        guest.chain(host).collect()
    }

    /// The guest's cache, above which memory has pages for its share of `working_set` blocks.
    pub(super) fn cache(&self, setting: Setting, picker: Picker, working_set: u32) -> Cache {
        let share = match picker.knowledge() {
            Knowledge::Reads => Share::Reads,
            Knowledge::Pages => Share::Pages,
            Knowledge::Policy | Knowledge::Hints | Knowledge::CleanFirst => Share::Nothing,
        };
        let (write, dirty_percent) = match setting.condition {
            // Nothing is written back but what is evicted or given up.
            Condition::Dirty => (WritePolicy::WriteBack, 100),
            _ => (WritePolicy::WriteThrough, 0),
        };
        Cache {
            memory: share_of(working_set, setting.memory_percent()),
            share,
            dirty_percent,
            clean_first: picker.knowledge() == Knowledge::CleanFirst,
            ..Cache::new(self.evict(setting), write)
        }
    }

    fn workload(&self, setting: Setting) -> Option<Workload> {
        match setting.condition {
            Condition::Files | Condition::FilesTold => Some(Workload::from(Pattern::Files {
                share: f64::from(setting.percent()) / 100.0,
                lifetime: self.lifetime,
            })),
            _ if self.trace.is_some() => None,
            _ => Some(self.workload),
        }
    }

    /// What a guest does with this seed. Accesses of a trace begin at `from`.
    pub(super) fn script(&self, setting: Setting, picker: Picker, seed: u64, from: u64) -> Script {
        let workload = self.workload(setting);
        let count = share_of(self.blocks(), setting.percent());
        let main = CacheLoad {
            workload,
            first: 0,
            span: if workload.is_some() { self.span } else { 0 },
            seed: derive_seed(seed, BEFORE),
            start: from,
            count: self.warmup,
            writes_percent: match setting.condition {
                Condition::Dirty => setting.percent(),
                _ => self.writes_percent,
            },
            depth: self.depth,
            discard: match setting.condition {
                Condition::FilesTold => Discard::Device,
                _ => Discard::Cache,
            },
            flush: 0,
            every: 0,
            check: true,
        };
        // Blocks behind those of the workload, one after the other.
        let others = CacheLoad {
            workload: Some(Workload::from(Pattern::Sequential)),
            first: self.span,
            span: count.max(1),
            start: 0,
            count: count.into(),
            writes_percent: 0,
            ..main
        };
        // The workload on blocks of its own.
        let second = CacheLoad {
            first: self.span,
            seed: derive_seed(seed, SECOND),
            ..main
        };
        let advise = |advice, count| {
            (picker.knowledge() == Knowledge::Hints).then_some(Step::Command(Command::Advise(
                command::Advise {
                    advice,
                    first: self.span,
                    count,
                },
            )))
        };
        let mut before = Vec::new();
        let mut after = Vec::new();
        match setting.condition {
            _ if setting.percent() == 0 => before.push(Step::Load(main)),
            Condition::Memory
            | Condition::Policy
            | Condition::Files
            | Condition::FilesTold
            | Condition::Dirty => before.push(Step::Load(main)),
            Condition::Death | Condition::DeathTold => before.extend([
                Step::Load(main),
                Step::Load(CacheLoad {
                    writes_percent: 100,
                    ..others
                }),
                Step::Command(Command::DiscardBlocks(command::DiscardBlocks {
                    first: self.span,
                    count,
                    device: setting.condition == Condition::DeathTold,
                })),
            ]),
            Condition::Scan => {
                before.push(Step::Load(main));
                before.extend(advise(Advice::Done, count));
                before.push(Step::Load(others));
            }
            Condition::Phase => {
                before.extend(self.in_turns(main, second, setting.percent()));
                before.extend(advise(Advice::Done, self.span));
            }
            Condition::Pinned => {
                // The announced blocks were read before, and not lately.
                let lately = self.warmup / 10;
                before.push(Step::Load(CacheLoad {
                    count: self.warmup - lately,
                    ..main
                }));
                before.push(Step::Load(others));
                before.push(Step::Load(CacheLoad {
                    seed: derive_seed(seed, LATELY),
                    count: lately,
                    ..main
                }));
                before.extend(advise(Advice::Needed, count));
                after.push(CacheLoad {
                    workload: Some(Workload::from(Pattern::Uniform)),
                    every: self.window,
                    ..others
                });
            }
        }
        let announced: u64 = after.iter().map(|load| load.count).sum();
        after.push(CacheLoad {
            // Files and traces have one history; other workloads draw anew.
            seed: match workload.map(|of| of.pattern) {
                None | Some(Pattern::Files { .. }) => main.seed,
                Some(_) => derive_seed(seed, AFTER),
            },
            start: from + self.warmup,
            count: self.after - announced,
            every: self.window,
            ..main
        });
        if setting.condition == Condition::Dirty && picker.side() == Side::Host {
            // What the hypervisor takes is lost if it is dirty, which only the guest can tell.
            before.push(Step::Command(Command::WriteBack));
        }
        before.retain(|step| !matches!(step, Step::Load(CacheLoad { count: 0, .. })));
        Script { before, after }
    }

    /// The accesses before the shrink, `percent` of them those of `second`, in turns. Each turn draws
    /// anew.
    fn in_turns(
        &self,
        main: CacheLoad,
        second: CacheLoad,
        percent: u32,
    ) -> impl Iterator<Item = Step> + use<> {
        let of_second = self.window * u64::from(percent) / 100;
        let counts = [self.window - of_second, of_second];
        (0..self.warmup / self.window).flat_map(move |turn| {
            [main, second]
                .into_iter()
                .zip(counts)
                .map(move |(load, count)| {
                    Step::Load(CacheLoad {
                        seed: derive_seed(load.seed, turn),
                        count,
                        ..load
                    })
                })
        })
    }
}
