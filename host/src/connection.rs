//! The state of one connection of a frontend, shared by the threads that serve it.
//!
//! ```text
//!   accepted ──first message──▶ greeted ──▶ over
//!       └───── none in 5 s ─────hang up──────▲
//! ```
//!
//! Any thread may end the connection, and the death of a thread ends it: threads of
//! vhost-user-backend end silently on a panic, or when a frontend passed a kick descriptor that
//! cannot be read. The frontend would otherwise wait forever for a queue that is not served any
//! more.

use std::cell::OnceCell;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use vhost_user_backend::ShutdownHandle;

use crate::vssd::Vssd;

/// How long a client may take for its first message. A frontend sends it at once, QEMU even
/// when its guest is not to run yet.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// See the module.
pub struct Connection {
    vssd: Arc<Vssd>,
    accepted_ns: OnceLock<u64>,
    greeted: AtomicBool,
    /// The connection is to end, perhaps before there is a handle to end it by.
    hung_up: AtomicBool,
    handle: OnceLock<ShutdownHandle>,
    /// Its threads are to end.
    over: AtomicBool,
    has_dead_thread: AtomicBool,
}

impl Connection {
    /// A client of `vssd` is about to be accepted.
    pub fn new(vssd: Arc<Vssd>) -> Self {
        vssd.update_peer(|peer| peer.connecting = true);
        Self {
            vssd,
            accepted_ns: OnceLock::new(),
            greeted: AtomicBool::new(false),
            hung_up: AtomicBool::new(false),
            handle: OnceLock::new(),
            over: AtomicBool::new(false),
            has_dead_thread: AtomicBool::new(false),
        }
    }

    /// The client was accepted; `handle` ends the connection.
    pub fn accepted(&self, handle: Option<ShutdownHandle>) {
        if let Some(handle) = handle {
            // It comes once.
            let _ = self.handle.set(handle);
        }
        if self.hung_up.load(Ordering::SeqCst) {
            self.hang_up();
        }
        let _ = self.accepted_ns.set(self.vssd.now_ns());
        self.note_pid();
    }

    /// Looks up the process that has connected. The accepting thread and the thread of the first
    /// message both do this, as either may be first.
    fn note_pid(&self) {
        if self.vssd.peer().pid.is_none() {
            let pid = peer_pid(&self.vssd.socket);
            self.vssd.update_peer(|peer| peer.pid = pid);
        }
    }

    /// The first message has arrived.
    pub fn greeted(&self) {
        if !self.greeted.swap(true, Ordering::SeqCst) {
            self.note_pid();
            self.vssd.update_peer(|peer| peer.connecting = false);
            let (vssd, pid) = (&self.vssd.name, self.vssd.peer().pid);
            tracing::info!(%vssd, pid, "frontend connected");
        }
    }

    /// How much longer to wait for the first message; `None` when it has arrived, or the client is
    /// not accepted yet.
    pub fn patience_left(&self) -> Option<Duration> {
        let waited = Duration::from_nanos(self.vssd.now_ns() - self.accepted_ns.get()?);
        let greeted = self.greeted.load(Ordering::SeqCst);
        (!greeted).then(|| PATIENCE.saturating_sub(waited))
    }

    /// Disconnects the frontend.
    pub fn hang_up(&self) {
        self.hung_up.store(true, Ordering::SeqCst);
        if let Some(handle) = self.handle.get() {
            handle.shutdown();
        }
    }

    /// Nothing is served any more, and its threads may end.
    pub fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// Whether nothing is served any more.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Whether a thread died that served it.
    pub fn has_dead_thread(&self) -> bool {
        self.has_dead_thread.load(Ordering::SeqCst)
    }

    /// Ends the connection if the calling thread ends before it is over.
    pub fn depend_on_this_thread(self: &Arc<Self>) {
        DEPENDENT.with(|dependent| {
            dependent.get_or_init(|| Dependent(self.clone()));
        });
    }
}

thread_local! {
    /// The connection that depends on this thread, dropped when the thread ends: nothing else runs
    /// at every end of a thread that other code started.
    static DEPENDENT: OnceCell<Dependent> = const { OnceCell::new() };
}

struct Dependent(Arc<Connection>);

impl Drop for Dependent {
    fn drop(&mut self) {
        if !self.0.is_over() {
            self.0.has_dead_thread.store(true, Ordering::SeqCst);
            self.0.hang_up();
        }
    }
}

/// The process at the other end of the connection to `socket`; `None` if it is in another PID
/// namespace.
///
/// The `vhost` crate accepts the connection and keeps the descriptor to itself, so it is looked
/// for among those of this process: a connected socket whose own address is `socket`. The
/// alternatives are to forward every message between two sockets, or to ask the kernel for all
/// sockets of the machine (`sock_diag`).
fn peer_pid(socket: &Path) -> Option<u32> {
    let own = fs::read_dir("/proc/self/fd").ok()?;
    let numbers = own.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut sockets = numbers.filter_map(|number: RawFd| {
        let target = fs::read_link(format!("/proc/self/fd/{number}")).ok()?;
        let is_socket = target.to_str()?.starts_with("socket:");
        is_socket.then(|| duplicate(number).ok())?
    });
    let is_it = |stream: &UnixStream| {
        let own = stream.local_addr();
        own.is_ok_and(|own| own.as_pathname() == Some(socket)) && stream.peer_addr().is_ok()
    };
    let stream = sockets.find(is_it)?;
    pid_of_peer(&stream).ok().filter(|pid| *pid > 0)
}

/// A duplicate of the descriptor `number`.
fn duplicate(number: RawFd) -> io::Result<UnixStream> {
    // SAFETY: it is borrowed to be duplicated only. Where its owner has closed it since it was
    // listed, that fails, or there is now another descriptor of something else: its address then
    // differs from the wanted one, and closing the duplicate changes nothing for its owner.
    #[allow(unsafe_code)]
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    Ok(borrowed.try_clone_to_owned()?.into())
}

/// The number of the process that connected, 0 for one in another PID namespace, which the function
/// of rustix 1.1 cannot represent.
pub(crate) fn pid_of_peer(stream: &UnixStream) -> io::Result<u32> {
    let mut peer = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the descriptor is open as long as `stream`; the kernel writes at most `len` bytes
    // to `peer`, which consists of integers, and the number of them to `len`.
    #[allow(unsafe_code)]
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut len,
        )
    };
    match result {
        0 => Ok(peer.pid as u32),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::process;

    use super::*;

    #[test]
    fn the_peer_of_a_connection_is_found_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["one", "two"].map(|name| folder.path().join(name));
        let listeners = paths
            .each_ref()
            .map(|path| UnixListener::bind(path).unwrap());
        let _clients = paths
            .each_ref()
            .map(|path| UnixStream::connect(path).unwrap());
        assert_eq!(peer_pid(&paths[0]), None, "it is not accepted yet");
        let accepted = listeners[0].accept().unwrap();
        assert_eq!(peer_pid(&paths[0]), Some(process::id()));
        assert_eq!(peer_pid(&paths[1]), None);
        drop(accepted);
        assert_eq!(peer_pid(&paths[0]), None);
    }
}
