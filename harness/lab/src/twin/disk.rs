//! The other disks of a twin's guest: the origin disk in memory, the trace disk in a file.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use guest_runtime::port::{BlkOp, BlkPort, BlkStatus, SECTOR_LEN, feature};
use vssd_host::size::ByteSize;

use super::buffers::{Buffers, SLOT_LEN, SLOTS};
use super::port::REQUEST_NS;
use crate::resources::memory;

const PAGE: usize = 4096;

/// The pages of a disk may take 1/2 of the memory available when the disk is created. The rest
/// is for the vSSD and the experiment.
const MEMORY_PART: u64 = 2;

/// A disk in memory that stores only nonzero pages.
#[derive(Debug)]
pub struct SparseDisk {
    len: u64,
    /// Upper bound of the pages stored.
    limit: usize,
    pages: Mutex<BTreeMap<u64, Box<[u8; PAGE]>>>,
}

impl SparseDisk {
    /// A disk of zeros.
    ///
    /// # Errors
    /// When its size is not a multiple of the page size.
    pub fn new(size: ByteSize) -> Result<Self> {
        ensure!(
            size.0 > 0 && size.0.is_multiple_of(PAGE as u64),
            "invalid size {size} of an origin disk; expected a multiple of {PAGE} bytes"
        );
        let available = memory().map_or(u64::MAX, |available| available.0);
        Ok(Self {
            len: size.0,
            limit: usize::try_from(available / MEMORY_PART / PAGE as u64).unwrap_or(usize::MAX),
            pages: Mutex::new(BTreeMap::new()),
        })
    }

    fn read(&self, at: u64, out: &mut [u8]) {
        let pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        each_page(at, out.len(), |page, offset, range| {
            let out = &mut out[range];
            match pages.get(&page) {
                Some(bytes) => out.copy_from_slice(&bytes[offset..][..out.len()]),
                None => out.fill(0),
            }
            true
        });
    }

    /// False when the limit of pages is reached.
    fn write(&self, at: u64, data: &[u8]) -> bool {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        each_page(at, data.len(), |page, offset, range| {
            let data = &data[range];
            if let Some(bytes) = pages.get_mut(&page) {
                bytes[offset..][..data.len()].copy_from_slice(data);
                return true;
            }
            if data.iter().all(|byte| *byte == 0) {
                return true;
            }
            let room = pages.len() < self.limit;
            if room {
                let mut bytes = Box::new([0; PAGE]);
                bytes[offset..][..data.len()].copy_from_slice(data);
                pages.insert(page, bytes);
            }
            room
        })
    }
}

/// Calls `action` with each page of a range, the offset in the page, and the part of the range
/// there, until `action` returns false.
fn each_page(
    at: u64,
    len: usize,
    mut action: impl FnMut(u64, usize, std::ops::Range<usize>) -> bool,
) -> bool {
    let mut done = 0;
    while done < len {
        let place = at + done as u64;
        let offset = (place % PAGE as u64) as usize;
        let end = len.min(done + PAGE - offset);
        if !action(place / PAGE as u64, offset, done..end) {
            return false;
        }
        done = end;
    }
    true
}

/// Content of a disk.
#[derive(Clone, Debug)]
pub enum Sectors {
    /// An origin disk, which outlives the guest.
    Sparse(Arc<SparseDisk>),
    /// An origin disk that keeps nothing.
    Null {
        /// Bytes.
        len: u64,
    },
    /// A read-only file.
    File {
        file: Arc<File>,
        /// Length of the file, rounded up to whole sectors. As in QEMU, the last sector is
        /// padded with zeros.
        len: u64,
    },
}

impl Sectors {
    /// Opens the image of a trace disk.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_file(path: &Path) -> Result<Self> {
        let open = || {
            let file = File::open(path)?;
            let len = file.metadata()?.len();
            Ok::<_, io::Error>((file, len))
        };
        let (file, len) = open().with_context(|| format!("open {}", path.display()))?;
        let len = len.next_multiple_of(SECTOR_LEN as u64);
        Ok(Self::File {
            file: Arc::new(file),
            len,
        })
    }

    fn len(&self) -> u64 {
        match self {
            Self::Sparse(disk) => disk.len,
            Self::Null { len } | Self::File { len, .. } => *len,
        }
    }

    fn serve(&self, op: BlkOp, at: u64, bytes: &mut [u8]) -> BlkStatus {
        let end = at.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| end > self.len()) {
            return BlkStatus::IoError;
        }
        let succeeded = match (self, op) {
            (_, BlkOp::Flush) => true,
            (Self::Null { .. }, BlkOp::Read) => {
                bytes.fill(0);
                true
            }
            (Self::Null { .. }, BlkOp::Write) => true,
            (Self::Sparse(disk), BlkOp::Read) => {
                disk.read(at, bytes);
                true
            }
            (Self::Sparse(disk), BlkOp::Write) => disk.write(at, bytes),
            (Self::File { file, .. }, BlkOp::Read) => read_and_pad(file, at, bytes).is_ok(),
            (Self::File { .. }, BlkOp::Write) | (_, BlkOp::Discard) => false,
        };
        if succeeded {
            BlkStatus::Ok
        } else {
            BlkStatus::IoError
        }
    }
}

