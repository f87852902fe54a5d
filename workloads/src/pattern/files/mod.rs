//! A small file system: files are created, extended, read, rewritten and deleted.
//!
//! ```text
//!                   create      append       lifetime over
//!   temporary file  [first half] [the rest] ----------------> deleted: its blocks are dead
//!   permanent file  (there at the start) --- rewritten in place, read
//! ```
//!
//! Permanent files fill half of the disk at the start and stay: file systems are half full on
//! average (J. Douceur, W. Bolosky, "A Large-Scale Study of File-System Contents", SIGMETRICS
//! 1999). Of what is written, a share goes to temporary files and the rest to parts of permanent
//! ones, so that the share alone decides how many blocks die. For comparison: 70 % of the data
//! of the trace INS and 35 % of the trace RES lived for less than 10 minutes (J. Wang, Y. Hu,
//! "WOLF: a novel reordering write buffer to boost the performance of log-structured file
//! systems", FAST 2002, figure 3, about the traces of D. Roselli, J. Lorch, T. Anderson, "A
//! Comparison of File System Workloads", USENIX 2000).
//!
//! What is drawn, and from where, is in [`draws`]. That a file is read in a run of its blocks,
//! that four blocks are read for each that is written (K. K. Ramakrishnan, P. Biswas, R. Karedla,
//! "Analysis of File I/O Traces in Commercial Computing Environments", SIGMETRICS 1992: 3 to 5),
//! and that blocks are allocated first-fit completes the model.

mod draws;
mod space;

#[cfg(test)]
mod tests;

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use rand::RngExt;

use self::draws::{draw_lifetime, draw_rank, draw_size};
use self::space::{Extent, Space};
use super::Rng;
use crate::access::AccessKind;

/// Mean lifetime of temporary files, in accesses, where a workload does not say.
pub const DEFAULT_LIFETIME: u32 = 4096;

/// Files at a time, at most: a bound of the memory, of about 200 KiB as a rule.
const FILES_MAX: usize = 4096;

/// Permanent files at most, so that there is room for as many temporary ones.
const PERMANENT_MAX: usize = FILES_MAX / 2;

/// A file is at most one in so many of the disk.
const SIZE_PART: u32 = 16;

/// Blocks of the smallest disk: a file of one block is a part of it that counts.
const CAPACITY_MIN: u32 = 256;

/// Blocks that are read or rewritten in one go, at most.
const RUN_MAX: u32 = 32;

/// Blocks read for each that is written.
const READS_PER_WRITE: u64 = 4;

/// The history before the first access has to be gone through, which takes some ten seconds at
/// most.
const START_MAX: u64 = 1 << 30;

/// Why there is no file workload of these parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FilesError {
    /// The share is none.
    Share(f64),
    /// The lifetime is none.
    Lifetime,
    /// The disk is too small.
    Capacity(u32),
    /// The first access is too late.
    Start(u64),
    /// Blocks of files do not move.
    Phase,
}

impl fmt::Display for FilesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(share) => write!(
                f,
                "the share of temporary files is {share}; expected a number from 0 to 1"
            ),
            Self::Lifetime => {
                f.write_str("the mean lifetime of files is 0; expected at least 1 access")
            }
            Self::Capacity(blocks) => write!(
                f,
                "a file workload on {blocks} blocks; expected at least {CAPACITY_MIN}"
            ),
            Self::Start(start) => write!(
                f,
                "a file workload from access {start} on; expected at most {START_MAX}"
            ),
            Self::Phase => f.write_str("a file workload cannot change its phase"),
        }
    }
}

/// When a file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Permanent,
    Temporary {
        /// Number of the access at which its lifetime is over.
        due: u64,
        /// Blocks that are yet to be appended.
        rest: u32,
    },
}

#[derive(Clone, Debug)]
struct File {
    extents: Vec<Extent>,
    blocks: u32,
    life: Life,
}

