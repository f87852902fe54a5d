//! The experiments that sweeps can vary.

use anyhow::{Context, Result};

use crate::experiments::common::swept::Swept;
use crate::experiments::{ALL, by_name};

/// What a sweep varies when its file does not say.
pub(super) const DEFAULT: &str = "eviction";

/// How to vary the experiment of that name, and its parameters as TOML.
pub(super) fn kind(name: &str) -> Result<(&'static dyn Swept, &'static str)> {
    let found = by_name(name).and_then(|of| Some((of.swept()?, of.defaults())));
    found.with_context(|| {
        let names = ALL.iter().filter(|of| of.swept().is_some());
        let names: Vec<_> = names.map(|of| of.name()).collect();
        format!(
            "`{name}` is not an experiment that sweeps can vary: choose of {}",
            names.join(", ")
        )
    })
}
