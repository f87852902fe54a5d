//! What is decided for a VM, and its reason in one line.

use std::fmt;

use super::drive::Action;
use super::policy::{PolicyName, Reason};
use super::vm::VmId;

/// What to do with a VM. Displayed in one line, as in `vm3: 8192 -> 6144 blocks (mrc: saves 1,204
/// misses a period; vm1 gains)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Which VM.
    pub id: VmId,
    /// Blocks that it holds.
    pub from: u32,
    /// Blocks that it is to hold.
    pub to: u32,
    /// How it comes there.
    pub action: Action,
    /// The policy that decided.
    pub policy: PolicyName,
    /// What decided.
    pub why: Why,
    /// The VM that gains most of what a shrink takes, or gives most of what a grow offers.
    pub other: Option<VmId>,
}

/// What decided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Why {
    /// All growths begun in this period save so many misses per period.
    Saves(f64),
    /// What the policy goes by.
    Policy(Reason),
    /// It has less than its reservation, which is so many blocks.
    Reservation(u32),
    /// It has more than its limit, which is so many blocks.
    Limit(u32),
    /// Others are to get blocks at once, whatever that saves.
    Due,
    /// Its guest did not surrender in time.
    Late,
    /// Its guest does not answer.
    Silent,
}

impl Decision {
    /// The line of [`Display`](fmt::Display) with other names than those of [`VmId`].
    pub fn line<N: fmt::Display>(&self, name: impl Fn(VmId) -> N) -> String {
        let Self { from, to, .. } = self;
        let who = name(self.id);
        let change = match self.action {
            Action::Cancel => format!("{from} blocks, resize cancelled"),
            Action::Revoke => format!("{from} -> {to} blocks, revoked"),
            Action::Shrink { .. } | Action::Grow => format!("{from} -> {to} blocks"),
        };
        let other = match (self.action, self.other) {
            (Action::Shrink { .. }, Some(id)) => format!("; {} gains", name(id)),
            (Action::Grow, Some(id)) => format!("; {} gives", name(id)),
            _ => String::new(),
        };
        format!("{who}: {change} ({}: {}{other})", self.policy, self.why)
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line(|id| id))
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Saves(misses) => write!(f, "saves {} misses a period", grouped(*misses)),
            Self::Policy(reason) => reason.fmt(f),
            Self::Reservation(blocks) => write!(f, "below its reservation of {blocks} blocks"),
            Self::Limit(blocks) => write!(f, "above its limit of {blocks} blocks"),
            Self::Due => f.write_str("others are due blocks"),
            Self::Late => f.write_str("the guest is past its deadline"),
            Self::Silent => f.write_str("the guest does not answer"),
        }
    }
}

/// A number, rounded, with a comma between thousands.
fn grouped(number: f64) -> String {
    let digits = format!("{:.0}", number.abs());
    let mut text = String::new();
    if number < 0.0 && digits != "0" {
        text.push('-');
    }
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(action: Action, why: Why) -> Decision {
        Decision {
            id: VmId(3),
            from: 8192,
            to: 6144,
            action,
            policy: PolicyName::Mrc,
            why,
            other: Some(VmId(1)),
        }
    }

    #[test]
    fn a_decision_explains_itself_in_one_line() {
        let shrink = Action::Shrink {
            deadline_periods: 4,
        };
        let lines = [
            (
                decision(shrink, Why::Saves(1203.6)),
                "vm3: 8192 -> 6144 blocks (mrc: saves 1,204 misses a period; vm1 gains)",
            ),
            (
                decision(Action::Grow, Why::Reservation(9000)),
                "vm3: 8192 -> 6144 blocks (mrc: below its reservation of 9000 blocks; vm1 gives)",
            ),
            (
                decision(Action::Revoke, Why::Late),
                "vm3: 8192 -> 6144 blocks, revoked (mrc: the guest is past its deadline)",
            ),
            (
                decision(Action::Cancel, Why::Silent),
                "vm3: 8192 blocks, resize cancelled (mrc: the guest does not answer)",
            ),
        ];
        for (decision, line) in lines {
            assert_eq!(decision.to_string(), line);
        }
        let named = decision(Action::Grow, Why::Saves(0.0))
            .line(|id| ["a", "web", "c", "db"][id.0 as usize]);
        assert_eq!(
            named,
            "db: 8192 -> 6144 blocks (mrc: saves 0 misses a period; web gives)"
        );
    }

    #[test]
    fn thousands_are_grouped() {
        let cases = [
            (0.0, "0"),
            (-0.2, "0"),
            (999.4, "999"),
            (1000.0, "1,000"),
            (-1_234_567.0, "-1,234,567"),
        ];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
    }
}
