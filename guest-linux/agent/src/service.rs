//! The loop of the agent: waits for the port, the source and signals, and moves bytes. It sleeps
//! until one of them has something; there is a clock only while a response, a socket or a source's
//! work is waited for.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

use crate::error::{During, Result};
use crate::log;
use crate::port::{Moved, Port};
use crate::session::{Attach, Session};

/// How long a response may take [STR-7].
const RESPONSE_MAX: Duration = Duration::from_secs(60);

/// How long to wait before a socket that has hung up is connected again.
const RECONNECT: Duration = Duration::from_secs(1);

/// Bytes that are read at a time.
const CHUNK: usize = 64 << 10;

const PORT: u64 = 0;
const SOURCE: u64 = 1;
const END: u64 = 2;
const LOOK: u64 = 3;

/// Serves until a signal asks it to end.
///
/// # Errors
/// When the agent cannot go on.
pub fn run(path: &Path, attach: Attach) -> Result<()> {
    let port = Port::open(path)?;
    let mut service = Service::new(path, port, Session::new(random()?, attach))?;
    loop {
        let again = service.work()?;
        if service.wait(again)? {
            log::info("ends; what was given up stays so");
            return Ok(());
        }
    }
}

fn random() -> Result<u64> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .during(|| "draw a random number".to_owned())?;
    Ok(u64::from_ne_bytes(bytes))
}

struct Service {
    path: PathBuf,
    port: Option<Port>,
    /// The other side has closed the port; it is open again when it can be read.
    is_hung_up: bool,
    is_watching: bool,
    session: Session,
    epoll: OwnedFd,
    /// Readable when a signal asks to end, or to look again.
    end: UnixStream,
    look: UnixStream,
    awaiting_since: Option<Instant>,
    buffer: Box<[u8]>,
}

/// The end of a pipe into which a signal writes.
fn signal_pipe(signals: &[i32]) -> Result<UnixStream> {
    let open = || {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        for signal in signals {
            pipe::register(*signal, writer.try_clone()?)?;
        }
        Ok::<_, std::io::Error>(reader)
    };
    open().during(|| "prepare for signals".to_owned())
}

impl Service {
    fn new(path: &Path, port: Port, session: Session) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).during(|| "wait".to_owned())?;
        let mut service = Self {
            path: path.to_owned(),
            port: None,
            is_hung_up: false,
            is_watching: false,
            session,
            epoll,
            end: signal_pipe(&[SIGTERM, SIGINT])?,
            look: signal_pipe(&[SIGHUP])?,
            awaiting_since: None,
            buffer: vec![0; CHUNK].into(),
        };
        service.add(&service.end, END, epoll::EventFlags::IN)?;
        service.add(&service.look, LOOK, epoll::EventFlags::IN)?;
        service.connect(port)?;
        Ok(service)
    }

    /// Waits for edges of the port: a serial port without a host reports a hang-up for as long as
    /// that lasts, and would never let the agent sleep.
    fn connect(&mut self, port: Port) -> Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        self.add(&port, PORT, flags)?;
        self.port = Some(port);
        Ok(())
    }

    fn add(&self, fd: impl AsFd, what: u64, flags: epoll::EventFlags) -> Result<()> {
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(what), flags)
            .during(|| "wait".to_owned())
    }

    /// Moves bytes and works until there is nothing to do. Returns after how long to look again.
    fn work(&mut self) -> Result<Option<Duration>> {
        let mut again;
        loop {
            again = self.session.work();
            let written = self.write()?;
            let read = self.read()?;
            if !written && !read {
                break;
            }
        }
        self.watch_source()?;
        if self.port.is_none() {
            return Ok(Some(RECONNECT));
        }
        if self.is_hung_up || !self.session.is_awaiting() {
            self.awaiting_since = None;
            return Ok(again);
        }
        let since = *self.awaiting_since.get_or_insert_with(Instant::now);
        let left = RESPONSE_MAX.saturating_sub(since.elapsed());
        if left.is_zero() {
            log::warn(format_args!(
                "no response in {} s; the channel is opened anew",
                RESPONSE_MAX.as_secs()
            ));
            self.awaiting_since = None;
            self.session.reopen();
            return Ok(Some(Duration::ZERO));
        }
        Ok(Some(left))
    }

    /// Whether something was written.
    fn write(&mut self) -> Result<bool> {
        let Some(port) = self.port.as_ref().filter(|_| !self.is_hung_up) else {
            return Ok(false);
        };
        let output = self.session.output();
        if output.is_empty() {
            return Ok(false);
        }
        match port.write(output)? {
            Moved::Bytes(count) => {
                self.session.sent(count);
                Ok(true)
            }
            Moved::Nothing => Ok(false),
            Moved::HungUp => self.hang_up(),
        }
    }

    /// Whether something was read, or is to be written because the host is back.
    fn read(&mut self) -> Result<bool> {
        let Some(port) = &self.port else {
            return Ok(false);
        };
        let moved = port.read(&mut self.buffer)?;
        if moved == Moved::HungUp {
            return self.hang_up();
        }
        let is_back = std::mem::take(&mut self.is_hung_up);
        if is_back {
            self.greet();
        }
        if let Moved::Bytes(count) = moved {
            self.session.receive(&self.buffer[..count])?;
        }
        Ok(is_back || moved != Moved::Nothing)
    }

    /// A socket is connected again; a serial port reads as ended until the host is back.
    fn hang_up(&mut self) -> Result<bool> {
        if !std::mem::replace(&mut self.is_hung_up, true) {
            log::warn("the host has closed the channel; waiting for it");
        }
        if self.port.as_ref().is_some_and(Port::is_socket) {
            self.port = None;
        }
        Ok(false)
    }

    /// The host is back. [STR-7] What was on its way may be lost.
    fn greet(&mut self) {
        log::info("the host is back");
        self.session.reopen();
    }

    /// Connects a socket again, once its other end is there.
    fn reconnect(&mut self) -> Result<()> {
        if self.port.is_some() {
            return Ok(());
        }
        match Port::open(&self.path) {
            Ok(port) => self.connect(port),
            Err(_) => Ok(()),
        }
    }

    fn watch_source(&mut self) -> Result<()> {
        if self.is_watching {
            return Ok(());
        }
        let watch = self.session.source().and_then(|source| source.watch());
        if let Some(watch) = watch {
            self.add(watch, SOURCE, epoll::EventFlags::IN)?;
            self.is_watching = true;
        }
        Ok(())
    }

    /// Sleeps until something is to do. True when the agent is asked to end.
    fn wait(&mut self, limit: Option<Duration>) -> Result<bool> {
        let limit = limit.map(|limit| Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        });
        let mut events = [const { std::mem::MaybeUninit::uninit() }; 4];
        let (events, _) = match epoll::wait(&self.epoll, &mut events[..], limit.as_ref()) {
            Ok(events) => events,
            Err(Errno::INTR) => return Ok(false),
            Err(errno) => return Err(errno).during(|| "wait".to_owned()),
        };
        let events: [Option<u64>; 4] =
            std::array::from_fn(|at| events.get(at).map(|event| event.data.u64()));
        let has = |what| events.contains(&Some(what));
        if has(END) {
            return Ok(true);
        }
        if has(LOOK) {
            let mut bytes = [0; 64];
            let _ = rustix::io::read(&self.look, &mut bytes);
            log::info("looks again (SIGHUP)");
        }
        if has(LOOK) || has(SOURCE) {
            self.session.woken();
        }
        self.reconnect()?;
        Ok(false)
    }
}
