//! Bytes in the memory of this process, as fast as a medium can be.

use std::io;
use std::ops::Range;

use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, ftruncate, memfd_create};
use vm_memory::{FileOffset, MmapRegion, VolatileMemory, VolatileSlice};

use super::Medium;

/// Runs of zeros shorter than this are written; longer ones give their memory
/// back, which costs a system call.
const PUNCHED: u64 = 128 << 10;

/// A sparse file in memory, mapped: what was never written takes no memory.
#[derive(Debug)]
pub struct MemoryMedium {
    region: MmapRegion,
}

impl MemoryMedium {
    /// A medium of `len` bytes that reads as zeros.
    pub fn new(len: u64) -> io::Result<Self> {
        let file = memfd_create("vssd-medium", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, len)?;
        let size = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let file = FileOffset::new(std::fs::File::from(file), 0);
        let region = MmapRegion::from_file(file, size).map_err(io::Error::other)?;
        Ok(Self { region })
    }

    fn slice(&self, offset: u64, len: usize) -> io::Result<VolatileSlice<'_>> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        self.region
            .get_slice(offset, len)
            .map_err(|_| io::ErrorKind::UnexpectedEof.into())
    }
}

impl Medium for MemoryMedium {
    fn read(&self, mut offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        for buffer in buffers {
            self.slice(offset, buffer.len())?
                .copy_to_volatile_slice(*buffer);
            offset += buffer.len() as u64;
        }
        Ok(())
    }

    fn write(&self, mut offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        for buffer in buffers {
            buffer.copy_to_volatile_slice(self.slice(offset, buffer.len())?);
            offset += buffer.len() as u64;
        }
        Ok(())
    }

    fn discard(&self, range: Range<u64>) -> io::Result<()> {
        let len = range.end - range.start;
        match self.region.file_offset() {
            Some(file) if len >= PUNCHED => {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                Ok(fallocate(file.file(), flags, range.start, len)?)
            }
            _ => {
                const ZEROS: [u8; 4096] = [0; 4096];
                let slice = self.slice(range.start, len as usize)?;
                for at in (0..slice.len()).step_by(ZEROS.len()) {
                    let rest = slice.offset(at).map_err(io::Error::other)?;
                    rest.copy_from(&ZEROS[..rest.len().min(ZEROS.len())]);
                }
                Ok(())
            }
        }
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn data(&self, _range: Range<u64>) -> io::Result<Vec<Range<u64>>> {
        // It lives no longer than the backend, so nobody finds it with data.
        Ok(Vec::new())
    }

    fn len(&self) -> u64 {
        self.region.size() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_until_it_is_discarded() {
        let len = 1 << 20;
        let medium = MemoryMedium::new(len).unwrap();
        let mut data: Vec<u8> = (0..len).map(|i| (i % 251) as u8 + 1).collect();
        let written = data.clone();
        let (front, back) = data.split_at_mut(12345);
        medium.write(0, &[front.into(), back.into()]).unwrap();
        // One that is zeroed and one that is punched.
        let holes = [4096..3 * 4096, 1 << 19..(1 << 19) + PUNCHED];
        for hole in &holes {
            medium.discard(hole.clone()).unwrap();
        }
        let mut read = vec![0; len as usize];
        medium.read(0, &[read.as_mut_slice().into()]).unwrap();
        for (at, (read, written)) in read.iter().zip(&written).enumerate() {
            let in_hole = holes.iter().any(|hole| hole.contains(&(at as u64)));
            assert_eq!(*read, if in_hole { 0 } else { *written }, "byte {at}");
        }
        let mut beyond = [0; 512];
        assert!(
            medium
                .read(len - 1, &[beyond.as_mut_slice().into()])
                .is_err()
        );
    }
}
