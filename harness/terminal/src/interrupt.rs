//! Ctrl-C and other termination signals.
//!
//! A signal kills all child processes. Threads that wait for a child then return an error, and
//! the program exits through its normal error path, which removes sockets and temporary folders
//! and keeps recorded rows.

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

/// Exit code after a signal: the one that shells report for SIGINT.
pub const EXIT_INTERRUPTED: u8 = 130;

/// Whether a termination signal was received.
pub fn is_requested() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Fails once a termination signal was received.
pub fn check() -> Result<()> {
    ensure!(!is_requested(), "interrupted");
    Ok(())
}

fn children() -> std::sync::MutexGuard<'static, BTreeSet<i32>> {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Registers a child to be killed on a signal.
pub fn register_child(pid: Pid) {
    children().insert(pid.as_raw_pid());
    if is_requested() {
        kill_all();
    }
}

/// Removes a child that has exited. Call it before the child is reaped, when its pid may be
/// reused.
pub fn unregister_child(pid: Pid) {
    children().remove(&pid.as_raw_pid());
}

fn kill_all() {
    for pid in children().iter().filter_map(|raw| Pid::from_raw(*raw)) {
        // The child may have exited already.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Installs the signal handlers. SIGXFSZ is caught too, so that a write past the file size
/// limit returns an error instead of killing the program.
pub fn watch() -> Result<()> {
    flag::register(SIGXFSZ, Arc::default()).context("install signal handlers")?;
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("install signal handlers")?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for _ in signals.forever() {
                INTERRUPTED.store(true, Ordering::SeqCst);
                kill_all();
            }
        })
        .context("install signal handlers")?;
    Ok(())
}
