//! What a report says, before it is Markdown or HTML: composed once, so that the
//! two cannot say different things.

use serde_json::Value;

use crate::chart::Figure;
use crate::manifest::{Manifest, State};
use crate::table::Table;
use crate::verdict::{Claim, Outcome, Source, Verdict};

/// A name and what it stands for.
pub type Fact = (String, String);

/// A report.
#[derive(Clone, Debug)]
pub struct Document {
    /// What was studied, as a heading.
    pub title: String,
    /// What was run, and to what end.
    pub lead: String,
    /// The outcome in a sentence.
    pub result: String,
    /// Whether all that was claimed holds.
    pub holds: bool,
    /// What was claimed, and what was measured.
    pub claims: Vec<Claim>,
    /// What else the numbers say.
    pub findings: Vec<String>,
    /// The figures; their files lie beside the report.
    pub figures: Vec<Figure>,
    /// The numbers.
    pub tables: Vec<Table>,
    /// Under which conditions all this was measured.
    pub conditions: Vec<Fact>,
    /// Parameters by name.
    pub parameters: Vec<Fact>,
    /// The command line that does it again.
    pub reproduce: String,
    /// Where more is said.
    pub further: String,
}

/// The page of the book about an experiment, from the root of the repository.
pub fn page(experiment: &str) -> String {
    format!("docs/src/experiments/{experiment}.md")
}

/// The last sentence of a report about an experiment, or about `sweeps`.
pub fn further(experiment: &str) -> String {
    format!(
        "How each number is made: `{}`. What the columns of the CSV files mean: \
         `docs/src/reference/columns.md`.",
        page(experiment)
    )
}

impl Source {
    /// The source as a report names it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Defence2017 => "2017 defence",
            Self::Requirement => "this project",
        }
    }
}

impl Claim {
    /// The result in a word or three.
    pub fn result(&self) -> &'static str {
        match self.outcome {
            Outcome::Holds => "holds",
            Outcome::DoesNotHold => "does not hold",
            Outcome::CannotBeJudged { .. } => "cannot be judged here",
        }
    }
}

/// The outcome of all claims; `finished` is whether the run was.
pub fn outcome(verdict: &Verdict, finished: bool) -> String {
    let claims = verdict.claims.len();
    let held = verdict.claims.iter().filter(|claim| claim.holds()).count();
    let missed = verdict.missed().len();
    let undecided = match claims - held - missed {
        0 => String::new(),
        undecided => format!("; {undecided} cannot be judged here"),
    };
    match (verdict.holds(), finished) {
        (true, _) if claims == 1 && held == 1 => "The one requirement holds.".to_owned(),
        (true, _) if held == claims => format!("All {claims} claims and requirements hold."),
        (true, _) => format!("{held} of {claims} claims and requirements hold{undecided}."),
        (false, true) => {
            format!("{missed} of {claims} claims and requirements do not hold{undecided}.")
        }
        (false, false) => "The run did not finish, so it proves nothing.".to_owned(),
    }
}

impl Document {
    /// The report of a run.
    pub fn of_run(
        manifest: &Manifest,
        lead: String,
        verdict: Verdict,
        figures: Vec<Figure>,
    ) -> Self {
        let parameters = manifest.parameters.iter();
        Self {
            lead,
            result: outcome(&verdict, manifest.status == State::Complete),
            holds: verdict.holds(),
            title: verdict.title,
            claims: verdict.claims,
            findings: verdict.findings,
            figures,
            tables: verdict.tables,
            conditions: conditions(manifest),
            parameters: parameters
                .map(|(name, value)| (name.clone(), value.to_string()))
                .collect(),
            reproduce: manifest.reproduce.clone(),
            further: further(&manifest.experiment),
        }
    }
}

fn conditions(manifest: &Manifest) -> Vec<Fact> {
    let host = &manifest.host;
    let memory_gib = host.memory_mib as f64 / 1024.0;
    let mut facts = vec![
        ("form", format!("{}, seed {}", manifest.form, manifest.seed)),
        (
            "time",
            format!(
                "from {} to {}, {:.1} s",
                manifest.started, manifest.ended, manifest.wall_seconds
            ),
        ),
        (
            "transport",
            format!("{}: {}", manifest.transport, manifest.transport_reason),
        ),
    ];
    if let Some(qemu) = &manifest.qemu {
        facts.push((
            "QEMU",
            format!("{}, machine {}", qemu.version, qemu.machine),
        ));
        let accelerator = format!("{}: {}", qemu.accelerator, qemu.accelerator_reason);
        facts.push(("accelerator", accelerator));
    }
    facts.push((
        "host",
        format!(
            "{} processors ({}), {memory_gib:.1} GiB of memory, Linux {}",
            host.cpus, host.cpu_model, host.host_kernel
        ),
    ));
    facts.push((
        "source",
        format!(
            "revision {}, harness {}",
            manifest.git_revision, manifest.harness_version
        ),
    ));
    let facts = facts
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    let noted = manifest.facts.iter();
    let noted = noted.map(|(name, value)| (name.replace('_', " "), plain(value)));
    facts.chain(noted).collect()
}

/// A value without the quotes of a text.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// A report about a run that was never made.
#[cfg(test)]
pub(crate) fn example(state: State, second: impl Into<Outcome>) -> Document {
    let mut manifest = crate::manifest::example();
    manifest.status = state;
    let verdict = Verdict {
        title: "Correctness of resizing".to_owned(),
        claims: [Outcome::Holds, second.into()]
            .map(|outcome| Claim {
                text: "Errors | blocks are <equal>.".to_owned(),
                source: Source::Defence2017,
                measured: "Equal at\nall 3 steps.".to_owned(),
                outcome,
            })
            .to_vec(),
        findings: vec!["Nothing else `was` found & said.".to_owned()],
        tables: vec![Table {
            title: "Steps".to_owned(),
            head: vec!["step".to_owned()],
            rows: (0..100).map(|i| vec![i.to_string()]).collect(),
        }],
    };
    let figure = Figure {
        stem: "correctness",
        title: "Read errors".to_owned(),
        caption: "Dots on a line.".to_owned(),
    };
    Document::of_run(&manifest, "Something.".to_owned(), verdict, vec![figure])
}
