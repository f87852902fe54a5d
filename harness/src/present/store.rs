//! A run's folder: the manifest and one CSV file for each kind of row.
//!
//! Every row is flushed as it is appended, so that what was recorded survives
//! a run that fails or is killed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::manifest::{Manifest, State, now_utc};
use crate::record::Row;

/// A run's folder while the run is under way.
pub struct RunFolder {
    folder: PathBuf,
    manifest: Manifest,
    started: Instant,
    files: BTreeMap<&'static str, csv::Writer<File>>,
}

impl RunFolder {
    /// Makes the folder. One that holds anything is left alone.
    pub fn create(folder: &Path, manifest: Manifest) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let mut entries =
            fs::read_dir(folder).with_context(|| format!("look into {}", folder.display()))?;
        ensure!(
            entries.next().is_none(),
            "{} is not empty: name another folder with --out, or remove it",
            folder.display()
        );
        manifest.write(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            manifest,
            started: Instant::now(),
            files: BTreeMap::new(),
        })
    }

    /// Records a row.
    pub fn append<R: Row>(&mut self, row: &R) -> Result<()> {
        let path = self.folder.join(R::FILE);
        let failed = || format!("record a row in {}: is the disk full?", path.display());
        let writer = match self.files.entry(R::FILE) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let file = File::create(&path).with_context(failed)?;
                entry.insert(csv::Writer::from_writer(file))
            }
        };
        writer.serialize(row).with_context(failed)?;
        writer.flush().with_context(failed)
    }

    /// The run measured all that it set out to.
    pub fn complete(self) -> Result<()> {
        self.end(State::Complete)
    }

    /// The run stopped early.
    pub fn fail(self, reason: &str) -> Result<()> {
        self.end(State::Failed(reason.to_owned()))
    }

    fn end(mut self, state: State) -> Result<()> {
        self.manifest.status = state;
        self.manifest.ended = now_utc();
        self.manifest.wall_seconds = self.started.elapsed().as_secs_f64();
        self.manifest.write(&self.folder)
    }
}

/// The rows of one kind in a run's folder; none when there is no such file.
///
/// # Errors
/// A damaged row, by file and line: it is never skipped silently.
pub fn read<R: Row>(folder: &Path) -> Result<Vec<R>> {
    let path = folder.join(R::FILE);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let mut reader =
        csv::Reader::from_path(&path).with_context(|| format!("read {}", path.display()))?;
    reader
        .deserialize()
        .enumerate()
        .map(|(i, row)| {
            // The first row stands on line 2, behind the header.
            row.with_context(|| format!("{}, line {}, is damaged", path.display(), i + 2))
        })
        .collect()
}
