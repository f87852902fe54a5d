//! The kind of a disk, and what its driver must know before it uses it.
//!
//! A disk without the mark, or with a mark and too few queues, is a virtio-blk disk like any
//! other, and its size is fixed. A vSSD says itself how large its blocks are. Of another disk
//! the guest takes pages where they cover all of it, and smaller blocks where they do not.

use alloc::format;
use alloc::string::{String, ToString};

use vssd::units::{Geometry, LOGICAL_BLOCK_MAX, SECTOR_SIZE};
use vssd::wire::{VERSION, marked_block_size, marked_version};
pub use workloads::report::DiskKind;
use zerocopy::{FromZeros, IntoBytes};

use crate::port::{BlkConfig, VssdPort, feature};

/// Requests, events, commands (SPEC.md, section 3).
const QUEUES_OF_VSSD: usize = 3;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Its kind.
    pub kind: DiskKind,
    /// Its blocks; of a plain disk, the blocks that this guest uses.
    pub geometry: Geometry,
    /// It refuses writes.
    pub is_read_only: bool,
}

/// The kind of a device with this config space and so many queues.
pub fn kind(config: &BlkConfig, queues: usize) -> DiskKind {
    match marked_version(&config.mark) {
        None => DiskKind::Plain,
        Some(version) if version != VERSION => DiskKind::VssdOfVersion(version),
        Some(_) => match usize::from(config.num_queues.get()).min(queues) {
            few @ ..QUEUES_OF_VSSD => DiskKind::VssdOfQueues(few as u16),
            _ => DiskKind::Vssd,
        },
    }
}

/// The numbers of a vSSD's event and command queue: the last two of its
/// `num-queues`. `None` for every other disk.
pub fn resizing_queues(config: &BlkConfig, queues: usize) -> Option<(u16, u16)> {
    let count = usize::from(config.num_queues.get());
    let usable = kind(config, queues) == DiskKind::Vssd && count <= queues;
    usable.then(|| (count as u16 - 2, count as u16 - 1))
}

/// Reads the shape of a device.
///
/// # Errors
/// A sentence, when this guest cannot use it.
pub fn discover(port: &mut impl VssdPort) -> Result<Shape, String> {
    let mut config = BlkConfig::new_zeroed();
    port.read_config(0, config.as_mut_bytes());
    let kind = kind(&config, port.queue_count());
    let bytes = port
        .capacity_sectors()
        .saturating_mul(u64::from(SECTOR_SIZE));
    let block_size = match kind {
        DiskKind::Vssd | DiskKind::VssdOfQueues(_) => marked_block_size(&config.mark),
        DiskKind::VssdOfVersion(_) | DiskKind::Plain => block_of(port.logical_block(), bytes),
    };
    if bytes < u64::from(block_size) {
        return Err(format!(
            "the disk has {bytes} bytes, less than one block of {block_size}"
        ));
    }
    if block_size as usize > port.slot_len() {
        return Err(format!(
            "blocks of {block_size} bytes do not fit this guest's buffers of {}",
            port.slot_len()
        ));
    }
    let geometry = Geometry::new(block_size, bytes / u64::from(block_size.max(1)));
    Ok(Shape {
        kind,
        geometry: geometry.map_err(|error| error.to_string())?,
        is_read_only: port.features() & feature::RO != 0,
    })
}

/// The block in which a disk of so many bytes is counted: the largest of at most a page that
/// covers all of it, and at least its logical block. The rest of a disk that no such block
/// divides is shorter than that, and no request can reach it.
fn block_of(logical: u32, bytes: u64) -> u32 {
    let mut block = LOGICAL_BLOCK_MAX;
    while block > logical && !bytes.is_multiple_of(u64::from(block)) {
        block /= 2;
    }
    block.max(logical)
}

