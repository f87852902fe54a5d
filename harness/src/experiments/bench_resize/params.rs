//! Parameters, checked.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raw {
    pub(crate) repetitions: u32,
    pub(crate) resizes: u32,
}

/// Checked parameters; see `defaults.toml`.
#[derive(Clone, Debug)]
pub(crate) struct Params {
    pub(super) repetitions: u32,
    pub(super) resizes: u32,
}

impl TryFrom<Raw> for Params {
    type Error = anyhow::Error;

    fn try_from(raw: Raw) -> Result<Self> {
        ensure!(
            raw.repetitions > 0 && raw.resizes > 0,
            "`repetitions` is {} and `resizes` is {}: choose at least 1",
            raw.repetitions,
            raw.resizes
        );
        Ok(Self {
            repetitions: raw.repetitions,
            resizes: raw.resizes,
        })
    }
}
