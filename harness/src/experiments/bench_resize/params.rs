//! Parameters, checked.

use serde::{Deserialize, Serialize};

use crate::experiments::common::params::{Parameters, positive};

/// See `defaults.toml`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    #[serde(deserialize_with = "positive")]
    pub(crate) repetitions: u32,
    #[serde(deserialize_with = "positive")]
    pub(crate) resizes: u32,
}

impl Parameters for Params {}
