//! Tests over all experiments.

mod figures;
mod params;
mod rows;
