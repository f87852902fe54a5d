//! The TOML file of a sweep: fixed parameters and axes.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use toml::Value;
use toml::de::DeTable;

use super::BUILT_IN;
use super::kind::DEFAULT;
use super::values::{self, MAX_POINTS};

/// Upper bound of the size of a sweep's file.
const MAX_BYTES: u64 = 1 << 20;

/// A parameter that is varied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Axis {
    pub name: String,
    /// At least one value, in the order of the sweep.
    pub values: Vec<Value>,
}

/// The content of a sweep's file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sweep {
    /// One line for the report.
    pub title: String,
    pub experiment: String,
    /// Seeds per point, for experiments without a parameter for that.
    pub seeds: Option<u32>,
    /// Parameters that differ from the defaults and are the same at all points.
    pub fixed: toml::Table,
    /// In the order of the file.
    pub axes: Vec<Axis>,
}

impl Sweep {
    /// The built-in sweep with this name, or else the sweep in this file.
    pub(crate) fn load(name: &str) -> Result<Self> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return Self::parse(text).with_context(|| format!("the built-in sweep `{name}`"));
        }
        let path = Path::new(name);
        ensure!(
            path.exists(),
            "`{name}` is neither a file nor a built-in sweep; the built-in sweeps are {}",
            BUILT_IN.map(|(name, _)| name).join(", ")
        );
        let bytes = fs::metadata(path).map_or(0, |found| found.len());
        ensure!(
            bytes <= MAX_BYTES,
            "{name} has {bytes} bytes; the limit of a sweep's file is {MAX_BYTES}"
        );
        let text = fs::read_to_string(path).with_context(|| format!("read the sweep in {name}"))?;
        Self::parse(&text).with_context(|| format!("the sweep in {name}"))
    }

    /// Parses TOML text. Errors name the wrong key.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut table: toml::Table = text.parse().context("invalid TOML")?;
        let title = match table.remove("title") {
            Some(Value::String(title)) if !title.trim().is_empty() => title,
            _ => bail!("`title` is missing: expected a line for the report"),
        };
        let experiment = match table.remove("experiment") {
            None => DEFAULT.to_owned(),
            Some(Value::String(name)) => name,
            Some(other) => bail!("invalid `experiment` {other}; expected a name"),
        };
        let seeds = match table.remove("seeds") {
            None => None,
            Some(value) => {
                let seeds = value
                    .as_integer()
                    .and_then(|seeds| u32::try_from(seeds).ok());
                let seeds = seeds.filter(|seeds| *seeds > 0);
                Some(seeds.with_context(|| {
                    format!("invalid `seeds` {value}; expected a number from 1")
                })?)
            }
        };
        let fixed = match table.remove("fixed") {
            None => toml::Table::new(),
            Some(Value::Table(fixed)) => fixed,
            Some(_) => bail!("`fixed` is not a table: write parameters under [fixed]"),
        };
        let Some(Value::Table(mut swept)) = table.remove("sweep") else {
            bail!("the table [sweep] is missing: write the parameters to vary under it");
        };
        if let Some(key) = table.keys().next() {
            bail!("unknown key `{key}`; expected title, experiment, seeds, [fixed] or [sweep]");
        }
        let mut axes = Vec::new();
        for name in order_of_axes(text)? {
            let value = swept
                .remove(&name)
                .with_context(|| format!("the axis `{name}` has no values"))?;
            ensure!(
                !fixed.contains_key(&name),
                "`{name}` is under both [fixed] and [sweep]"
            );
            let values = values::expand(value).with_context(|| format!("the axis `{name}`"))?;
            axes.push(Axis { name, values });
        }
        ensure!(
            !axes.is_empty(),
            "[sweep] is empty: write the parameters to vary under it"
        );
        points(&axes)?;
        Ok(Self {
            title,
            experiment,
            seeds,
            fixed,
            axes,
        })
    }
}

/// Number of points on these axes.
pub(crate) fn points(axes: &[Axis]) -> Result<u32> {
    axes.iter()
        .try_fold(1usize, |points, axis| points.checked_mul(axis.values.len()))
        .filter(|points| (1..=MAX_POINTS).contains(points))
        .and_then(|points| u32::try_from(points).ok())
        .with_context(|| {
            let counts: Vec<_> = axes
                .iter()
                .map(|axis| axis.values.len().to_string())
                .collect();
            format!(
                "{} points exceed the limit of {MAX_POINTS}: use fewer values",
                counts.join(" x ")
            )
        })
}

/// The keys under [sweep] in the order of the file. The tables of the toml crate are sorted by
/// key, so the order comes from their positions in the text.
fn order_of_axes(text: &str) -> Result<Vec<String>> {
    let table = DeTable::parse(text).context("invalid TOML")?;
    let swept = table.get_ref().get("sweep").map(|value| value.get_ref());
    let Some(toml::de::DeValue::Table(swept)) = swept else {
        return Ok(Vec::new());
    };
    let mut names: Vec<_> = swept
        .keys()
        .map(|name| (name.span().start, name.get_ref().to_string()))
        .collect();
    names.sort();
    Ok(names.into_iter().map(|(_, name)| name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_keep_the_order_of_the_file() {
        let sweep = Sweep::parse(
            "title = \"t\"\n[sweep]\nsd = [1]\nmean = { from = 1, to = 2, step = 1 }\n\
             depth = [\"a\"]\n[fixed]\nreads = 5",
        )
        .unwrap();
        let names: Vec<_> = sweep.axes.iter().map(|axis| axis.name.as_str()).collect();
        assert_eq!(names, ["sd", "mean", "depth"]);
        assert_eq!(sweep.fixed, toml::toml! { reads = 5 });
        // Axes may be separate tables.
        let sweep = Sweep::parse(
            "title = \"t\"\n[sweep.sd]\nfrom = 1\nto = 2\nstep = 1\n[sweep.mean]\nfrom = 1\n\
             to = 2\nstep = 1",
        )
        .unwrap();
        assert_eq!((&*sweep.axes[0].name, &*sweep.axes[1].name), ("sd", "mean"));
    }

    #[test]
    fn errors_name_the_key() {
        for (text, word) in [
            ("title = ", "invalid TOML"),
            ("[sweep]\nsd = [1]", "`title`"),
            ("title = \"t\"", "[sweep]"),
            ("title = \"t\"\nsweep = 5", "[sweep]"),
            ("title = \"t\"\n[sweep]", "[sweep] is empty"),
            ("title = \"t\"\nfixed = 5\n[sweep]\nsd = [1]", "`fixed`"),
            (
                "title = \"t\"\n[sweep]\nsd = [1]\n[swoop]\na = 1",
                "`swoop`",
            ),
            ("title = \"t\"\n[sweep]\nsd = []", "axis `sd`"),
            ("title = \"t\"\n[sweep]\nsd = 5", "axis `sd`"),
            (
                "title = \"t\"\n[fixed]\nsd = 1\n[sweep]\nsd = [1]",
                "`sd` is under both",
            ),
            (
                "title = \"t\"\n[sweep]\na = { from = 1, to = 400, step = 1 }\n\
                 b = { from = 1, to = 400, step = 1 }",
                "400 x 400 points",
            ),
        ] {
            let error = format!("{:#}", Sweep::parse(text).unwrap_err());
            assert!(error.contains(word), "{text}: {error}");
        }
        let error = format!("{:#}", Sweep::load("nonesuch").unwrap_err());
        assert!(error.contains("spread, workloads, sample"), "{error}");
    }
}
