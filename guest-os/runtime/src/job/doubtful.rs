//! Requests that failed although the guest held their block, as far as it knew.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;

use vssd::driver::{Doubt, Driver};

use crate::app::App;

struct Failure<T> {
    block: u32,
    /// None where the driver does not ask the device.
    doubt: Option<Doubt>,
    request: T,
}

/// Such requests. The loss of its block explains one, if the guest learns of it between the
/// failure and the device's answer about that. A block that was lost earlier and granted again
/// was held, and one that is lost later was held as well.
pub(super) struct Doubtful<T> {
    /// In the order of their doubts.
    pending: VecDeque<Failure<T>>,
    explained: Vec<T>,
    failed: Vec<T>,
    count: u64,
}

impl<T> Doubtful<T> {
    pub(super) fn new() -> Self {
        Self {
            pending: VecDeque::new(),
            explained: Vec::new(),
            failed: Vec::new(),
            count: 0,
        }
    }

    /// Requests so far.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// A request to `block` failed. What was [resolved](Self::resolve) by then is not pending.
    pub(super) fn push(&mut self, block: u32, doubt: Option<Doubt>, request: T, app: &mut App) {
        if app.lost.remove(block) {
            for failure in mem::take(&mut self.pending) {
                if failure.block == block {
                    self.explained.push(failure.request);
                } else {
                    self.pending.push_back(failure);
                }
            }
        }
        self.pending.push_back(Failure {
            block,
            doubt,
            request,
        });
        self.count += 1;
    }

    /// Judges the requests about which the device has answered: call this before more is lost.
    pub(super) fn resolve(&mut self, driver: &Driver, app: &App) {
        self.judge(app, |doubt| {
            doubt.is_some_and(|doubt| driver.is_resolved(doubt))
        });
    }

    fn judge(&mut self, app: &App, is_resolved: impl Fn(Option<Doubt>) -> bool) {
        while let Some(failure) = self.pending.pop_front_if(|f| is_resolved(f.doubt)) {
            if app.lost.contains(failure.block) {
                self.explained.push(failure.request);
            } else {
                self.failed.push(failure.request);
            }
        }
    }

    /// Those that the loss of their block explains, and the others. The list is quiet: the device
    /// has answered about all.
    pub(super) fn settle(mut self, app: &App) -> (Vec<T>, Vec<T>) {
        self.judge(app, |_| true);
        (self.explained, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use vssd::block_set::BlockSet;
    use vssd::units::Geometry;

    use super::*;
    use crate::disk::Application;

    fn lose(app: &mut App, block: u32) {
        let mut lost = BlockSet::empty(10);
        lost.insert_range(block, 1);
        app.resynced(&BlockSet::empty(10), &lost);
    }

    #[test]
    fn only_a_loss_before_the_answer_explains_a_failure() {
        let mut app = App::new(10);
        let mut driver = Driver::fixed(Geometry::new(4096, 10).unwrap());
        let mut doubtful = Doubtful::new();
        lose(&mut app, 3);
        doubtful.push(3, None, "lost and granted again before", &mut app);
        doubtful.push(4, None, "lost", &mut app);
        lose(&mut app, 4);
        doubtful.push(4, None, "granted again", &mut app);
        let doubt = driver.doubt();
        doubtful.push(5, Some(doubt), "lost before the answer", &mut app);
        doubtful.resolve(&driver, &app);
        lose(&mut app, 5);
        assert_eq!(doubtful.count(), 4);
        let (explained, failed) = doubtful.settle(&app);
        assert_eq!(explained, ["lost", "lost before the answer"]);
        assert_eq!(failed, ["lost and granted again before", "granted again"]);
    }

    #[test]
    fn a_loss_after_the_answer_explains_nothing() {
        let mut app = App::new(10);
        let mut doubtful = Doubtful::new();
        doubtful.push(5, None, "lost after the answer", &mut app);
        doubtful.judge(&app, |_| true);
        lose(&mut app, 5);
        let (explained, failed) = doubtful.settle(&app);
        assert!(explained.is_empty());
        assert_eq!(failed, ["lost after the answer"]);
    }
}
