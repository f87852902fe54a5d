//! What several experiments share.
//!
//! - [`lab`]: what they run on
//! - [`params`]: parameters, from TOML to types
//! - [`boot`]: starts of guests
//! - [`cached`], [`evidence`]: a guest with a block cache, and what it lost
//! - [`ratio`]: ratios of what was measured in turns
//! - [`encoding`], [`looks`]: names of encodings, and how policies look in figures

pub mod boot;
pub mod cached;
pub mod encoding;
pub mod evidence;
pub mod lab;
pub mod looks;
pub mod params;
pub mod ratio;
