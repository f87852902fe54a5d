//! What an experiment is, to everything that is not one.

use std::path::Path;

use anyhow::{Context, Result, bail};
use results::chart::{self, Drawing, Figure};
use results::columns::CsvFile;
use results::manifest::Manifest;
use results::store::{Reader, Rows, RunFolder};
use results::verdict::{Measured, Verdict, completeness};

use super::common::boot::{self, BootRow};
use super::common::lab::{Joined, Lab};
use super::common::params::{Parameters, checked};
use super::common::swept::Swept;

/// What an experiment runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Guests, under QEMU or as twins.
    Guest,
    /// Guests under QEMU, for this reason.
    Qemu(&'static str),
    /// No QEMU: it has no guests, or twins whatever is asked for.
    Nothing,
}

/// An experiment: parameters, a run that records rows, and what the rows show.
///
/// Running judges nothing, and judging runs nothing: only rows and the manifest pass from
/// one to the other, so that a report can be made again from a folder.
pub trait Experiment: Sync {
    /// As on the command line and in the manifest.
    const NAME: &'static str;
    /// What it shows, in a sentence without its end.
    const PURPOSE: &'static str;
    /// How it is measured, in sentences for the head of its report, where rows and figures do
    /// not say it.
    const SETUP: &'static str = "";
    /// Its parameters, as TOML: the quick form, and what the full form changes.
    const DEFAULTS: &'static str;
    const NEEDS: Needs;
    /// How sweeps vary it; `None` when they cannot.
    const SWEPT: Option<&'static dyn Swept> = None;

    /// Its parameters, checked.
    type Params: Parameters;
    /// What it records.
    type Rows: Rows;

    /// Runs it and records what it measures.
    fn run(params: &Self::Params, lab: &Lab, folder: &mut RunFolder) -> Result<()>;

    /// Judges what was recorded.
    fn claims(rows: &Self::Rows, manifest: &Manifest) -> Verdict;

    /// Draws what was recorded; nothing of what was not. Without it, there are no figures.
    fn figures(_rows: &Self::Rows, _manifest: &Manifest) -> Result<Vec<Drawing>> {
        Ok(Vec::new())
    }
}

/// Whether times were measured.
pub fn is_timed(manifest: &Manifest) -> bool {
    manifest.transport != Joined::Twin.name()
}

/// An [`Experiment`] without its types, as lists have it.
pub trait Entry: Sync {
    fn name(&self) -> &'static str;
    fn purpose(&self) -> &'static str;
    fn defaults(&self) -> &'static str;
    fn needs(&self) -> Needs;

    /// What the report begins with.
    fn lead(&self) -> String;

    /// How sweeps vary it; `None` when they cannot.
    fn swept(&self) -> Option<&'static dyn Swept>;

    /// The CSV files that it records.
    fn files(&self) -> Vec<CsvFile>;

    /// Checks parameters without running anything.
    fn check(&self, table: &toml::Table) -> Result<()>;

    /// Makes sure that it can run in this lab.
    fn check_lab(&self, lab: &Lab) -> Result<()>;

    /// Runs it and records what it measures.
    fn run(&self, table: &toml::Table, lab: &Lab, folder: &mut RunFolder) -> Result<()>;

    /// Judges what a folder holds.
    fn judge(&self, folder: &Path, manifest: &Manifest) -> Result<Verdict>;

    /// Draws the figures of what a folder holds, into it.
    fn draw(&self, folder: &Path, manifest: &Manifest) -> Result<Vec<Figure>>;
}

impl<E: Experiment> Entry for E {
    fn name(&self) -> &'static str {
        E::NAME
    }

    fn purpose(&self) -> &'static str {
        E::PURPOSE
    }

    fn defaults(&self) -> &'static str {
        E::DEFAULTS
    }

    fn needs(&self) -> Needs {
        E::NEEDS
    }

    fn lead(&self) -> String {
        let lead = format!("The experiment `{}`: {}.", E::NAME, E::PURPOSE);
        match E::SETUP {
            "" => lead,
            setup => format!("{lead} {setup}"),
        }
    }

    fn swept(&self) -> Option<&'static dyn Swept> {
        E::SWEPT
    }

    fn files(&self) -> Vec<CsvFile> {
        E::Rows::files()
    }

    fn check(&self, table: &toml::Table) -> Result<()> {
        checked::<E::Params>(table).map(drop)
    }

    fn check_lab(&self, lab: &Lab) -> Result<()> {
        match (E::NEEDS, &lab.joined) {
            (Needs::Qemu(why), Joined::Twin) => bail!(
                "{} {why}: install QEMU by ./setup, and run it without `--transport twin`",
                E::NAME
            ),
            _ => Ok(()),
        }
    }

    fn run(&self, table: &toml::Table, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
        E::run(&checked(table)?, lab, folder)
    }

    fn judge(&self, folder: &Path, manifest: &Manifest) -> Result<Verdict> {
        let reader = Reader::new(folder);
        let rows = E::Rows::read(&reader)?;
        let boots: Vec<BootRow> = reader.rows()?;
        let (is_complete, measured) = completeness(&reader, manifest);
        Ok(E::claims(&rows, manifest)
            .tables([boot::table(&boots)])
            .require(
                "The run is complete and its CSV files are intact.",
                Some(Measured::new(is_complete, measured)),
            ))
    }

    fn draw(&self, folder: &Path, manifest: &Manifest) -> Result<Vec<Figure>> {
        // What is damaged is named by the judgement.
        let rows = E::Rows::read(&Reader::new(folder))?;
        let drawings = E::figures(&rows, manifest).context("draw the figures")?;
        chart::write(drawings, folder)
    }
}
