//! What ext4 and XFS keep for their own metadata, which no file gets.

use std::fs;
use std::path::PathBuf;

use super::LinuxFiles;
use crate::balloon::mount::Kind;
use crate::disk::DeviceNumber;
use crate::error::{During, Result};
use crate::ioctl;

impl LinuxFiles {
    /// Where ext4 says how much it keeps for itself.
    fn own_blocks_file(&self) -> Result<PathBuf> {
        let device = DeviceNumber::from_raw(self.stat(&self.folder)?.st_dev);
        let link = fs::read_link(format!("/sys/dev/block/{device}"))
            .during(|| format!("look up the block device {device}"))?;
        let name = link.file_name().unwrap_or_default();
        Ok(PathBuf::from("/sys/fs/ext4")
            .join(name)
            .join("reserved_clusters"))
    }

    /// How many blocks the file system keeps for itself, where that can be changed.
    pub(super) fn own_blocks(&self) -> Result<Option<u64>> {
        match self.kind {
            Kind::Ext4 => {
                let file = self.own_blocks_file()?;
                let text =
                    fs::read_to_string(&file).during(|| format!("read {}", file.display()))?;
                Ok(text.trim().parse().ok())
            }
            Kind::Xfs => ioctl::xfs_reserved(&self.folder)
                .map(Some)
                .during(|| "ask for the reserve of the XFS".to_owned()),
            Kind::F2fs => Ok(None),
        }
    }

    pub(super) fn set_own_blocks(&self, blocks: u64) -> Result<()> {
        match self.kind {
            Kind::Ext4 => {
                let file = self.own_blocks_file()?;
                fs::write(&file, blocks.to_string()).during(|| format!("write {}", file.display()))
            }
            Kind::Xfs => ioctl::set_xfs_reserved(&self.folder, blocks)
                .during(|| "change the reserve of the XFS".to_owned()),
            Kind::F2fs => Ok(()),
        }
    }
}
