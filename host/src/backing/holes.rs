//! Holes in a file: the space of a range goes back to the file system, and the range reads as zeros.

use std::io;
use std::ops::Range;

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, fstatvfs, seek};
use rustix::io::Errno;

use super::FileBacking;

impl FileBacking {
    /// Bytes of the unit in which its file system takes space; `None` for a device.
    pub(super) fn unit(&self) -> Option<u64> {
        let found = fstatvfs(&*self.file).ok()?;
        (!self.is_device() && found.f_frsize.is_power_of_two()).then_some(found.f_frsize)
    }

    /// Makes a range a hole, unless it is one.
    pub(super) fn punch_range(&self, range: Range<u64>) -> io::Result<()> {
        let first = match seek(&self.file, SeekFrom::Data(range.start)) {
            Ok(first) => first,
            // There are no data from there on.
            Err(Errno::NXIO) => return Ok(()),
            // The file system cannot seek to data.
            Err(Errno::INVAL) => range.start,
            Err(error) => return Err(error.into()),
        };
        if first >= range.end {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        loop {
            match fallocate(&self.file, flags, first, range.end - first) {
                Err(Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use vm_memory::VolatileSlice;

    use super::super::{Backing, FileOptions};
    use super::*;
    use crate::permissions::FilePermissions;

    #[test]
    fn a_hole_takes_no_space_and_reads_as_zeros() {
        let folder = tempfile::tempdir().unwrap();
        let options = FileOptions {
            create: Some(FilePermissions::default()),
            direct: false,
        };
        let path = folder.path().join("disk");
        let backing = FileBacking::open(&path, options).unwrap();
        let unit = backing.hole_unit().unwrap();
        let len = 64 * unit;
        let mut bytes = vec![7; len as usize];
        backing
            .write(0, &[VolatileSlice::from(&mut bytes[..])])
            .unwrap();
        backing.flush().unwrap();
        let sectors = || backing.file.metadata().unwrap().blocks();
        let full = sectors();
        for _ in 0..2 {
            backing.punch(unit..17 * unit).unwrap();
            assert_eq!(sectors(), full - 16 * unit / 512);
        }
        // Beyond all data.
        backing.punch(2 * len..3 * len).unwrap();
        assert_eq!(backing.file.metadata().unwrap().len(), len);
        backing
            .read(0, &[VolatileSlice::from(&mut bytes[..])])
            .unwrap();
        let (hole, rest) = (unit as usize..17 * unit as usize, 17 * unit as usize..);
        assert!(bytes[hole].iter().all(|byte| *byte == 0));
        assert!(bytes[rest].iter().all(|byte| *byte == 7));
        assert!(bytes[..unit as usize].iter().all(|byte| *byte == 7));
    }
}
