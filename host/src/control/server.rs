//! The backend's side of the control socket: one thread a client.
//!
//! Clients are local but may still be faulty: the length of a line and the number of clients are
//! bounded, a client that does not read its answers is disconnected, and an invalid request is
//! answered with an error.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use workloads::{HostPick, Pick};

use super::arbiter;
use super::protocol::{Change, DemandStatus, MAX_LINE, Reply, Request, Resize, Status};
use super::report::{latency, pool_status, resized, statuses};
use super::selection::Selection;
use crate::backend::Backend;
use crate::causes::Causes;
use crate::descriptors::CONTROL_CLIENTS;
use crate::log_limit::LogLimit;
use crate::scheduling::let_others_first;
use crate::threads::{acceptor, panics};
use crate::vssd::{ResizeRequest, Target, Vssd, Waited};

/// Clients at a time that are refused with an answer; more are disconnected.
const MAX_TURNED_AWAY: usize = 8;

/// How long a client may take to read an answer.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);

/// How often the server checks whether a client that waits for a resize is still connected.
const LEAVE_INTERVAL: Duration = Duration::from_millis(500);

/// How often a watching client gets the state although nothing changed.
const WATCH_INTERVAL: Duration = Duration::from_secs(10);

/// How long a guest may take to report its demand.
const REPORT_PATIENCE: Duration = Duration::from_secs(1);

/// What the control socket acts on.
pub struct Control {
    /// The backing file or device.
    pub backing: String,
    /// What serves the vSSDs.
    pub backend: Arc<Backend>,
    /// Called when a client requests shutdown.
    pub shutdown: Box<dyn Fn() + Send + Sync>,
}

/// Starts serving clients of `listener`.
pub fn spawn(control: Arc<Control>, listener: UnixListener) -> io::Result<()> {
    let (clients, turned_away) = (Arc::default(), Arc::default());
    let log_limit = LogLimit::default();
    let accept = move || Ok(listener.accept()?.0);
    acceptor("control", accept, move |stream: UnixStream| {
        let seat = Seat::take(&clients, CONTROL_CLIENTS);
        let is_seated = seat.is_some();
        let Some(seat) = seat.or_else(|| Seat::take(&turned_away, MAX_TURNED_AWAY)) else {
            return;
        };
        let control = control.clone();
        let served = thread::Builder::new()
            .name("control-client".to_owned())
            .spawn(move || {
                let _seat = seat;
                if is_seated {
                    let_others_first();
                    drop(serve(&control, &stream));
                } else {
                    drop(turn_away(&stream));
                }
            });
        if let Err(error) = served
            && let Some(times) = log_limit.due()
        {
            tracing::warn!(%error, times, "a control client could not be served");
        }
    })
}

/// One of a limited number of clients.
struct Seat(Arc<AtomicUsize>);

impl Seat {
    fn take(clients: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        clients
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
                (n < most).then_some(n + 1)
            })
            .ok()
            .map(|_| Self(clients.clone()))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn error(message: impl Into<String>) -> Reply {
    Reply::Error {
        message: message.into(),
    }
}

fn send(mut stream: &UnixStream, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Refuses a client because there are too many. Its request is read first: closing a
/// socket with unread data would take the answer away with it.
fn turn_away(stream: &UnixStream) -> io::Result<()> {
    stream.set_write_timeout(Some(WRITE_PATIENCE))?;
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    let mut line = Vec::new();
    // The answer is the same without a request in that time.
    let _ = BufReader::new(stream)
        .take(MAX_LINE as u64)
        .read_until(b'\n', &mut line);
    send(stream, &error("too many clients: close some"))
}

/// True when the client has closed the connection; one that has only shut down its sending side
/// still reads answers.
fn has_left(stream: &UnixStream) -> bool {
    let mut fds = [PollFd::new(stream, PollFlags::empty())];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::HUP)
}

fn serve(control: &Control, stream: &UnixStream) -> io::Result<()> {
    stream.set_write_timeout(Some(WRITE_PATIENCE))?;
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    let mut selection = Selection::default();
    loop {
        line.clear();
        let limit = MAX_LINE as u64 + 1;
        reader.by_ref().take(limit).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        if line.len() > MAX_LINE {
            return send(
                stream,
                &error(format!("a request has at most {MAX_LINE} bytes")),
            );
        }
        match serde_json::from_slice(&line) {
            Ok(Request::Watch {}) => return watch(control, stream),
            Ok(Request::Shutdown {}) => {
                send(stream, &Reply::Ok)?;
                (control.shutdown)();
            }
            Ok(request) => send(stream, &control.answer(&request, &mut selection, stream))?,
            Err(problem) => send(stream, &error(format!("invalid request: {problem}")))?,
        }
    }
}

fn watch(control: &Control, stream: &UnixStream) -> io::Result<()> {
    loop {
        let notifier = &control.backend.context().notifier;
        let generation = notifier.generation();
        send(stream, &Reply::Status(control.status()))?;
        notifier.wait(generation, WATCH_INTERVAL);
    }
}

