//! The CSV files of a sweep: written and read cell by cell, damage named.
//!
//! Every row stands on one line and says all that it belongs to, so that one
//! damaged line spoils no other. A line counts only if it is, byte for byte,
//! what would be written for the row that it seems to hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use super::plan::{Cell, Plan};
use super::shard::Shard;
use crate::experiments::common::swept::{Fields, Place};

/// The rows of whole cells, by the cell's number; each by its place.
pub(crate) type Rows = BTreeMap<u32, Vec<Fields>>;

/// Why cells could not be run, by the cell's number.
pub(crate) type Failures = BTreeMap<u32, String>;

/// Something in a file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, what } = self;
        write!(f, "{}, line {line}: {what}", file.display())
    }
}

/// The column behind those of the axes.
const SEED: &str = "seed";

/// Columns of `sweep.csv` behind those of the axes.
fn measured(plan: &Plan) -> Vec<String> {
    let columns = plan.kind().columns();
    [SEED.to_owned()].into_iter().chain(columns).collect()
}

fn line<I: IntoIterator<Item = T>, T: AsRef<[u8]>>(fields: I) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let written = writer.write_record(fields);
    written.expect("memory takes any record");
    writer.into_inner().expect("memory takes any record")
}

/// Point, one column for each axis, then `rest`. A parameter that is called as
/// another column is, such as `reads`, gets a name of its own.
fn header(plan: &Plan, rest: &[String]) -> Vec<u8> {
    let measured = measured(plan);
    let axes = plan.axes.iter().map(|axis| match axis.name.as_str() {
        name if name == "point" || measured.iter().any(|of| of == name) => {
            format!("{name}_parameter")
        }
        name => name.to_owned(),
    });
    let rest = rest.iter().cloned();
    line(["point".to_owned()].into_iter().chain(axes).chain(rest))
}

fn point_fields(plan: &Plan, point: u32) -> Vec<String> {
    let mut fields = vec![point.to_string()];
    fields.extend(plan.texts(point));
    fields
}

fn cell_fields(plan: &Plan, cell: Cell) -> Vec<String> {
    let mut fields = point_fields(plan, cell.point);
    fields.push(cell.seed.to_string());
    fields
}

fn row_line(plan: &Plan, cell: Cell, row: &[String]) -> Vec<u8> {
    let mut fields = cell_fields(plan, cell);
    fields.extend_from_slice(row);
    line(fields)
}

/// All rows of a cell, as they stand in `sweep.csv`.
pub(crate) fn cell_lines(plan: &Plan, cell: Cell, rows: &[Fields]) -> Vec<u8> {
    let lines = rows.iter().map(|row| row_line(plan, cell, row));
    lines.collect::<Vec<_>>().concat()
}

/// A failed cell, as it stands in `failures.csv`.
pub(crate) fn failure_line(plan: &Plan, cell: Cell, reason: &str) -> Vec<u8> {
    let mut fields = cell_fields(plan, cell);
    fields.push(reason.to_owned());
    line(fields)
}

/// `sweep.csv`, by point, seed and picker.
pub(crate) fn rows_file(plan: &Plan, rows: &Rows) -> Vec<u8> {
    let mut bytes = header(plan, &measured(plan));
    for (index, rows) in rows {
        bytes.extend(cell_lines(plan, plan.cell(*index), rows));
    }
    bytes
}

/// Columns of `failures.csv` behind those of the axes.
fn failed() -> [String; 2] {
    [SEED, "reason"].map(str::to_owned)
}

/// `failures.csv`, by point and seed.
pub(crate) fn failures_file(plan: &Plan, failures: &Failures) -> Vec<u8> {
    let mut bytes = header(plan, &failed());
    for (index, reason) in failures {
        bytes.extend(failure_line(plan, plan.cell(*index), reason));
    }
    bytes
}

/// Lines of a file behind its header, each with its number; what is no whole
/// line is named.
struct Lines<'a> {
    file: &'a Path,
    damage: Vec<Damage>,
}

impl Lines<'_> {
    fn name(&mut self, line: usize, what: impl Into<String>) {
        self.damage.push(Damage {
            file: self.file.to_owned(),
            line,
            what: what.into(),
        });
    }

    /// Hands every line, with its end, to `take`, which says what is wrong with it.
    fn each(
        &mut self,
        bytes: &[u8],
        header: &[u8],
        mut take: impl FnMut(usize, &[u8]) -> Result<(), String>,
    ) {
        for (i, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let verdict = match (i, line.last()) {
                (_, last) if last != Some(&b'\n') => Err("the line breaks off".to_owned()),
                (0, _) if line == header => Ok(()),
                (0, _) => Err("this is not the header of this sweep".to_owned()),
                _ => take(i + 1, line),
            };
            if let Err(what) = verdict {
                self.name(i + 1, what);
            }
        }
    }
}

/// A damaged row of which no more can be said.
fn damaged<T>() -> Result<T, String> {
    Err("the row is damaged".to_owned())
}

