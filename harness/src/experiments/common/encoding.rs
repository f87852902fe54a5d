//! Names of encodings, as rows have them.

/// Our encoding, by its name in the rows.
pub(crate) const OURS: &str = "compact";
/// The one of 2017.
pub(crate) const OLD: &str = "list-4096";
