//! The record of which blocks a guest holds, as a log beside the backing file.
//!
//! ```text
//!  header, 32 bytes                       record, 16 bytes and a payload
//!  "vSSDown1" | block size u32 |          "OWN!" | kind u32 | length u32 | crc32 u32 | payload
//!  capacity u32 | offset u64 |              kind 1 grant, 2 release; the payload is a block set
//!  0 u32 | crc32 u32                        as it travels in the contract; the crc covers
//!                                           kind, length and payload
//! ```
//!
//! A log starts from the empty set. A change is appended by one write before
//! it takes effect, so a killed backend finds every change that it had
//! acknowledged; a record cut short by the kill was not acknowledged and is
//! dropped. Opening and growing past a bound rewrites the log as the grants of
//! the present set, in a new file that replaces the old one by a rename.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use vssd::block_set::BlockSet;
use vssd::encoding::{SetView, encode};
use vssd::units::Geometry;
use vssd::wire::{Encoding, MAX_PAYLOAD};

const MAGIC: &[u8; 8] = b"vSSDown1";
const RECORD: &[u8; 4] = b"OWN!";
const HEADER_LEN: usize = 32;
const RECORD_HEADER_LEN: usize = 16;

/// What happened to the blocks of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The guest got them.
    Grant = 1,
    /// The guest lost them.
    Release = 2,
}

/// Why a log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file cannot be read or written.
    #[error("ownership log {path}: {source}")]
    Io {
        /// The log.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A write to it failed half-way.
    #[error("{path} ends in half a record: make room on its disk and restart the backend")]
    Damaged {
        /// The log.
        path: PathBuf,
    },
    /// It belongs to another device.
    #[error(
        "{path} records a vSSD of {found}, not of {wanted}: start the backend with the sizes and \
         order it had, or remove the file to start with all blocks held and undefined contents"
    )]
    Layout {
        /// The log.
        path: PathBuf,
        /// The shape in the log.
        found: String,
        /// The shape that was asked for.
        wanted: String,
    },
    /// It is no ownership log.
    #[error("{path} is no ownership log: move it away")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
}

/// An open ownership log with the set that it adds up to.
#[derive(Debug)]
pub struct OwnershipLog {
    path: PathBuf,
    file: File,
    len: u64,
    limit: u64,
    geometry: Geometry,
    offset: u64,
    held: BlockSet,
    /// A record was cut short and could not be taken back: whatever stood
    /// behind it would be lost.
    damaged: bool,
}

fn header(geometry: Geometry, offset: u64) -> [u8; HEADER_LEN] {
    let mut bytes = [0; HEADER_LEN];
    bytes[0..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&geometry.block_size().to_le_bytes());
    bytes[12..16].copy_from_slice(&geometry.capacity().to_le_bytes());
    bytes[16..24].copy_from_slice(&offset.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..28]);
    bytes[28..32].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The bytes of the backing that the vSSD of the log at `path` has; `None` when
/// that is no ownership log.
pub fn place(path: &Path) -> Option<Range<u64>> {
    let mut found = [0; HEADER_LEN];
    File::open(path).ok()?.read_exact(&mut found).ok()?;
    let u32_at = |at: usize| u32::from_le_bytes(found[at..at + 4].try_into().expect("4 bytes"));
    let offset = u64::from_le_bytes(found[16..24].try_into().expect("8 bytes"));
    let geometry = Geometry::new(u32_at(8), u32_at(12).into()).ok()?;
    let end = offset.checked_add(geometry.capacity_bytes())?;
    (found == header(geometry, offset)).then_some(offset..end)
}

fn describe(header: &[u8]) -> String {
    let u32_at = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("4 bytes"));
    let offset = u64::from_le_bytes(header[16..24].try_into().expect("8 bytes"));
    format!(
        "{} blocks of {} bytes at offset {offset}",
        u32_at(12),
        u32_at(8)
    )
}

fn record(change: Change, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(RECORD_HEADER_LEN + payload.len());
    bytes.extend_from_slice(RECORD);
    bytes.extend_from_slice(&(change as u32).to_le_bytes());
    bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[4..12]);
    crc.update(payload);
    bytes.extend_from_slice(&crc.finalize().to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The first record of `bytes`, its change and payload; `None` when it is cut
/// short or damaged.
fn split_record(bytes: &[u8]) -> Option<(Change, &[u8], &[u8])> {
    let (head, rest) = bytes.split_at_checked(RECORD_HEADER_LEN)?;
    let u32_at = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("4 bytes"));
    let change = match u32_at(4) {
        1 => Change::Grant,
        2 => Change::Release,
        _ => return None,
    };
    let (payload, rest) = rest.split_at_checked(u32_at(8) as usize)?;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&head[4..12]);
    crc.update(payload);
    (&head[..4] == RECORD && crc.finalize() == u32_at(12)).then_some((change, payload, rest))
}

/// The set that the records add up to, up to the first that is cut short.
fn replay(mut bytes: &[u8], geometry: Geometry) -> BlockSet {
    let mut held = BlockSet::empty(geometry.capacity());
    while let Some((change, payload, rest)) = split_record(bytes) {
        let Ok(blocks) = SetView::parse(payload, geometry) else {
            break;
        };
        match change {
            Change::Grant => held.insert_view(&blocks),
            Change::Release => held.remove_view(&blocks),
        };
        bytes = rest;
    }
    held
}

