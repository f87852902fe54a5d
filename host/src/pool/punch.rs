//! Holes: a pool in a sparse file gives the space of free physical blocks back to the file system.
//!
//! ```text
//!   discard, shrink, removal ─▶ PoolState ─ commit ─▶ Allocator: free, stale
//!                                                        │ begin_punch ▲ end_punch
//!                                                        ▼             │
//!                     the thread `holes` ───────▶ Backing::punch (fallocate)
//! ```
//!
//! - [`Allocator`](super::allocator::Allocator): which free physical blocks may take space, and
//!   those where a hole is being punched
//! - [`Backing::punch`](crate::backing::Backing::punch): the hole
//! - here: the thread that joins the two, and how much of the time it works
//!
//! **Nothing is lost.** A physical block is free only after the commit that frees it is durable, so
//! no journal, read after any crash, maps a block to a hole. While a hole is punched its physical
//! blocks are not free: a first write that would take them takes others, or waits where there are no
//! others. No list of what is still to be punched is kept: after a start all free physical blocks
//! are looked at, and those are left out that take no space.
//!
//! **Requests are not delayed.** A file system lets no request to the file pass while it punches a
//! hole. So a hole has at most [`HOLE_MAX`] bytes, and the thread rests [`REST`] times as long as
//! each took, which includes waiting for the requests under way. What is written again soon is
//! better left as it is: a sweep begins [`PAUSE`] after the start or the sweep before. A block that is
//! not free at the moment can cost a window its region, so first writes after a start come first.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use vssd::block_set::Run;

use super::Pool;
use super::journal::JournalError;
use crate::causes::Causes;
use crate::log_limit::LogLimit;
use crate::scheduling::let_others_first;
use crate::threads::vital;

/// Bytes of the largest hole that is punched at once.
const HOLE_MAX: u64 = 16 << 20;

/// How many times as long the thread rests as it took to punch a hole: it works for a twentieth of
/// the time.
const REST: u32 = 19;

/// From the start, and from the end of a sweep, to the beginning of the next one.
const PAUSE: Duration = Duration::from_secs(1);

/// Physical blocks that are searched at once, while requests that change maps wait.
const SEARCHED: u32 = 1 << 16;

/// Why a hole was not punched.
#[derive(Debug, thiserror::Error)]
enum Failed {
    /// The file system refused.
    #[error(transparent)]
    System(#[from] io::Error),
    /// Another backend has the pool, or its journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// The sizes of holes, in physical blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// They are multiples of this.
    unit: u32,
    /// And no larger.
    most: u32,
}

impl Pool {
    /// Punches holes in the backing from now on, where that is possible, on a thread of its own.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn punch_holes(self: &Arc<Self>) -> io::Result<()> {
        let Some(sizes) = self.track_holes() else {
            return Ok(());
        };
        let pool = Arc::downgrade(self);
        vital("holes", move || serve(&pool, sizes))
    }

    /// Keeps track of where holes can be punched from now on; `None` where that is nowhere.
    pub(super) fn track_holes(&self) -> Option<Sizes> {
        let unit = self.backing.hole_unit()?;
        let block_size = u64::from(self.block_size);
        // Both are powers of two, and the physical blocks begin at a multiple of both.
        let unit = u32::try_from(unit.div_ceil(block_size)).ok()?;
        let most = (HOLE_MAX / block_size) as u32;
        self.state().allocator.track_stale();
        Some(Sizes {
            unit,
            most: most.max(unit),
        })
    }

    /// Waits for the end of the hole that is being punched, if one is.
    pub fn wait_for_hole(&self) {
        let mut state = self.state();
        if state.allocator.is_punching() {
            self.punched.wait(&mut state);
        }
    }

    /// Punches the first hole that is possible within a range of physical blocks.
    fn punch(&self, within: Range<u32>, sizes: Sizes) -> Result<Option<Run>, Failed> {
        let found = {
            let mut state = self.state();
            state.allocator.begin_punch(within, sizes.unit, sizes.most)
        };
        let Some(run) = found else { return Ok(None) };
        // Another backend that has taken the pool over may have used what is free here.
        let punched = self.verify_quietly().map_err(Failed::from);
        let end = self.offset(run.start + run.len);
        let punched = punched.and_then(|()| Ok(self.backing.punch(self.offset(run.start)..end)?));
        self.state().allocator.end_punch(punched.is_ok());
        self.punched.notify_all();
        punched.map(|()| Some(run))
    }

    /// Punches holes wherever that is possible, without a rest.
    #[cfg(test)]
    pub(super) fn punch_all(&self, sizes: Sizes) {
        let mut sweep = Sweep::default();
        while !matches!(sweep.step(self, sizes), Ok(None)) {}
    }
}

/// A pass over all physical blocks.
#[derive(Default)]
struct Sweep {
    next: u32,
}

impl Sweep {
    /// Punches the next hole. Returns how long to rest; `None` at the end.
    fn step(&mut self, pool: &Pool, sizes: Sizes) -> Result<Option<Duration>, Failed> {
        let all = pool.state().allocator.physical_blocks();
        while self.next < all {
            // A part ends at a multiple of the unit, or holes would end before.
            let end = (self.next / SEARCHED + 1).saturating_mul(SEARCHED).min(all);
            let begin = Instant::now();
            match pool.punch(self.next..end, sizes) {
                Ok(None) => self.next = end,
                Ok(Some(run)) => {
                    self.next = run.end();
                    return Ok(Some(begin.elapsed() * REST));
                }
                Err(error) => {
                    self.next = end;
                    return Err(error);
                }
            }
        }
        Ok(None)
    }
}

/// The loop of the thread, until the pool is closed.
fn serve(pool: &Weak<Pool>, sizes: Sizes) {
    let_others_first();
    let log_limit = LogLimit::default();
    let (mut sweep, mut rest) = (None, PAUSE);
    loop {
        thread::sleep(rest);
        let Some(pool) = pool.upgrade() else { return };
        let wanted = sweep.is_some() || pool.state().allocator.begin_sweep();
        let step = match wanted {
            true => sweep.get_or_insert_with(Sweep::default).step(&pool, sizes),
            false => Ok(None),
        };
        drop(pool);
        rest = match step {
            Ok(Some(rest)) => rest,
            Ok(None) => {
                sweep = None;
                PAUSE
            }
            Err(Failed::System(error)) if error.kind() == io::ErrorKind::Unsupported => {
                tracing::info!(
                    "the file system of the pool cannot punch holes: its file does not become \
                     smaller"
                );
                return;
            }
            Err(error) => {
                if let Some(times) = log_limit.due() {
                    let error = Causes(&error);
                    tracing::warn!(%error, times, "holes could not be punched in the pool's file");
                }
                PAUSE
            }
        };
    }
}

#[cfg(test)]
mod tests;