impl File {
    /// The block at a place in the file.
    fn block(&self, mut at: u32) -> u32 {
        for extent in &self.extents {
            match at.checked_sub(extent.blocks) {
                None => return extent.start + at,
                Some(rest) => at = rest,
            }
        }
        panic!("a place beyond the end of a file")
    }
}

/// Accesses to a run of a file's blocks.
#[derive(Clone, Debug)]
struct Operation {
    kind: AccessKind,
    file: u32,
    run: Range<u32>,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Files {
    share: f64,
    lifetime: f64,
    size_max: u32,
    rng: Rng,
    space: Space,
    /// By number; the permanent ones come first.
    files: Vec<Option<File>>,
    permanent: u32,
    unused: Vec<u32>,
    /// Files by popularity, the most popular first.
    ranks: Vec<u32>,
    /// Temporary files by the end of their lifetimes.
    deaths: BTreeSet<(u64, u32)>,
    /// Temporary files that are yet to be extended.
    unfinished: Vec<u32>,
    /// The size of a file for which there was no room.
    postponed: Option<u32>,
    operation: Operation,
    /// Number of the next access.
    at: u64,
    blocks_read: u64,
    blocks_written: u64,
    blocks_temporary: u64,
}

impl Files {
    pub(super) fn new(
        share: f64,
        lifetime: u32,
        capacity: u32,
        start: u64,
        rng: Rng,
    ) -> Result<Self, FilesError> {
        if !(0.0..=1.0).contains(&share) {
            return Err(FilesError::Share(share));
        }
        if lifetime == 0 {
            return Err(FilesError::Lifetime);
        }
        if capacity < CAPACITY_MIN {
            return Err(FilesError::Capacity(capacity));
        }
        if start > START_MAX {
            return Err(FilesError::Start(start));
        }
        let mut files = Self {
            share,
            lifetime: lifetime.into(),
            size_max: capacity / SIZE_PART,
            rng,
            space: Space::new(capacity),
            files: Vec::new(),
            permanent: 0,
            unused: Vec::new(),
            ranks: Vec::new(),
            deaths: BTreeSet::new(),
            unfinished: Vec::new(),
            postponed: None,
            operation: Operation {
                kind: AccessKind::Read,
                file: 0,
                run: 0..0,
            },
            at: 0,
            blocks_read: 0,
            blocks_written: 0,
            blocks_temporary: 0,
        };
        files.populate(capacity / 2);
        for _ in 0..start {
            files.next_access();
        }
        Ok(files)
    }

    /// Creates the permanent files, up to so many blocks.
    fn populate(&mut self, blocks: u32) {
        let mut left = blocks;
        while self.files.len() < PERMANENT_MAX {
            let size = draw_size(&mut self.rng, self.size_max);
            let Some(rest) = left.checked_sub(size) else {
                break;
            };
            left = rest;
            let extents = self.space.allocate(size);
            let file = File {
                extents: extents.expect("half of the disk is in one piece"),
                blocks: size,
                life: Life::Permanent,
            };
            self.add(file);
        }
        self.permanent = self.files.len() as u32;
    }

    /// The next access.
    pub(super) fn next_access(&mut self) -> (u32, AccessKind) {
        loop {
            if let Some(place) = self.operation.run.next() {
                self.at += 1;
                let file = self.files[self.operation.file as usize].as_ref();
                let block = file.expect("a live file").block(place);
                return (block, self.operation.kind);
            }
            self.end_operation();
            self.begin_operation();
        }
    }

    /// The blocks of a file that has been deleted are free.
    fn end_operation(&mut self) {
        if self.operation.kind != AccessKind::Discard {
            return;
        }
        if let Some(file) = self.files[self.operation.file as usize].take() {
            self.unused.push(self.operation.file);
            file.extents
                .into_iter()
                .for_each(|extent| self.space.free(extent));
        }
    }