/// Why the size of such a disk is fixed, and what to do about it; `None` when it is not.
pub fn why_fixed(kind: DiskKind) -> Option<String> {
    match kind {
        DiskKind::Vssd => None,
        DiskKind::VssdOfQueues(queues) => {
            let queues = match queues {
                1 => "1 queue".to_string(),
                _ => format!("{queues} queues"),
            };
            Some(format!(
                "this vSSD has {queues} and its size is fixed: resizing needs num-queues=3 on its \
                 vhost-user-blk-pci device"
            ))
        }
        DiskKind::VssdOfVersion(version) => Some(format!(
            "this vSSD has version {version} of the contract and this guest version {VERSION}, so \
             its size is fixed: resizing needs a guest and a backend of the same release"
        )),
        DiskKind::Plain => Some(
            "this disk is not a vSSD and its size is fixed: resizing needs a vhost-user-blk-pci \
             device with num-queues=3 that is connected to vssd-host"
                .to_string(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vssd::wire;

    /// The config space of a vSSD of 64 KiB blocks with this `num-queues`.
    fn vssd(num_queues: u16) -> BlkConfig {
        BlkConfig {
            mark: wire::mark(Geometry::new(65536, 16).unwrap()),
            num_queues: num_queues.into(),
            ..BlkConfig::new_zeroed()
        }
    }

    /// The offsets of virtio 1.2, 5.2.4, as numbers.
    #[test]
    fn config_space_has_these_bytes() {
        let mut bytes = [0_u8; 36];
        bytes[0] = 1;
        bytes[8] = 2;
        bytes[12] = 3;
        bytes[20] = 4;
        bytes[24] = 5;
        bytes[32] = 6;
        bytes[34] = 7;
        let config: BlkConfig = zerocopy::transmute!(bytes);
        assert_eq!(config.capacity.get(), 1);
        assert_eq!(config.size_max.get(), 2);
        assert_eq!(config.seg_max.get(), 3);
        assert_eq!(config.blk_size.get(), 4);
        assert_eq!(config.mark, [5, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(config.writeback, 6);
        assert_eq!(config.num_queues.get(), 7);
    }

    #[test]
    fn a_disk_is_resizable_with_a_mark_a_version_and_three_queues() {
        assert_eq!(kind(&vssd(3), 3), DiskKind::Vssd);
        assert_eq!(kind(&vssd(9), 9), DiskKind::Vssd);
        assert_eq!(kind(&vssd(2), 2), DiskKind::VssdOfQueues(2));
        assert_eq!(kind(&vssd(1), 1), DiskKind::VssdOfQueues(1));
        // The smaller of the two counts.
        assert_eq!(kind(&vssd(3), 1), DiskKind::VssdOfQueues(1));
        assert_eq!(kind(&vssd(0), 3), DiskKind::VssdOfQueues(0));
        assert_eq!(kind(&BlkConfig::new_zeroed(), 4), DiskKind::Plain);
        let mut old = vssd(3);
        old.mark[4] = 1;
        assert_eq!(kind(&old, 3), DiskKind::VssdOfVersion(1));
    }

    #[test]
    fn the_last_two_queues_are_those_of_resizes() {
        assert_eq!(resizing_queues(&vssd(3), 3), Some((1, 2)));
        assert_eq!(resizing_queues(&vssd(5), 5), Some((3, 4)));
        for (num_queues, queues) in [(2, 2), (2, 3), (3, 2), (4, 3), (0, 3)] {
            let found = resizing_queues(&vssd(num_queues), queues);
            assert_eq!(found, None, "{num_queues} of {queues}");
        }
    }

    #[test]
    fn blocks_cover_a_disk_of_any_size() {
        const MIB: u64 = 1 << 20;
        for (logical, bytes, block) in [
            (512, MIB, 4096),
            (512, MIB + 2048, 2048),
            (512, MIB + 512, 512),
            (4096, MIB, 4096),
            // What is over is shorter than a logical block: QEMU shows no such disk.
            (4096, MIB + 512, 4096),
            (65536, MIB, 65536),
        ] {
            assert_eq!(block_of(logical, bytes), block, "{bytes} by {logical}");
        }
    }
}
