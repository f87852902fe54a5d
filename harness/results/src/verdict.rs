//! What was claimed, and whether it holds.
//!
//! Claims are judged from recorded rows alone. Rows that are missing never make one hold.

use std::fmt::Write as _;

use serde::Serialize;

use crate::manifest::{Manifest, State};
use crate::store::Reader;
use crate::table::Table;

/// A statement beside what was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// What is claimed or required.
    pub text: String,
    /// Where it comes from.
    pub source: Source,
    /// What was measured, in a sentence.
    pub measured: String,
    /// Whether that bears the claim out.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Whether a claim holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// The measurement bears it out.
    Holds,
    /// The measurement contradicts it.
    DoesNotHold,
    /// This run cannot tell: its yardstick is missing, or its noise is larger than the
    /// distance to the bar.
    CannotBeJudged {
        /// The reason, in sentences.
        why: String,
    },
}

impl Outcome {
    /// Neither of the two, for this reason.
    pub fn undecided(why: impl Into<String>) -> Self {
        Self::CannotBeJudged { why: why.into() }
    }
}

impl From<bool> for Outcome {
    fn from(holds: bool) -> Self {
        if holds {
            Self::Holds
        } else {
            Self::DoesNotHold
        }
    }
}

impl Claim {
    /// Whether it holds.
    pub fn holds(&self) -> bool {
        self.outcome == Outcome::Holds
    }

    /// Whether the measurement contradicts it.
    pub fn is_missed(&self) -> bool {
        self.outcome == Outcome::DoesNotHold
    }

    /// What was measured, and why that does not decide the claim if it does not.
    pub fn evidence(&self) -> String {
        match &self.outcome {
            Outcome::CannotBeJudged { why } => format!("{} {why}", self.measured),
            Outcome::Holds | Outcome::DoesNotHold => self.measured.clone(),
        }
    }
}

/// Where a claim comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The thesis defence of 2017.
    Defence2017,
    /// A number that this project set itself.
    Requirement,
}

/// All that was judged of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The experiment, as a heading.
    pub title: String,
    /// The claims.
    pub claims: Vec<Claim>,
    /// What else the numbers say, in sentences.
    pub findings: Vec<String>,
    /// The numbers behind them.
    #[serde(skip)]
    pub tables: Vec<Table>,
}

impl Verdict {
    /// True when no claim is missed. Claims that cannot be judged here do not count.
    pub fn holds(&self) -> bool {
        !self.claims.is_empty() && !self.claims.iter().any(Claim::is_missed)
    }

    /// What does not hold, with what was measured.
    pub fn missed(&self) -> Vec<String> {
        self.claims
            .iter()
            .filter(|claim| claim.is_missed())
            .map(|claim| format!("{} Measured: {}", claim.text, claim.measured))
            .collect()
    }

    /// A verdict without claims.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            claims: Vec::new(),
            findings: Vec::new(),
            tables: Vec::new(),
        }
    }

    /// Adds a claim; without a measurement it does not hold.
    pub fn claim(
        mut self,
        source: Source,
        text: impl Into<String>,
        measured: Option<Measured>,
    ) -> Self {
        let measured =
            measured.unwrap_or_else(|| Measured::new(Outcome::DoesNotHold, "It was not measured."));
        self.claims.push(Claim {
            text: text.into(),
            source,
            measured: measured.evidence,
            outcome: measured.outcome,
        });
        self
    }

    /// Adds a claim of this project.
    pub fn require(self, text: impl Into<String>, measured: Option<Measured>) -> Self {
        self.claim(Source::Requirement, text, measured)
    }

    /// Adds a claim of this project if the run measured what it is about.
    pub fn require_if_measured(self, text: impl Into<String>, measured: Option<Measured>) -> Self {
        if measured.is_some() {
            self.require(text, measured)
        } else {
            self
        }
    }

    /// Adds a claim of the defence of 2017.
    pub fn defence(self, text: impl Into<String>, measured: Option<Measured>) -> Self {
        self.claim(Source::Defence2017, text, measured)
    }

    /// Adds what else the numbers say.
    pub fn findings(mut self, findings: impl IntoIterator<Item = String>) -> Self {
        self.findings.extend(findings);
        self
    }

    /// Adds tables.
    pub fn tables(mut self, tables: impl IntoIterator<Item = Table>) -> Self {
        self.tables.extend(tables);
        self
    }
}

/// What was measured for a claim, and what that says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Whether the claim holds.
    pub outcome: Outcome,
    /// What was measured, in a sentence.
    pub evidence: String,
}

impl Measured {
    /// An outcome with its evidence.
    pub fn new(outcome: impl Into<Outcome>, evidence: impl Into<String>) -> Self {
        Self {
            outcome: outcome.into(),
            evidence: evidence.into(),
        }
    }

    /// A claim about every one of some items, called `what` in the plural: it holds if there
    /// are any and it holds for all. `None` of none.
    pub fn every<T>(
        items: impl IntoIterator<Item = T>,
        what: &str,
        holds: impl Fn(&T) -> bool,
    ) -> Option<Self> {
        let (mut good, mut all) = (0u64, 0u64);
        for item in items {
            all += 1;
            good += u64::from(holds(&item));
        }
        (all > 0).then(|| Self::new(good == all, format!("{good} of {all} {what}.")))
    }

    /// The claim that none of `all` events, called `what` in the plural, is one of `bad`. `None` of none.
    pub fn none(bad: u64, all: u64, what: &str) -> Option<Self> {
        (all > 0).then(|| Self::new(bad == 0, format!("{bad} of {all} {what}.")))
    }
}

/// Damaged rows that are named; there may be any number.
const DAMAGE_NAMED: usize = 10;

