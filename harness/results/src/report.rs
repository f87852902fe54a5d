//! `report.md`: a document as Markdown.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

use crate::chart::Figure;
use crate::document::Document;
use crate::file::replace_file;
use crate::table::Table;

/// File name in a run's folder.
const FILE: &str = "report.md";

/// Rows of a table that a report shows; the CSV has all.
pub const ROWS_SHOWN: usize = 80;

/// Writes the report.
pub fn write(folder: &Path, document: &Document) -> Result<()> {
    let text = compose(document).context("write the report")?;
    replace_file(&folder.join(FILE), text.as_bytes())
}

/// What a report says of the rows that it leaves out.
pub fn left_out(table: &Table) -> Option<String> {
    let rows = table.rows.len();
    (rows > ROWS_SHOWN)
        .then(|| format!("The first {ROWS_SHOWN} of {rows} rows; the CSV file has all."))
}

fn compose(document: &Document) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    writeln!(text, "# {}\n\n{}\n", document.title, document.lead)?;
    if document.holds {
        writeln!(text, "{}\n", document.result)?
    } else {
        writeln!(text, "**{}**\n", document.result)?
    }
    writeln!(text, "| claimed or required | by | measured | result |")?;
    writeln!(text, "| --- | --- | --- | --- |")?;
    for claim in &document.claims {
        let mark = if claim.is_missed() { "**" } else { "" };
        writeln!(
            text,
            "| {} | {} | {} | {mark}{}{mark} |",
            cell(&claim.text),
            claim.source.label(),
            cell(&claim.evidence()),
            claim.result()
        )?;
    }
    if !document.findings.is_empty() {
        writeln!(text, "\n## Findings\n")?;
        for finding in &document.findings {
            writeln!(text, "- {}", cell(finding))?;
        }
    }
    for figure in &document.figures {
        let Figure {
            stem,
            title,
            caption,
        } = figure;
        writeln!(text, "\n## {title}\n\n![{title}]({stem}.svg)\n\n{caption}")?;
    }
    for table in &document.tables {
        write_table(&mut text, table)?;
    }
    writeln!(text, "\n## Conditions\n\n| | |\n| --- | --- |")?;
    for (what, value) in &document.conditions {
        writeln!(text, "| {what} | {} |", cell(value))?;
    }
    for (name, value) in &document.parameters {
        writeln!(text, "| parameter `{name}` | `{}` |", cell(value))?;
    }
    writeln!(
        text,
        "\nThis very run again:\n\n```sh\n{}\n```\n\n{}",
        document.reproduce, document.further
    )?;
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
        let cells: Vec<String> = row.iter().map(|text| cell(text)).collect();
        writeln!(text, "| {} |", cells.join(" | "))?;
    }
    match left_out(table) {
        Some(note) => writeln!(text, "\n{note}"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::example;
    use crate::manifest::State;
    use crate::verdict::Outcome;

    #[test]
    fn it_says_what_holds_and_under_which_conditions() {
        let text = compose(&example(State::Complete, true)).unwrap();
        for part in [
            "# Correctness of resizing",
            "All 2 claims and requirements hold.",
            "| Errors   blocks are <equal>. | 2017 defence | Equal at all 3 steps. | holds |",
            "- Nothing else `was` found & said.",
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
        let text = compose(&example(State::Complete, false)).unwrap();
        assert!(text.contains("**1 of 2 claims and requirements do not hold.**"));
        assert!(text.contains("| **does not hold** |"));
        let failed = State::Failed("killed".to_owned());
        let text = compose(&example(failed, false)).unwrap();
        assert!(text.contains("proves nothing"));
    }

    #[test]
    fn it_says_what_cannot_be_judged_and_why() {
        let why = Outcome::undecided("There is no yardstick.");
        let text = compose(&example(State::Complete, why)).unwrap();
        let result = "1 of 2 claims and requirements hold; 1 cannot be judged here.";
        assert!(text.contains(result), "{text}");
        let row = "Equal at all 3 steps. There is no yardstick. | cannot be judged here |";
        assert!(text.contains(row), "{text}");
    }
}
