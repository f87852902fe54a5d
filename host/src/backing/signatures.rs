//! Signatures of file systems, volume managers and others: the contents of a file or device, by
//! name.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::size::ByteSize;

/// Something found on a file or device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub what: &'static str,
    /// Where it begins, bytes.
    pub begins: u64,
    /// Where its signature is, bytes.
    pub(super) at: u64,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.what, ByteSize(self.begins))
    }
}

/// Where a structure begins.
#[derive(Clone, Copy, Debug)]
enum At {
    /// So many bytes from the start.
    Start(u64),
    /// So many bytes before the end.
    End(u64),
    /// The superblock of md 0.90: the last 64 KiB that begin at a multiple of that.
    Md090,
    /// The superblock of md 1.0: 8 KiB before the end, rounded down to 4 KiB.
    Md10,
}

impl At {
    fn offset(self, len: u64) -> Option<u64> {
        match self {
            Self::Start(at) => Some(at),
            Self::End(before) => len.checked_sub(before),
            Self::Md090 => (len / 65536 * 65536).checked_sub(65536),
            Self::Md10 => (len / 512).checked_sub(16).map(|at| at / 8 * 8 * 512),
        }
    }
}

/// A name, where the structure begins, how far into it the magic number is, and that number.
type Signature = (&'static str, At, u64, &'static [u8]);

use At::{End, Md10, Md090, Start};

const KIB: u64 = 1 << 10;

const BCACHE: &[u8] = b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81";
const BCACHEFS: &[u8] = b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef";
const MD: &[u8] = b"\xfc\x4e\x2b\xa9";
const STRATIS: &[u8] = b"!Stra0tis\x86\xff\x02^\x41rh";

/// Our own first, then by position. Specific signatures come before general ones: many of the
/// others have a boot sector as well.
const SIGNATURES: &[Signature] = &[
    ("vSSD pool", Start(0), 0, b"vSSDpool"),
    ("vSSD pool", Start(4 * KIB), 0, b"vSSDpool"),
    ("cache of a vSSD guest", Start(0), 0, b"vSSDmeta"),
    ("journal of a vSSD guest's cache", Start(0), 0, b"vSSDjrnl"),
    ("XFS file system", Start(0), 0, b"XFSB"),
    ("LUKS volume", Start(0), 0, b"LUKS\xba\xbe"),
    ("LUKS volume", Start(16 * KIB), 0, b"SKUL\xba\xbe"),
    ("md RAID member", Start(0), 0, MD),
    ("md RAID member", Start(4 * KIB), 0, MD),
    ("md RAID member", Md090, 0, MD),
    ("md RAID member", Md10, 0, MD),
    ("LVM physical volume", Start(0), 0, b"LABELONE"),
    ("LVM physical volume", Start(512), 0, b"LABELONE"),
    ("LVM physical volume", Start(1024), 0, b"LABELONE"),
    ("LVM physical volume", Start(1536), 0, b"LABELONE"),
    ("Stratis pool", Start(512), 4, STRATIS),
    ("Stratis pool", Start(4608), 4, STRATIS),
    (
        "ext2, ext3 or ext4 file system",
        Start(KIB),
        56,
        b"\x53\xef",
    ),
    ("F2FS file system", Start(KIB), 0, b"\x10\x20\xf5\xf2"),
    ("F2FS file system", Start(5 * KIB), 0, b"\x10\x20\xf5\xf2"),
    ("EROFS file system", Start(KIB), 0, b"\xe2\xe1\xf5\xe0"),
    ("NILFS2 file system", Start(KIB), 6, b"\x34\x34"),
    ("HFS+ file system", Start(KIB), 0, b"H+\x00"),
    ("HFS file system", Start(KIB), 0, b"BD"),
    ("bcache device", Start(4 * KIB), 24, BCACHE),
    ("bcachefs file system", Start(4 * KIB), 24, BCACHEFS),
    ("OCFS2 file system", Start(4 * KIB), 0, b"OCFSV2"),
    ("swap space", Start(0), 4086, b"SWAPSPACE2"),
    ("swap space", Start(0), 4086, b"SWAP-SPACE"),
    ("swap space", Start(0), 8182, b"SWAPSPACE2"),
    ("swap space", Start(0), 16374, b"SWAPSPACE2"),
    ("swap space", Start(0), 32758, b"SWAPSPACE2"),
    ("swap space", Start(0), 65526, b"SWAPSPACE2"),
    ("image of a suspended system", Start(0), 4086, b"S1SUSPEND"),
    ("JFS file system", Start(32 * KIB), 0, b"JFS1"),
    ("ISO 9660 file system", Start(32 * KIB), 1, b"CD001"),
    ("UDF file system", Start(32 * KIB), 1, b"BEA01"),
    ("UDF file system", Start(34 * KIB), 1, b"BEA01"),
    ("btrfs file system", Start(64 * KIB), 64, b"_BHRfS_M"),
    ("btrfs file system", Start(64 << 20), 64, b"_BHRfS_M"),
    ("btrfs file system", Start(256 << 30), 64, b"_BHRfS_M"),
    ("ReiserFS file system", Start(64 * KIB), 52, b"ReIsEr"),
    ("ReiserFS file system", Start(8 * KIB), 52, b"ReIsEr"),
    ("Reiser4 file system", Start(64 * KIB), 0, b"ReIsEr4"),
    ("GFS2 file system", Start(64 * KIB), 0, b"\x01\x16\x19\x70"),
    ("VMFS volume", Start(1 << 20), 0, b"\x0d\xd0\x01\xc0"),
    (
        "Ceph BlueStore device",
        Start(0),
        0,
        b"bluestore block device",
    ),
    ("dm-integrity device", Start(0), 0, b"integrt\x00"),
    ("dm-verity hashes", Start(0), 0, b"verity\x00\x00"),
    ("squashfs file system", Start(0), 0, b"hsqs"),
    ("APFS container", Start(0), 32, b"NXSB"),
    ("Oracle ASM disk", Start(0), 32, b"ORCLDISK"),
    ("QCOW2 image", Start(0), 0, b"QFI\xfb"),
    ("VMDK image", Start(0), 0, b"KDMV"),
    ("VHDX image", Start(0), 0, b"vhdxfile"),
    ("BitLocker volume", Start(0), 3, b"-FVE-FS-"),
    ("NTFS file system", Start(0), 3, b"NTFS    "),
    ("exFAT file system", Start(0), 3, b"EXFAT   "),
    ("FAT file system", Start(0), 54, b"FAT1"),
    ("FAT file system", Start(0), 82, b"FAT32   "),
    ("GPT partition table", Start(512), 0, b"EFI PART"),
    ("GPT partition table", Start(4 * KIB), 0, b"EFI PART"),
    ("GPT partition table", End(512), 0, b"EFI PART"),
    ("GPT partition table", End(4 * KIB), 0, b"EFI PART"),
    ("Intel RAID member", End(1024), 0, b"Intel Raid ISM Cfg"),
    ("DDF RAID member", End(512), 0, b"\xde\x11\xde\x11"),
    ("DDF RAID member", End(512), 0, b"\x11\xde\x11\xde"),
    ("DRBD device", End(4 * KIB), 60, b"\x83\x74\x02\x6b"),
    ("DRBD device", End(4 * KIB), 60, b"\x83\x74\x02\x6d"),
    ("partition table or boot sector", Start(0), 510, b"\x55\xaa"),
];

