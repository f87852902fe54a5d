//! Waiting without wakers: a future checks its condition whenever it is polled, and its
//! owner polls it in a loop.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::Poll;

/// Ready as soon as `is_true`.
pub fn until(mut is_true: impl FnMut() -> bool) -> impl Future<Output = ()> {
    poll_fn(move |_| {
        if is_true() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
}

/// Ready when polled a second time, so that other futures run in between.
pub fn turn_over() -> impl Future<Output = ()> {
    let mut polls = 0;
    until(move || {
        polls += 1;
        polls > 1
    })
}

/// Both, side by side.
pub async fn both<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (core::pin::pin!(a), core::pin::pin!(b));
    let (mut a_done, mut b_done) = (None, None);
    poll_fn(move |context| {
        if a_done.is_none()
            && let Poll::Ready(output) = a.as_mut().poll(context)
        {
            a_done = Some(output);
        }
        if b_done.is_none()
            && let Poll::Ready(output) = b.as_mut().poll(context)
        {
            b_done = Some(output);
        }
        match (a_done.take(), b_done.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            (a, b) => {
                (a_done, b_done) = (a, b);
                Poll::Pending
            }
        }
    })
    .await
}

/// Polls futures of one kind, up to `limit` of them side by side: what `next` gives, until it gives
/// none and all have ended. It is called again in between, so that later futures are polled as
/// well. Their outputs go to `each`.
pub async fn all<F: Future>(
    limit: usize,
    mut next: impl FnMut() -> Option<F>,
    mut each: impl FnMut(F::Output),
) {
    let mut running: Vec<Pin<Box<F>>> = Vec::new();
    poll_fn(move |context| {
        while running.len() < limit
            && let Some(future) = next()
        {
            running.push(Box::pin(future));
        }
        let mut at = 0;
        while at < running.len() {
            match running[at].as_mut().poll(context) {
                Poll::Ready(output) => {
                    drop(running.swap_remove(at));
                    each(output);
                }
                Poll::Pending => at += 1,
            }
        }
        if running.is_empty() {
            // All of them ended at once, which says nothing of those to come.
            match next() {
                Some(future) => running.push(Box::pin(future)),
                None => return Poll::Ready(()),
            }
        }
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use core::cell::RefCell;
    use core::future::ready;
    use core::pin::pin;
    use core::task::{Context, Waker};

    use super::*;

    /// A disk in memory ends every transfer at once.
    #[test]
    fn all_go_on_when_those_under_way_end_together() {
        let (mut next, ended) = (0, RefCell::new(vec![]));
        let give = || {
            next += 1;
            (next <= 10).then(|| ready(next))
        };
        let mut all = pin!(all(3, give, |number| ended.borrow_mut().push(number)));
        let mut context = Context::from_waker(Waker::noop());
        let mut polls = 0;
        while all.as_mut().poll(&mut context).is_pending() {
            polls += 1;
            assert!(polls < 100, "it never ends");
        }
        ended.borrow_mut().sort_unstable();
        assert_eq!(*ended.borrow(), (1..=10).collect::<Vec<_>>());
    }
}
