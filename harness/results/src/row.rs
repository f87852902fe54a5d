//! Rows: what is recorded, and what everything else is made of.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A CSV file: its name in a results folder and the type of its rows. The doc comments of type
/// and fields define file and columns in the book.
pub trait Row: Serialize + DeserializeOwned + JsonSchema {
    /// File name, such as `correctness.csv`.
    const FILE: &'static str;
}
