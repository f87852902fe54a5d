//! A sweep's folder, while rows are added to it.
//!
//! ```text
//!  sweep.json     what the folder is for; replaced as a whole
//!  sweep.csv      rows, appended cell by cell; sorted when the sweep ends
//!  failures.csv   cells that could not be run, likewise
//!  sweep.lock     locked by the one process that may write
//! ```
//!
//! A kill can cut off the last lines and nothing else. Opening the folder reads
//! what is sound, names what is not, and writes both files anew without it.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use results::file::replace_file;
use results::host::now_utc;
use results::manifest::State;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::manifest::{self, Counts, SweepManifest};
use super::plan::{Cell, Plan};
use super::rows::{self, Damage, Failures, Rows};
use super::shard::Shard;
use crate::experiments::common::swept::{Fields, SweepRow, SweepTable};

/// File names in a sweep's folder.
pub(crate) const ROWS: &str = "sweep.csv";
const FAILURES: &str = "failures.csv";
const LOCK: &str = "sweep.lock";

/// What a sweep's folder holds on disk.
#[derive(Debug)]
pub(crate) struct Recorded {
    /// What it is for.
    pub manifest: SweepManifest,
    /// Cells that were run.
    pub rows: Rows,
    /// Cells that could not be run.
    pub failures: Failures,
    /// What had to be left out of both.
    pub damage: Vec<Damage>,
}

/// Reads a sweep's folder and changes nothing in it.
pub(crate) fn read(folder: &Path) -> Result<Recorded> {
    let manifest = SweepManifest::read(folder)?;
    let (plan, shard) = (&manifest.plan, manifest.shard);
    let bytes = |name: &str| {
        let path = folder.join(name);
        let bytes = match path.exists() {
            true => fs::read(&path).with_context(|| format!("read {}", path.display()))?,
            false => Vec::new(),
        };
        Ok::<_, anyhow::Error>((path, bytes))
    };
    let (path, found) = bytes(ROWS)?;
    let (rows, mut damage) = rows::read_rows(plan, shard, &path, &found);
    let (path, found) = bytes(FAILURES)?;
    let (mut failures, more) = rows::read_failures(plan, shard, &path, &found);
    damage.extend(more);
    failures.retain(|cell, _| !rows.contains_key(cell));
    Ok(Recorded {
        manifest,
        rows,
        failures,
        damage,
    })
}

impl Recorded {
    /// The rows, for whoever draws or judges them.
    pub(crate) fn table(&self) -> SweepTable {
        let plan = &self.manifest.plan;
        let mut table = SweepTable {
            axes: plan.axes.iter().map(|axis| axis.name.clone()).collect(),
            rows: Vec::new(),
        };
        for (index, rows) in &self.rows {
            let Cell { point, seed, .. } = plan.cell(*index);
            table.rows.extend(rows.iter().map(|fields| SweepRow {
                point,
                values: plan.texts(point),
                seed,
                fields: fields.clone(),
            }));
        }
        table
    }
}

/// A sweep's folder, open for writing by this process alone.
#[derive(Debug)]
pub(crate) struct SweepFolder {
    path: PathBuf,
    held: Recorded,
    rows_file: File,
    failures_file: File,
    _lock: Lock,
}

