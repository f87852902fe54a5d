//! What a file or device contains before a pool is created on it.
//!
//! A file for a new pool may contain only holes and zeros. A device cannot be read whole: that
//! would take hours for a large one. It is read in full where the pool itself writes, which are its
//! superblocks and both areas of its journal at the start (5.3 GiB for 1 TiB in blocks of 4 KiB),
//! and never less than the first mebibytes. The physical blocks follow, which are overwritten only
//! when a guest writes. Of these, the check reads samples, the last mebibyte, and the positions
//! where file systems, volume managers and partition tables keep their signatures. So a partly
//! wiped disk is still recognized, and a disk with unknown contents very likely is.

use std::fs::File;
use std::io;
use std::iter::once;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::slice;

use anyhow::{Context, Result};
use rustix::fs::{Advice, SeekFrom, fadvise, seek};
use vm_memory::VolatileSlice;

use super::signatures::{self, Found};
use super::{Backing, FileBacking};
use crate::progress::Progress;

/// Bytes of a device that are read at its start at least.
const HEAD: u64 = 64 << 20;

/// Bytes of a device that are read at its end.
const TAIL: u64 = 1 << 20;

/// Samples between these, evenly spaced.
const SAMPLES: u64 = 256;

/// Bytes of a sample.
const SAMPLE: u64 = 64 << 10;

/// Bytes that are read at a time.
const PIECE: usize = 1 << 20;

/// Zeros to compare with, a page at a time, which runs at the speed of memory.
const ZEROS: [u8; PAGE as usize] = [0; PAGE as usize];

/// The range around a signature that is wiped with it: a page, which contains a sector of any size.
const PAGE: u64 = 4096;

