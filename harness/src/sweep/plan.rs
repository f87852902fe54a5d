//! The plan of a sweep: its points and cells.

use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};
use toml::Value;

use super::file::{self, Axis, Sweep};
use super::kind::{DEFAULT, kind};
use super::values;
use crate::experiments::common::params::{Overrides, resolve};
use crate::experiments::common::swept::Swept;

/// Upper bound of the cells of a sweep, whose rows are all kept in memory.
const MAX_CELLS: u64 = 1_000_000;

/// Default number of seeds per point.
const SEEDS: u32 = 3;

/// Everything that determines the rows of a sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// One line for the report.
    pub title: String,
    #[serde(default = "default_experiment", skip_serializing_if = "is_default")]
    pub experiment: String,
    /// The first axis varies slowest.
    pub axes: Vec<Axis>,
    /// All other parameters.
    pub parameters: toml::Table,
    /// Seed of the first repetition; those of the others follow it.
    pub seed: u64,
    /// Seeds per point.
    pub repetitions: u32,
    /// The rows of each cell of eviction, in order: one per picker.
    #[serde(rename = "pickers", default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
}

fn default_experiment() -> String {
    DEFAULT.to_owned()
}

fn is_default(experiment: &str) -> bool {
    experiment == DEFAULT
}

/// One seed at one point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cell {
    /// Number in the sweep, from 0. Shards divide cells by it.
    pub index: u32,
    /// Number of the point, from 0.
    pub point: u32,
    pub seed: u64,
}

impl Plan {
    /// The plan of a sweep. `--set` has precedence over the sweep's file, which has precedence over
    /// all other overrides.
    pub(crate) fn new(sweep: Sweep, overrides: &Overrides<'_>, seed: u64) -> Result<Self> {
        let (_, defaults) = kind(&sweep.experiment)?;
        Self::over(sweep, defaults, overrides, seed)
    }

    /// The plan of a sweep over an experiment with these `defaults`.
    pub(crate) fn over(
        sweep: Sweep,
        defaults: &str,
        overrides: &Overrides<'_>,
        seed: u64,
    ) -> Result<Self> {
        let (kind, _) = kind(&sweep.experiment)?;
        let mut parameters = resolve(
            defaults,
            &Overrides {
                sets: &[],
                ..overrides.clone()
            },
        )?;
        let sets = resolve(
            "",
            &Overrides {
                sets: overrides.sets,
                ..Overrides::default()
            },
        )?;
        let known = |name: &String| {
            ensure!(
                parameters.contains_key(name),
                "unknown parameter `{name}` of {}; see `harness list`",
                sweep.experiment
            );
            Ok(())
        };
        sweep.fixed.keys().chain(sets.keys()).try_for_each(known)?;
        for Axis { name, .. } in &sweep.axes {
            known(name)?;
            ensure!(
                !kind.constant().contains(&name.as_str()),
                "`{name}` cannot be an axis: set it under [fixed]"
            );
            ensure!(
                !sets.contains_key(name),
                "`{name}` is an axis of this sweep and cannot be set with --set"
            );
        }
        parameters.extend(sweep.fixed);
        parameters.extend(sets);
        for axis in &sweep.axes {
            parameters.remove(&axis.name);
        }
        let repetitions = match (kind.seeds(&parameters)?, sweep.seeds) {
            (Some(_), Some(_)) => bail!(
                "`seeds` is not allowed: {} has its own parameter for the number of seeds",
                sweep.experiment
            ),
            (own, given) => own.or(given).unwrap_or(SEEDS),
        };
        let plan = Self {
            repetitions,
            parts: kind.parts(&parameters)?,
            title: sweep.title,
            experiment: sweep.experiment,
            axes: sweep.axes,
            parameters,
            seed,
        };
        plan.check()?;
        Ok(plan)
    }

