//! The reports of one kind among those of a guest.

use anyhow::{Context, Result};
use workloads::Report;
use workloads::report::Stressed;

/// The reports of one kind, in order.
pub(crate) fn all<'a, T: 'a>(reports: &'a [Report]) -> impl Iterator<Item = &'a T>
where
    &'a T: TryFrom<&'a Report>,
{
    reports.iter().filter_map(|report| report.try_into().ok())
}

/// How the requests went that a guest made while it was resized.
pub(crate) fn stressed(reports: &[Report]) -> Result<&Stressed> {
    let stressed = all(reports).next();
    stressed.context("the guest did not say how its I/O went")
}
