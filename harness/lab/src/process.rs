//! Child processes that do not outlive the harness.

#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, set_parent_process_death_signal, waitid,
};
use terminal::interrupt;

/// A running child process, killed on drop.
///
/// A thread waits for the child, so that its exit is noticed at once and its pid is never
/// used after it was reaped.
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

/// Has the kernel kill the child when the thread that started it exits.
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

/// Waits for a child to exit and leaves it a zombie, so that its pid is not reused.
fn await_exit(pid: Pid) {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while waitid(WaitId::Pid(pid), options).is_err_and(|error| error == Errno::INTR) {}
}

impl Process {
    /// Starts `command`. `on_exit` is called once with the child's status.
    ///
    /// The thread that starts the child also waits for it, because the parent-death signal
    /// follows the starting thread, not the process. So the child dies with the harness.
    pub fn spawn(
        mut command: Command,
        started: impl FnOnce(&mut Child) + Send + 'static,
        on_exit: impl FnOnce(ExitStatus) + Send + 'static,
    ) -> io::Result<Self> {
        tie(&mut command);
        // Ctrl-C on the terminal must reach the harness only, which then kills its children.
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
                interrupt::register_child(pid);
                if sender.send(Ok(pid)).is_err() {
                    return;
                }
                await_exit(pid);
                let mut status = lock(&waiter);
                interrupt::unregister_child(pid);
                let exit = child.wait().expect("an own child can be reaped");
                *status = Some(exit);
                drop(status);
                waiter.ended.notify_all();
                on_exit(exit);
            })?;
        let pid = receiver
            .recv()
            .map_err(|_| io::Error::other("the thread that starts the child panicked"))??;
        Ok(Self { pid, shared })
    }

    pub fn pid(&self) -> i32 {
        self.pid.as_raw_pid()
    }

    /// Kills the child with SIGKILL unless it has exited.
    pub fn kill(&self) {
        let status = lock(&self.shared);
        if status.is_none() {
            // The child may be a zombie by now, but the pid is still its own: the waiter reaps
            // it under this lock.
            let _ = kill_process(self.pid, Signal::KILL);
        }
    }

    /// Waits for the child to exit; `None` on timeout.
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
