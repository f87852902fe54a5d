//! Children that do not outlive the harness.

#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use terminal::interrupt;

/// A running child, killed when this is dropped.
///
/// A thread waits for it, so that its end is noticed at once, and its number
/// is never used after it was waited for.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    status: Mutex<Option<ExitStatus>>,
    ended: Condvar,
}

fn lock(shared: &Shared) -> MutexGuard<'_, Option<ExitStatus>> {
    shared.status.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a command's child die with the thread that starts it.
fn tie(command: &mut Command) {
    // SAFETY: the closure runs between fork and exec, where only
    // async-signal-safe calls are allowed; it makes one system call (prctl)
    // and allocates nothing.
    unsafe {
        command.pre_exec(|| {
            set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from)
        });
    }
}

impl Process {
    /// Starts `command`. `on_exit` is called once with the child's status.
    ///
    /// The child is started by the thread that waits for it and is killed when
    /// that thread, and with it the harness, dies: the kernel's parent death
    /// signal goes by threads, not by processes.
    pub fn spawn(
        mut command: Command,
        started: impl FnOnce(&mut Child) + Send + 'static,
        on_exit: impl FnOnce(ExitStatus) + Send + 'static,
    ) -> io::Result<Self> {
        tie(&mut command);
        // A Ctrl-C of the terminal goes to the harness, which ends its children.
        command.process_group(0);
        let shared = Arc::new(Shared::default());
        let waiter = shared.clone();
        let (sender, receiver) = std::sync::mpsc::channel();
        thread::Builder::new()
            .name("child".to_owned())
            .spawn(move || {
                let mut child = match command.spawn() {
                    Ok(child) => child,
                    Err(error) => return drop(sender.send(Err(error))),
                };
                let pid = Pid::from_child(&child);
                started(&mut child);
                interrupt::enlist(pid);
                if sender.send(Ok(pid)).is_err() {
                    return;
                }
                let status = loop {
                    // Only an interrupted wait fails for a child of one's own.
                    if let Ok(status) = child.wait() {
                        break status;
                    }
                };
                interrupt::dismiss(pid);
                *lock(&waiter) = Some(status);
                waiter.ended.notify_all();
                on_exit(status);
            })?;
        let pid = receiver
            .recv()
            .map_err(|_| io::Error::other("the starting thread died"))??;
        Ok(Self { pid, shared })
    }

    /// The child's process number.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_pid()
    }

    /// Kills the child, as `kill -9` does, unless it has ended.
    pub fn kill(&self) {
        let status = lock(&self.shared);
        if status.is_none() {
            // It may just be ending; the waiter has not run yet, so the number
            // is still the child's.
            let _ = kill_process(self.pid, Signal::KILL);
        }
    }

    /// Waits for the end of the child; `None` when it takes longer than `at_most`.
    pub fn wait(&self, at_most: Duration) -> Option<ExitStatus> {
        let status = lock(&self.shared);
        let (status, _) = self
            .shared
            .ended
            .wait_timeout_while(status, at_most, |status| status.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        *status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        self.wait(Duration::from_secs(10));
    }
}
