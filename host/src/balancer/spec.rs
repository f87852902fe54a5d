//! What an operator sets: policy, period and pick of the arbiter, and the share of each vSSD.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Deserializer, Serialize};
use strum::IntoEnumIterator;
use workloads::pick::invalid;
use workloads::{HostPick, Pick};

use crate::arbiter::{BadBounds, BadGoal, Bounds, Goal, PolicyName};
use crate::spec::from_some_text;

/// A policy that a backend can go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct LivePolicy(PolicyName);

impl LivePolicy {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        PolicyName::iter().filter_map(|name| Self::new(name).ok())
    }

    /// The policy of this name.
    ///
    /// # Errors
    /// When it goes by what no guest reports.
    pub fn new(name: PolicyName) -> Result<Self, &'static str> {
        match name {
            PolicyName::Oracle => Err("it needs the future; it is for experiments only"),
            PolicyName::GlobalLru => {
                Err("it needs the accesses of all guests in one order; it is for experiments only")
            }
            _ => Ok(Self(name)),
        }
    }

    /// Its name.
    pub fn name(self) -> PolicyName {
        self.0
    }
}

impl fmt::Display for LivePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for LivePolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Ok(name) = text.parse() else {
            return Err(format!("policy: {}", invalid(text, Self::all())));
        };
        Self::new(name).map_err(|why| format!("the policy `{name}` cannot be used here: {why}"))
    }
}

impl TryFrom<String> for LivePolicy {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<LivePolicy> for String {
    fn from(policy: LivePolicy) -> Self {
        policy.to_string()
    }
}

/// Who picks the blocks of the arbiter's shrinks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct LivePick(Pick);

impl LivePick {
    /// All of them.
    fn all() -> impl Iterator<Item = Pick> {
        Pick::all().filter(|pick| Self::new(*pick).is_ok())
    }

    /// This pick.
    ///
    /// # Errors
    /// When it needs a list of blocks.
    pub fn new(pick: Pick) -> Result<Self, &'static str> {
        match pick {
            Pick::Host(HostPick::Given) => Err(
                "the arbiter cannot use the pick `given`, which needs a list of blocks: use guest",
            ),
            _ => Ok(Self(pick)),
        }
    }

    /// The pick.
    pub fn pick(self) -> Pick {
        self.0
    }

    /// The pick of the hypervisor that needs requests to be tracked, if it is one.
    pub fn tracked(self) -> Option<HostPick> {
        self.0.of_host().filter(|pick| pick.needs_tracker())
    }
}

impl fmt::Display for LivePick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for LivePick {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Ok(pick) = text.parse() else {
            return Err(format!("pick: {}", invalid(text, Self::all())));
        };
        Self::new(pick).map_err(str::to_owned)
    }
}

impl TryFrom<String> for LivePick {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<LivePick> for String {
    fn from(pick: LivePick) -> Self {
        pick.to_string()
    }
}

/// How often the arbiter decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Period(Duration);

impl Period {
    /// The shortest: guests have a tenth of it to report.
    pub const MIN: Duration = Duration::from_millis(100);

    /// The longest.
    pub const MAX: Duration = Duration::from_secs(86_400);

    /// Its length.
    pub fn length(self) -> Duration {
        self.0
    }
}

impl Default for Period {
    fn default() -> Self {
        Self(Duration::from_secs(10))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let length = humantime::parse_duration(text).ok();
        let is_possible = |length: &Duration| (Self::MIN..=Self::MAX).contains(length);
        length.filter(is_possible).map(Self).ok_or_else(|| {
            format!("invalid period `{text}`: expected 100ms to 1day, for example 10s")
        })
    }
}

impl TryFrom<String> for Period {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

/// How a backend divides its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArbiterSpec {
    /// What decides.
    pub policy: LivePolicy,
    /// How often.
    pub period: Period,
    /// Who picks the blocks of a shrink.
    pub pick: LivePick,
}

/// The parts of a description, not checked yet.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Parts {
    #[serde(deserialize_with = "from_some_text")]
    policy: Option<LivePolicy>,
    #[serde(deserialize_with = "from_some_text")]
    period: Option<Period>,
    #[serde(deserialize_with = "from_some_text")]
    pick: Option<LivePick>,
}

impl Parts {
    fn check(self) -> Result<ArbiterSpec> {
        let names: Vec<_> = LivePolicy::all().map(String::from).collect();
        let policy = self.policy.with_context(|| {
            format!(
                "the arbiter needs policy=NAME; expected one of {}",
                names.join(", ")
            )
        })?;
        Ok(ArbiterSpec {
            policy,
            period: self.period.unwrap_or_default(),
            pick: self.pick.unwrap_or_default(),
        })
    }
}

impl FromStr for ArbiterSpec {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = Parts::default();
        for part in text.split(',') {
            let (key, value) = part
                .split_once('=')
                .with_context(|| format!("`{part}` is not key=value"))?;
            match key {
                "policy" => parts.policy = Some(value.parse().map_err(anyhow::Error::msg)?),
                "period" => parts.period = Some(value.parse().map_err(anyhow::Error::msg)?),
                "pick" => parts.pick = Some(value.parse().map_err(anyhow::Error::msg)?),
                _ => bail!("unknown key `{key}`; expected one of policy, period, pick"),
            }
        }
        parts.check()
    }
}

