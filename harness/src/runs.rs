//! Runs experiments, each into a folder of its own.

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

/// An experiment that is to be run.
pub struct Order {
    pub experiment: &'static dyn Entry,
    pub params: toml::Table,
    pub full: bool,
    /// The arguments that run it again, if they are not those of `harness run`.
    pub again: Option<String>,
}

impl Order {
    /// An order by a command other than `harness run`.
    pub(crate) fn new(
        experiment: &'static dyn Entry,
        params: &impl Serialize,
        full: bool,
        again: String,
    ) -> Result<Self> {
        let params = toml::Table::try_from(params).context("write the parameters down")?;
        experiment.check(&params)?;
        Ok(Self {
            experiment,
            params,
            full,
            again: Some(again),
        })
    }

    /// Runs it into `folder`, which must not hold anything yet, and judges it.
    pub fn run(&self, lab: &Lab, reason: &str, folder: &Path) -> Result<Verdict> {
        let name = self.experiment.name();
        let mut conditions = lab.conditions(reason, name, self.full, &self.params);
        if let Some(again) = &self.again {
            conditions.reproduce = format!("cargo run --release --bin harness -- {again}");
        }
        let mut run = RunFolder::create(folder, Manifest::new(conditions))?;
        run.fact("build", BUILD)?;
        let Err(error) = self.experiment.run(&self.params, lab, &mut run) else {
            run.complete()?;
            return report::format_as(self.experiment, folder);
        };
        let error = match interrupt::requested() {
            true => anyhow!("interrupted"),
            false if run.is_empty() => {
                // Why it could not begin says more than why its folder is still there.
                let _ = run.discard();
                return Err(error);
            }
            false => error,
        };
        let noted = run.fail(&format!("{error:#}"));
        let error = error.context(format!(
            "{name} did not finish; what it recorded is in {}",
            folder.display()
        ));
        // Why it did not finish says more than why that could not be noted.
        Err(match noted {
            Ok(()) => error,
            Err(_) => error.context("(its manifest could not be written)"),
        })
    }
}

/// Makes a folder in `results` for what starts now. Two that start in the same second get
/// different ones.
pub(crate) fn fresh_folder(name: &str) -> Result<PathBuf> {
    let results = Path::new("results");
    fs::create_dir_all(results).with_context(|| format!("make {}", results.display()))?;
    // 2026-01-31T12:00:00Z, without what file names do not like.
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
                return Err(anyhow!(error).context(format!("make {}", folder.display())));
            }
        }
    }
    bail!(
        "every folder of that name in {} is taken",
        results.display()
    )
}
