//! The experiments that support sweeps.

use anyhow::{Context, Result};

use crate::experiments::common::swept::Swept;
use crate::experiments::{ALL, by_name};

/// The experiment of a sweep whose file names none.
pub(super) const DEFAULT: &str = "eviction";

/// The sweep support of the experiment with this name, and its default parameters as TOML.
pub(super) fn kind(name: &str) -> Result<(&'static dyn Swept, &'static str)> {
    let found = by_name(name).and_then(|of| Some((of.swept()?, of.defaults())));
    found.with_context(|| {
        let names = ALL.iter().filter(|of| of.swept().is_some());
        let names: Vec<_> = names.map(|of| of.name()).collect();
        format!(
            "invalid experiment `{name}` for a sweep; expected one of {}",
            names.join(", ")
        )
    })
}