/// Fills `bytes` from the file, and with zeros past its end.
fn read_and_pad(file: &File, at: u64, bytes: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], at + done as u64)? {
            0 => {
                bytes[done..].fill(0);
                break;
            }
            len => done += len,
        }
    }
    Ok(())
}

/// A request before the doorbell rings.
struct Submitted {
    slot: usize,
    op: BlkOp,
    sector: u64,
    len: usize,
}

/// The queue of such a disk. As on a twin's vSSD, requests are served when the doorbell rings,
/// and take virtual time.
pub struct TwinDisk {
    sectors: Sectors,
    clock: Arc<AtomicU64>,
    data: Buffers,
    submitted: Vec<Submitted>,
    finished: VecDeque<(usize, BlkStatus)>,
}

impl TwinDisk {
    pub(super) fn new(sectors: Sectors, clock: Arc<AtomicU64>) -> io::Result<Self> {
        Ok(Self {
            sectors,
            clock,
            data: Buffers::new()?,
            submitted: Vec::with_capacity(SLOTS),
            finished: VecDeque::with_capacity(SLOTS),
        })
    }
}

impl BlkPort for TwinDisk {
    fn read_config(&mut self, offset: usize, out: &mut [u8]) {
        let mut config = [0; 64];
        config[..8].copy_from_slice(&(self.sectors.len() / SECTOR_LEN as u64).to_le_bytes());
        out.copy_from_slice(&config[offset..offset + out.len()]);
    }

    fn features(&self) -> u64 {
        feature::FLUSH
    }

    fn slot_count(&self) -> usize {
        SLOTS
    }

    fn slot_len(&self) -> usize {
        SLOT_LEN
    }

    fn buffer(&mut self, slot: usize) -> &mut [u8] {
        self.data.slot(slot, SLOT_LEN)
    }

    fn submit(&mut self, slot: usize, op: BlkOp, sector: u64, len: usize) {
        self.submitted.push(Submitted {
            slot,
            op,
            sector,
            len,
        });
    }

    fn kick(&mut self) {
        if self.submitted.is_empty() {
            return;
        }
        let requests = self.submitted.len() as u64;
        for Submitted {
            slot,
            op,
            sector,
            len,
        } in self.submitted.drain(..)
        {
            let data = self.data.slot(slot, len);
            let at = sector.saturating_mul(SECTOR_LEN as u64);
            self.finished
                .push_back((slot, self.sectors.serve(op, at, data)));
        }
        self.clock
            .fetch_add(requests * REQUEST_NS, Ordering::Relaxed);
    }

    fn completion(&mut self) -> Option<(usize, BlkStatus)> {
        self.finished.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparse_disk_stores_written_pages_only() {
        let disk = SparseDisk::new(ByteSize(40 << 30)).unwrap();
        let at = (40 << 30) - 3 * PAGE as u64 - 512;
        assert!(disk.write(at, &[7; 2 * PAGE]));
        let mut out = [1; 3 * PAGE];
        disk.read(at - 512, &mut out);
        assert_eq!(out[..512], [0; 512]);
        assert_eq!(out[512..512 + 2 * PAGE], [7; 2 * PAGE]);
        assert_eq!(out[512 + 2 * PAGE..], [0; PAGE - 512]);
        assert_eq!(disk.pages.lock().unwrap().len(), 3);
        assert!(SparseDisk::new(ByteSize(1000)).is_err());
    }

    #[test]
    fn a_full_sparse_disk_fails_writes_to_new_pages() {
        let disk = SparseDisk {
            limit: 2,
            ..SparseDisk::new(ByteSize(1 << 20)).unwrap()
        };
        assert!(disk.write(0, &[1; 2 * PAGE]));
        assert!(!disk.write(8 * PAGE as u64, &[1; PAGE]));
        assert!(disk.write(8 * PAGE as u64, &[0; PAGE]));
        assert!(disk.write(PAGE as u64, &[2; PAGE]));
    }

    #[test]
    fn a_file_is_read_in_sectors_and_never_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace");
        std::fs::write(&path, [5; 1500]).unwrap();
        let sectors = Sectors::of_file(&path).unwrap();
        let mut out = [0; 512];
        assert_eq!(sectors.len(), 1536);
        assert_eq!(sectors.serve(BlkOp::Read, 1024, &mut out), BlkStatus::Ok);
        assert_eq!(out[..476], [5; 476]);
        assert_eq!(out[476..], [0; 36]);
        assert_eq!(
            sectors.serve(BlkOp::Read, 1536, &mut out),
            BlkStatus::IoError
        );
        assert_eq!(sectors.serve(BlkOp::Write, 0, &mut out), BlkStatus::IoError);
        assert_eq!(sectors.serve(BlkOp::Flush, 0, &mut []), BlkStatus::Ok);
    }
}
