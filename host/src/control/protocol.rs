//! The messages of the control socket: one JSON object per line in each direction.
//!
//! - this module: requests and replies
//! - `names`: values that have names, on the command line too
//! - `status`, `arbiter`: what replies report

mod arbiter;
mod names;
mod status;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::arbiter::{ArbiterChange, ArbiterStatus, DecisionStatus, ShareStatus};
pub use self::names::{EncodingName, TrackerName};
pub(super) use self::status::end_label;
pub use self::status::{
    ActivityLatency, Added, AdviceStatus, AgentConnection, AgentStatus, Connection, CountersStatus,
    CurvePoint, DemandStatus, LatencyStatus, OperationLatency, PoolStatus, Rate, Resized, Status,
    TrackerStatus, TransportName, UnderWay, Unserved, VssdStatus,
};
use crate::size::Amount;
use workloads::Pick;

/// The longest line that the server takes, bytes.
pub const MAX_LINE: usize = 64 << 10;

/// How long a shrink may ask the guest before blocks are revoked, unless the
/// request says otherwise, milliseconds.
pub const DEFAULT_DEADLINE_MS: u64 = 10_000;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    // Those without fields have braces: serde lets unknown fields pass otherwise.
    /// Answered with `ok`, to check that a backend listens.
    Ping {},
    /// The state of all vSSDs.
    Status {},
    /// The state of all vSSDs now and after every change, until the client leaves.
    Watch {},
    /// Changes the size of a vSSD.
    Resize(Resize),
    /// Names blocks for the next resize of this connection, a shrink whose blocks are `given`.
    /// Further requests add to these: a list may be longer than a line.
    Select {
        /// Which vSSD.
        vssd: String,
        /// Blocks and ranges, for example `0-1023,4096`.
        blocks: String,
    },
    /// Ends the resize under way with what has moved so far.
    Cancel {
        /// Which vSSD.
        vssd: String,
    },
    /// Sets how block sets travel, from the driver's next session on, which
    /// this starts.
    SetEncoding {
        /// Which vSSD.
        vssd: String,
        /// `compact` or `list-4096`.
        encoding: EncodingName,
    },
    /// Sets what is tracked of requests for the hypervisor's own picks, and
    /// discards what was tracked before.
    #[serde(alias = "observe")]
    Track {
        /// Which vSSD.
        vssd: String,
        /// For which pick; the others need no tracking.
        #[serde(rename = "observer")]
        tracker: TrackerName,
    },
    /// Advises a cache on the vSSD from now on. An arbiter gives its own advice each period.
    Advise {
        /// Which vSSD.
        vssd: String,
        /// What to keep off it.
        advice: AdviceStatus,
    },
    /// How long requests took and had to wait.
    Latency {
        /// Which vSSD.
        vssd: String,
        /// Whether to reset the counts after this answer.
        #[serde(default)]
        reset: bool,
    },
    /// Asks the guest for a report of its demand.
    Demand {
        /// Which vSSD.
        vssd: String,
    },
    /// How the arbiter divides the pool.
    ArbiterStatus {},
    /// The last decisions of the arbiter for a vSSD.
    ArbiterExplain {
        /// Which vSSD.
        vssd: String,
    },
    /// Changes the arbiter from its next period on.
    ArbiterSet(ArbiterChange),
    /// Serves another vSSD: one of the pool, or with `create=true` a new one.
    Add {
        /// As for `--vssd`; a relative path of the socket is resolved by the backend.
        spec: String,
    },
    /// Stops serving a vSSD, or deletes one of the pool that is not served.
    Remove {
        /// Which vSSD.
        vssd: String,
        /// Whether its blocks and contents are deleted as well.
        #[serde(default)]
        delete: bool,
    },
    /// Ends the backend.
    Shutdown {},
}

/// A resize.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resize {
    /// Which vSSD.
    pub vssd: String,
    /// By how much, or to what.
    pub change: Change,
    /// Who picks the blocks of a shrink.
    #[serde(default, alias = "evict")]
    pub pick: Pick,
    /// How long the guest may take, milliseconds; 0 is no limit.
    #[serde(default = "default_deadline")]
    pub deadline_ms: u64,
    /// Whether a shrink revokes what the guest has not given up by then.
    #[serde(default = "yes")]
    pub revoke: bool,
    /// Whether blocks may be taken while no vSSD driver answers.
    #[serde(default)]
    pub force: bool,
    /// Seed of the hypervisor's own picks.
    #[serde(default)]
    pub seed: Option<u64>,
    /// Whether the reply comes when the resize has ended, or at once.
    #[serde(default = "yes")]
    pub wait: bool,
}