/// True when there is nothing in a folder but what a sweep leaves that was
/// killed before it wrote its manifest.
fn is_fresh(folder: &Path) -> Result<bool> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("look into {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("look into {}", folder.display()))?;
        let name = entry.file_name();
        if name != LOCK && name != "sweep.json.new" {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A locked file. It is unlocked expressly: closing it would not do while a
/// child that was just forked, and has not become its program yet, holds a copy.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // One that cannot be unlocked ends with the process.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

fn lock(folder: &Path) -> Result<Lock> {
    let path = folder.join(LOCK);
    let file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("make {}", path.display()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock(file)),
        // File systems of clusters may have no locks. To refuse those would be worse than to
        // rely on the user there, as docs/src/start/sweeps.md says.
        Err(Errno::NOSYS | Errno::NOTSUP | Errno::NOLCK) => Ok(Lock(file)),
        Err(Errno::WOULDBLOCK) => bail!(
            "another process works on {}: wait for it, or name another folder with --out",
            folder.display()
        ),
        Err(error) => Err(anyhow!(error).context(format!("lock {}", path.display()))),
    }
}

fn append_to(path: &Path) -> Result<File> {
    let file = OpenOptions::new().append(true).open(path);
    file.with_context(|| format!("open {}", path.display()))
}

impl SweepFolder {
    /// Makes the folder, or goes on with what it holds of the same sweep.
    ///
    /// # Errors
    /// When the folder holds something else, or another process works on it.
    pub(crate) fn open(path: &Path, plan: Plan, shard: Shard) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("make {}", path.display()))?;
        ensure!(
            path.join(manifest::FILE).exists() || is_fresh(path)?,
            "{} holds something else than a sweep: name another folder with --out",
            path.display()
        );
        let lock = lock(path)?;
        let wanted = SweepManifest::new(plan, shard);
        let mut held = match path.join(manifest::FILE).exists() {
            true => read(path)?,
            false => Recorded {
                manifest: wanted.clone(),
                rows: Rows::new(),
                failures: Failures::new(),
                damage: Vec::new(),
            },
        };
        let shards = ("shard", held.manifest.shard.to_string(), shard.to_string());
        let difference = held
            .manifest
            .difference(&wanted)
            .or_else(|| (shards.1 != shards.2).then(|| (shards.0.into(), shards.1, shards.2)));
        if let Some((key, there, here)) = difference {
            bail!(
                "{} holds another sweep: there `{key}` is {there}, here it is {here}; name \
                 another folder with --out",
                path.display()
            );
        }
        held.manifest.status = State::Running;
        held.manifest.ended = String::new();
        held.manifest.write(path)?;
        let plan = &held.manifest.plan;
        replace_file(&path.join(ROWS), &rows::rows_file(plan, &held.rows))?;
        let failures = rows::failures_file(plan, &held.failures);
        replace_file(&path.join(FAILURES), &failures)?;
        Ok(Self {
            rows_file: append_to(&path.join(ROWS))?,
            failures_file: append_to(&path.join(FAILURES))?,
            path: path.to_owned(),
            held,
            _lock: lock,
        })
    }

    /// What is run.
    pub(crate) fn plan(&self) -> &Plan {
        &self.held.manifest.plan
    }

    /// What had to be left out when the folder was opened.
    pub(crate) fn damage(&self) -> &[Damage] {
        &self.held.damage
    }

    /// The manifest.
    pub(crate) fn manifest(&self) -> &SweepManifest {
        &self.held.manifest
    }

    /// The manifest, to note makers in.
    pub(crate) fn manifest_mut(&mut self) -> &mut SweepManifest {
        &mut self.held.manifest
    }

    /// Cells of the shard that are still to be run.
    pub(crate) fn to_do(&self) -> Vec<Cell> {
        let shard = self.held.manifest.shard;
        (0..self.plan().cells())
            .filter(|index| shard.holds(*index))
            .filter(|index| !self.held.rows.contains_key(index))
            .filter(|index| !self.held.failures.contains_key(index))
            .map(|index| self.plan().cell(index))
            .collect()
    }

    /// Counts of the shard's cells.
    pub(crate) fn counts(&self) -> Counts {
        let shard = self.held.manifest.shard;
        let all = (0..self.plan().cells()).filter(|index| shard.holds(*index));
        // A sweep has a million cells at most, so no count is cut off.
        Counts {
            all: all.count() as u32,
            done: self.held.rows.len() as u32,
            failed: self.held.failures.len() as u32,
        }
    }

    /// Forgets why cells could not be run, so that they are tried again.
    pub(crate) fn retry_failures(&mut self) -> Result<()> {
        self.held.failures.clear();
        let path = self.path.join(FAILURES);
        let empty = rows::failures_file(self.plan(), &self.held.failures);
        replace_file(&path, &empty)?;
        self.failures_file = append_to(&path)?;
        Ok(())
    }

    /// Records all rows of a cell, in one write, so that a kill leaves all
    /// or the beginning of them.
    pub(crate) fn record(&mut self, cell: Cell, rows: Vec<Fields>) -> Result<()> {
        let lines = rows::cell_lines(self.plan(), cell, &rows);
        self.rows_file.write_all(&lines).with_context(|| {
            format!(
                "record a cell in {}: is the disk full?",
                self.path.join(ROWS).display()
            )
        })?;
        self.held.rows.insert(cell.index, rows);
        Ok(())
    }

    /// Records that a cell could not be run.
    pub(crate) fn fail(&mut self, cell: Cell, reason: &str) -> Result<()> {
        // A row stands on one line.
        let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
        let line = rows::failure_line(self.plan(), cell, &reason);
        let path = self.path.join(FAILURES);
        self.failures_file
            .write_all(&line)
            .with_context(|| format!("record a cell in {}: is the disk full?", path.display()))?;
        self.held.failures.insert(cell.index, reason);
        Ok(())
    }

    /// Takes over cells of other folders; on disk once this one is closed.
    pub(crate) fn adopt(&mut self, rows: Rows, failures: Failures) {
        self.held.rows.extend(rows);
        self.held.failures.extend(failures);
        let Recorded { rows, failures, .. } = &mut self.held;
        failures.retain(|cell, _| !rows.contains_key(cell));
    }

    /// Sorts the files and says in the manifest how it went.
    pub(crate) fn close(mut self, status: State) -> Result<Counts> {
        let counts = self.counts();
        let plan = &self.held.manifest.plan;
        let rows = rows::rows_file(plan, &self.held.rows);
        let failures = rows::failures_file(plan, &self.held.failures);
        replace_file(&self.path.join(ROWS), &rows)?;
        replace_file(&self.path.join(FAILURES), &failures)?;
        let manifest = &mut self.held.manifest;
        manifest.status = status;
        manifest.cells = counts;
        manifest.ended = now_utc();
        manifest.write(&self.path)?;
        Ok(counts)
    }
}
