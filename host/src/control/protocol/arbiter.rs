//! What replies report of the arbiter.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::AdviceStatus;
use crate::balancer::{LivePick, LivePolicy, Period, Standing};

/// What changes of the arbiter from its next period on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArbiterChange {
    /// Its policy.
    #[serde(default)]
    pub policy: Option<LivePolicy>,
    /// Its period, for example `10s`.
    #[serde(default)]
    pub period: Option<Period>,
    /// Who picks the blocks of a shrink.
    #[serde(default)]
    pub pick: Option<LivePick>,
    /// Weights of vSSDs, by name.
    #[serde(default)]
    pub weights: BTreeMap<String, u32>,
}

/// The state of the arbiter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArbiterStatus {
    /// What decides.
    pub policy: LivePolicy,
    /// How often.
    pub period: Period,
    /// Who picks the blocks of a shrink.
    pub pick: LivePick,
    /// Periods that have ended.
    pub periods: u64,
    /// Bytes in a block.
    pub block_size: u32,
    /// Each vSSD.
    pub vssds: Vec<ShareStatus>,
    /// The last decisions for all of these, at most 20, the newest first.
    #[serde(default)]
    pub recent: Vec<DecisionStatus>,
}

/// What a vSSD has of the pool, and is to have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShareStatus {
    /// Its name.
    pub name: String,
    /// Whether it takes part.
    pub standing: Standing,
    /// Blocks that it holds.
    pub held: u32,
    /// Blocks that the policy wants it to hold; `None` before the first decision.
    pub wanted: Option<u32>,
    /// Its part of what is divided.
    pub weight: u32,
    /// Blocks that are kept for it.
    pub reservation: u32,
    /// Blocks that it may hold.
    pub limit: u32,
    /// The hit ratio that it was promised.
    pub hit_ratio_goal: Option<f64>,
    /// The hit ratio of its guest's last report; `None` if none came lately, or it was idle.
    pub hit_ratio: Option<f64>,
    /// Whether its guest reported a miss-ratio curve lately.
    pub curve: bool,
    /// What the policy advises the cache of its guest.
    #[serde(default)]
    pub advice: AdviceStatus,
    /// Decisions by what they do, since it is served.
    pub decisions: BTreeMap<String, u64>,
    /// The last one.
    pub last: Option<DecisionStatus>,
}

/// A decision that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionStatus {
    /// Milliseconds since then.
    pub ago_ms: u64,
    /// What and why, in one line.
    pub line: String,
    /// Why it was not carried out, if it was not.
    pub refused: Option<String>,
}
