//! `vssdctl arbiter`: how a backend divides its pool.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand};

use vssd::advice::Advice;

use crate::balancer::{LivePick, LivePolicy, Period, Standing};
use crate::control::protocol::{
    AdviceStatus, ArbiterChange, ArbiterStatus, DecisionStatus, Request,
};
use crate::size::ByteSize;

/// The requests that concern the arbiter.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum ArbiterCommand {
    /// Show what each vSSD has, is to have, and why.
    Status,
    /// Show the last decisions for a vSSD, the newest first.
    Explain {
        /// Name of the vSSD.
        vssd: String,
    },
    /// Change the policy, the period, the pick or weights from the next period on, until the backend
    /// stops.
    Set(Settings),
}

/// What is to change.
#[derive(Clone, Debug, ClapArgs)]
#[group(required = true, multiple = true)]
pub(super) struct Settings {
    /// What decides.
    #[arg(long)]
    policy: Option<LivePolicy>,
    /// How often it decides, e.g. 10s or 500ms.
    #[arg(long, value_name = "TIME")]
    period: Option<Period>,
    /// Who picks the blocks of a shrink: guest, or a pick of the hypervisor such as lru, which takes
    /// them by force: what a write-back cache has not written back is lost.
    #[arg(long)]
    pick: Option<LivePick>,
    /// Weight of a vSSD, 1 to 10000; may be repeated.
    #[arg(long = "weight", value_name = "NAME=N", value_parser = parse_weight)]
    weights: Vec<(String, u32)>,
}

fn parse_weight(text: &str) -> Result<(String, u32), String> {
    let parts = text.split_once('=');
    let weight = parts.and_then(|(name, weight)| Some((name.to_owned(), weight.parse().ok()?)));
    weight.ok_or_else(|| format!("invalid weight `{text}`: expected NAME=N, for example vm1=2"))
}

impl ArbiterCommand {
    pub(super) fn request(&self) -> Request {
        match self {
            Self::Status => Request::ArbiterStatus {},
            Self::Explain { vssd } => Request::ArbiterExplain { vssd: vssd.clone() },
            Self::Set(settings) => Request::ArbiterSet(ArbiterChange {
                policy: settings.policy,
                period: settings.period,
                pick: settings.pick,
                weights: settings.weights.iter().cloned().collect::<BTreeMap<_, _>>(),
            }),
        }
    }
}

/// The state of the arbiter as text.
pub(super) fn describe_status(status: &ArbiterStatus) -> String {
    let size = |blocks: u32| ByteSize(u64::from(blocks) * u64::from(status.block_size)).rounded();
    let mut text = format!(
        "policy {}, period {}, pick {}; {} periods so far\n",
        status.policy, status.period, status.pick, status.periods
    );
    let _ = writeln!(
        text,
        "{:<20} {:>9} {:>9} {:>6} {:>9} {:>9} {:>8} {:<8} {:<9} LAST DECISION",
        "NAME", "HELD", "WANTED", "WEIGHT", "RESERVED", "LIMIT", "HITS (%)", "CURVE", "STANDING"
    );
    for vssd in &status.vssds {
        let hits = match vssd.hit_ratio {
            Some(ratio) => format!("{:.1}", 100.0 * ratio),
            None => "-".to_owned(),
        };
        let standing = match vssd.standing {
            Standing::Active => "active",
            Standing::SetAside => "set aside",
            Standing::NoDriver => "no driver",
        };
        let _ = writeln!(
            text,
            "{:<20} {:>9} {:>9} {:>6} {:>9} {:>9} {hits:>8} {:<8} {standing:<9} {}",
            vssd.name,
            size(vssd.held),
            vssd.wanted.map_or("-".to_owned(), size),
            vssd.weight,
            size(vssd.reservation),
            size(vssd.limit),
            if vssd.curve { "reported" } else { "none" },
            vssd.last.as_ref().map_or("-".to_owned(), line),
        );
    }
    for vssd in &status.vssds {
        describe_advice(&mut text, &vssd.name, vssd.advice);
    }
    text
}

/// What the cache on a vSSD is advised, if anything.
pub(super) fn describe_advice(text: &mut String, vssd: &str, advice: AdviceStatus) {
    let advice = Advice::from(advice);
    if advice != Advice::NONE {
        let _ = writeln!(text, "{vssd}: its cache is advised to {advice}");
    }
}

/// The decisions for a vSSD as text.
pub(super) fn describe_decisions(vssd: &str, decisions: &[DecisionStatus]) -> String {
    if decisions.is_empty() {
        return format!("nothing was decided for {vssd} so far\n");
    }
    let mut text = String::new();
    for decision in decisions {
        let _ = writeln!(text, "{}", line(decision));
    }
    text
}

/// A decision as a line.
pub(super) fn line(decision: &DecisionStatus) -> String {
    // Whole seconds, or milliseconds in the first one.
    let ago = match decision.ago_ms {
        ms @ ..1000 => Duration::from_millis(ms),
        ms => Duration::from_secs(ms / 1000),
    };
    let refused = match &decision.refused {
        Some(why) => format!("; not carried out: {why}"),
        None => String::new(),
    };
    let ago = humantime::format_duration(ago);
    format!("{ago} ago: {}{refused}", decision.line)
}
