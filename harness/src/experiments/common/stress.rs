//! What a guest says of the requests that it made while it was resized.

use anyhow::{Context, Result};
use workloads::Report;
use workloads::report::Stressed;

/// The end of a load in the reports of a guest.
pub(crate) fn stressed(reports: &[Report]) -> Result<&Stressed> {
    let stressed = reports.iter().find_map(|report| match report {
        Report::Stressed(stressed) => Some(stressed),
        _ => None,
    });
    stressed.context("the guest did not say how its I/O went")
}
