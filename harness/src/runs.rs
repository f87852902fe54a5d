//! Runs experiments, each in its own results folder.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use results::host::{BUILD, now_utc};
use results::manifest::Manifest;
use results::store::RunFolder;
use results::verdict::Verdict;
use serde::Serialize;
use terminal::interrupt;

use crate::experiments::common::lab::Lab;
use crate::experiments::experiment::Entry;
use crate::report;

/// An experiment to run, with its parameters.
pub struct Order {
    pub experiment: &'static dyn Entry,
    pub params: toml::Table,
    pub full: bool,
    /// The arguments that repeat the run, if the command is not `harness run`.
    pub reproduce: Option<String>,
}

impl Order {
    /// The order of a command other than `harness run`.
    pub(crate) fn new(
        experiment: &'static dyn Entry,
        params: &impl Serialize,
        full: bool,
        reproduce: String,
    ) -> Result<Self> {
        let params = toml::Table::try_from(params).context("encode the parameters")?;
        experiment.check(&params)?;
        Ok(Self {
            experiment,
            params,
            full,
            reproduce: Some(reproduce),
        })
    }

    /// Runs the experiment in `folder`, which must be empty or missing, and judges it.
    pub fn run(&self, lab: &Lab, reason: &str, folder: &Path) -> Result<Verdict> {
        let name = self.experiment.name();
        let mut conditions = lab.conditions(reason, name, self.full, &self.params);
        if let Some(reproduce) = &self.reproduce {
            conditions.reproduce = format!("cargo run --release --bin harness -- {reproduce}");
        }
        let mut run = RunFolder::create(folder, Manifest::new(conditions))?;
        run.fact("build", BUILD)?;
        let Err(error) = self.experiment.run(&self.params, lab, &mut run) else {
            run.complete()?;
            return report::format_as(self.experiment, folder);
        };
        let error = if interrupt::is_requested() {
            anyhow!("interrupted")
        } else if run.is_empty() {
            // The first error matters more than one from removing the folder.
            let _ = run.discard();
            return Err(error);
        } else {
            error
        };
        let recorded = run.fail(&format!("{error:#}"));
        let error = error.context(format!(
            "{name} did not finish; the rows recorded so far are in {}",
            folder.display()
        ));
        // The first error matters more than one from writing the manifest.
        Err(match recorded {
            Ok(()) => error,
            Err(_) => error.context("(its manifest could not be written)"),
        })
    }
}

/// Creates a new folder in `results`, named after the experiment and the time. Runs that start
/// in the same second get different folders.
pub(crate) fn fresh_folder(name: &str) -> Result<PathBuf> {
    let results = Path::new("results");
    fs::create_dir_all(results).with_context(|| format!("create {}", results.display()))?;
    // 2026-01-31T12:00:00Z without the characters that some file systems reject.
    let time = now_utc().replace([':', '-'], "");
    for number in 1u32.. {
        let suffix = match number {
            1 => String::new(),
            _ => format!("-{number}"),
        };
        let folder = results.join(format!("{name}-{time}{suffix}"));
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(anyhow!(error).context(format!("create {}", folder.display())));
            }
        }
    }
    bail!(
        "no free folder name `{name}-{time}-N` in {}: set --out",
        results.display()
    )
}