    fn begin_operation(&mut self) {
        match self.deaths.first() {
            Some(&(due, file)) if due <= self.at => return self.delete(due, file),
            _ => {}
        }
        let owed = READS_PER_WRITE * self.blocks_written;
        if self.blocks_read < owed {
            let rank = draw_rank(&mut self.rng, self.ranks.len());
            self.touch(AccessKind::Read, self.ranks[rank]);
            self.blocks_read += u64::from(self.operation.run.end - self.operation.run.start);
        } else if (self.blocks_temporary as f64) < self.share * self.blocks_written as f64 {
            self.write_temporary();
        } else {
            let file = draw_rank(&mut self.rng, self.permanent as usize);
            self.touch(AccessKind::Write, file as u32);
            self.blocks_written += u64::from(self.operation.run.end - self.operation.run.start);
        }
    }

    /// Begins to access a file, or a run of a long one.
    fn touch(&mut self, kind: AccessKind, file: u32) {
        let blocks = self.file(file).blocks;
        let run = blocks.min(RUN_MAX);
        let first = self.rng.random_range(0..=blocks - run);
        self.operation = Operation {
            kind,
            file,
            run: first..first + run,
        };
    }

    /// Begins to create a temporary file, or to extend one.
    fn write_temporary(&mut self) {
        if self.postponed.is_none() && !self.unfinished.is_empty() && self.rng.random() {
            return self.append();
        }
        let size = match self.postponed.take() {
            Some(size) => size,
            None => draw_size(&mut self.rng, self.size_max),
        };
        let first = size.div_ceil(2);
        let has_room = self.ranks.len() < FILES_MAX;
        let Some(extents) = has_room.then(|| self.space.allocate(first)).flatten() else {
            self.postponed = Some(size);
            return self.make_room();
        };
        let due = self.at + u64::from(size) + draw_lifetime(&mut self.rng, self.lifetime);
        let rest = size - first;
        let file = self.add(File {
            extents,
            blocks: first,
            life: Life::Temporary { due, rest },
        });
        self.deaths.insert((due, file));
        if rest > 0 {
            self.unfinished.push(file);
        }
        self.write_new(file, 0..first);
    }

    /// Begins to append what is missing of a temporary file.
    fn append(&mut self) {
        let chosen = self.rng.random_range(0..self.unfinished.len());
        let number = self.unfinished[chosen];
        let Life::Temporary { due, rest } = self.file(number).life else {
            panic!("a permanent file is complete")
        };
        let Some(extents) = self.space.allocate(rest) else {
            return self.make_room();
        };
        self.unfinished.swap_remove(chosen);
        let file = self.files[number as usize].as_mut().expect("a live file");
        let first = file.blocks;
        file.extents.extend(extents);
        file.blocks += rest;
        file.life = Life::Temporary { due, rest: 0 };
        self.write_new(number, first..first + rest);
    }

    fn write_new(&mut self, file: u32, run: Range<u32>) {
        let blocks = u64::from(run.end - run.start);
        self.blocks_written += blocks;
        self.blocks_temporary += blocks;
        self.operation = Operation {
            kind: AccessKind::Write,
            file,
            run,
        };
    }

    /// Deletes the temporary file that would go next.
    fn make_room(&mut self) {
        let next = self.deaths.first();
        let &(due, file) = next.expect("without temporary files there is room for any");
        self.delete(due, file);
    }

    /// Begins to delete a file. It is not read any longer.
    fn delete(&mut self, due: u64, file: u32) {
        self.deaths.remove(&(due, file));
        self.unfinished.retain(|&other| other != file);
        self.ranks.retain(|&other| other != file);
        self.operation = Operation {
            kind: AccessKind::Discard,
            file,
            run: 0..self.file(file).blocks,
        };
    }

    fn file(&self, number: u32) -> &File {
        self.files[number as usize].as_ref().expect("a live file")
    }

    /// Adds a file of any rank: how popular it is has nothing to do with its age.
    fn add(&mut self, file: File) -> u32 {
        let number = match self.unused.pop() {
            Some(number) => {
                self.files[number as usize] = Some(file);
                number
            }
            None => {
                self.files.push(Some(file));
                self.files.len() as u32 - 1
            }
        };
        let rank = self.rng.random_range(0..=self.ranks.len());
        self.ranks.insert(rank, number);
        number
    }
}
