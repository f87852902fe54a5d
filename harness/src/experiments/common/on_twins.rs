//! Sweeps of any experiment that runs on twins and records what it counts.
//!
//! A cell is a run in a folder that is thrown away; its rows of one kind are the cell's, in
//! the order in which the run recorded them. Each says its number and how many there are,
//! so that a cell of which rows are gone is not taken for a whole one.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use anyhow::{Context, Result};
use csv::StringRecord;
use results::chart::Drawing;
use results::manifest::Manifest;
use results::row::Row;
use results::store::{RunFolder, read};
use results::verdict::Verdict;
use terminal::progress::Progress;

use super::lab::{Joined, Lab};
use super::params::checked;
use super::swept::{Fields, Place, Runner, SweepTable, Swept};
use super::swept_points::{self, Points};
use crate::experiments::experiment::Experiment;

/// Columns before those of the rows.
const NUMBERED: [&str; 2] = ["row", "rows"];

/// An experiment whose counts a sweep can compare.
pub(crate) trait Counted: Experiment {
    /// The rows that are a cell's: counts alone, the same for the same parameters and seed.
    type Cell: Row + Default;

    /// What is compared, with its unit.
    const OUTCOME: &'static str;

    /// The numbers that are compared of one run, each by its name.
    fn outcomes(rows: &[Self::Cell]) -> Vec<(String, f64)>;
}

/// The sum of parts over the sum of wholes, by name in the order in which names come first.
pub(crate) fn ratios(parts: impl Iterator<Item = (String, u64, u64)>) -> Vec<(String, f64)> {
    let mut sums: Vec<(String, u64, u64)> = Vec::new();
    for (name, part, whole) in parts {
        match sums.iter_mut().find(|(of, ..)| *of == name) {
            Some((_, parts, wholes)) => {
                *parts += part;
                *wholes += whole;
            }
            None => sums.push((name, part, whole)),
        }
    }
    let ratio = |(name, part, whole)| (name, part as f64 / u64::max(whole, 1) as f64);
    sums.into_iter().map(ratio).collect()
}

/// Varies an experiment on twins.
pub(crate) struct OnTwins<E>(PhantomData<fn() -> E>);

impl<E> OnTwins<E> {
    pub(crate) const NEW: Self = Self(PhantomData);
}

/// A row as CSV: the names of its columns, and its fields.
fn encoded(row: &impl Row) -> Result<[Fields; 2]> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.serialize(row).context("write a row")?;
    let bytes = writer.into_inner().context("write a row")?;
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(bytes.as_slice());
    let mut records = reader.records();
    let mut record = || -> Result<Fields> {
        let record = records.next().context("a row has a header and fields")?;
        let record = record.context("read a row")?;
        Ok(record.iter().map(str::to_owned).collect())
    };
    Ok([record()?, record()?])
}

impl<E: Counted> OnTwins<E> {
    fn header() -> Fields {
        // Every type of rows can be written, as its tests record them.
        encoded(&E::Cell::default()).map_or_else(|_| Vec::new(), |[names, _]| names)
    }

    /// The fields of a cell's row.
    fn numbered(place: Place, row: &E::Cell) -> Result<Fields> {
        let [_, fields] = encoded(row)?;
        let numbers = [place.at, place.of].map(|number| number.to_string());
        Ok(numbers.into_iter().chain(fields).collect())
    }

    /// A row of the experiment from the fields of a cell's row.
    fn decoded(fields: &[String]) -> Option<E::Cell> {
        let fields = StringRecord::from(fields.get(NUMBERED.len()..)?.to_vec());
        let header = StringRecord::from(Self::header());
        fields.deserialize(Some(&header)).ok()
    }

    /// The outcome of a sweep.
    fn points(table: &SweepTable) -> Points {
        let mut runs: BTreeMap<(u32, u64), Vec<E::Cell>> = BTreeMap::new();
        let mut values = BTreeMap::new();
        for row in &table.rows {
            let run = runs.entry((row.point, row.seed)).or_default();
            run.extend(Self::decoded(&row.fields));
            values
                .entry(row.point)
                .or_insert_with(|| row.values.clone());
        }
        let mut points = Points::new(&table.axes, E::OUTCOME);
        for ((point, _), rows) in runs {
            points.add(&values[&point], E::outcomes(&rows));
        }
        points
    }
}

impl<E: Counted> Runner for OnTwins<E> {
    fn check(&self, table: &toml::Table) -> Result<()> {
        checked::<E::Params>(table).map(drop)
    }

    fn run(&self, table: &toml::Table, seed: u64) -> Result<Vec<Fields>> {
        let lab = Lab {
            joined: Joined::Twin,
            seed,
            progress: Progress { shown: false },
        };
        let place = tempfile::tempdir().context("make a temporary folder")?;
        let reason = "a sweep needs counts, not times";
        let conditions = lab.conditions(reason, E::NAME, false, table);
        let mut folder = RunFolder::create(place.path(), Manifest::new(conditions))?;
        E::run(&checked(table)?, &lab, &mut folder)?;
        let rows: Vec<E::Cell> = read(place.path())?;
        let of = rows.len();
        let numbered = rows.iter().enumerate();
        numbered
            .map(|(at, row)| Self::numbered(Place { at, of }, row))
            .collect()
    }
}

impl<E: Counted> Swept for OnTwins<E> {
    fn columns(&self) -> Vec<String> {
        let numbered = NUMBERED.map(str::to_owned);
        numbered.into_iter().chain(Self::header()).collect()
    }

    fn constant(&self) -> &'static [&'static str] {
        &[]
    }

    fn seeds(&self, _: &toml::Table) -> Result<Option<u32>> {
        Ok(None)
    }

    fn parts(&self, _: &toml::Table) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn place(&self, _: &[String], fields: &[String]) -> Result<Place, String> {
        let number = |at: usize| fields.get(at)?.parse::<usize>().ok();
        let place = number(0).zip(number(1)).map(|(at, of)| Place { at, of });
        // A number can be written in more than one way, and is in one.
        let sound = place.filter(|place| {
            let written = Self::decoded(fields).map(|row| Self::numbered(*place, &row));
            place.at < place.of && matches!(written, Some(Ok(written)) if written == fields)
        });
        sound.ok_or_else(|| "the row is damaged".to_owned())
    }

    fn judge(&self, title: &str, table: &SweepTable, missing: usize, failed: usize) -> Verdict {
        swept_points::judge(title, &Self::points(table), missing, failed)
    }

    fn draw(&self, title: &str, table: &SweepTable) -> Result<Vec<Drawing>> {
        swept_points::draw(title, &Self::points(table))
    }
}
