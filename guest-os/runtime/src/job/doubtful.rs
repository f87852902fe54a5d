//! Requests that failed although the guest held their block, as far as it knew.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::app::App;

/// Such requests. The loss of its block explains one, if the guest learns of it after the request
/// came back: a block that was lost earlier, and granted again, was held.
pub(super) struct Doubtful<T> {
    unexplained: BTreeMap<u32, Vec<T>>,
    explained: Vec<T>,
    count: u64,
}

impl<T> Doubtful<T> {
    pub(super) fn new() -> Self {
        Self {
            unexplained: BTreeMap::new(),
            explained: Vec::new(),
            count: 0,
        }
    }

    /// Requests so far.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// A request to `block` failed.
    pub(super) fn push(&mut self, block: u32, request: T, app: &mut App) {
        let earlier = self.unexplained.entry(block).or_default();
        if app.lost.remove(block) {
            self.explained.append(earlier);
        }
        earlier.push(request);
        self.count += 1;
    }

    /// Those that the loss of their block explains, and the others.
    pub(super) fn settle(self, app: &App) -> (Vec<T>, Vec<T>) {
        let (mut explained, mut failed) = (self.explained, Vec::new());
        for (block, mut requests) in self.unexplained {
            if app.lost.contains(block) {
                explained.append(&mut requests);
            } else {
                failed.append(&mut requests);
            }
        }
        (explained, failed)
    }
}

#[cfg(test)]
mod tests {
    use vssd::block_set::BlockSet;

    use super::*;
    use crate::disk::Application;

    fn lose(app: &mut App, block: u32) {
        let mut lost = BlockSet::empty(10);
        lost.insert_range(block, 1);
        app.resynced(&BlockSet::empty(10), &lost);
    }

    #[test]
    fn only_a_later_loss_explains_a_failure() {
        let mut app = App::new(10);
        let mut doubtful = Doubtful::new();
        lose(&mut app, 3);
        doubtful.push(3, "lost and granted again before", &mut app);
        doubtful.push(4, "lost later", &mut app);
        lose(&mut app, 4);
        doubtful.push(4, "granted again", &mut app);
        doubtful.push(5, "lost at the end", &mut app);
        lose(&mut app, 5);
        assert_eq!(doubtful.count(), 4);
        let (explained, failed) = doubtful.settle(&app);
        assert_eq!(explained, ["lost later", "lost at the end"]);
        assert_eq!(failed, ["lost and granted again before", "granted again"]);
    }
}
