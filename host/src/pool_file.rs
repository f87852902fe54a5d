//! Pools in files and on block devices: made where nothing is lost, opened, refused.
//!
//! What `vssd-host --create` and `vssdctl pool create` have in common, so that both refuse
//! the same.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};

use crate::backing::{Backing, FileBacking, FileOptions, Found, Made, Room};
use crate::pool::Shape;
use crate::pool::journal::{self, layout::PAGE};
use crate::progress::Progress;
use crate::size::ByteSize;

/// A file or block device that is, or is to become, a pool.
pub struct PoolFile {
    backing: FileBacking,
    path: PathBuf,
}

/// What a new pool is to be like.
#[derive(Clone, Copy, Debug)]
pub struct NewPool {
    /// Its shape.
    pub shape: Shape,
    /// Whether it will be served past the page cache.
    pub direct: bool,
    /// Make it also where something is, which is lost.
    pub force: bool,
}

impl PoolFile {
    /// Opens and claims it.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn open(path: &Path, options: FileOptions) -> Result<Self> {
        Ok(Self {
            backing: FileBacking::open(path, options)?,
            path: path.to_owned(),
        })
    }

    /// Whether a pool is there, whole or damaged.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn has_pool(&self) -> Result<bool> {
        self.backing
            .has_pool()
            .with_context(|| format!("read {}", self.path.display()))
    }

    /// What is there, for messages.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn contents(&self, say: fn(&str)) -> Result<Vec<Found>> {
        self.contents_under(0, say)
    }

    /// What is there, with all of the first `written` bytes.
    fn contents_under(&self, written: u64, say: fn(&str)) -> Result<Vec<Found>> {
        let mut progress = Progress::new(format!("read {}", self.path.display()), say);
        self.backing.contents(written, &mut progress)
    }

    /// The shape of the pool that is there, if it can be served `direct`ly or not, as is wanted.
    ///
    /// # Errors
    /// When there is none, or it cannot.
    pub fn shape(&self, direct: bool) -> Result<Shape> {
        if direct {
            self.check_alignment(None)?;
        }
        let shape = journal::shape(&self.backing)?;
        if direct {
            self.check_alignment(Some(shape.block_size))?;
        }
        Ok(shape)
    }

    /// The backing.
    pub fn into_backing(self) -> FileBacking {
        self.backing
    }

    /// The backing, to look at.
    pub fn backing(&self) -> &FileBacking {
        &self.backing
    }

    /// Makes room for a pool, in which `make` then makes it. Returns what was made, what was
    /// there before, and what takes it back if it is not kept. If that does not come about, a file is as before, or is removed if this
    /// process has made it; unless by force, by which what was in it is lost already.
    ///
    /// # Errors
    /// When something is there, there is no room, or the system fails.
    pub fn make<T>(
        mut self,
        new: NewPool,
        say: fn(&str),
        make: impl FnOnce(Arc<dyn Backing>) -> Result<T>,
    ) -> Result<(T, Vec<Found>, Made)> {
        let describe = format!("make a pool in {}", self.path.display());
        if new.direct {
            self.check_alignment(Some(new.shape.block_size))?;
        }
        // Nothing is lost, and nothing read, where there is no room anyway.
        let room = new.shape.room();
        let checked = self.backing.check_room(&room);
        let found = checked.and_then(|()| self.contents_under(room.reserved, say));
        let found = found.with_context(|| describe.clone())?;
        if !found.is_empty() && !new.force {
            bail!(
                "{} is not empty ({}); nothing was changed: `vssdctl pool create --force` \
                 overwrites it",
                self.path.display(),
                list(&found)
            );
        }
        let mut progress = Progress::new(describe.clone(), say);
        let made = self.backing.made();
        let laid_out = self.lay_out(&room, &found, &mut progress);
        laid_out.with_context(|| describe.clone())?;
        let backing: Arc<dyn Backing> = Arc::new(self.backing);
        let pool = make(backing).with_context(|| describe)?;
        Ok((pool, found, made))
    }

    fn check_alignment(&self, block_size: Option<u32>) -> Result<()> {
        let least = self.backing.direct_alignment().len as u64;
        check_alignment(least, block_size, &self.path)
    }

    fn lay_out(&mut self, room: &Room, found: &[Found], progress: &mut Progress) -> Result<()> {
        if !found.is_empty() {
            if self.backing.is_device() {
                self.backing.wipe(found).context("wipe what is there")?
            } else {
                self.backing.empty().context("empty the file")?
            }
        }
        self.backing.lay_out(room, progress)
    }
}

/// What was found, in a row.
pub fn list(found: &[Found]) -> String {
    let texts: Vec<_> = found.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

/// Makes sure that requests for single blocks, and those of the journal, are what direct I/O
/// to the backing takes: multiples of `least` bytes.
///
/// # Errors
/// When they are not, with the ways out.
fn check_alignment(least: u64, block_size: Option<u32>, path: &Path) -> Result<()> {
    let (path, sector) = (path.display(), ByteSize(least));
    ensure!(
        PAGE.is_multiple_of(least),
        "direct I/O to {path} takes at least {sector}, but the pool's journal is written in pages \
         of {}: add --buffered",
        ByteSize(PAGE)
    );
    if let Some(block_size) = block_size {
        ensure!(
            u64::from(block_size).is_multiple_of(least),
            "blocks of {} are smaller than the {sector} that direct I/O to {path} takes: \
             make the pool with blocks of {sector} (block-size={sector} for each vSSD, or \
             `vssdctl pool create --block-size {sector}`), or add --buffered",
            ByteSize(block_size.into())
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_below_a_sector_are_refused_with_both_ways_out() {
        let path = Path::new("/dev/disk");
        for (least, block_size) in [(512, 512), (512, 4096), (4096, 4096), (4096, 8192)] {
            check_alignment(least, Some(block_size), path).unwrap();
        }
        let error = check_alignment(4096, Some(512), path)
            .unwrap_err()
            .to_string();
        for word in ["512B", "4KiB", "/dev/disk", "block-size=4KiB", "--buffered"] {
            assert!(error.contains(word), "{word}: {error}");
        }
        for block_size in [None, Some(16384)] {
            let error = check_alignment(16384, block_size, path)
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("16KiB") && error.contains("--buffered"),
                "{error}"
            );
        }
    }
}