    /// Checks the limits, which a plan read from a file may exceed.
    pub(crate) fn check(&self) -> Result<()> {
        let points = file::points(&self.axes)?;
        let cells = u64::from(points) * u64::from(self.repetitions);
        ensure!(
            (1..=MAX_CELLS).contains(&cells),
            "{points} points with {} seeds each are {cells} cells; expected 1 to {MAX_CELLS}: use \
             fewer values or repetitions",
            self.repetitions
        );
        ensure!(
            self.seed.checked_add(u64::from(self.repetitions)).is_some(),
            "the seed {} is too large for {} consecutive seeds",
            self.seed,
            self.repetitions
        );
        let (kind, _) = kind(&self.experiment)?;
        ensure!(
            kind.parts(&self.parameters)? == self.parts,
            "`pickers` does not match the parameters"
        );
        Ok(())
    }

    pub(crate) fn kind(&self) -> &'static dyn Swept {
        let (kind, _) = kind(&self.experiment).expect("checked when the plan was made");
        kind
    }

    /// Number of points.
    pub(crate) fn points(&self) -> u32 {
        file::points(&self.axes).expect("checked when the plan was made")
    }

    /// Number of cells.
    pub(crate) fn cells(&self) -> u32 {
        self.points() * self.repetitions
    }

    pub(crate) fn cell(&self, index: u32) -> Cell {
        Cell {
            index,
            point: index / self.repetitions,
            seed: self.seed + u64::from(index % self.repetitions),
        }
    }

    /// The cell of a point and a seed, if there is one.
    pub(crate) fn find(&self, point: u32, seed: u64) -> Option<Cell> {
        let repetition = seed.checked_sub(self.seed)?;
        let repetition = u32::try_from(repetition).ok()?;
        let found = point < self.points() && repetition < self.repetitions;
        found.then(|| self.cell(point * self.repetitions + repetition))
    }

    /// A point's value on each axis.
    pub(crate) fn values(&self, point: u32) -> Vec<&Value> {
        let mut rest = point as usize;
        let mut values: Vec<&Value> = self
            .axes
            .iter()
            .rev()
            .map(|axis| {
                let value = &axis.values[rest % axis.values.len()];
                rest /= axis.values.len();
                value
            })
            .collect();
        values.reverse();
        values
    }

    /// A point's value on each axis, as text for tables.
    pub(crate) fn texts(&self, point: u32) -> Vec<String> {
        let values = self.values(point);
        values.into_iter().map(values::text).collect()
    }

    /// A point's number and values, for messages.
    pub(crate) fn describe(&self, point: u32) -> String {
        let values: Vec<String> = self
            .axes
            .iter()
            .zip(self.texts(point))
            .map(|(axis, value)| format!("{} = {value}", axis.name))
            .collect();
        format!("point {point} ({})", values.join(", "))
    }

    /// All parameters of a point.
    pub(crate) fn params(&self, point: u32) -> toml::Table {
        let mut params = self.parameters.clone();
        for (axis, value) in self.axes.iter().zip(self.values(point)) {
            params.insert(axis.name.clone(), value.clone());
        }
        params
    }

    /// Everything that determines the rows, as keys and texts.
    fn identity(&self) -> Vec<(String, String)> {
        let mut all = vec![
            ("title".to_owned(), self.title.clone()),
            ("seed".to_owned(), self.seed.to_string()),
        ];
        let names: Vec<&str> = self.axes.iter().map(|axis| axis.name.as_str()).collect();
        all.push(("axes".to_owned(), names.join(", ")));
        for axis in &self.axes {
            let values = Value::Array(axis.values.clone());
            all.push((axis.name.clone(), values.to_string()));
        }
        for (name, value) in &self.parameters {
            all.push((name.clone(), value.to_string()));
        }
        all.push(("experiment".to_owned(), self.experiment.clone()));
        all.push(("seeds".to_owned(), self.repetitions.to_string()));
        all
    }

    /// The first difference between two plans: its name, and the value in each.
    pub(crate) fn difference(&self, other: &Self) -> Option<(String, String, String)> {
        let (ours, theirs) = (self.identity(), other.identity());
        let of = |all: &[(String, String)], name: &str| {
            let found = all.iter().find(|(key, _)| key == name);
            found.map_or("absent".to_owned(), |(_, value)| value.clone())
        };
        let names = ours.iter().chain(&theirs).map(|(name, _)| name);
        names
            .map(|name| (name.clone(), of(&ours, name), of(&theirs, name)))
            .find(|(_, ours, theirs)| ours != theirs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::tests::DEFAULTS;

    fn plan(text: &str, sets: &[&str]) -> Result<Plan> {
        let sweep = Sweep::parse(&format!("title = \"t\"\n{text}"))?;
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let overrides = Overrides {
            sets: &sets,
            ..Overrides::default()
        };
        Plan::over(sweep, DEFAULTS, &overrides, 5)
    }

    #[test]
    fn the_first_axis_varies_slowest_and_seeds_fastest() {
        let plan = plan(
            "[sweep]\nsd = [1, 2]\nworkload = [\"a\", \"b\", \"c\"]",
            &[],
        )
        .unwrap();
        assert_eq!((plan.points(), plan.cells()), (6, 12));
        let all: Vec<String> = (0..6).map(|point| plan.texts(point).join(" ")).collect();
        assert_eq!(all, ["1 a", "1 b", "1 c", "2 a", "2 b", "2 c"]);
        assert_eq!(
            plan.cell(7),
            Cell {
                index: 7,
                point: 3,
                seed: 6
            }
        );
        for index in 0..12 {
            let cell = plan.cell(index);
            assert_eq!(plan.find(cell.point, cell.seed), Some(cell));
        }
        for (point, seed) in [(6, 5), (0, 4), (0, 7), (u32::MAX, u64::MAX)] {
            assert_eq!(plan.find(point, seed), None);
        }
        assert_eq!(plan.describe(4), "point 4 (sd = 2, workload = b)");
    }

    #[test]
    fn precedence_rises_from_defaults_to_fixed_to_sets_to_points() {
        let text = "[fixed]\nmean = 7.0\nreads = 50\n[sweep]\nsd = [1, 2]";
        let params = plan(text, &["reads=60"]).unwrap().params(1);
        assert_eq!(params["mean"], Value::Float(7.0));
        assert_eq!(params["reads"], Value::Integer(60));
        assert_eq!(params["sd"], Value::Integer(2));
        assert_eq!(params["workload"], Value::from("gaussian"));
    }

    #[test]
    fn errors_name_the_parameter() {
        for (text, sets, word) in [
            ("[sweep]\nsigma = [1]", vec![], "unknown parameter `sigma`"),
            ("[fixed]\nmeen = 1\n[sweep]\nsd = [1]", vec![], "`meen`"),
            ("[sweep]\nsd = [1]", vec!["raeds=1"], "`raeds`"),
            ("[sweep]\nsd = [1]", vec!["sd=1"], "`sd` is an axis"),
            ("[sweep]\nrepetitions = [1]", vec![], "[fixed]"),
            ("[sweep]\npickers = [\"host-lru\"]", vec![], "[fixed]"),
            ("[sweep]\nsd = [1]", vec!["repetitions=0"], "`repetitions`"),
            ("[sweep]\nsd = [1]", vec!["repetitions=2000000"], "cells"),
            ("[sweep]\nsd = [1]", vec!["pickers=[]"], "`pickers`"),
            ("[sweep]\nsd = [1]", vec!["pickers=[\"me\"]"], "`me`"),
        ] {
            let error = format!("{:#}", plan(text, &sets).unwrap_err());
            assert!(error.contains(word), "{text} {sets:?}: {error}");
        }
    }

    #[test]
    fn differences_are_named_with_both_values() {
        let base = plan("[sweep]\nsd = [1, 2]", &[]).unwrap();
        assert_eq!(base.difference(&base), None);
        let difference = |text: &str, sets: &[&str]| {
            let (key, ours, theirs) = base.difference(&plan(text, sets).unwrap()).unwrap();
            format!("{key}: {ours} | {theirs}")
        };
        assert_eq!(
            difference("[sweep]\nsd = [1, 3]", &[]),
            "sd: [1, 2] | [1, 3]"
        );
        assert_eq!(difference("[sweep]\nmean = [1]", &[]), "axes: sd | mean");
        assert_eq!(
            difference("[sweep]\nsd = [1, 2]", &["reads=3"]),
            "reads: 100 | 3"
        );
        let mut other = base.clone();
        other.parameters.remove("reads");
        assert_eq!(
            base.difference(&other),
            Some(("reads".into(), "100".into(), "absent".into()))
        );
    }
}
