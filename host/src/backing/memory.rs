//! A backing in the memory of this process, the fastest kind.

#![allow(unsafe_code)]

use std::io;

use rustix::mm::{Advice, madvise};
use vm_memory::{MmapRegion, VolatileMemory, VolatileSlice};

use super::Backing;

/// Anonymous memory: ranges never written take none, give or take a huge page. With pages of 4 KiB,
/// page table walks take a good part of a read.
#[derive(Debug)]
pub struct MemoryBacking {
    region: MmapRegion,
}

impl MemoryBacking {
    /// A backing of `len` bytes that reads as zeros.
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
        // Without huge pages it is slower, and just as correct.
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

impl Backing for MemoryBacking {
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

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> u64 {
        self.region.size() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let len = 1 << 20;
        let backing = MemoryBacking::new(len).unwrap();
        let mut data: Vec<u8> = (0..len).map(|i| (i % 251) as u8 + 1).collect();
        let written = data.clone();
        let (front, back) = data.split_at_mut(12345);
        backing.write(0, &[front.into(), back.into()]).unwrap();
        let mut read = vec![0; len as usize];
        backing.read(0, &[read.as_mut_slice().into()]).unwrap();
        assert_eq!(read, written);
        let mut beyond = [0; 512];
        assert!(
            backing
                .read(len - 1, &[beyond.as_mut_slice().into()])
                .is_err()
        );
    }
}