fn default_deadline() -> u64 {
    DEFAULT_DEADLINE_MS
}

fn yes() -> bool {
    true
}

impl Resize {
    /// A resize with the defaults.
    pub fn new(vssd: &str, change: Change) -> Self {
        Self {
            vssd: vssd.to_owned(),
            change,
            pick: Pick::Guest,
            deadline_ms: DEFAULT_DEADLINE_MS,
            revoke: true,
            force: false,
            seed: None,
            wait: true,
        }
    }
}

/// By how much, or to what; amounts are text such as `256MiB` or blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Take this much from the guest.
    Shrink(#[serde(with = "text")] Amount),
    /// Give it this much back.
    Grow(#[serde(with = "text")] Amount),
    /// Make it hold this much.
    To(#[serde(with = "text")] Amount),
}

mod text {
    use super::*;

    pub fn serialize<S: Serializer>(amount: &Amount, serializer: S) -> Result<S::Ok, S::Error> {
        match amount {
            Amount::Blocks(blocks) => serializer.collect_str(blocks),
            Amount::Bytes(bytes) => serializer.collect_str(bytes),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Amount, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// Done.
    Ok,
    /// A vSSD is served.
    Added(Added),
    /// The state of the backend.
    Status(Status),
    /// A resize was started and not waited for, or cancelled.
    Started {
        /// The resize.
        id: u64,
    },
    /// A resize ended.
    Resized(Resized),
    /// How long requests took and had to wait.
    Latency(LatencyStatus),
    /// The guest was asked for its demand.
    Demand {
        /// What it reported; `None` if it had nothing to report.
        demand: Option<DemandStatus>,
    },
    /// How the arbiter divides the pool.
    Arbiter(ArbiterStatus),
    /// The last decisions of the arbiter for a vSSD.
    Decisions {
        /// Which vSSD.
        vssd: String,
        /// The newest first.
        decisions: Vec<DecisionStatus>,
    },
    /// The request was not carried out.
    Error {
        /// Why, and what to do.
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resize_has_defaults() {
        let line = r#"{"op":"resize","vssd":"vm1","change":{"shrink":"256MiB"}}"#;
        let parsed: Request = serde_json::from_str(line).unwrap();
        let wanted = Resize::new("vm1", Change::Shrink("256MiB".parse().unwrap()));
        assert_eq!(parsed, Request::Resize(wanted));
        let back: Request = serde_json::from_str(&serde_json::to_string(&parsed).unwrap()).unwrap();
        assert_eq!(back, parsed);
    }

    #[test]
    fn a_guest_may_have_no_demand() {
        for demand in [None, Some(DemandStatus::default())] {
            let reply = Reply::Demand { demand };
            let line = serde_json::to_string(&reply).unwrap();
            assert_eq!(serde_json::from_str::<Reply>(&line).unwrap(), reply);
        }
    }

    #[test]
    fn tracking_has_two_spellings() {
        let parse = |op: &str| {
            let line = format!(r#"{{"op":"{op}","vssd":"vm1","observer":"lru"}}"#);
            serde_json::from_str::<Request>(&line).unwrap()
        };
        let tracker = TrackerName(Some(workloads::HostPick::Lru));
        let vssd = "vm1".to_owned();
        assert_eq!(parse("track"), Request::Track { vssd, tracker });
        assert_eq!(parse("observe"), parse("track"));
    }

    #[test]
    fn an_invalid_request_says_why() {
        for line in [
            "{}",
            "[]",
            r#"{"op":"fly"}"#,
            r#"{"op":"resize","vssd":"a","change":{"to":"x"}}"#,
            r#"{"op":"status","vssd":"a"}"#,
            r#"{"op":"shutdown","now":true}"#,
        ] {
            assert!(serde_json::from_str::<Request>(line).is_err(), "{line}");
        }
    }
}
