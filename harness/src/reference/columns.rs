//! The columns of every CSV file as a page of the book.

use results::columns::{Column, CsvFile};

use super::commands::plain;
use crate::experiments::common::boot::BootRow;
use crate::experiments::experiment::{Entry, Needs};

const HEAD: &str = "# CSV columns

Every run writes its rows into the CSV files of its folder. Files of counts are the same bytes for
the same seed, under QEMU and on twins. Files that end in `_timing.csv`, `boot.csv` and
`observers.csv` depend on the speed of the machine.

- Times are whole nanoseconds of the host's monotonic clock, unless the name says `guest`.
- Blocks are counted from 0. A block is *held* when it is on the guest's list of valid blocks.
- A column without a unit is a name, a number, or a count of what it is named after.
";

/// The columns of a sweep depend on its axes, so no row type defines them.
const SWEEPS: &str = "
## Sweeps

`sweep.csv` of a sweep over eviction has one row for each point, seed and picker, in this order. That
of another experiment has the rows of counts of each cell, with `row` and `rows` behind `seed`: the
number of the row in its cell, from 0, and how many rows the cell has. `failures.csv` has the
columns up to `seed`, and then `reason`: why the cell has no rows. See
[Sweeps](../experiments/sweeps.md).

| column | type | unit | meaning |
| --- | --- | --- | --- |
| `point` | integer | | Number of the point, from 0; the first axis varies slowest. |
| one for each axis | | that of the parameter | The point's value. A parameter with the name of \
another column has the suffix `_parameter`. |
| `seed` | integer | | Seed of the repetition. |
| `picker` | text | | Which side picked the blocks to give up, and by what. |
| `reads` | integer | | All reads: hits and misses. |
| `hits` | integer | | Reads of blocks that the guest held. |
| `misses` | integer | | The other reads. |
";

/// The page about the files of these experiments.
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
        "\n## Boots\n\nEvery experiment that starts guests under QEMU records them: {}.\n",
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
}

/// As much of a value's meaning as a cell of a table takes.
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
    let kind = match is_optional {
        true => format!("{kind} or empty"),
        false => (*kind).to_owned(),
    };
    let mut meaning = plain(meaning);
    if !values.is_empty() {
        let values: Vec<_> = values
            .iter()
            .map(|(value, of)| format!("`{value}`: {}", plain(first_sentence(of))))
            .collect();
        meaning.push_str(&format!(" {}.", values.join("; ")));
    }
    let unit = match unit.is_empty() {
        true => String::new(),
        false => format!("{unit} "),
    };
    format!(
        "| `{name}` | {kind} | {unit}| {} |\n",
        meaning.replace('|', "\\|")
    )
}
