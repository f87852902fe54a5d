//! What is on a file or device before a pool is made there.
//!
//! A file that is to become a pool has nothing but holes and zeros. A device cannot be read whole, which
//! would take hours for a large one. Read of it are the places where file systems, volume
//! managers and partition tables say who they are, its first mebibytes, which a pool writes to
//! first, its last one, and samples in between. So what was wiped by half is still found, and
//! a disk that holds something unknown very likely is.

use std::fmt;
use std::fs::File;
use std::io;
use std::iter::once;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};
use rustix::fs::{Advice, SeekFrom, fadvise, seek};
use vm_memory::VolatileSlice;

use super::signatures;
use super::{FileMedium, Medium};
use crate::progress::Progress;
use crate::size::ByteSize;

/// Bytes of a device that are read at its start.
const HEAD: u64 = 64 << 20;

/// Bytes of a device that are read at its end.
const TAIL: u64 = 1 << 20;

/// Samples between these, evenly spaced.
const SAMPLES: u64 = 256;

/// Bytes of a sample.
const SAMPLE: u64 = 64 << 10;

/// Bytes that are read at a time.
const PIECE: usize = 1 << 20;

/// What a signature is wiped with it in: a sector of whatever size, and a page.
const PAGE: u64 = 4096;

/// Something that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub what: &'static str,
    /// Where it begins, bytes.
    pub begins: u64,
    /// Where the bytes are that tell it.
    pub(super) at: u64,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.what, ByteSize(self.begins))
    }
}

impl FileMedium {
    /// Whether a pool is there, whole or damaged.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn has_pool(&self) -> io::Result<bool> {
        let found = signatures::find(self.claim.file(), self.len())?;
        Ok(found.iter().any(|found| found.what == "vSSD pool"))
    }

    /// What is there: all that is known by its signature, or else where the first bytes are
    /// that are not zeros. Nothing, if a pool can be made without losing anything.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn contents(&self, progress: &mut Progress) -> Result<Vec<Found>> {
        let file = self.claim.file();
        let mut found = signatures::find(file, self.len()).context("look for what is there")?;
        if found.is_empty() {
            let data = match self.is_device() {
                true => first_byte(file, device_parts(self.len()), progress),
                false => first_byte_of_file(file, self.len(), progress),
            };
            let data = data.context("look for what is there")?;
            found.extend(data.map(|at| Found {
                what: "data",
                begins: at,
                at,
            }));
        }
        // What was read of a device need not stay in the page cache.
        let _ = fadvise(file, 0, None, Advice::DontNeed);
        Ok(found)
    }

    /// Makes sure that a device is not taken for what it was: RAID, LVM or a partition table
    /// found at its end later would be put together again, over the pool.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn wipe(&self, found: &[Found]) -> io::Result<()> {
        let mut zeros = vec![0; 2 * PAGE as usize];
        let aligned = zeros.as_ptr().align_offset(PAGE as usize);
        let zeros = VolatileSlice::from(&mut zeros[aligned..][..PAGE as usize]);
        for found in found {
            let begins = found.at / PAGE * PAGE;
            let len = (self.len() - begins).min(PAGE) as usize;
            let page = zeros.subslice(0, len).map_err(io::Error::other)?;
            self.write(begins, &[page])?;
        }
        Ok(())
    }
}

/// The parts of a device that are read.
fn device_parts(len: u64) -> Vec<Range<u64>> {
    if len <= HEAD + TAIL + SAMPLES * SAMPLE {
        return once(0..len).collect();
    }
    let step = (len - HEAD - TAIL) / SAMPLES;
    let samples = (0..SAMPLES).map(|sample| HEAD + sample * step);
    let samples = samples.map(|at| at..at + SAMPLE);
    let ends = (once(0..HEAD), once(len - TAIL..len));
    ends.0.chain(samples).chain(ends.1).collect()
}

/// Where the first byte is that is not zero.
fn first_byte(
    file: &File,
    parts: impl IntoIterator<Item = Range<u64>>,
    progress: &mut Progress,
) -> io::Result<Option<u64>> {
    let mut bytes = vec![0; PIECE];
    for part in parts {
        for at in part.clone().step_by(PIECE) {
            progress.at("read", at - part.start, part.end - part.start);
            let piece = &mut bytes[..PIECE.min((part.end - at) as usize)];
            file.read_exact_at(piece, at)?;
            // By whole chunks, which is as fast as memory is.
            let zeros = |chunk: &[u8]| chunk.iter().fold(0, |all, byte| all | byte) == 0;
            if !piece.chunks(4096).all(zeros) {
                let first = piece.iter().position(|byte| *byte != 0);
                return Ok(first.map(|first| at + first as u64));
            }
        }
    }
    Ok(None)
}

