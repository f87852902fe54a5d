//! A file or block device, whatever its names.

use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Id {
    Device(u64),
    File { file_system: u64, inode: u64 },
}

impl Id {
    pub(super) fn of(metadata: &Metadata) -> Self {
        if metadata.file_type().is_block_device() {
            Self::Device(metadata.rdev())
        } else {
            Self::File {
                file_system: metadata.dev(),
                inode: metadata.ino(),
            }
        }
    }

    /// Whether `path` leads to it.
    pub(super) fn is_at(self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|metadata| Self::of(&metadata) == self)
    }
}
