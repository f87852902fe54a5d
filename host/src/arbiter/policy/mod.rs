//! How many blocks each VM should hold: one policy a file.
//!
//! A policy sees the [problem](Problem) and makes a [`Plan`]. Whatever the VMs report, the targets
//! sum up to the pool at most, and each is between the floor and the ceiling of its VM.
//!
//! | policy | goes by | leaves blocks free |
//! |---|---|---|
//! | [`static`](fixed) | base | yes |
//! | [`equal`] | number of VMs | no |
//! | [`shares`] | weight | no |
//! | [`reservation-limit`](reservation_limit) | weight, idle blocks | no |
//! | [`working-set`](working_set) | working set | yes |
//! | [`mrc`] | curves | no |
//! | [`hull`] | convex hulls of curves | no |
//! | [`slo`] | goals, then hulls | no |
//! | [`endurance`] | curves of reads | yes |
//! | [`harvest`] | base, idle blocks, hulls | yes |
//! | [`global-lru`](global_lru) | recently used blocks | when no VM misses |
//! | [`oracle`] | curves of the future | no |

pub mod endurance;
pub mod equal;
pub mod fixed;
pub mod global_lru;
pub mod harvest;
pub mod hull;
pub mod mrc;
pub mod oracle;
pub mod reservation_limit;
pub mod shares;
pub mod slo;
pub mod working_set;

use std::fmt;

use strum::VariantNames;
use vssd::advice::Advice;
use workloads::pick::invalid;

use super::problem::Problem;
use super::vm::Goal;

/// A way to divide a pool.
pub trait Policy: Sync {
    /// Its name.
    fn name(&self) -> PolicyName;

    /// What each VM should hold.
    fn plan(&self, problem: &Problem) -> Plan;
}

/// The policies, by name.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    strum::Display,
    strum::EnumIter,
    strum::EnumString,
    strum::VariantNames,
)]
#[strum(
    serialize_all = "kebab-case",
    parse_err_ty = String,
    parse_err_fn = unknown
)]
pub enum PolicyName {
    /// See [`fixed`].
    Static,
    /// See [`equal`].
    Equal,
    /// See [`shares`].
    Shares,
    /// See [`reservation_limit`].
    ReservationLimit,
    /// See [`working_set`].
    WorkingSet,
    /// See [`mrc`].
    Mrc,
    /// See [`hull`].
    Hull,
    /// See [`slo`].
    Slo,
    /// See [`endurance`].
    Endurance,
    /// See [`harvest`].
    Harvest,
    /// See [`global_lru`].
    GlobalLru,
    /// See [`oracle`].
    Oracle,
}

fn unknown(text: &str) -> String {
    invalid(text, PolicyName::VARIANTS.iter())
}

impl PolicyName {
    /// The policy of this name.
    pub fn policy(self) -> &'static dyn Policy {
        match self {
            Self::Static => &fixed::Static,
            Self::Equal => &equal::Equal,
            Self::Shares => &shares::Shares,
            Self::ReservationLimit => &reservation_limit::ReservationLimit,
            Self::WorkingSet => &working_set::WorkingSet,
            Self::Mrc => &mrc::Mrc,
            Self::Hull => &hull::Hull,
            Self::Slo => &slo::Slo,
            Self::Endurance => &endurance::Endurance,
            Self::Harvest => &harvest::Harvest,
            Self::GlobalLru => &global_lru::GlobalLru,
            Self::Oracle => &oracle::Oracle,
        }
    }
}

/// What each VM should hold, in the order of the VMs.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Blocks that each should hold.
    pub targets: Vec<u32>,
    /// Blocks, at most the target, that each is to get at once, whatever a move costs: at least
    /// its floor.
    pub due: Vec<u32>,
    /// What the target of each goes by.
    pub reasons: Vec<Reason>,
    /// What the cache of each should keep off its vSSD, so that the SSD lives longer.
    pub advice: Vec<Advice>,
    /// Targets are those with the fewest misses, so a move that saves none is not worth it.
    /// Otherwise targets are to be reached whatever they save.
    pub fewest_misses: bool,
}

impl Plan {
    /// Targets that are to be reached whatever they save.
    fn exact(targets: Vec<u32>, problem: &Problem, reasons: Vec<Reason>) -> Self {
        Self {
            due: problem.spans.iter().map(|span| span.floor).collect(),
            advice: vec![Advice::NONE; targets.len()],
            targets,
            reasons,
            fewest_misses: false,
        }
    }

    /// Targets that save misses.
    fn minimal(targets: Vec<u32>, problem: &Problem) -> Self {
        let reasons = vec![Reason::FewestMisses; targets.len()];
        Self {
            fewest_misses: true,
            ..Self::exact(targets, problem, reasons)
        }
    }
}

/// What a target goes by. Sizes are in blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reason {
    /// Its base.
    Base(u32),
    /// Its base, as moves cost more misses than they save.
    Stays(u32),
    /// All VMs get the same.
    Equal {
        /// Number of VMs.
        vms: usize,
    },
    /// Its weight.
    Weight {
        /// Its own.
        weight: u32,
        /// Of all VMs.
        total: u64,
    },
    /// Its weight, after a tax on idle blocks.
    Active {
        /// Its weight.
        weight: u32,
        /// Blocks that it uses.
        active: u32,
    },
    /// Its working set.
    WorkingSet(u32),
    /// The working set of its reads.
    UsefulReuse(u32),
    /// Fewer misses in total.
    FewestMisses,
    /// Its goal.
    Goal {
        /// The goal.
        goal: Goal,
        /// Blocks that meet it.
        needs: u32,
        /// All goals together can be met.
        feasible: bool,
    },
    /// Of its base it uses only a part.
    Lends(u32),
    /// It gains from the idle blocks of others.
    Borrows(u32),
    /// It uses its base.
    UsesBase(u32),
    /// Its recently used blocks.
    Recent(u32),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base(blocks) => write!(f, "base of {blocks} blocks"),
            Self::Stays(blocks) => {
                write!(
                    f,
                    "base of {blocks} blocks, as moves cost more than they save"
                )
            }
            Self::Equal { vms } => write!(f, "1 of {vms} equal parts"),
            Self::Weight { weight, total } => write!(f, "weight {weight} of {total}"),
            Self::Active { weight, active } => write!(f, "weight {weight}, {active} blocks in use"),
            Self::WorkingSet(blocks) => write!(f, "working set of {blocks} blocks"),
            Self::UsefulReuse(blocks) => write!(f, "reads need {blocks} blocks"),
            Self::FewestMisses => f.write_str("fewest misses"),
            Self::Goal {
                goal,
                needs,
                feasible: true,
            } => write!(f, "{goal} needs {needs} blocks"),
            Self::Goal { goal, needs, .. } => {
                write!(
                    f,
                    "{goal} needs {needs} blocks, more than there are for all"
                )
            }
            Self::Lends(blocks) => write!(f, "lends {blocks} idle blocks of its base"),
            Self::Borrows(blocks) => write!(f, "borrows {blocks} idle blocks"),
            Self::UsesBase(blocks) => write!(f, "uses its base of {blocks} blocks"),
            Self::Recent(blocks) => write!(f, "{blocks} recently used blocks"),
        }
    }
}

#[cfg(test)]
mod tests;
