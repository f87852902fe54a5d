//! The resize protocol, model checked: every state that a small vSSD can reach.
//!
//! A state ([`world`]) has the two halves as they are, [`Driver`](crate::driver::Driver) and
//! [`Device`](crate::device::Device), the line between them, and a naive ledger of who owns each of
//! three blocks. From each state every next step is taken: a side looks, a message is delivered, in
//! any order of events, time passes to the next deadline, a resize of any size and kind begins or is
//! cancelled, the guest picks any blocks; and, as often as a [`Budget`] says, a message comes again, a
//! side or the line is reset, or a change of ownership cannot be recorded. States that differ in
//! names only count once ([`canonical`]).
//!
//! Checked in each state: no block has two owners; the driver holds only what it was granted, but
//! for what was taken by force; no resize outlives its deadline; neither half finds a fault of the
//! other. And from each state, a good line brings both to a quiet point, in which both lists and the
//! ledger are equal and confirmed, and no grant is lost.

mod canonical;
mod line;
mod protocol;
mod queues;
mod stream;
mod world;

use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::Relaxed;
use std::time::Instant;
use std::{env, eprintln};

use stateright::{Checker, Model};

pub(crate) use self::canonical::{Names, OfDriver};
use self::line::Line;
use self::protocol::Protocol;
use self::queues::Queues;
use self::stream::Stream;
use self::world::Budget;
use crate::wire::Encoding;

/// Explores all that can be reached, and prints how much that is. The budget is
/// `VSSD_MODEL=RESIZES,MISHAPS,REPEATS,DOUBTS` if that is set, else `budget`, which takes seconds.
#[allow(
    clippy::print_stderr,
    reason = "the number of states is what a reader wants to know"
)]
fn explore(name: &str, line: fn() -> Line, encoding: Encoding, budget: [u8; 4]) {
    let budget = match env::var("VSSD_MODEL") {
        Ok(text) => {
            let numbers: Result<Vec<u8>, _> = text.split(',').map(str::parse).collect();
            let four = numbers.ok().and_then(|numbers| numbers.try_into().ok());
            four.expect("VSSD_MODEL is RESIZES,MISHAPS,REPEATS,DOUBTS, such as 1,1,1,1")
        }
        Err(_) => budget,
    };
    let [resizes, mishaps, repeats, doubts] = budget;
    let begun = Instant::now();
    let budget = Budget {
        resizes,
        mishaps,
        repeats,
        doubts,
    };
    let checker = Protocol::new(line, encoding, budget)
        .checker()
        .threads(2)
        .spawn_bfs()
        .join();
    if let Some((property, path)) = checker.discoveries().into_iter().next() {
        let last = path.last_state().clone();
        let why = last.fault.clone();
        let why = why.or_else(|| checker.model().calms_down(&last).err());
        let actions = path.into_actions();
        panic!(
            "{name}: {property}: {} after {actions:?}",
            why.unwrap_or_default()
        );
    }
    eprintln!(
        "{name}, {budget:?}: {} states, {} steps, {} deep, {:.1} s",
        checker.unique_state_count(),
        checker.model().steps.load(Relaxed),
        checker.max_depth(),
        begun.elapsed().as_secs_f64(),
    );
    // The exploration is worth something only if all of these happened.
    let ends = checker.model().ends.lock().expect("no thread panics");
    let mut expected = vec!["cancelled", "complete", "deadline", "declined"];
    if mishaps > 0 {
        expected.push("storage");
    }
    assert!(
        ends.iter().eq(&expected),
        "{name}: resizes ended as {ends:?}"
    );
}

fn queues() -> Line {
    Line::Queues(Queues::default())
}

fn stream() -> Line {
    Line::Stream(Stream::new())
}

#[test]
fn every_state_over_virtqueues() {
    explore("compact", queues, Encoding::Compact, [1, 0, 1, 1]);
    explore("compact", queues, Encoding::Compact, [1, 1, 0, 0]);
}

#[test]
fn every_state_over_virtqueues_in_the_encoding_of_2017() {
    explore("list-4096", queues, Encoding::List4096, [1, 1, 0, 0]);
}

#[test]
fn every_state_over_a_stream() {
    explore("stream", stream, Encoding::Compact, [1, 0, 1, 0]);
    explore("stream", stream, Encoding::Compact, [1, 1, 0, 0]);
}
