//! One operation that serves all futures that need it, such as a flush.
//!
//! ```text
//!   a joins     b joins, c joins         d joins
//!   |---- first, for a ----|-- second, for b and c --|-- third, for d --|
//! ```
//!
//! A future that joins while a run is under way needs the next run, because its work may
//! have come too late for this one. There is no fixed leader: the first future polled
//! while no run is under way runs the next one. If that future is dropped, the next one
//! polled runs it again.

use core::cell::Cell;
use core::future::Future;

use super::wait::until;

/// A group.
#[derive(Default)]
pub struct Group {
    /// How many have begun.
    begun: Cell<u64>,
    /// The last that ended, and the last that ended well.
    ended: Cell<u64>,
    succeeded: Cell<u64>,
    is_running: Cell<bool>,
}

/// Marks, even if it is dropped, that nothing is under way.
struct Running<'a>(&'a Group);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.is_running.set(false);
    }
}

impl Group {
    /// Returns when a run that began after this was polled first has ended, and
    /// whether one did well. `run` is called if it is for this caller to run it.
    pub async fn join<F: Future<Output = bool>>(&self, run: impl Fn() -> F) -> bool {
        self.join_unless(|| false, run).await
    }

    /// The same; but when `is_done`, for whatever reason, nothing is waited for or begun any
    /// more.
    pub async fn join_unless<F: Future<Output = bool>>(
        &self,
        is_done: impl Fn() -> bool,
        run: impl Fn() -> F,
    ) -> bool {
        let needed = self.begun.get() + 1;
        loop {
            until(|| self.ended.get() >= needed || !self.is_running.get() || is_done()).await;
            if is_done() {
                return true;
            }
            if self.ended.get() >= needed {
                return self.succeeded.get() >= needed;
            }
            let number = self.begun.get() + 1;
            self.begun.set(number);
            self.is_running.set(true);
            let running = Running(self);
            let is_well = run().await;
            drop(running);
            self.ended.set(number);
            if is_well {
                self.succeeded.set(number);
            }
        }
    }
}
