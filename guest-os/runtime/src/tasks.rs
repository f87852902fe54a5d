//! Futures that are polled one after another, without wakers.
//!
//! On one CPU with nothing else to do, the loop that polls everything whenever anything has
//! happened needs neither reference counts nor queues of tasks to wake. It costs a poll of each
//! task a round, so there are few of them ([`TASKS_MAX`]).

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

/// Concurrent tasks, at most.
pub const TASKS_MAX: usize = 256;

/// Tasks that are polled in order; together they are a future that ends with the last.
#[derive(Default)]
pub struct Tasks<'a>(Vec<Pin<Box<dyn Future<Output = ()> + 'a>>>);

impl<'a> Tasks<'a> {
    /// Adds a task.
    ///
    /// # Panics
    /// When there are [`TASKS_MAX`] already.
    pub fn push(&mut self, task: impl Future<Output = ()> + 'a) {
        assert!(self.0.len() < TASKS_MAX, "more than {TASKS_MAX} tasks");
        self.0.push(Box::pin(task));
    }
}

impl Future for Tasks<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0
            .retain_mut(|task| task.as_mut().poll(context).is_pending());
        if self.0.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// Polls a future once.
pub fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Yields to the other tasks.
pub async fn give_way() {
    let mut given = false;
    core::future::poll_fn(|_| {
        if core::mem::replace(&mut given, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::RefCell;
    use core::pin::pin;

    #[test]
    fn tasks_take_turns_and_end_one_by_one() {
        let trail = RefCell::new(Vec::new());
        let task = |name, turns| {
            let trail = &trail;
            async move {
                for _ in 0..turns {
                    trail.borrow_mut().push(name);
                    give_way().await;
                }
            }
        };
        let mut tasks = Tasks::default();
        tasks.push(task('a', 1));
        tasks.push(task('b', 3));
        let mut tasks = pin!(tasks);
        assert!(poll_once(tasks.as_mut()).is_pending());
        assert!(poll_once(tasks.as_mut()).is_pending());
        assert!(poll_once(tasks.as_mut()).is_pending());
        assert!(poll_once(tasks.as_mut()).is_ready());
        assert_eq!(*trail.borrow(), ['a', 'b', 'b', 'b']);
    }
}