impl FileBacking {
    /// Whether it contains a pool, whole or damaged.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn has_pool(&self) -> io::Result<bool> {
        let found = signatures::find(self.claim.file(), self.len())?;
        Ok(found.iter().any(|found| found.what == "vSSD pool"))
    }

    /// Its contents: everything with a known signature, or else the position of the first byte that
    /// is not zero. Empty if a pool can be created without losing data. The first `written` bytes,
    /// which the pool itself writes, are read in full.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn contents(&self, written: u64, progress: &mut Progress) -> Result<Vec<Found>> {
        let file = self.claim.file();
        let mut found = signatures::find(file, self.len()).context("examine its contents")?;
        if found.is_empty() {
            let data = if self.is_device() {
                first_byte(file, &device_parts(self.len(), written), progress)
            } else {
                first_byte_of_file(file, self.len(), progress)
            };
            let data = data.context("examine its contents")?;
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

    /// Erases the signatures of earlier contents: a RAID, LVM or partition table that is found at
    /// the end of a device later would be assembled again, over the pool.
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

/// The parts of a device that are read, in order, none of them twice.
fn device_parts(len: u64, written: u64) -> Vec<Range<u64>> {
    let head = written.max(HEAD);
    if len.saturating_sub(head) <= TAIL + SAMPLES * SAMPLE {
        return once(0..len).collect();
    }
    let step = (len - head - TAIL) / SAMPLES;
    let samples = (0..SAMPLES).map(|sample| head + sample * step);
    let samples = samples.map(|at| at..at + SAMPLE);
    let ends = (once(0..head), once(len - TAIL..len));
    ends.0.chain(samples).chain(ends.1).collect()
}

/// Where the first byte is that is not zero.
fn first_byte(
    file: &File,
    parts: &[Range<u64>],
    progress: &mut Progress,
) -> io::Result<Option<u64>> {
    let mut bytes = vec![0; PIECE];
    let (all, mut done) = (parts.iter().map(|part| part.end - part.start).sum(), 0);
    for part in parts {
        for at in part.clone().step_by(PIECE) {
            progress.at("read", done, all);
            let piece = &mut bytes[..PIECE.min((part.end - at) as usize)];
            file.read_exact_at(piece, at)?;
            if !piece
                .chunks(ZEROS.len())
                .all(|page| page == &ZEROS[..page.len()])
            {
                let first = piece.iter().position(|byte| *byte != 0);
                return Ok(first.map(|first| at + first as u64));
            }
            done += piece.len() as u64;
        }
    }
    Ok(None)
}

/// The same for a file, whose holes are not read.
fn first_byte_of_file(file: &File, len: u64, progress: &mut Progress) -> io::Result<Option<u64>> {
    let mut from = 0;
    while from < len {
        let data = match seek(file, SeekFrom::Data(from)) {
            Ok(data) => data,
            // There is none.
            Err(rustix::io::Errno::NXIO) => return Ok(None),
            // The file system cannot seek to data.
            Err(rustix::io::Errno::INVAL) => from,
            Err(error) => return Err(error.into()),
        };
        let end = match seek(file, SeekFrom::Hole(data)) {
            Ok(end) => end.min(len),
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NXIO) => len,
            Err(error) => return Err(error.into()),
        };
        if let Some(found) = first_byte(file, slice::from_ref(&(data..end)), progress)? {
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
    use crate::permissions::FilePermissions;
    use crate::pool::Shape;
    use crate::size::ByteSize;

    fn open(path: &Path) -> FileBacking {
        let options = FileOptions {
            create: Some(FilePermissions::default()),
            direct: false,
        };
        FileBacking::open(path, options).unwrap()
    }

    fn contents(file: &FileBacking) -> Vec<String> {
        let found = file.contents(0, &mut Progress::quiet()).unwrap();
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
        let backing = open(&path);
        assert_eq!(contents(&backing), empty);
        for at in [(1 << 40), (3 << 30) + 12345, 777] {
            file.write_all_at(&[1], at).unwrap();
            assert_eq!(contents(&backing), [format!("data at {}", ByteSize(at))]);
        }
        file.write_all_at(b"_BHRfS_M", 0x10040).unwrap();
        assert_eq!(contents(&backing), ["btrfs file system at 64KiB"]);
        assert!(!backing.has_pool().unwrap());
        file.write_all_at(b"vSSDpool", 4096).unwrap();
        assert!(backing.has_pool().unwrap());
    }

    #[test]
    fn what_is_wiped_is_found_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let file = File::create(&path).unwrap();
        // An end that is not a multiple of a page.
        let len = (1 << 30) + 512;
        file.set_len(len).unwrap();
        file.write_all_at(b"EFI PART", len - 512).unwrap();
        file.write_all_at(b"XFSB", 0).unwrap();
        let backing = open(&path);
        let found = backing.contents(0, &mut Progress::quiet()).unwrap();
        assert_eq!(found.len(), 2);
        backing.wipe(&found).unwrap();
        assert!(contents(&backing).is_empty());
    }

    /// Large devices are read in parts that do not grow with them, in order and within them, but
    /// for what the pool writes to by itself.
    #[test]
    fn the_parts_of_a_device_are_bounded() {
        for len in [0, 1, 512, HEAD, (82 << 20) + 512, 1 << 30, 1 << 50] {
            for written in [0, 4096, HEAD - 1, HEAD, HEAD + 512, 5 << 30, u64::MAX] {
                let parts = device_parts(len, written);
                let sum: u64 = parts.iter().map(|part| part.end - part.start).sum();
                let most = (18 << 20) + written.clamp(HEAD, 1 << 60);
                let case = format!("{len}, {written}: {sum}");
                assert!(sum == len || sum <= most, "{case}");
                assert!(parts.iter().all(|part| part.end <= len), "{case}");
                let in_order = |two: &[Range<u64>]| two[0].end <= two[1].start;
                assert!(parts.windows(2).all(in_order), "{case}");
                assert_eq!(parts.first().map(|part| part.start), Some(0), "{case}");
                assert!(parts[0].end >= written.min(len), "{case}");
                assert_eq!(parts.last().map_or(0, |part| part.end), len, "{case}");
            }
        }
    }

    /// Any single byte where the pool keeps its journal is found, also off the samples that are
    /// read of the rest.
    #[test]
    fn a_byte_in_what_the_pool_writes_is_found() {
        let shape = Shape {
            block_size: 4096,
            physical_blocks: 64 << 18,
            overcommit_permille: 1000,
        };
        let room = shape.room();
        assert!(room.reserved > 5 * HEAD, "{}", room.reserved);
        let file = tempfile::tempfile().unwrap();
        file.set_len(room.len).unwrap();
        let first = |written: u64| {
            let parts = device_parts(room.len, written);
            first_byte(&file, &parts, &mut Progress::quiet()).unwrap()
        };
        for at in [HEAD, 2 * HEAD + SAMPLE + 1, room.reserved - 1] {
            file.write_all_at(&[1], at).unwrap();
            assert_eq!(first(room.reserved), Some(at));
            file.write_all_at(&[0], at).unwrap();
        }
        // Between two samples of the physical blocks nothing is read.
        let between = room.reserved + SAMPLE + 1;
        file.write_all_at(&[1], between).unwrap();
        assert_eq!(first(room.reserved), None);
    }

    #[test]
    fn a_byte_is_found_at_its_place() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8 << 20).unwrap();
        let all = [0..1 << 20, 1 << 20..8 << 20];
        for at in [0, 4095, 4096, (1 << 20) - 1, 1 << 20, (8 << 20) - 1] {
            file.write_all_at(&[9], at).unwrap();
            let found = first_byte(&file, &all, &mut Progress::quiet()).unwrap();
            assert_eq!(found, Some(at));
            file.write_all_at(&[0], at).unwrap();
        }
    }
}
