//! Results that are no run of an experiment: rows in files, and a report beside them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::document::{Document, Fact};
use crate::host::{Host, VERSION, git_revision, now_utc};
use crate::{html, report};

/// Writes rows as CSV into `folder`, which is made.
///
/// # Errors
/// When the file cannot be written.
pub fn write_rows<R: Serialize>(folder: &Path, name: &str, rows: &[R]) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let path = folder.join(name);
    let failed = || format!("write {}: is the disk full?", path.display());
    let mut writer = csv::Writer::from_path(&path).with_context(failed)?;
    for row in rows {
        writer.serialize(row).with_context(failed)?;
    }
    writer.flush().with_context(failed)
}

/// Writes the report, as Markdown and as one page of HTML.
///
/// # Errors
/// When a file cannot be written.
pub fn write_report(folder: &Path, document: &Document) -> Result<()> {
    report::write(folder, document).context("write the report")?;
    html::write(folder, document).context("write the report")
}

/// Under which conditions something that began at `started` was measured, beside whom.
pub fn conditions(started: &str, seed: u64, peers: Option<&str>) -> Vec<Fact> {
    let host = Host::this();
    let memory_gib = host.memory_mib as f64 / 1024.0;
    let time = (
        "time",
        format!("from {started} to {}, seed {seed}", now_utc()),
    );
    let beside = peers.map(|peers| ("beside", peers.to_owned()));
    let rest = [
        (
            "build",
            match cfg!(debug_assertions) {
                true => "development, with checks of overflow and assertions",
                false => "release",
            }
            .to_owned(),
        ),
        (
            "host",
            format!(
                "{} processors ({}), {memory_gib:.1} GiB of memory, Linux {}",
                host.cpus, host.cpu_model, host.host_kernel
            ),
        ),
        (
            "source",
            format!("revision {}, harness {}", git_revision(), VERSION),
        ),
    ];
    [time]
        .into_iter()
        .chain(beside)
        .chain(rest)
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
