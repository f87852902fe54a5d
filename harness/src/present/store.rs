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
    rows: BTreeMap<String, u64>,
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
            rows: BTreeMap::new(),
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
        writer.flush().with_context(failed)?;
        *self.rows.entry(R::FILE.to_owned()).or_default() += 1;
        Ok(())
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
        self.manifest.rows = self.rows;
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

/// Number of rows in the CSV file of that name; 0 when there is no such file.
pub fn count(folder: &Path, file: &str) -> Result<u64> {
    let path = folder.join(file);
    if !path.exists() {
        return Ok(0);
    }
    let mut reader =
        csv::Reader::from_path(&path).with_context(|| format!("read {}", path.display()))?;
    let rows = reader
        .records()
        .try_fold(0, |rows, row| row.map(|_| rows + 1));
    rows.with_context(|| format!("{} is damaged", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::present::manifest::example;
    use crate::record::BootRow;

    fn row(ready_ns: u64) -> BootRow {
        BootRow {
            experiment: "correctness".to_owned(),
            machine: "q35".to_owned(),
            accelerator: "tcg".to_owned(),
            ready_ns,
            first_io_guest_ns: 7,
        }
    }

    #[test]
    fn rows_are_on_disk_as_soon_as_they_are_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = RunFolder::create(folder.path(), example()).unwrap();
        for i in 0..3 {
            run.append(&row(i)).unwrap();
            // As a reader finds them when the harness is killed here.
            assert_eq!(
                read::<BootRow>(folder.path()).unwrap().last(),
                Some(&row(i))
            );
        }
        assert_eq!(
            Manifest::read(folder.path()).unwrap().status,
            State::Running
        );
        run.complete().unwrap();
        let manifest = Manifest::read(folder.path()).unwrap();
        assert_eq!(manifest.status, State::Complete);
        assert_eq!(
            manifest.rows,
            BTreeMap::from([(BootRow::FILE.to_owned(), 3)])
        );
        assert_eq!(count(folder.path(), BootRow::FILE).unwrap(), 3);
        assert_eq!(count(folder.path(), "nothing.csv").unwrap(), 0);
    }

    #[test]
    fn a_folder_that_holds_anything_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("precious"), "x").unwrap();
        let error = RunFolder::create(folder.path(), example()).err().unwrap();
        assert!(error.to_string().contains("is not empty"), "{error}");
        assert!(!folder.path().join("manifest.json").exists());
    }

    #[test]
    fn a_damaged_row_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = RunFolder::create(folder.path(), example()).unwrap();
        for i in 0..3 {
            run.append(&row(i)).unwrap();
        }
        let path = folder.path().join(BootRow::FILE);
        let text = fs::read_to_string(&path).unwrap();
        for damaged in [
            text.replace("tcg,1,7", "tcg,one,7"),
            text.replace("tcg,1,7", "tcg,1"),
        ] {
            fs::write(&path, damaged).unwrap();
            let error = read::<BootRow>(folder.path()).unwrap_err().to_string();
            assert!(error.contains("boot.csv, line 3, is damaged"), "{error}");
        }
    }

    #[test]
    fn a_full_disk_is_named_with_the_file() {
        if !Path::new("/dev/full").exists() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut run = RunFolder::create(folder.path(), example()).unwrap();
        std::os::unix::fs::symlink("/dev/full", folder.path().join(BootRow::FILE)).unwrap();
        let error = run.append(&row(1)).unwrap_err().to_string();
        assert!(
            error.contains("boot.csv") && error.contains("disk"),
            "{error}"
        );
    }
}
