//! The CSV files of a sweep: writes and reads them cell by cell, and detects damage.
//!
//! Each row is one line that names its point and seed, so that a damaged line affects no other.
//! A line is valid only if writing its parsed row again gives the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use super::plan::{Cell, Plan};
use super::shard::Shard;
use crate::experiments::common::swept::{Fields, Place};

/// The rows of complete cells in order, by cell number.
pub(crate) type Rows = BTreeMap<u32, Vec<Fields>>;

/// Why cells failed, by cell number.
pub(crate) type Failures = BTreeMap<u32, String>;

/// An invalid line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, what } = self;
        write!(f, "{}, line {line}: {what}", file.display())
    }
}

/// The column after those of the axes.
const SEED: &str = "seed";

/// Columns of `sweep.csv` after those of the axes.
fn measured(plan: &Plan) -> Vec<String> {
    let columns = plan.kind().columns();
    [SEED.to_owned()].into_iter().chain(columns).collect()
}

fn line<I: IntoIterator<Item = T>, T: AsRef<[u8]>>(fields: I) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let written = writer.write_record(fields);
    written.expect("writing to memory cannot fail");
    writer.into_inner().expect("writing to memory cannot fail")
}

/// Point, one column per axis, then `rest`. A parameter with the name of another column, such as
/// `reads`, gets a suffix.
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

/// All rows of a cell as lines of `sweep.csv`.
pub(crate) fn cell_lines(plan: &Plan, cell: Cell, rows: &[Fields]) -> Vec<u8> {
    let lines = rows.iter().map(|row| row_line(plan, cell, row));
    lines.collect::<Vec<_>>().concat()
}

/// A failed cell as a line of `failures.csv`.
pub(crate) fn failure_line(plan: &Plan, cell: Cell, reason: &str) -> Vec<u8> {
    let mut fields = cell_fields(plan, cell);
    fields.push(reason.to_owned());
    line(fields)
}

/// The content of `sweep.csv`, by point, seed and picker.
pub(crate) fn rows_file(plan: &Plan, rows: &Rows) -> Vec<u8> {
    let mut bytes = header(plan, &measured(plan));
    for (index, rows) in rows {
        bytes.extend(cell_lines(plan, plan.cell(*index), rows));
    }
    bytes
}

/// Columns of `failures.csv` after those of the axes.
fn failed() -> [String; 2] {
    [SEED, "reason"].map(str::to_owned)
}

/// The content of `failures.csv`, by point and seed.
pub(crate) fn failures_file(plan: &Plan, failures: &Failures) -> Vec<u8> {
    let mut bytes = header(plan, &failed());
    for (index, reason) in failures {
        bytes.extend(failure_line(plan, plan.cell(*index), reason));
    }
    bytes
}

/// Reads the lines of a file and collects the damage.
struct Lines<'a> {
    file: &'a Path,
    damage: Vec<Damage>,
}

impl Lines<'_> {
    fn add_damage(&mut self, line: usize, what: impl Into<String>) {
        self.damage.push(Damage {
            file: self.file.to_owned(),
            line,
            what: what.into(),
        });
    }

    /// Calls `take` with the number and text of each line after the header, newline included.
    /// `take` returns what is wrong with it.
    fn each(
        &mut self,
        bytes: &[u8],
        header: &[u8],
        mut take: impl FnMut(usize, &[u8]) -> Result<(), String>,
    ) {
        for (i, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let verdict = match (i, line.last()) {
                (_, last) if last != Some(&b'\n') => Err("the line is truncated".to_owned()),
                (0, _) if line == header => Ok(()),
                (0, _) => Err("this is not the header of this sweep".to_owned()),
                _ => take(i + 1, line),
            };
            if let Err(what) = verdict {
                self.add_damage(i + 1, what);
            }
        }
    }
}

fn damaged<T>() -> Result<T, String> {
    Err("the row is damaged".to_owned())
}

/// The cell of a line, and the text after its seed.
fn cell_of<'a>(plan: &Plan, shard: Shard, line: &'a [u8]) -> Result<(Cell, &'a str), String> {
    let text = str::from_utf8(line).or_else(|_| damaged())?;
    let point = text.split(',').next().and_then(|text| text.parse().ok());
    let Some(point) = point.filter(|point| *point < plan.points()) else {
        return damaged();
    };
    let mut start = self::line(point_fields(plan, point));
    // Without the newline, `start` is a prefix of the line.
    start.pop();
    let rest = str::from_utf8(&start)
        .ok()
        .and_then(|start| text.strip_prefix(start)?.strip_prefix(','));
    let Some(rest) = rest else {
        return Err(format!("wrong values for point {point}"));
    };
    let Some((seed, rest)) = rest.split_once(',') else {
        return damaged();
    };
    let cell = seed.parse().ok().and_then(|seed| plan.find(point, seed));
    let Some(cell) = cell else {
        return Err(format!("the seed `{seed}` is not in this sweep"));
    };
    if !shard.has(cell.index) {
        return Err(format!("cell {} is not in shard {shard}", cell.index));
    }
    Ok((cell, rest))
}

/// Parses the fields of a line.
fn record(text: &str) -> Result<Fields, String> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(text.as_bytes());
    match reader.records().next() {
        Some(Ok(record)) => Ok(record.iter().map(str::to_owned).collect()),
        _ => damaged(),
    }
}

/// The cell of a line of `sweep.csv`, the position of the row in the cell, and the row.
fn row_of(plan: &Plan, shard: Shard, line: &[u8]) -> Result<(Cell, Place, Fields), String> {
    let (cell, rest) = cell_of(plan, shard, line)?;
    let fields = record(rest)?;
    let place = plan.kind().place(&plan.parts, &fields)?;
    if row_line(plan, cell, &fields) != line {
        return damaged();
    }
    Ok((cell, place, fields))
}

/// The cell and the reason of a line of `failures.csv`.
fn failure_of(plan: &Plan, shard: Shard, line: &[u8]) -> Result<(Cell, String), String> {
    let (cell, rest) = cell_of(plan, shard, line)?;
    let reason = record(rest)?.into_iter().next().unwrap_or_default();
    if failure_line(plan, cell, &reason) != line {
        return damaged();
    }
    Ok((cell, reason))
}

/// The complete cells of a `sweep.csv`, and the damage.
pub(crate) fn read_rows(
    plan: &Plan,
    shard: Shard,
    file: &Path,
    bytes: &[u8],
) -> (Rows, Vec<Damage>) {
    // By cell and position: the line, the number of rows in the cell, and the row.
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
            lines.add_damage(
                first,
                format!("cell {index} has rows that contradict each other"),
            );
        } else if have < all {
            lines.add_damage(
                first,
                format!("cell {index} has only {have} of its {all} rows"),
            );
        } else {
            rows.insert(index, of_cell.into_values().map(|(.., row)| row).collect());
        }
    }
    (rows, lines.damage)
}

/// The valid lines of a `failures.csv`, and the damage.
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
