//! Pools in files and on block devices: creating them only where nothing is lost, and opening them.
//!
//! Shared by `vssd-host --create` and `vssdctl pool create`, so that both refuse the same.

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

/// The properties of a new pool.
#[derive(Clone, Copy, Debug)]
pub struct NewPool {
    /// Its shape.
    pub shape: Shape,
    /// Whether it will be served past the page cache.
    pub direct: bool,
    /// Overwrite existing contents.
    pub force: bool,
}

impl PoolFile {
    /// Opens and claims it.
    ///
    /// # Errors
    /// When it cannot be opened or claimed.
    pub fn open(path: &Path, options: FileOptions) -> Result<Self> {
        Ok(Self {
            backing: FileBacking::open(path, options)?,
            path: path.to_owned(),
        })
    }

    /// Whether it contains a pool, whole or damaged.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn has_pool(&self) -> Result<bool> {
        self.backing
            .has_pool()
            .with_context(|| format!("read {}", self.path.display()))
    }

    /// Its contents, for messages.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn contents(&self, say: fn(&str)) -> Result<Vec<Found>> {
        self.contents_under(0, say)
    }

    /// Its contents, with all of the first `written` bytes.
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

    /// Allocates space for a pool, in which `make` then creates it. Returns the result of `make`,
    /// the earlier contents, and a guard that undoes all of it unless it is kept. If it fails, a
    /// file is unchanged, or removed if this process created it; with force, its earlier contents
    /// are lost nevertheless.
    ///
    /// # Errors
    /// When it is not empty, there is no space, or the system fails.
    pub fn make<T>(
        mut self,
        new: NewPool,
        say: fn(&str),
        make: impl FnOnce(Arc<dyn Backing>) -> Result<T>,
    ) -> Result<(T, Vec<Found>, Made)> {
        let describe = format!("create a pool in {}", self.path.display());
        if new.direct {
            self.check_alignment(Some(new.shape.block_size))?;
        }
        // Without enough space, nothing is read and nothing is lost.
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
                self.backing.wipe(found).context("wipe its contents")?
            } else {
                self.backing.empty().context("empty the file")?
            }
        }
        self.backing.lay_out(room, progress)
    }
}

/// A list of what was found.
pub fn list(found: &[Found]) -> String {
    let texts: Vec<_> = found.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

/// Makes sure that requests for single blocks, and those of the journal, are aligned for direct I/O
/// to the backing: multiples of `least` bytes.
///
/// # Errors
/// When they are not, with the alternatives.
fn check_alignment(least: u64, block_size: Option<u32>, path: &Path) -> Result<()> {
    let (path, sector) = (path.display(), ByteSize(least));
    ensure!(
        PAGE.is_multiple_of(least),
        "direct I/O to {path} needs multiples of {sector}, but the pool's journal is written in \
         pages of {}: add --buffered",
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
