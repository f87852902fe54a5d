//! What several experiments share.
//!
//! - [`lab`]: what they run on
//! - [`params`]: parameters, from TOML to types
//! - [`boot`]: starts of guests
//! - [`cached`], [`evidence`]: a guest with a block cache, and what it lost
//! - [`swept`]: what a sweep knows of an experiment; [`on_twins`], [`swept_points`]: the
//!   same of any experiment whose counts are rows
//! - [`recorded`]: traces as input of guests
//! - [`observers`]: what it costs the backend to remember requests
//! - [`reports`]: the reports of one kind among those of a guest
//! - [`encoding`]: names of encodings

pub(crate) mod boot;
pub(crate) mod cached;
pub(crate) mod encoding;
pub(crate) mod evidence;
pub mod lab;
pub(crate) mod observers;
pub(crate) mod on_twins;
pub mod params;
pub(crate) mod recorded;
pub(crate) mod reports;
pub(crate) mod swept;
pub(crate) mod swept_points;
