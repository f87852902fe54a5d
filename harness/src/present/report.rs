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
    writeln!(text, "This experiment shows whether {purpose}.")?;
    let result = match (verdict.holds(), &manifest.status) {
        (true, _) => "Everything that was claimed or required holds.".to_owned(),
        (false, State::Complete) => format!(
            "{} of {} claims and requirements do not hold.",
            verdict.missed().len(),
            verdict.claims.len()
        ),
        (false, _) => "The run did not finish, so it proves nothing.".to_owned(),
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
            claim.text,
            claim.measured.replace(['\n', '|'], " ")
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
    writeln!(text, "\n## Conditions\n")?;
    writeln!(
        text,
        "{} form with seed {}, started {} and finished after {:.0} s. {} ran guests on {} with {} \
         ({}). The host has {} processors ({}), {} MiB of memory and Linux {}. Source revision {}.",
        capitalised(&manifest.form),
        manifest.seed,
        manifest.started,
        manifest.wall_seconds,
        manifest.qemu_version,
        manifest.machine,
        manifest.accelerator,
        manifest.accelerator_reason,
        manifest.cpus,
        manifest.cpu_model,
        manifest.memory_mib,
        manifest.host_kernel,
        manifest.git_revision,
    )?;
    writeln!(
        text,
        "\nThis very run again:\n\n```sh\n{}\n```\n\nMETHOD.md tells how each number is made; \
         results/README.md defines the columns of the CSV files.",
        manifest.reproduce
    )
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}