impl OwnershipLog {
    /// Opens the log at `path` of a vSSD of this shape whose region starts at
    /// `offset` of the backing, or makes one in which the guest holds `fresh`.
    pub fn open(
        path: &Path,
        geometry: Geometry,
        offset: u64,
        fresh: &BlockSet,
    ) -> Result<Self, LogError> {
        let failed = |source| LogError::Io {
            path: path.to_owned(),
            source,
        };
        let expected = header(geometry, offset);
        let held = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => fresh.clone(),
            Err(error) => return Err(failed(error)),
            Ok(bytes) => {
                let Some((found, records)) = bytes.split_at_checked(HEADER_LEN) else {
                    return Err(LogError::Foreign {
                        path: path.to_owned(),
                    });
                };
                if !found.starts_with(MAGIC) {
                    return Err(LogError::Foreign {
                        path: path.to_owned(),
                    });
                }
                if found != expected {
                    return Err(LogError::Layout {
                        path: path.to_owned(),
                        found: describe(found),
                        wanted: describe(&expected),
                    });
                }
                replay(records, geometry)
            }
        };
        let (file, len) = write_snapshot(path, geometry, offset, &held).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            len,
            // Eight full bitmaps, 4 MiB at least: rewriting one bitmap every
            // eight changes costs an eighth of what the changes cost.
            limit: (u64::from(geometry.capacity())).max(4 << 20),
            geometry,
            offset,
            held,
            damaged: false,
        })
    }

    /// The blocks that the guest holds by the log.
    pub fn held(&self) -> &BlockSet {
        &self.held
    }

    /// Appends a change.
    ///
    /// # Errors
    /// When it could not be written whole; the log is as it was.
    pub fn append(&mut self, change: Change, blocks: &SetView<'_>) -> Result<(), LogError> {
        if self.damaged {
            return Err(LogError::Damaged {
                path: self.path.clone(),
            });
        }
        let bytes = record(change, blocks.as_bytes());
        if let Err(source) = self.file.write_all(&bytes) {
            // What was written of it must not stand before the next record.
            self.damaged = self
                .file
                .set_len(self.len)
                .and_then(|()| self.file.seek(SeekFrom::Start(self.len)))
                .is_err();
            return Err(LogError::Io {
                path: self.path.clone(),
                source,
            });
        }
        self.len += bytes.len() as u64;
        match change {
            Change::Grant => self.held.insert_view(blocks),
            Change::Release => self.held.remove_view(blocks),
        };
        if self.len > self.limit {
            // The log as it is stays valid when this fails: try again later.
            if let Ok((file, len)) =
                write_snapshot(&self.path, self.geometry, self.offset, &self.held)
            {
                self.file = file;
                self.len = len;
            }
        }
        Ok(())
    }
}

/// Replaces the log by one that grants `held`, and opens it at its end.
fn write_snapshot(
    path: &Path,
    geometry: Geometry,
    offset: u64,
    held: &BlockSet,
) -> io::Result<(File, u64)> {
    let mut bytes = header(geometry, offset).to_vec();
    let mut payload = vec![0; MAX_PAYLOAD];
    let mut from = 0;
    while from < geometry.capacity() {
        let out = encode(
            held,
            from,
            u32::MAX,
            Encoding::Compact,
            geometry,
            &mut payload,
        );
        bytes.extend(record(Change::Grant, &payload[..out.len]));
        from = out.next;
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&temporary)?;
    file.write_all(&bytes)?;
    fs::rename(&temporary, path)?;
    Ok((file, bytes.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry() -> Geometry {
        Geometry::new(4096, 1000).unwrap()
    }

    fn change(log: &mut OwnershipLog, change: Change, start: u32, len: u32) {
        let mut set = BlockSet::empty(1000);
        set.insert_range(start, len);
        let mut payload = vec![0; 4096];
        let out = encode(
            &set,
            0,
            u32::MAX,
            Encoding::Compact,
            geometry(),
            &mut payload,
        );
        let view = SetView::parse(&payload[..out.len], geometry()).unwrap();
        log.append(change, &view).unwrap();
    }

    #[test]
    fn every_prefix_of_the_log_is_a_state_that_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut states = vec![BlockSet::full(1000)];
        let mut log = OwnershipLog::open(&path, geometry(), 0, &states[0]).unwrap();
        for (kind, start, len) in [
            (Change::Release, 0, 10),
            (Change::Release, 500, 100),
            (Change::Grant, 550, 50),
            (Change::Release, 999, 1),
        ] {
            change(&mut log, kind, start, len);
            states.push(log.held().clone());
        }
        let bytes = fs::read(&path).unwrap();
        let mut at = 1;
        for len in HEADER_LEN..=bytes.len() {
            let held = replay(&bytes[HEADER_LEN..len], geometry());
            if held.is_empty() {
                continue;
            }
            while held != states[at - 1] {
                at += 1;
                assert!(at <= states.len(), "a state that never was, cut at {len}");
            }
        }
        assert_eq!(at, states.len());
        let mut damaged = bytes.clone();
        *damaged.last_mut().unwrap() ^= 1;
        fs::write(&path, &damaged).unwrap();
        let log = OwnershipLog::open(&path, geometry(), 0, &states[0]).unwrap();
        assert_eq!(log.held(), &states[states.len() - 2]);
    }

    #[test]
    fn another_layout_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        OwnershipLog::open(&path, geometry(), 0, &BlockSet::full(1000)).unwrap();
        let error = OwnershipLog::open(&path, geometry(), 4096, &BlockSet::full(1000)).unwrap_err();
        assert!(matches!(error, LogError::Layout { .. }));
        fs::write(&path, "something else entirely, and long enough").unwrap();
        let error = OwnershipLog::open(&path, geometry(), 0, &BlockSet::full(1000)).unwrap_err();
        assert!(matches!(error, LogError::Foreign { .. }));
    }
}