/// The same, of a file, which is read where it has data and not where it has holes.
fn first_byte_of_file(file: &File, len: u64, progress: &mut Progress) -> io::Result<Option<u64>> {
    let mut from = 0;
    while from < len {
        let data = match seek(file, SeekFrom::Data(from)) {
            Ok(data) => data,
            // There is none.
            Err(rustix::io::Errno::NXIO) => return Ok(None),
            // The file system does not tell.
            Err(rustix::io::Errno::INVAL) => from,
            Err(error) => return Err(error.into()),
        };
        let end = match seek(file, SeekFrom::Hole(data)) {
            Ok(end) => end.min(len),
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NXIO) => len,
            Err(error) => return Err(error.into()),
        };
        if let Some(found) = first_byte(file, once(data..end), progress)? {
            return Ok(Some(found));
        }
        from = end;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::FileOptions;
    use super::*;
    use crate::access::Access;

    fn open(path: &Path) -> FileMedium {
        let options = FileOptions {
            create: Some(Access::default()),
            direct: false,
        };
        FileMedium::open(path, options).unwrap()
    }

    fn contents(file: &FileMedium) -> Vec<String> {
        let found = file.contents(&mut Progress::quiet()).unwrap();
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn holes_and_zeros_are_nothing_and_one_byte_is_something() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let file = File::create(&path).unwrap();
        let empty: [String; 0] = [];
        assert_eq!(contents(&open(&path)), empty);
        file.set_len((1 << 40) + 1).unwrap();
        file.write_all_at(&[0; 4 << 20], 3 << 30).unwrap();
        let medium = open(&path);
        assert_eq!(contents(&medium), empty);
        for at in [(1 << 40), (3 << 30) + 12345, 777] {
            file.write_all_at(&[1], at).unwrap();
            assert_eq!(contents(&medium), [format!("data at {}", ByteSize(at))]);
        }
        file.write_all_at(b"_BHRfS_M", 0x10040).unwrap();
        assert_eq!(contents(&medium), ["btrfs file system at 64KiB"]);
        assert!(!medium.has_pool().unwrap());
        file.write_all_at(b"vSSDpool", 4096).unwrap();
        assert!(medium.has_pool().unwrap());
    }

    #[test]
    fn what_is_wiped_is_found_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let file = File::create(&path).unwrap();
        // An end that is no multiple of a page.
        let len = (1 << 30) + 512;
        file.set_len(len).unwrap();
        file.write_all_at(b"EFI PART", len - 512).unwrap();
        file.write_all_at(b"XFSB", 0).unwrap();
        let medium = open(&path);
        let found = medium.contents(&mut Progress::quiet()).unwrap();
        assert_eq!(found.len(), 2);
        medium.wipe(&found).unwrap();
        assert!(contents(&medium).is_empty());
    }

    /// Large devices are read in parts that do not grow with them, in order and within them.
    #[test]
    fn the_parts_of_a_device_are_bounded() {
        for len in [0, 1, 512, HEAD, (82 << 20) + 512, 1 << 30, 1 << 50] {
            let parts = device_parts(len);
            let sum: u64 = parts.iter().map(|part| part.end - part.start).sum();
            assert!(sum == len || sum <= 82 << 20, "{len}: {sum}");
            assert!(parts.iter().all(|part| part.end <= len));
            assert!(parts.windows(2).all(|two| two[0].end <= two[1].start));
            assert_eq!(parts.last().map_or(0, |part| part.end), len);
        }
    }

    #[test]
    fn a_byte_is_found_at_its_place() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8 << 20).unwrap();
        for at in [0, 4095, 4096, (1 << 20) - 1, 1 << 20, (8 << 20) - 1] {
            file.write_all_at(&[9], at).unwrap();
            let found = first_byte(&file, once(0..8 << 20), &mut Progress::quiet()).unwrap();
            assert_eq!(found, Some(at));
            file.write_all_at(&[0], at).unwrap();
        }
    }
}