impl Control {
    fn answer(&self, request: &Request, selection: &mut Selection, client: &UnixStream) -> Reply {
        let result = match request {
            Request::Status {} => Ok(Reply::Status(self.status())),
            Request::Resize(resize) => self.resize(resize, selection, client),
            Request::Select { vssd, blocks } => self
                .find(vssd)
                .and_then(|vssd| selection.add(&vssd, blocks))
                .map(|()| Reply::Ok),
            Request::Cancel { vssd } => self.find(vssd).and_then(|vssd| match vssd.cancel() {
                Some(id) => Ok(Reply::Started { id }),
                None => Err(format!("no resize of {} is under way", vssd.name)),
            }),
            Request::SetEncoding { vssd, encoding } => self.find(vssd).map(|vssd| {
                vssd.set_encoding((*encoding).into());
                Reply::Ok
            }),
            Request::Track { vssd, tracker } => self.find(vssd).and_then(|vssd| {
                let tracked = vssd.track(tracker.0);
                tracked.map_err(|error| format!("track {}: {error}", vssd.name))?;
                Ok(Reply::Ok)
            }),
            Request::Advise { vssd, advice } => self.find(vssd).map(|vssd| {
                vssd.advise((*advice).into());
                Reply::Ok
            }),
            Request::Latency { vssd, reset } => self
                .find(vssd)
                .map(|vssd| Reply::Latency(latency(&vssd, *reset))),
            Request::Demand { vssd } => self.find(vssd).and_then(|vssd| demand(&vssd, client)),
            Request::ArbiterStatus {} => arbiter::status(&self.backend).map(Reply::Arbiter),
            Request::ArbiterExplain { vssd } => {
                let decisions = arbiter::explain(&self.backend, vssd);
                let vssd = vssd.clone();
                decisions.map(|decisions| Reply::Decisions { vssd, decisions })
            }
            Request::ArbiterSet(change) => arbiter::set(&self.backend, change).map(|()| Reply::Ok),
            Request::Add { spec } => spec
                .parse()
                .and_then(|spec| self.backend.add(&spec))
                .map(Reply::Added)
                .map_err(|error| format!("{error:#}")),
            Request::Remove { vssd, delete } => self
                .backend
                .remove(vssd, *delete)
                .map(|()| Reply::Ok)
                .map_err(|error| format!("{error:#}")),
            Request::Ping {} | Request::Watch {} | Request::Shutdown {} => Ok(Reply::Ok),
        };
        result.unwrap_or_else(error)
    }

    fn find(&self, name: &str) -> Result<Arc<Vssd>, String> {
        self.backend.find(name).map_err(|error| error.to_string())
    }

    fn resize(
        &self,
        resize: &Resize,
        selection: &mut Selection,
        client: &UnixStream,
    ) -> Result<Reply, String> {
        let vssd = self.find(&resize.vssd)?;
        let block_size = vssd.geometry.block_size();
        let blocks =
            |amount: crate::size::Amount| amount.in_blocks(block_size).map_err(|e| e.to_string());
        let target = match resize.change {
            Change::To(amount) => Target::To(blocks(amount)?),
            Change::Grow(amount) => Target::Grow(blocks(amount)?),
            Change::Shrink(amount) => Target::Shrink(blocks(amount)?),
        };
        let request = ResizeRequest {
            target,
            pick: resize.pick,
            deadline: match resize.deadline_ms {
                0 => None,
                ms => Some(Duration::from_millis(ms)),
            },
            revoke: resize.revoke,
            force: resize.force,
            seed: resize.seed,
        };
        let started = match resize.pick {
            Pick::Host(HostPick::Given) => {
                vssd.take(selection.take(&vssd, resize.change)?, request)
            }
            _ => vssd.resize(request),
        };
        let id = started.map_err(|e| format!("resize {}: {}", vssd.name, Causes(&e)))?;
        if !resize.wait {
            return Ok(Reply::Started { id });
        }
        loop {
            match vssd.wait_for(id, Instant::now() + LEAVE_INTERVAL) {
                Waited::Ended(finished) => return Ok(Reply::Resized(resized(&finished))),
                Waited::Forgotten => {
                    return Err(format!("resize {id} ended, but its outcome was discarded"));
                }
                Waited::Removed => {
                    let name = &resize.vssd;
                    return Err(format!("{name} was removed before resize {id} ended"));
                }
                Waited::UnderWay if has_left(client) => {
                    return Err(format!("the client of resize {id} has left"));
                }
                Waited::UnderWay => {}
            }
        }
    }

    fn status(&self) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_ms: self.backend.context().clock.now_ns() / 1_000_000,
            panics: panics(),
            pool: pool_status(self.backend.pool()),
            backing: self.backing.clone(),
            vssds: statuses(&self.backend),
            unserved: self.backend.unserved(),
        }
    }
}

/// Asks a guest for its demand.
fn demand(vssd: &Vssd, client: &UnixStream) -> Result<Reply, String> {
    if !vssd.lock().device.has_session() {
        return Err(format!("{} has no guest with a vSSD driver", vssd.name));
    }
    let until = Instant::now() + REPORT_PATIENCE;
    let before = vssd.request_report();
    loop {
        let generation = vssd.notifier().generation();
        if let Some(demand) = vssd.report_after(before) {
            return Ok(Reply::Demand {
                demand: demand.as_ref().map(DemandStatus::from),
            });
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || has_left(client) {
            return Err(format!(
                "the guest of {} did not report its demand within {REPORT_PATIENCE:?}: its driver may not know how",
                vssd.name
            ));
        }
        vssd.notifier().wait(generation, left.min(LEAVE_INTERVAL));
    }
}
