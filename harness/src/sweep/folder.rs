//! The folder of a sweep.
//!
//! ```text
//!  sweep.json     the manifest; replaced atomically
//!  sweep.csv      rows, appended cell by cell; sorted when the sweep ends
//!  failures.csv   failed cells, likewise
//!  sweep.lock     locked by the process that writes
//! ```
//!
//! A kill can only truncate the last lines. Opening the folder reads the valid lines, reports the
//! others, and rewrites both files without them.

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

/// The content of a sweep's folder.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub manifest: SweepManifest,
    pub rows: Rows,
    pub failures: Failures,
    /// Invalid lines of both files.
    pub damage: Vec<Damage>,
}

/// Reads a sweep's folder without changing it.
pub(crate) fn read(folder: &Path) -> Result<Recorded> {
    let manifest = SweepManifest::read(folder)?;
    let (plan, shard) = (&manifest.plan, manifest.shard);
    let bytes = |name: &str| {
        let path = folder.join(name);
        let bytes = if path.exists() {
            fs::read(&path).with_context(|| format!("read {}", path.display()))?
        } else {
            Vec::new()
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
    /// The rows as a table for claims and figures.
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

/// Whether a folder is empty, except for files of a sweep that was killed before it wrote its
/// manifest.
fn is_fresh(folder: &Path) -> Result<bool> {
    let listing = || format!("list {}", folder.display());
    for entry in fs::read_dir(folder).with_context(listing)? {
        let entry = entry.with_context(listing)?;
        let name = entry.file_name();
        if name != LOCK && name != "sweep.json.new" {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A locked file. It is unlocked explicitly: closing it does not unlock it while a forked child
/// that has not called exec yet has a copy of the descriptor.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // If this fails, the kernel unlocks it when the process exits.
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
        .with_context(|| format!("create {}", path.display()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock(file)),
        // Cluster file systems may not support locks. There the user must not start two processes
        // on one folder, as docs/src/start/sweeps.md says.
        Err(Errno::NOSYS | Errno::NOTSUP | Errno::NOLCK) => Ok(Lock(file)),
        Err(Errno::WOULDBLOCK) => bail!(
            "another process uses {}: wait for it, or set another folder with --out",
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
    /// Creates the folder, or opens it to resume the same sweep.
    ///
    /// # Errors
    /// When the folder has other content, or another process uses it.
    pub(crate) fn open(path: &Path, plan: Plan, shard: Shard) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("create {}", path.display()))?;
        ensure!(
            path.join(manifest::FILE).exists() || is_fresh(path)?,
            "{} is not empty and not the folder of a sweep: set another folder with --out",
            path.display()
        );
        let lock = lock(path)?;
        let wanted = SweepManifest::new(plan, shard);
        let mut held = if path.join(manifest::FILE).exists() {
            read(path)?
        } else {
            Recorded {
                manifest: wanted.clone(),
                rows: Rows::new(),
                failures: Failures::new(),
                damage: Vec::new(),
            }
        };
        let shards = ("shard", held.manifest.shard.to_string(), shard.to_string());
        let difference = held
            .manifest
            .difference(&wanted)
            .or_else(|| (shards.1 != shards.2).then(|| (shards.0.into(), shards.1, shards.2)));
        if let Some((key, there, here)) = difference {
            bail!(
                "{} contains another sweep: its `{key}` is {there}, not {here}; set another folder \
                 with --out",
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

    pub(crate) fn plan(&self) -> &Plan {
        &self.held.manifest.plan
    }

    /// Invalid lines that were removed when the folder was opened.
    pub(crate) fn damage(&self) -> &[Damage] {
        &self.held.damage
    }

    pub(crate) fn manifest(&self) -> &SweepManifest {
        &self.held.manifest
    }

    pub(crate) fn manifest_mut(&mut self) -> &mut SweepManifest {
        &mut self.held.manifest
    }

    /// Remaining cells of the shard.
    pub(crate) fn to_do(&self) -> Vec<Cell> {
        let shard = self.held.manifest.shard;
        (0..self.plan().cells())
            .filter(|index| shard.has(*index))
            .filter(|index| !self.held.rows.contains_key(index))
            .filter(|index| !self.held.failures.contains_key(index))
            .map(|index| self.plan().cell(index))
            .collect()
    }

    /// Cells of the shard, by state.
    pub(crate) fn counts(&self) -> Counts {
        let shard = self.held.manifest.shard;
        let all = (0..self.plan().cells()).filter(|index| shard.has(*index));
        // A sweep has at most a million cells, so the casts do not truncate.
        Counts {
            all: all.count() as u32,
            done: self.held.rows.len() as u32,
            failed: self.held.failures.len() as u32,
        }
    }

    /// Clears the failures, so that these cells run again.
    pub(crate) fn retry_failures(&mut self) -> Result<()> {
        self.held.failures.clear();
        let path = self.path.join(FAILURES);
        let empty = rows::failures_file(self.plan(), &self.held.failures);
        replace_file(&path, &empty)?;
        self.failures_file = append_to(&path)?;
        Ok(())
    }

    /// Records all rows of a cell in one write, so that a kill leaves a prefix of them.
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

    /// Records a failed cell.
    pub(crate) fn fail(&mut self, cell: Cell, reason: &str) -> Result<()> {
        // A row is one line.
        let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
        let line = rows::failure_line(self.plan(), cell, &reason);
        let path = self.path.join(FAILURES);
        self.failures_file
            .write_all(&line)
            .with_context(|| format!("record a cell in {}: is the disk full?", path.display()))?;
        self.held.failures.insert(cell.index, reason);
        Ok(())
    }

    /// Adds cells of other folders. They are written when this folder is closed.
    pub(crate) fn adopt(&mut self, rows: Rows, failures: Failures) {
        self.held.rows.extend(rows);
        self.held.failures.extend(failures);
        let Recorded { rows, failures, .. } = &mut self.held;
        failures.retain(|cell, _| !rows.contains_key(cell));
    }

    /// Sorts the files and writes the status to the manifest.
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
