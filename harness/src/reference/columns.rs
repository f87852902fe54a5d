//! The page of the book about the columns of all CSV files.

use results::columns::{Column, CsvFile};

use super::commands::plain;
use crate::experiments::common::boot::BootRow;
use crate::experiments::experiment::{Entry, Needs};

const HEAD: &str = "# CSV columns

Each run writes its rows to CSV files in its folder. Files of counts are byte-identical for the
same seed, under QEMU and on twins. Files that end in `_timing.csv`, `boot.csv` and `observers.csv`
depend on the speed of the machine.

- Times are integer nanoseconds of the host's monotonic clock, or of the guest's clock if the name
  contains `guest`.
- Block numbers start at 0. A block is *held* if it is on the guest's list of valid blocks.
- A column without a unit is a name, a number, or a count of what the name says.
";

/// The columns of a sweep depend on its axes, so they have no row type.
const SWEEPS: &str = "
## Sweeps

For the experiment eviction, `sweep.csv` has one row per point, seed and picker, in this order. For
other experiments it has the rows of counts of each cell, with the columns `row` and `rows` after
`seed`: the number of the row in its cell, from 0, and the number of rows in the cell.
`failures.csv` has the columns up to `seed`, then `reason`: why the cell has no rows. See
[Sweeps](../experiments/sweeps.md).

| column | type | unit | meaning |
| --- | --- | --- | --- |
| `point` | integer | | Number of the point, from 0; the first axis varies slowest. |
| one per axis | | that of the parameter | Value at the point. If another column has the name of \
the parameter, `_parameter` is appended. |
| `seed` | integer | | Seed of the repetition. |
| `picker` | text | | Side that picked the blocks to give up, and its policy. |
| `reads` | integer | | All reads: hits and misses. |
| `hits` | integer | | Reads of blocks that the guest held. |
| `misses` | integer | | All other reads. |
";

/// Values of a column that stand in its row at most.
const IN_A_CELL: usize = 5;

pub(super) fn page(experiments: &[&dyn Entry]) -> String {
    let mut text = HEAD.to_owned();
    for experiment in experiments {
        let name = experiment.name();
        text.push_str(&format!(
            "\n## {name}\n\nThe experiment is described in [{name}](../experiments/{name}.md).\n"
        ));
        for file in experiment.files() {
            table(&file, &mut text);
        }
    }
    let booting: Vec<_> = experiments
        .iter()
        .filter(|of| of.needs() != Needs::Nothing)
        .map(|of| format!("`{}`", of.name()))
        .collect();
    text.push_str(&format!(
        "\n## Boots\n\nAll experiments that start guests under QEMU record their boots: {}.\n",
        booting.join(", ")
    ));
    table(&CsvFile::of::<BootRow>(), &mut text);
    text.push_str(SWEEPS);
    text
}

fn table(file: &CsvFile, text: &mut String) {
    text.push_str(&format!(
        "\n### {}\n\n{}\n",
        file.name,
        plain(&file.purpose)
    ));
    text.push_str("\n| column | type | unit | meaning |\n| --- | --- | --- | --- |\n");
    for column in &file.columns {
        text.push_str(&row(column));
    }
    for column in file.columns.iter().filter(|of| !fit_a_cell(of)) {
        text.push_str(&format!("\nValues of `{}`:\n\n", column.name));
        for (value, of) in &column.values {
            text.push_str(&format!("- `{value}`: {}.\n", plain(first_sentence(of))));
        }
    }
}

/// Whether the values of a column stand in its row of the table.
fn fit_a_cell(column: &Column) -> bool {
    column.values.len() <= IN_A_CELL
}

/// The first sentence, for a cell of a table.
fn first_sentence(text: &str) -> &str {
    let end = text.find(". ").unwrap_or(text.len());
    text[..end].trim_end_matches('.')
}

fn row(column: &Column) -> String {
    let Column {
        name,
        kind,
        is_optional,
        unit,
        meaning,
        values,
    } = column;
    let kind = if *is_optional {
        format!("{kind} or empty")
    } else {
        (*kind).to_owned()
    };
    let mut meaning = plain(meaning);
    if !fit_a_cell(column) {
        meaning.push_str(" See below.");
    } else if !values.is_empty() {
        let values: Vec<_> = values
            .iter()
            .map(|(value, of)| format!("`{value}`: {}", plain(first_sentence(of))))
            .collect();
        meaning.push_str(&format!(" {}.", values.join("; ")));
    }
    let unit = if unit.is_empty() {
        String::new()
    } else {
        format!("{unit} ")
    };
    format!(
        "| `{name}` | {kind} | {unit}| {} |\n",
        meaning.replace('|', "\\|")
    )
}
