//! Bytes in the memory of this process, as fast as a medium can be.

#![allow(unsafe_code)]

use std::io;
use std::ops::Range;

use rustix::mm::{Advice, madvise};
use vm_memory::{MmapRegion, VolatileMemory, VolatileSlice};

use super::Medium;

/// Runs of zeros shorter than this are written; longer ones give their memory
/// back, which costs a system call and the break-up of huge pages.
const GIVEN_BACK: usize = 4 << 20;

/// Bytes of the smallest page.
const PAGE: u64 = 4096;

const ZEROS: [u8; 4096] = [0; 4096];

/// Anonymous memory: what was never written takes none, give or take a huge
/// page. With pages of 4 KiB, looking them up takes a good part of a read.
#[derive(Debug)]
pub struct MemoryMedium {
    region: MmapRegion,
}

impl MemoryMedium {
    /// A medium of `len` bytes that reads as zeros.
    pub fn new(len: u64) -> io::Result<Self> {
        let size = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let region = MmapRegion::build(
            None,
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_ANONYMOUS | libc::MAP_PRIVATE | libc::MAP_NORESERVE,
        )
        .map_err(io::Error::other)?;
        // SAFETY: the range is the mapping just made; advice on page sizes
        // changes nothing that is in it.
        let advised = unsafe { madvise(region.as_ptr().cast(), size, Advice::LinuxHugepage) };
        // A kernel without huge pages is slower, and just as right.
        let _ = advised;
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
        let len = (range.end - range.start) as usize;
        let slice = self.slice(range.start, len)?;
        if len >= GIVEN_BACK
            && range.start.is_multiple_of(PAGE)
            && (len as u64).is_multiple_of(PAGE)
        {
            let guard = slice.ptr_guard_mut();
            // SAFETY: `slice` lies within the private anonymous mapping that
            // this medium owns, so dropping its pages makes it read as zeros
            // and concerns nobody else; it is whole pages. No Rust reference
            // to its bytes exists, only slices that allow for such changes.
            unsafe { madvise(guard.as_ptr().cast(), len, Advice::LinuxDontNeed)? };
            return Ok(());
        }
        for at in (0..len).step_by(ZEROS.len()) {
            let rest = slice.offset(at).map_err(io::Error::other)?;
            rest.copy_from(&ZEROS[..rest.len().min(ZEROS.len())]);
        }
        Ok(())
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
        let len = 16 << 20;
        let medium = MemoryMedium::new(len).unwrap();
        let mut data: Vec<u8> = (0..len).map(|i| (i % 251) as u8 + 1).collect();
        let written = data.clone();
        let (front, back) = data.split_at_mut(12345);
        medium.write(0, &[front.into(), back.into()]).unwrap();
        // One that is zeroed and one that is given back.
        let holes = [4096..3 * 4096, 1 << 20..(1 << 20) + GIVEN_BACK as u64];
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