/// Whether the run ended well and its files hold what it put into them, in a
/// word and in a sentence.
pub fn completeness(reader: &Reader<'_>, manifest: &Manifest) -> (bool, String) {
    let damage = reader.damage();
    if !damage.is_empty() {
        let more = damage.len().saturating_sub(DAMAGE_NAMED);
        let mut measured = format!(
            "Damaged, and left out of all numbers and figures: {}",
            damage[..damage.len() - more].join("; ")
        );
        if more > 0 {
            measured.push_str(&format!("; and {more} more"));
        }
        return (false, measured + ".");
    }
    match &manifest.status {
        State::Complete => {}
        State::Running => return (false, "It is still running, or was killed.".to_owned()),
        State::Failed(reason) => return (false, format!("It stopped early: {reason}.")),
    }
    for (file, recorded) in &manifest.rows {
        let found = reader.sound(file).unwrap_or(0);
        if found != *recorded {
            let measured = format!("It recorded {recorded} rows in {file}; there are {found}.");
            return (false, measured);
        }
    }
    let rows: u64 = manifest.rows.values().sum();
    (
        rows > 0,
        format!("It recorded {rows} rows, and all are there."),
    )
}

/// Each name once, in the order in which they come first.
pub fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut all = Vec::new();
    for name in names {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
}

/// A verdict for the terminal.
pub fn summary(verdict: &Verdict, colours: bool) -> String {
    let mut text = format!("\n{}\n", verdict.title);
    for claim in &verdict.claims {
        let (word, colour) = match claim.outcome {
            Outcome::Holds => ("holds", "32"),
            Outcome::DoesNotHold => ("DOES NOT HOLD", "31"),
            Outcome::CannotBeJudged { .. } => ("cannot be judged here", "33"),
        };
        let mark = if colours {
            format!("\x1b[{colour}m{word}\x1b[0m")
        } else {
            word.to_owned()
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {mark}: {}\n      {}", claim.text, claim.evidence());
    }
    for finding in &verdict.findings {
        let _ = writeln!(text, "  - {}", finding.replace('`', ""));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use schemars::JsonSchema;
    use serde::Deserialize;

    use super::*;
    use crate::manifest::example;
    use crate::row::Row;
    use crate::store::RunFolder;

    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
    struct BootRow {
        /// How long it took.
        ready_ns: u64,
    }

    impl Row for BootRow {
        const FILE: &'static str = "boot.csv";
    }

    fn boot() -> BootRow {
        BootRow { ready_ns: 1 }
    }

    /// Whether the claim that a run is complete holds of what is in `folder`.
    fn is_complete(folder: &Path) -> bool {
        let manifest = Manifest::read(folder).unwrap();
        let reader = Reader::new(folder);
        reader.rows::<BootRow>().unwrap();
        completeness(&reader, &manifest).0
    }

    #[test]
    fn only_a_run_that_ended_and_kept_its_rows_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = RunFolder::create(folder.path(), example()).unwrap();
        run.append(&boot()).unwrap();
        run.append(&boot()).unwrap();
        assert!(!is_complete(folder.path()), "it still runs");
        run.complete().unwrap();
        assert!(is_complete(folder.path()));
        let path = folder.path().join(BootRow::FILE);
        let text = fs::read_to_string(&path).unwrap();
        let shorter: Vec<&str> = text.lines().take(2).collect();
        fs::write(&path, shorter.join("\n")).unwrap();
        assert!(!is_complete(folder.path()), "a row is gone");
        fs::remove_file(&path).unwrap();
        assert!(!is_complete(folder.path()), "a file is gone");

        let folder = tempfile::tempdir().unwrap();
        let mut run = RunFolder::create(folder.path(), example()).unwrap();
        run.append(&boot()).unwrap();
        run.fail("interrupted").unwrap();
        assert!(!is_complete(folder.path()), "it failed");

        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::create(folder.path(), example()).unwrap();
        run.complete().unwrap();
        assert!(!is_complete(folder.path()), "nothing was recorded");
    }

    /// A verdict of one claim for each outcome.
    fn verdict(outcomes: impl IntoIterator<Item = Outcome>) -> Verdict {
        outcomes
            .into_iter()
            .fold(Verdict::new("Sums"), |verdict, outcome| {
                verdict.require("1 + 1 = 2.", Some(Measured::new(outcome, "2.")))
            })
    }

    #[test]
    fn a_claim_that_cannot_be_judged_neither_holds_nor_is_missed() {
        let undecided = || Outcome::undecided("No yardstick.");
        let verdict_of_both = verdict([Outcome::Holds, undecided()]);
        assert!(verdict_of_both.holds() && verdict_of_both.missed().is_empty());
        assert!(!verdict_of_both.claims[1].holds());
        let missed = verdict([undecided(), Outcome::DoesNotHold]);
        assert!(!missed.holds());
        assert_eq!(missed.missed(), ["1 + 1 = 2. Measured: 2."]);
        assert!(!verdict([]).holds(), "no claim holds nothing");
    }

    #[test]
    fn the_summary_and_json_name_the_outcome() {
        let verdict = verdict([true.into(), Outcome::undecided("No yardstick.")]);
        let text = summary(&verdict, false);
        assert!(text.contains("  holds: 1 + 1 = 2.\n      2.\n"), "{text}");
        let undecided = "  cannot be judged here: 1 + 1 = 2.\n      2. No yardstick.\n";
        assert!(text.contains(undecided), "{text}");
        let json = serde_json::to_value(&verdict.claims).unwrap();
        assert_eq!(json[0]["outcome"], "holds");
        assert_eq!(json[1]["outcome"], "cannot-be-judged");
        assert_eq!(json[1]["why"], "No yardstick.");
    }
}
