//! The threads of the backend, and what follows when one of them panics.
//!
//! | thread | when it panics |
//! | --- | --- |
//! | `commits`, `clock`, `signals`, `holes` | the process exits: without it the backend would hang |
//! | `vssd-NAME`, `control`, `metrics` | it continues with the next client |
//! | `vring_worker`, and the one named after the vSSD | its frontend is disconnected, and the vSSD is served again (see [`connection`](crate::connection)) |
//! | `agent-NAME` | its agent's port is disconnected, and the next one is served |
//! | `revoke-NAME` | the clock starts another |
//! | `arbiter` | it forgets what is under way, and continues with the next period |
//! | `arbiter-NAME` | its order counts as refused; the next period decides anew |
//! | `control-client`, `metrics-client` | its client is disconnected |
//!
//! Every panic is logged and counted. Locks survive one: each holder leaves what a lock
//! guards consistent before anything that can panic.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::log_limit::LogLimit;
use crate::logging;
use crate::socket;

/// Pause after a client that could not be accepted, mostly for lack of descriptors: it stays in the
/// queue, so the next attempt would follow at once.
pub const ACCEPT_REST: Duration = Duration::from_millis(100);

static PANICS: AtomicU64 = AtomicU64::new(0);

/// Logs and counts every panic from now on.
pub fn watch_panics() {
    panic::set_hook(Box::new(note_panic));
}

fn note_panic(info: &PanicHookInfo<'_>) {
    PANICS.fetch_add(1, Ordering::Relaxed);
    let thread = thread::current();
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(
        thread = thread.name().unwrap_or("unnamed"),
        location,
        "panic: {}",
        info.payload_as_str().unwrap_or("without a message")
    );
    // Controlled by RUST_BACKTRACE.
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        tracing::error!("{backtrace}");
    }
}

/// Panics of this process since [`watch_panics`].
pub fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// What `body` returns, or `None` after a panic.
pub fn survive<T>(body: impl FnOnce() -> T) -> Option<T> {
    panic::catch_unwind(AssertUnwindSafe(body)).ok()
}

/// Starts a thread that the backend cannot run without: a panic there ends the process, with exit
/// code 1.
///
/// # Errors
/// When the system has no thread left.
pub fn vital(name: &'static str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let guarded = move || {
        if survive(body).is_none() {
            tracing::error!(
                "the thread `{name}` died, and the backend cannot run without it: exiting"
            );
            socket::remove_all();
            logging::finish();
            process::exit(1);
        }
    };
    // It is not joined: it ends with the process.
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(guarded)?;
    Ok(())
}

/// Starts a thread that accepts clients by `accept` and passes them to `serve`, forever.
///
/// # Errors
/// When the system has no thread left.
pub fn acceptor<S>(
    name: &'static str,
    accept: impl Fn() -> io::Result<S> + Send + 'static,
    serve: impl Fn(S) + Send + 'static,
) -> io::Result<()> {
    let log_limit = LogLimit::default();
    let next = move || match accept() {
        Ok(client) => serve(client),
        // It disconnected before it was accepted.
        Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
        Err(error) => {
            if let Some(times) = log_limit.due() {
                tracing::error!(%error, times, "{name}: a client could not be accepted");
            }
            thread::sleep(ACCEPT_REST);
        }
    };
    let forever = move || {
        loop {
            // The panic is logged, and only this client is lost.
            let _ = survive(&next);
        }
    };
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(forever)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::sync::mpsc;
    use std::time::Instant;

    use super::*;
    use crate::permissions::FilePermissions;
    use crate::socket::Socket;

    /// Where the test below listens, for the process that it runs.
    const SOCKET: &str = "VSSD_TEST_SOCKET";

    /// What the test below runs in a process of its own.
    #[test]
    #[ignore = "ends the process"]
    fn a_vital_thread_panics() {
        watch_panics();
        let path = std::env::var_os(SOCKET).expect("the test below says where to listen");
        let _socket = Socket::bind(path.as_ref(), FilePermissions::default()).unwrap();
        vital("doomed", || panic!("as the test expects")).unwrap();
        thread::sleep(Duration::from_secs(20));
    }

    #[test]
    fn without_a_vital_thread_the_process_ends_and_leaves_no_socket() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("vm1.sock");
        let program = std::env::current_exe().unwrap();
        let arguments = [
            "--ignored",
            "--exact",
            "threads::tests::a_vital_thread_panics",
        ];
        let ended = process::Command::new(program)
            .args(arguments)
            .env(SOCKET, &socket)
            .output()
            .unwrap();
        // A test that fails ends with another code.
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        assert!(!socket.exists(), "its socket is still there");
    }

    /// Without descriptors every accept fails at once: retrying without a pause would occupy a
    /// processor.
    #[test]
    fn an_acceptor_rests_when_it_cannot_accept() {
        let (sender, turns) = mpsc::channel();
        let accept = move || -> io::Result<()> {
            // It goes on when the test is over.
            let _ = sender.send(Instant::now());
            Err(io::Error::from_raw_os_error(libc::EMFILE))
        };
        acceptor("test", accept, |()| {}).unwrap();
        let turn = || turns.recv_timeout(Duration::from_secs(20)).unwrap();
        let (first, second) = (turn(), turn());
        assert!(second - first >= ACCEPT_REST, "{:?}", second - first);
    }

    #[test]
    fn an_acceptor_outlives_its_clients_and_their_panics() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let (sender, served) = mpsc::channel();
        let turn = AtomicU64::new(0);
        acceptor(
            "test",
            move || match turn.fetch_add(1, Ordering::Relaxed) {
                0 => Err(io::Error::from_raw_os_error(libc::EMFILE)),
                turn => listener.accept().map(|_| turn),
            },
            move |turn| match turn {
                1 => panic!("the first client"),
                turn => sender.send(turn).unwrap(),
            },
        )
        .unwrap();
        let _clients = [(); 2].map(|()| UnixStream::connect(&path).unwrap());
        assert_eq!(served.recv_timeout(Duration::from_secs(20)), Ok(2));
    }
}
