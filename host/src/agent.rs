//! The channel of a vSSD's agent: its socket, the connection of a frontend's serial port, and the
//! thread that serves both (SPEC.md, section 10).
//!
//! ```text
//!  agent ── serial port ── QEMU ── socket ─▶ Session ── DeviceEnd ── Vssd::command
//!                                            │ ▲
//!                                     events └─┴─ Vssd::wake
//! ```
//!
//! A thread for each vSSD: a command may wait for the backing, and only this vSSD waits then. The
//! thread blocks in `poll` alone. It reads nothing while an answer is not written, so an agent that
//! does not read costs two frames of memory and no time.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, poll};
use vssd::stream::{Closed, DeviceEnd, Input, busy};
use vssd::wire::MAX_MESSAGE;

use crate::connection::pid_of_peer;
use crate::log_limit::LogLimit;
use crate::scheduling::let_others_first;
use crate::threads::{ACCEPT_REST, survive};
use crate::vssd::{AgentPeer, Vssd};

/// Bytes that are read at a time: a pass over the events of the thread takes no more.
const READ_LEN: usize = 64 << 10;

/// Serves the agent of one vSSD on a thread of its own.
pub struct AgentServer {
    serving: Arc<Serving>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

struct Serving {
    vssd: Arc<Vssd>,
    listener: UnixListener,
    stopped: AtomicBool,
    /// Connections that could not be accepted.
    unserved: LogLimit,
    /// Connections beside the first one.
    refused: LogLimit,
    /// Agents that have opened the channel: a guest may do that as often as it likes.
    opened: LogLimit,
    /// Agents that the device does not talk to.
    closed: LogLimit,
    /// Bytes that are no frame.
    garbage: LogLimit,
}

/// The connection that has the channel.
struct Session {
    stream: UnixStream,
    end: DeviceEnd,
    input: Box<[u8]>,
    /// The part of `input` that was read and not taken yet.
    unread: std::ops::Range<usize>,
}

impl AgentServer {
    /// Starts serving the agent of `vssd` to the clients of `listener`.
    ///
    /// # Errors
    /// When the system refuses a thread, or the mode of the listener.
    pub fn start(vssd: Arc<Vssd>, listener: UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let name = format!("agent-{}", vssd.name);
        let serving = Arc::new(Serving {
            vssd,
            listener,
            stopped: AtomicBool::new(false),
            unserved: LogLimit::default(),
            refused: LogLimit::default(),
            opened: LogLimit::default(),
            closed: LogLimit::default(),
            garbage: LogLimit::default(),
        });
        let thread = {
            let serving = serving.clone();
            thread::Builder::new()
                .name(name)
                .spawn(move || serving.serve())?
        };
        Ok(Self {
            serving,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Disconnects the agent and serves no other. A command that is under way ends first.
    pub fn stop(&self) {
        self.serving.stopped.store(true, Ordering::SeqCst);
        self.serving.vssd.wake().wake();
        // Held until the end, so that another thread that stops it waits as well.
        let mut thread = self.thread.lock();
        if thread.take().is_some_and(|thread| thread.join().is_err()) {
            let vssd = &self.serving.vssd.name;
            tracing::error!(%vssd, "the thread that served its agent had panicked");
        }
    }
}

impl Serving {
    fn serve(&self) {
        let_others_first();
        while !self.stopped.load(Ordering::SeqCst) {
            match survive(|| self.serve_connections()) {
                Some(Ok(())) => {}
                Some(Err(error)) => self.rest(&error),
                // The panic is logged; the frontend connects again.
                None => self.vssd.restarted(),
            }
            self.left();
        }
    }

    /// Waits a little after a failure, which may last.
    fn rest(&self, error: &io::Error) {
        if let Some(times) = self.unserved.due() {
            let vssd = &self.vssd.name;
            tracing::warn!(%vssd, %error, times, "an agent could not be served");
        }
        thread::sleep(ACCEPT_REST);
    }

    /// Serves one connection after the other, until it is stopped.
    fn serve_connections(&self) -> io::Result<()> {
        let mut session: Option<Session> = None;
        loop {
            let wake = self.vssd.wake();
            let (is_woken, is_called, events) = {
                let wanted = match &session {
                    Some(session) if session.end.output().is_empty() => PollFlags::IN,
                    Some(_) => PollFlags::OUT,
                    None => PollFlags::empty(),
                };
                let stream = session.as_ref().map(|session| &session.stream);
                // The listener comes first: a client that is seen there connected after the
                // connection below it was closed, if it was.
                let mut polled = vec![
                    PollFd::new(&self.listener, PollFlags::IN),
                    PollFd::new(wake, PollFlags::IN),
                ];
                polled.extend(stream.map(|stream| PollFd::new(stream, wanted)));
                match poll(&mut polled, None) {
                    Err(rustix::io::Errno::INTR) => continue,
                    other => other?,
                };
                let events = polled.get(2).map(PollFd::revents);
                (
                    !polled[1].revents().is_empty(),
                    !polled[0].revents().is_empty(),
                    events.unwrap_or(PollFlags::empty()),
                )
            };
            if is_woken {
                wake.clear();
            }
            if self.stopped.load(Ordering::SeqCst) {
                return Ok(());
            }
            if let Some(open) = &mut session
                && self.advance(open, events).is_err()
            {
                session = None;
                self.left();
            }
            if is_called && let Err(error) = self.accept(&mut session) {
                self.rest(&error);
            }
        }
    }

    /// [STR-10] Takes a client that waits, unless another has the channel.
    fn accept(&self, session: &mut Option<Session>) -> io::Result<()> {
        let (stream, _) = match self.listener.accept() {
            Ok(client) => client,
            // It disconnected before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        stream.set_nonblocking(true)?;
        let (vssd, pid) = (&self.vssd.name, pid_of_peer(&stream).ok());
        if session.is_some() {
            if let Some(times) = self.refused.due() {
                let first = self.vssd.agent().pid;
                tracing::warn!(%vssd, pid, first, times, "a second agent connected and was refused");
            }
            // What it sent is read: closing a socket with unread data would take the answer away
            // with it. A client that takes no answer gets none.
            let _ = (&stream).read(&mut [0; 4096]);
            let _ = (&stream).write(&busy());
            return Ok(());
        }
        tracing::info!(%vssd, pid, "agent's port connected");
        self.vssd.update_agent(AgentPeer {
            connected: true,
            open: false,
            pid,
        });
        *session = Some(Session {
            stream,
            end: DeviceEnd::new(self.vssd.identity()),
            input: vec![0; READ_LEN].into(),
            unread: 0..0,
        });
        Ok(())
    }

    /// The connection has ended, if there was one.
    fn left(&self) {
        if self.vssd.agent().connected {
            tracing::info!(vssd = %self.vssd.name, "agent's port disconnected");
            self.vssd.update_agent(AgentPeer::default());
            self.vssd.commands_stopped();
        }
    }

    /// Moves a connection on as far as it goes without waiting, and reads at most once.
    ///
    /// # Errors
    /// When it has ended.
    fn advance(&self, session: &mut Session, events: PollFlags) -> io::Result<()> {
        let mut may_read = !events.is_empty();
        loop {
            session.flush()?;
            if !session.end.output().is_empty() {
                return Ok(());
            }
            if self.serve_input(session) {
                continue;
            }
            if session.end.wants_event()
                && let Some(event) = self.vssd.take_event()
            {
                session.end.send_event(&event);
                continue;
            }
            if !may_read {
                return Ok(());
            }
            may_read = false;
            session.read()?;
        }
    }

    /// Serves what was read, up to the first answer; false when nothing is left of it.
    fn serve_input(&self, session: &mut Session) -> bool {
        let mut input = &session.input[session.unread.clone()];
        let (vssd, name) = (&self.vssd, &self.vssd.name);
        match session.end.receive(&mut input) {
            Some(Input::Command(command, reply)) => {
                vssd.command(command, MAX_MESSAGE, |response| reply.send(response));
            }
            Some(Input::Opened) => {
                if let Some(times) = self.opened.due() {
                    tracing::info!(vssd = %name, times, "agent connected");
                }
                vssd.agent_opened();
            }
            Some(Input::Closed(Closed::Unopened)) | None => {}
            Some(Input::Closed(reason)) => {
                if let Some(times) = self.closed.due() {
                    tracing::warn!(vssd = %name, times, "an agent was refused: {reason}");
                }
            }
        }
        session.unread.start = session.unread.end - input.len();
        let discarded = session.end.take_discarded();
        if discarded > 0 {
            vssd.stats().counters.bad_frames += discarded;
            if let Some(times) = self.garbage.due() {
                tracing::warn!(vssd = %name, times, "bytes on the agent's channel are no frame");
            }
        }
        !session.unread.is_empty() || !session.end.output().is_empty()
    }
}

impl Session {
    /// Writes as much as the socket takes.
    fn flush(&mut self) -> io::Result<()> {
        while !self.end.output().is_empty() {
            match self.stream.write(self.end.output()) {
                Ok(count) => self.end.sent(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what is there, once all of what was read before is taken.
    fn read(&mut self) -> io::Result<()> {
        match self.stream.read(&mut self.input) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.unread = 0..count;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }
}
