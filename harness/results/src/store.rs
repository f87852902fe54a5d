//! A run's folder: the manifest and one CSV file for each kind of row.
//!
//! Every row is flushed as it is appended, so that what was recorded survives
//! a run that fails or is killed.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use crate::columns::CsvFile;
use crate::host::now_utc;
use crate::manifest::{self, Manifest, State};
use crate::row::Row;

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

    /// The experiment that is run.
    pub fn experiment(&self) -> &str {
        &self.manifest.experiment
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

    /// Notes something in the manifest that is no row.
    pub fn fact(&mut self, name: &str, value: impl Serialize) -> Result<()> {
        let value = serde_json::to_value(value).with_context(|| format!("note {name}"))?;
        self.manifest.facts.insert(name.to_owned(), value);
        self.manifest.write(&self.folder)
    }

    /// Whether no row has been recorded.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Takes the folder of a run away that has recorded nothing.
    pub fn discard(self) -> Result<()> {
        let gone = fs::remove_file(self.folder.join(manifest::FILE))
            .and_then(|()| fs::remove_dir(&self.folder));
        gone.with_context(|| format!("remove {}", self.folder.display()))
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

/// Reads the files of a run, and remembers what it had to leave out.
pub struct Reader<'a> {
    folder: &'a Path,
    damage: RefCell<BTreeSet<String>>,
    sound: RefCell<BTreeMap<&'static str, u64>>,
}

impl<'a> Reader<'a> {
    /// A reader of a run's folder.
    pub fn new(folder: &'a Path) -> Self {
        Self {
            folder,
            damage: RefCell::default(),
            sound: RefCell::default(),
        }
    }

    /// The rows of one kind; none when there is no such file. A damaged row is
    /// left out, and kept in mind by file and line: see [`damage`](Self::damage).
    ///
    /// # Errors
    /// When the file cannot be read at all.
    pub fn rows<R: Row>(&self) -> Result<Vec<R>> {
        let path = self.folder.join(R::FILE);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let failed = || format!("read {}", path.display());
        let mut reader = csv::ReaderBuilder::new()
            // A row that is too short or too long is one that is damaged.
            .flexible(true)
            .from_path(&path)
            .with_context(failed)?;
        let header = reader.headers().with_context(failed)?.clone();
        let mut rows = Vec::new();
        for (i, record) in reader.records().enumerate() {
            let row = record.ok().and_then(|record| {
                let whole = record.len() == header.len();
                whole.then(|| record.deserialize(Some(&header)).ok())?
            });
            match row {
                Some(row) => rows.push(row),
                // The first row stands on line 2, behind the header.
                None => {
                    let place = format!("{}, line {}", R::FILE, i + 2);
                    self.damage.borrow_mut().insert(place);
                }
            }
        }
        self.sound.borrow_mut().insert(R::FILE, rows.len() as u64);
        Ok(rows)
    }

    /// Where the damaged rows are that were met so far.
    pub fn damage(&self) -> Vec<String> {
        self.damage.borrow().iter().cloned().collect()
    }

    /// Number of sound rows in the CSV file of that name, if its rows have been
    /// asked for.
    pub fn sound(&self, file: &str) -> Option<u64> {
        self.sound.borrow().get(file).copied()
    }
}

/// All that an experiment records: a tuple of lists, one for each kind of row.
pub trait Rows: Sized {
    /// Reads all of them.
    ///
    /// # Errors
    /// When a file cannot be read at all.
    fn read(reader: &Reader<'_>) -> Result<Self>;

    /// The files of all kinds, in order.
    fn files() -> Vec<CsvFile>;
}

macro_rules! rows {
    ($($row:ident)*) => {
        impl<$($row: Row),*> Rows for ($(Vec<$row>,)*) {
            fn read(reader: &Reader<'_>) -> Result<Self> {
                Ok(($(reader.rows::<$row>()?,)*))
            }

            fn files() -> Vec<CsvFile> {
                vec![$(CsvFile::of::<$row>()),*]
            }
        }
    };
}

rows!(A);
rows!(A B);
rows!(A B C);
rows!(A B C D);
rows!(A B C D E);
rows!(A B C D E F);
rows!(A B C D E F G);

/// The rows of one kind in a run's folder, all of them sound.
///
/// # Errors
/// A damaged row, by file and line.
pub fn read<R: Row>(folder: &Path) -> Result<Vec<R>> {
    let reader = Reader::new(folder);
    let rows = reader.rows()?;
    match reader.damage().first() {
        Some(place) => bail!("{place} in {} is damaged", folder.display()),
        None => Ok(rows),
    }
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::manifest::example;

    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
    struct BootRow {
        machine: String,
        accelerator: String,
        ready_ns: u64,
        first_io_guest_ns: u64,
    }

    impl Row for BootRow {
        const FILE: &'static str = "boot.csv";
    }

    fn row(ready_ns: u64) -> BootRow {
        BootRow {
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
    fn a_damaged_row_is_named_and_left_out() {
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
            text.replace("tcg,1,7", "tcg,1,7,9"),
            text.replace("tcg,1,7", ""),
        ] {
            fs::write(&path, damaged).unwrap();
            let reader = Reader::new(folder.path());
            let rows: Vec<BootRow> = reader.rows().unwrap();
            assert_eq!(rows, [row(0), row(2)]);
            assert_eq!(reader.damage(), ["boot.csv, line 3"]);
            assert_eq!(reader.sound("boot.csv"), Some(2));
            let error = read::<BootRow>(folder.path()).unwrap_err().to_string();
            assert!(error.contains("boot.csv, line 3"), "{error}");
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
