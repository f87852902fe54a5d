//! `report.md`: what a run showed, for people.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::figures::Figure;
use super::manifest::{Manifest, State};
use super::study::{Source, Table, Verdict};
use crate::experiment::Experiment;

/// File name in a run's folder.
const FILE: &str = "report.md";

/// Rows of a table that a report shows; the CSV has all.
const ROWS_SHOWN: usize = 80;

/// Writes the report.
pub fn write(
    folder: &Path,
    manifest: &Manifest,
    verdict: &Verdict,
    figures: &[Figure],
) -> Result<()> {
    let path = folder.join(FILE);
    let text = compose(manifest, verdict, figures).context("write the report")?;
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}

fn compose(
    manifest: &Manifest,
    verdict: &Verdict,
    figures: &[Figure],
) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let purpose = Experiment::from_name(&manifest.experiment).map_or("", Experiment::purpose);
    writeln!(text, "# {}\n", verdict.title)?;
    writeln!(
        text,
        "The experiment `{}`: {purpose}.\n",
        manifest.experiment
    )?;
    let result = match (verdict.holds(), &manifest.status) {
        (true, _) => format!("All {} claims and requirements hold.", verdict.claims.len()),
        (false, State::Complete) => format!(
            "**{} of {} claims and requirements do not hold.**",
            verdict.missed().len(),
            verdict.claims.len()
        ),
        (false, _) => "**The run did not finish, so it proves nothing.**".to_owned(),
    };
    writeln!(text, "{result}\n")?;
    writeln!(text, "| claimed or required | by | measured | result |")?;
    writeln!(text, "| --- | --- | --- | --- |")?;
    for claim in &verdict.claims {
        let source = match claim.source {
            Source::Defence2017 => "2017 defence",
            Source::Requirement => "this project",
        };
        let result = match claim.holds {
            true => "holds",
            false => "**does not hold**",
        };
        writeln!(
            text,
            "| {} | {source} | {} | {result} |",
            cell(&claim.text),
            cell(&claim.measured)
        )?;
    }
    for figure in figures {
        let Figure {
            stem,
            title,
            caption,
        } = figure;
        writeln!(text, "\n## {title}\n\n![{title}]({stem}.svg)\n\n{caption}")?;
    }
    for table in &verdict.tables {
        write_table(&mut text, table)?;
    }
    conditions(&mut text, manifest)?;
    Ok(text)
}

/// Text that cannot end a cell of a table.
fn cell(text: &str) -> String {
    text.replace(['\n', '|'], " ")
}

fn write_table(text: &mut String, table: &Table) -> std::fmt::Result {
    if table.rows.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n## {}\n", table.title)?;
    writeln!(text, "| {} |", table.head.join(" | "))?;
    writeln!(text, "|{}", " --- |".repeat(table.head.len()))?;
    for row in table.rows.iter().take(ROWS_SHOWN) {
        writeln!(text, "| {} |", row.join(" | "))?;
    }
    if table.rows.len() > ROWS_SHOWN {
        writeln!(
            text,
            "\nThe first {ROWS_SHOWN} of {} rows; the CSV file has all.",
            table.rows.len()
        )?;
    }
    Ok(())
}

fn conditions(text: &mut String, manifest: &Manifest) -> std::fmt::Result {
    let memory_gib = manifest.memory_mib as f64 / 1024.0;
    writeln!(text, "\n## Conditions\n\n| | |\n| --- | --- |")?;
    for (what, value) in [
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
        (
            "host",
            format!(
                "{} processors ({}), {memory_gib:.1} GiB of memory, Linux {}",
                manifest.cpus, manifest.cpu_model, manifest.host_kernel
            ),
        ),
        (
            "source",
            format!(
                "revision {}, harness {}",
                manifest.git_revision, manifest.harness_version
            ),
        ),
    ] {
        writeln!(text, "| {what} | {} |", cell(&value))?;
    }
    if let Some(qemu) = &manifest.qemu {
        let machine = format!("{}, machine {}", qemu.version, qemu.machine);
        let accelerator = format!("{}: {}", qemu.accelerator, qemu.accelerator_reason);
        writeln!(text, "| QEMU | {} |", cell(&machine))?;
        writeln!(text, "| accelerator | {} |", cell(&accelerator))?;
    }
    for (name, value) in &manifest.parameters {
        writeln!(
            text,
            "| parameter `{name}` | `{}` |",
            cell(&value.to_string())
        )?;
    }
    writeln!(
        text,
        "\nThis very run again:\n\n```sh\n{}\n```\n\n`METHOD.md` tells how each number is made, \
         and `results/README.md` defines the columns of the CSV files.",
        manifest.reproduce
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::present::manifest::example;
    use crate::present::study::Claim;

    fn verdict(holds: bool) -> Verdict {
        Verdict {
            title: "Correctness of resizing".to_owned(),
            claims: vec![Claim {
                text: "Errors | blocks are equal.".to_owned(),
                source: Source::Defence2017,
                measured: "Equal at\nall 3 steps.".to_owned(),
                holds,
            }],
            findings: Vec::new(),
            tables: vec![Table {
                title: "Steps".to_owned(),
                head: vec!["step".to_owned()],
                rows: (0..100).map(|i| vec![i.to_string()]).collect(),
            }],
        }
    }

    fn report(state: State, holds: bool) -> String {
        let mut manifest = example();
        manifest.status = state;
        let figure = Figure {
            stem: "correctness",
            title: "Read errors".to_owned(),
            caption: "Dots on a line.".to_owned(),
        };
        compose(&manifest, &verdict(holds), &[figure]).unwrap()
    }

    #[test]
    fn it_says_what_holds_and_under_which_conditions() {
        let text = report(State::Complete, true);
        for part in [
            "# Correctness of resizing",
            "All 1 claims and requirements hold.",
            "| Errors   blocks are equal. | 2017 defence | Equal at all 3 steps. | holds |",
            "![Read errors](correctness.svg)",
            "The first 80 of 100 rows",
            "| parameter `size` | `\"1GiB\"` |",
            "cargo run --bin harness -- run correctness --seed 1",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn it_says_what_does_not_hold() {
        let text = report(State::Complete, false);
        assert!(text.contains("**1 of 1 claims and requirements do not hold.**"));
        assert!(text.contains("| **does not hold** |"));
        let text = report(State::Failed("killed".to_owned()), false);
        assert!(text.contains("proves nothing"));
    }
}