/// The cell that a line names, and what stands behind its seed.
fn cell_of<'a>(plan: &Plan, shard: Shard, line: &'a [u8]) -> Result<(Cell, &'a str), String> {
    let text = str::from_utf8(line).or_else(|_| damaged())?;
    let point = text.split(',').next().and_then(|text| text.parse().ok());
    let Some(point) = point.filter(|point| *point < plan.points()) else {
        return damaged();
    };
    let mut start = self::line(point_fields(plan, point));
    // The line goes on where that of the point alone ends.
    start.pop();
    let rest = str::from_utf8(&start)
        .ok()
        .and_then(|start| text.strip_prefix(start)?.strip_prefix(','));
    let Some(rest) = rest else {
        return Err(format!("the values are not those of point {point}"));
    };
    let Some((seed, rest)) = rest.split_once(',') else {
        return damaged();
    };
    let cell = seed.parse().ok().and_then(|seed| plan.find(point, seed));
    let Some(cell) = cell else {
        return Err(format!("the seed `{seed}` is none of this sweep"));
    };
    match shard.holds(cell.index) {
        true => Ok((cell, rest)),
        false => Err(format!(
            "cell {} does not belong to shard {shard}",
            cell.index
        )),
    }
}

/// The first record of a text, which ends with its line.
fn record(text: &str) -> Result<Fields, String> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(text.as_bytes());
    match reader.records().next() {
        Some(Ok(record)) => Ok(record.iter().map(str::to_owned).collect()),
        _ => damaged(),
    }
}

/// The cell of a line of `sweep.csv`, its place there, and the row.
fn row_of(plan: &Plan, shard: Shard, line: &[u8]) -> Result<(Cell, Place, Fields), String> {
    let (cell, rest) = cell_of(plan, shard, line)?;
    let fields = record(rest)?;
    let place = plan.kind().place(&plan.parts, &fields)?;
    match row_line(plan, cell, &fields) == line {
        true => Ok((cell, place, fields)),
        false => damaged(),
    }
}

/// The cell and the reason of a line of `failures.csv`.
fn failure_of(plan: &Plan, shard: Shard, line: &[u8]) -> Result<(Cell, String), String> {
    let (cell, rest) = cell_of(plan, shard, line)?;
    let reason = record(rest)?.into_iter().next().unwrap_or_default();
    match failure_line(plan, cell, &reason) == line {
        true => Ok((cell, reason)),
        false => damaged(),
    }
}

/// The sound and whole cells of a `sweep.csv`, and what had to be left out.
pub(crate) fn read_rows(
    plan: &Plan,
    shard: Shard,
    file: &Path,
    bytes: &[u8],
) -> (Rows, Vec<Damage>) {
    // Each row with its line and the number of rows of its cell.
    let mut found: BTreeMap<u32, BTreeMap<usize, (usize, usize, Fields)>> = BTreeMap::new();
    let mut contradicted = BTreeSet::new();
    let mut lines = Lines {
        file,
        damage: Vec::new(),
    };
    lines.each(bytes, &header(plan, &measured(plan)), |number, line| {
        let (cell, place, fields) = row_of(plan, shard, line)?;
        let rows = found.entry(cell.index).or_default();
        let row = (number, place.of, fields.clone());
        let (earlier, of, kept) = rows.entry(place.at).or_insert(row);
        if (*of, &*kept) == (place.of, &fields) {
            return Ok(());
        }
        contradicted.insert(cell.index);
        Err(format!("the row contradicts line {earlier}"))
    });
    let mut rows = Rows::new();
    for (index, of_cell) in found {
        let first = of_cell.values().map(|(line, ..)| *line).min().unwrap_or(0);
        let all: BTreeSet<usize> = of_cell.values().map(|(_, of, _)| *of).collect();
        let (have, all) = (of_cell.len(), all.into_iter().max().unwrap_or(0));
        if contradicted.contains(&index) || of_cell.values().any(|(_, of, _)| *of != all) {
            lines.name(
                first,
                format!("cell {index} has rows that contradict each other"),
            );
        } else if have < all {
            lines.name(
                first,
                format!("cell {index} has {have} of its {all} rows only"),
            );
        } else {
            rows.insert(index, of_cell.into_values().map(|(.., row)| row).collect());
        }
    }
    (rows, lines.damage)
}

/// The sound rows of a `failures.csv`, and what had to be left out.
pub(crate) fn read_failures(
    plan: &Plan,
    shard: Shard,
    file: &Path,
    bytes: &[u8],
) -> (Failures, Vec<Damage>) {
    let mut failures = Failures::new();
    let mut lines = Lines {
        file,
        damage: Vec::new(),
    };
    lines.each(bytes, &header(plan, &failed()), |_, line| {
        let (cell, reason) = failure_of(plan, shard, line)?;
        failures.insert(cell.index, reason);
        Ok(())
    });
    (failures, lines.damage)
}
