//! Rows: what is recorded, and what everything else is made of.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A CSV file: its name in a results folder and the type of its rows.
pub trait Row: Serialize + DeserializeOwned {
    /// File name, such as `correctness.csv`.
    const FILE: &'static str;
}
