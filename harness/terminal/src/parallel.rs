//! Jobs that run several at a time, with results in the order of the jobs.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Result;
use indicatif::ProgressBar;

use crate::interrupt;

/// Runs `job` on each item, as many at a time as there are processors. Returns the results in the
/// order of the items: all, or those of the items that were begun before an interrupt or an error.
pub fn each<T: Sync, R: Send>(
    items: &[T],
    bar: &ProgressBar,
    job: impl Fn(&T) -> Result<R> + Sync,
) -> Vec<Result<R>> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while !interrupt::is_requested() {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else {
                        return;
                    };
                    let result = job(item);
                    if result.is_err() {
                        next.store(items.len(), Ordering::Relaxed);
                    }
                    results
                        .lock()
                        .expect("no holder panics")
                        .insert(index, result);
                    bar.inc(1);
                }
            });
        }
    });
    let results = results.into_inner().expect("no holder panicked");
    results.into_values().collect()
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn results_are_in_order_and_an_error_ends_the_rest() {
        let bar = ProgressBar::hidden();
        let items: Vec<u32> = (0..1000).collect();
        let doubled = each(&items, &bar, |item| Ok(item * 2));
        let doubled: Vec<u32> = doubled.into_iter().map(Result::unwrap).collect();
        assert!(doubled.into_iter().eq((0..1000).map(|item| item * 2)));
        let failed = each(&items, &bar, |item| {
            if *item == 10 {
                bail!("ten");
            }
            Ok(*item)
        });
        assert!((11..1000).contains(&failed.len()));
        assert_eq!(failed.iter().filter(|of| of.is_err()).count(), 1);
        assert!(failed[10].is_err());
    }
}