/// Labels of ZFS: two at the start and two at the end, of 256 KiB each.
const ZFS_LABEL: u64 = 256 * KIB;

/// Where the description of the pool begins in a label, an XDR list whose first entry
/// is its version.
const ZFS_VERSION: (u64, &[u8]) = (16 * KIB + 20, b"\0\0\0\x07version");

/// Everything with a known signature on a file of `len` bytes.
pub(super) fn find(file: &File, len: u64) -> io::Result<Vec<Found>> {
    let mut all = Vec::new();
    for (what, at, magic_at, magic) in SIGNATURES {
        let Some(begins) = at.offset(len) else {
            continue;
        };
        let at = begins + magic_at;
        if reads(file, len, at, magic)? {
            all.push(Found { what, begins, at });
        }
    }
    let end = len / ZFS_LABEL * ZFS_LABEL;
    let last = [2, 1].map(|labels| end.checked_sub(labels * ZFS_LABEL));
    for begins in [Some(0), Some(ZFS_LABEL)].into_iter().chain(last).flatten() {
        let at = begins + ZFS_VERSION.0;
        if reads(file, len, at, ZFS_VERSION.1)? {
            let what = "ZFS pool member";
            all.push(Found { what, begins, at });
        }
    }
    Ok(all)
}

fn reads(file: &File, len: u64, at: u64, magic: &[u8]) -> io::Result<bool> {
    let mut bytes = [0; 32];
    let bytes = &mut bytes[..magic.len()];
    if at
        .checked_add(magic.len() as u64)
        .is_none_or(|end| end > len)
    {
        return Ok(false);
    }
    file.read_exact_at(bytes, at)?;
    Ok(bytes == magic)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: u64 = (1 << 40) + 12 * 4096;

    /// A sparse file of a tebibyte with `magic` at `at`.
    fn file(at: u64, magic: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(LEN).unwrap();
        file.write_all_at(magic, at).unwrap();
        file
    }

    #[test]
    fn every_signature_is_found_where_it_is_written() {
        for (what, at, magic_at, magic) in SIGNATURES {
            let begins = at.offset(LEN).unwrap();
            let at = begins + magic_at;
            let found = find(&file(at, magic), LEN).unwrap();
            let expected = Found { what, begins, at };
            assert!(found.contains(&expected), "{expected:?}: {found:?}");
            // An empty file or a short one has none of them, which is not an error.
            let short = tempfile::tempfile().unwrap();
            short.set_len(at + 1).unwrap();
            assert_eq!(find(&short, at + 1).unwrap(), []);
        }
        assert_eq!(find(&file(0, b""), LEN).unwrap(), []);
    }

    /// Positions that the tools themselves write, on 64 MiB.
    #[test]
    fn signatures_at_the_end_are_where_others_write_them() {
        let len = 64 << 20;
        for (at, offset) in [
            (End(512), 0x3ff_fe00),
            (Md090, 0x3ff_0000),
            (Md10, 0x3ff_e000),
        ] {
            assert_eq!(at.offset(len), Some(offset));
        }
        assert_eq!(Md10.offset(len + 512), Some(0x3ff_e000));
        assert_eq!(Md090.offset(len + 512), Some(0x3ff_0000));
        for at in [End(512), Md090, Md10] {
            assert_eq!(at.offset(511), None);
        }
    }

    #[test]
    fn zfs_is_found_by_any_of_its_labels() {
        let ends = LEN / ZFS_LABEL * ZFS_LABEL;
        for label in [0, ZFS_LABEL, ends - 2 * ZFS_LABEL, ends - ZFS_LABEL] {
            let begun = b"\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\0\0\x24\0\0\0\x20\0\0\0\x07version";
            let found = find(&file(label + 16 * KIB, begun), LEN).unwrap();
            assert_eq!(found.len(), 1);
            assert_eq!((found[0].what, found[0].begins), ("ZFS pool member", label));
        }
    }
}
