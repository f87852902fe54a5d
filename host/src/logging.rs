//! The log of the backend, on standard error.
//!
//! Logging never delays a guest: a thread that serves requests queues a line and continues. Another
//! thread writes the lines, so the state of standard error does not matter: its reader may have
//! left, its file system may be full, its terminal may be stopped.

use std::io;

use anyhow::{Result, anyhow};
use parking_lot::Mutex;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Lines that wait to be written. Further ones are dropped until there is room.
const LINES_KEPT: usize = 4096;

/// Writes the log out; static, so that any thread that ends the process can do it.
static WRITER: Mutex<Option<WorkerGuard>> = Mutex::new(None);

/// The log; it is written out when this is dropped.
pub struct Log(());

impl Drop for Log {
    fn drop(&mut self) {
        finish();
    }
}

/// Writes out what was logged, for at most a second. What is logged later is lost.
pub fn finish() {
    drop(WRITER.lock().take());
}

/// Starts the log.
///
/// # Errors
/// When the process has a log already, or `filter` is invalid.
pub fn start(filter: &str) -> Result<Log> {
    let filter = filter.parse::<Targets>().map_err(|error| {
        anyhow!("invalid --log `{filter}`: {error}; expected e.g. info or debug")
    })?;
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(LINES_KEPT)
        .lossy(true)
        .thread_name("log")
        .finish(io::stderr());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(false)
        // Their place would be standard error as well.
        .log_internal_errors(false);
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()
        .map_err(|error| anyhow!("start the log: {error}"))?;
    *WRITER.lock() = Some(guard);
    Ok(Log(()))
}
