//! The file systems of the guest, and their tools.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString};

/// A file system.
#[derive(
    Clone, Copy, Debug, Display, EnumString, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub(crate) enum FileSystem {
    Ext4,
    Xfs,
    F2fs,
}

/// Where it is mounted.
pub(super) const MOUNT: &str = "/mnt";

impl FileSystem {
    /// Makes it on a disk that is empty.
    pub(super) fn make(self, disk: &str) -> String {
        match self {
            Self::Ext4 => format!("mkfs.ext4 -q -F {disk}"),
            Self::Xfs => format!("mkfs.xfs -q -f {disk}"),
            Self::F2fs => format!("mkfs.f2fs -q -f {disk}"),
        }
    }

    /// Mounts it.
    pub(super) fn mount(self, disk: &str) -> String {
        format!("mkdir -p {MOUNT} && modprobe -q {self}; mount -t {self} {disk} {MOUNT}")
    }

    /// Checks it without repairing it, when it is not mounted.
    pub(super) fn check(self, disk: &str) -> String {
        match self {
            Self::Ext4 => format!("fsck.ext4 -f -n {disk}"),
            Self::Xfs => format!("xfs_repair -n {disk}"),
            Self::F2fs => format!("fsck.f2fs --dry-run {disk}"),
        }
    }
}