impl<'de> Deserialize<'de> for ArbiterSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parts = Parts::deserialize(deserializer)?;
        parts.check().map_err(serde::de::Error::custom)
    }
}

/// What a vSSD is to have of the pool, beside its quota and reservation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    weight: u32,
    goal: Option<f64>,
}

impl Default for Share {
    fn default() -> Self {
        Self {
            weight: 1,
            goal: None,
        }
    }
}

impl Share {
    /// With `weight` parts, and at least the hit ratio `goal`.
    ///
    /// # Errors
    /// When the weight or the ratio is out of range.
    pub fn new(weight: Option<u32>, goal: Option<f64>) -> Result<Self> {
        if let Some(ratio) = goal {
            Goal::hit_ratio(ratio)?;
        }
        let share = Self {
            goal,
            ..Self::default()
        };
        Ok(match weight {
            Some(weight) => share.weighing(weight)?,
            None => share,
        })
    }

    /// The same with another weight.
    ///
    /// # Errors
    /// When it is out of range.
    pub fn weighing(self, weight: u32) -> Result<Self, BadBounds> {
        Bounds::new(0, u32::MAX, weight)?;
        Ok(Self { weight, ..self })
    }

    /// Its part of what is divided, relative to the others.
    pub fn weight(self) -> u32 {
        self.weight
    }

    /// The hit ratio that it was promised, 0 to 1.
    pub fn hit_ratio(self) -> Option<f64> {
        self.goal
    }

    /// The same as the arbiter takes it.
    ///
    /// # Errors
    /// None: it is checked.
    pub(super) fn goal(self) -> Result<Option<Goal>, BadGoal> {
        self.goal.map(Goal::hit_ratio).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arbiter_is_described_on_the_command_line_and_in_toml() {
        let line: ArbiterSpec = "policy=mrc,period=500ms,pick=lru".parse().unwrap();
        let toml = "policy = \"mrc\"\nperiod = \"500ms\"\npick = \"lru\"";
        assert_eq!(toml::from_str::<ArbiterSpec>(toml).unwrap(), line);
        assert_eq!(line.policy.name(), PolicyName::Mrc);
        assert_eq!(line.period.length(), Duration::from_millis(500));
        assert_eq!(line.pick.pick(), Pick::Host(HostPick::Lru));
        assert_eq!(line.pick.tracked(), Some(HostPick::Lru));
        let short: ArbiterSpec = "policy=shares".parse().unwrap();
        assert_eq!(
            (short.period.to_string().as_str(), short.pick.pick()),
            ("10s", Pick::Guest)
        );
    }

    #[test]
    fn a_description_says_what_is_wrong_with_it() {
        for (text, said) in [
            (
                "period=1s",
                "the arbiter needs policy=NAME; expected one of static",
            ),
            (
                "policy=best",
                "policy: invalid value `best`; expected static, equal, shares",
            ),
            (
                "policy=oracle",
                "the policy `oracle` cannot be used here: it needs the future",
            ),
            (
                "policy=global-lru",
                "the policy `global-lru` cannot be used here: it needs the accesses of all",
            ),
            (
                "policy=mrc,period=99ms",
                "invalid period `99ms`: expected 100ms to 1day",
            ),
            ("policy=mrc,period=2days", "invalid period `2days`"),
            ("policy=mrc,period=10", "invalid period `10`"),
            ("policy=mrc,pick=given", "cannot use the pick `given`"),
            (
                "policy=mrc,pick=best",
                "pick: invalid value `best`; expected guest, uniform",
            ),
            (
                "policy=mrc,color=red",
                "unknown key `color`; expected one of policy",
            ),
            ("mrc", "`mrc` is not key=value"),
        ] {
            let error = text.parse::<ArbiterSpec>().unwrap_err().to_string();
            assert!(error.starts_with(said) || error.contains(said), "{error}");
            assert!(!error.contains('\n'), "{error}");
            if let [key, value] = text.split('=').collect::<Vec<_>>()[..] {
                let toml = toml::from_str::<ArbiterSpec>(&format!("{key} = \"{value}\""));
                let error = toml.unwrap_err().to_string();
                assert!(error.contains(said), "{error}");
            }
        }
        let names = LivePolicy::all().map(String::from).collect::<Vec<_>>();
        assert!(!names.contains(&"oracle".to_owned()), "{names:?}");
    }

    #[test]
    fn shares_are_checked() {
        let share = Share::new(Some(3), Some(0.5)).unwrap();
        assert_eq!((share.weight(), share.hit_ratio()), (3, Some(0.5)));
        for (weight, goal, said) in [
            (Some(0), None, "invalid weight 0: expected 1 to 10000"),
            (
                Some(10_001),
                None,
                "invalid weight 10001: expected 1 to 10000",
            ),
            (None, Some(1.5), "invalid hit ratio 1.5: expected 0 to 1"),
            (
                None,
                Some(f64::NAN),
                "invalid hit ratio NaN: expected 0 to 1",
            ),
        ] {
            assert_eq!(Share::new(weight, goal).unwrap_err().to_string(), said);
        }
        assert_eq!(Share::default().weight(), 1);
    }
}
