//! Ctrl-C: no child survives it, and what was recorded stays.
//!
//! The first signal kills the children. Whoever waits for one of them then
//! fails, and the program ends by its ordinary way out, which removes sockets
//! and temporary folders.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::Signals;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static CHILDREN: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Exit code after a signal, as shells have it for Ctrl-C.
pub const EXIT_INTERRUPTED: u8 = 130;

/// True once a signal asked for the end.
pub fn requested() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// An error once a signal asked for the end.
pub fn check() -> Result<()> {
    ensure!(!requested(), "interrupted");
    Ok(())
}

fn children() -> std::sync::MutexGuard<'static, BTreeSet<i32>> {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A child is to be killed by a signal from now on.
pub fn enlist(pid: Pid) {
    children().insert(pid.as_raw_pid());
    if requested() {
        kill_all();
    }
}

/// A child has been waited for: its number may belong to another by now.
pub fn dismiss(pid: Pid) {
    children().remove(&pid.as_raw_pid());
}

fn kill_all() {
    for pid in children().iter().filter_map(|raw| Pid::from_raw(*raw)) {
        // Dead already is as good.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Starts watching for signals. From then on a write past the limit of a file's size fails
/// as one to a full disk does, where the signal for it would end the program without a word.
pub fn watch() -> Result<()> {
    flag::register(SIGXFSZ, Arc::default()).context("watch for signals")?;
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("watch for signals")?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for _ in signals.forever() {
                INTERRUPTED.store(true, Ordering::SeqCst);
                kill_all();
            }
        })
        .context("watch for signals")?;
    Ok(())
}
