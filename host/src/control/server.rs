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

use vssd::device::Phase;
use vssd::error::Reject;
use workloads::{HostPick, Pick};

use super::arbiter;
use super::protocol::{
    ActivityLatency, Change, Connection, CountersStatus, DemandStatus, LatencyStatus, MAX_LINE,
    OperationLatency, PoolStatus, Rate, Reply, Request, Resize, Resized, Status, TrackerName,
    TrackerStatus, UnderWay, VssdStatus, end_label,
};
use super::selection::Selection;
use crate::backend::Backend;
use crate::causes::Causes;
use crate::descriptors::CONTROL_CLIENTS;
use crate::latency::{Activity, Operation};
use crate::log_limit::LogLimit;
use crate::pick::Tracker;
use crate::pool::Pool;
use crate::scheduling::let_others_first;
use crate::stats::{Counters, Stats};
use crate::threads::{acceptor, panics};
use crate::view::Finished;
use crate::vssd::{ResizeRequest, Target, Vssd, Waited};

/// Clients at a time that are refused with an answer; more are disconnected.
const MAX_TURNED_AWAY: usize = 8;

/// How long a status waits for busy vSSDs, to report their present state and not their last known
/// one: longer than they compute, but shorter than they may wait for the backing.
const STATUS_PATIENCE: Duration = Duration::from_millis(30);

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
            uptime_ms: self.backend.context().clock.now_ns() / 1_000_000,
            panics: panics(),
            pool: pool_status(self.backend.pool()),
            backing: self.backing.clone(),
            vssds: statuses(&self.backend),
            unserved: self.backend.unserved(),
        }
    }
}

/// What is used of a pool, as it is reported.
pub fn pool_status(pool: &Pool) -> PoolStatus {
    let (usage, work) = (pool.usage(), pool.work());
    PoolStatus {
        block_size: pool.block_size(),
        physical_blocks: usage.physical_blocks,
        free: usage.free + usage.deferred,
        deferred: usage.deferred,
        reserved: usage.owed,
        committed: usage.committed,
        limit: usage.limit,
        commits: work.commits,
        journal_bytes: work.bytes,
        compactions: work.compactions,
        media: pool.wear(),
    }
}

/// A resize that ended, as it is reported.
pub fn resized(finished: &Finished) -> Resized {
    let outcome = &finished.outcome;
    Resized {
        id: outcome.id,
        from: outcome.from,
        target: outcome.target,
        held: outcome.held,
        revoked: outcome.revoked,
        block_size: finished.block_size,
        exchanges: outcome.exchanges,
        end: end_label(outcome.end).to_owned(),
        agreed: outcome.agreed,
        elapsed_ns: outcome.finished_ns.saturating_sub(outcome.started_ns),
        device_ns: finished.device_ns,
        message_bytes: finished.message_bytes,
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

fn latency(vssd: &Vssd, reset: bool) -> LatencyStatus {
    // Copied, so that no request waits while buckets are listed.
    let mut stats = vssd.stats();
    let latency = stats.latency.clone();
    if reset {
        stats.latency.reset();
    }
    drop(stats);
    let activities = Activity::ALL.map(|activity| {
        let measured = latency.during(activity);
        let operations = Operation::ALL.map(|of| OperationLatency::new(of, measured.service(of)));
        ActivityLatency {
            activity,
            operations: operations.to_vec(),
            longest_stall_ns: measured.longest_stall_ns,
        }
    });
    LatencyStatus {
        activities: activities.to_vec(),
    }
}

/// The windows over which rates are reported, seconds.
const RATE_WINDOWS_S: [u64; 2] = [1, 10];

/// The states of all vSSDs, as they are reported.
pub fn statuses(backend: &Backend) -> Vec<VssdStatus> {
    let until = Instant::now() + STATUS_PATIENCE;
    let vssds = backend.vssds();
    vssds.iter().map(|vssd| status(vssd, until)).collect()
}

/// The state of a vSSD, as it is reported: that of now if it is not busy until then.
pub fn status(vssd: &Vssd, until: Instant) -> VssdStatus {
    let now = vssd.now_ns();
    // Copied, so that no request waits while buckets are listed.
    let latency = vssd.stats().latency.clone();
    let view = vssd.view(until);
    let connection = Connection::of(vssd);
    let under_way = view.resize.map(|resize| UnderWay {
        id: resize.id,
        from: resize.from,
        target: resize.request.target,
        phase: match resize.phase {
            Phase::Moving => "moving".to_owned(),
            Phase::Settling { .. } => "settling".to_owned(),
        },
        elapsed_ms: now.saturating_sub(resize.started_ns) / 1_000_000,
    });
    // None if it is being deleted.
    let account = vssd.pool.account(&vssd.volume).unwrap_or_default();
    let stats = vssd.stats();
    VssdStatus {
        name: vssd.name.clone(),
        socket: vssd.socket.display().to_string(),
        block_size: vssd.geometry.block_size(),
        capacity: vssd.geometry.capacity(),
        held: view.held,
        quota: account.bounds.quota,
        reservation: account.bounds.reservation,
        used: account.owned,
        digest: format!("{:016x}", view.digest),
        target: under_way.as_ref().map_or(view.held, |resize| resize.target),
        agreed: view.agreed,
        connected: connection == Connection::Connected,
        connection,
        peer_pid: vssd.peer().pid,
        draining: vssd.is_draining(),
        restarts: vssd.restarts(),
        driver: view.driver,
        encoding: view.encoding.into(),
        advice: view.advice.into(),
        tracker: TrackerStatus {
            kind: TrackerName(stats.tracker.as_ref().map(Tracker::serves)),
            memory_bytes: stats.tracker.as_ref().map_or(0, Tracker::memory_bytes) as u64,
        },
        resize: under_way,
        last_resize: view.last.as_ref().map(resized),
        counters: counters(&stats.counters),
        rates: RATE_WINDOWS_S
            .map(|window_s| rate(&stats, window_s, vssd.now_ns()))
            .to_vec(),
        latency: Operation::ALL
            .map(|operation| OperationLatency::new(operation, &latency.of(operation)))
            .to_vec(),
    }
}

fn rate(stats: &Stats, window_s: u64, now_ns: u64) -> Rate {
    let ([read, write], ns) = stats.recent.during(window_s, now_ns, &stats.counters);
    let seconds = ns as f64 / 1e9;
    let rate = |count: u64| count as f64 / seconds;
    Rate {
        seconds,
        reads: rate(read.requests),
        read_bytes: rate(read.bytes),
        writes: rate(write.requests),
        written_bytes: rate(write.bytes),
    }
}

fn counters(counters: &Counters) -> CountersStatus {
    CountersStatus {
        reads: counters.read.requests,
        read_bytes: counters.read.bytes,
        writes: counters.write.requests,
        written_bytes: counters.write.bytes,
        zeroings: counters.zero.requests,
        flushes: counters.flush,
        io_errors: counters.io_errors,
        no_space: counters.no_space,
        bad_chains: counters.bad_chains,
        commands: counters.commands,
        polls_found: counters.polls.found,
        polls_vain: counters.polls.vain,
        resizes: counters.resizes,
        resize_ends: counters
            .resize_ends
            .iter()
            .map(|(end, count)| ((*end).to_owned(), *count))
            .collect(),
        surrendered: counters.surrendered,
        granted: counters.granted,
        rejects: Reject::ALL
            .iter()
            .zip(counters.rejects)
            .filter(|(_, count)| *count > 0)
            .map(|(reject, count)| (reject.label().to_owned(), count))
            .collect(),
    }
}
