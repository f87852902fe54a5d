//! A client of a backend's control socket.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::protocol::{
    ArbiterStatus, LatencyStatus, MAX_LINE, Reply, Request, Resize, Resized, Status,
};
use crate::block_list::BlockList;

/// Bytes of a list of blocks in a request at most: the rest of the line is short.
const LIST_LEN: usize = MAX_LINE - 1024;

/// Why a request has no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No process listens.
    #[error("no backend answers at {path}; start vssd-host, or name its socket with --control")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The answer took too long.
    #[error(
        "the backend at {path} did not answer within {patience:?}; it is stopped or overloaded, or \
         another program listens there"
    )]
    Late {
        /// The socket.
        path: PathBuf,
        /// How long the client waited.
        patience: Duration,
    },
    /// The backend closed the connection.
    #[error("the backend at {path} ended the connection without an answer; see its log")]
    Closed {
        /// The socket.
        path: PathBuf,
    },
    /// The connection failed.
    #[error("the connection to the backend at {path} failed")]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The answer cannot be parsed.
    #[error("the backend's answer cannot be parsed: use vssdctl and vssd-host of the same release")]
    Answer(#[from] serde_json::Error),
    /// The backend refused.
    #[error("{0}")]
    Refused(String),
}

/// A connection to the control socket.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
    patience: Option<Duration>,
}

impl Client {
    /// Connects; `timeout` bounds the wait for each answer, if given.
    pub fn connect(path: &Path, timeout: Option<Duration>) -> Result<Self, ClientError> {
        let failed = |source| ClientError::Connect {
            path: path.to_owned(),
            source,
        };
        let stream = UnixStream::connect(path).map_err(failed)?;
        stream.set_read_timeout(timeout).map_err(failed)?;
        // A backend that is stopped does not read its requests either.
        stream.set_write_timeout(timeout).map_err(failed)?;
        Ok(Self {
            stream: BufReader::new(stream),
            path: path.to_owned(),
            patience: timeout,
        })
    }

    /// Removes the timeout of answers.
    pub fn be_patient(&mut self) -> Result<(), ClientError> {
        let set = self.stream.get_ref().set_read_timeout(None);
        set.map_err(|error| self.broken(error))?;
        self.patience = None;
        Ok(())
    }

    fn broken(&self, source: io::Error) -> ClientError {
        let path = self.path.clone();
        match (source.kind(), self.patience) {
            (io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut, Some(patience)) => {
                ClientError::Late { path, patience }
            }
            _ => ClientError::Broken { path, source },
        }
    }

    /// Sends a request without waiting for the answer.
    pub fn send(&mut self, request: &Request) -> Result<(), ClientError> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        let sent = self.stream.get_mut().write_all(&line);
        sent.map_err(|error| self.broken(error))
    }

    /// The next answer.
    pub fn receive(&mut self) -> Result<Reply, ClientError> {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line);
        if read.map_err(|error| self.broken(error))? == 0 {
            let path = self.path.clone();
            return Err(ClientError::Closed { path });
        }
        match serde_json::from_str(&line)? {
            Reply::Error { message } => Err(ClientError::Refused(message)),
            reply => Ok(reply),
        }
    }

    /// Sends a request and returns the answer.
    pub fn call(&mut self, request: &Request) -> Result<Reply, ClientError> {
        self.send(request)?;
        self.receive()
    }

    /// The state of the backend.
    pub fn status(&mut self) -> Result<Status, ClientError> {
        match self.call(&Request::Status {})? {
            Reply::Status(status) => Ok(status),
            other => Err(unexpected(&other)),
        }
    }

    /// How the arbiter divides the pool; `None` when it is off.
    pub fn arbiter(&mut self) -> Result<Option<ArbiterStatus>, ClientError> {
        match self.call(&Request::ArbiterStatus {}) {
            Ok(Reply::Arbiter(status)) => Ok(Some(status)),
            Ok(other) => Err(unexpected(&other)),
            Err(ClientError::Refused(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Names blocks for the next resize, a shrink whose blocks are given.
    pub fn select(&mut self, vssd: &str, blocks: &BlockList) -> Result<(), ClientError> {
        for blocks in blocks.texts(LIST_LEN) {
            let vssd = vssd.to_owned();
            match self.call(&Request::Select { vssd, blocks })? {
                Reply::Ok => {}
                other => return Err(unexpected(&other)),
            }
        }
        Ok(())
    }

    /// How long requests of `vssd` took and had to wait since the last reset;
    /// `reset` starts over.
    pub fn latency(&mut self, vssd: &str, reset: bool) -> Result<LatencyStatus, ClientError> {
        let vssd = vssd.to_owned();
        match self.call(&Request::Latency { vssd, reset })? {
            Reply::Latency(latency) => Ok(latency),
            other => Err(unexpected(&other)),
        }
    }

    /// Resizes, waits for the end and returns it.
    pub fn resize(&mut self, mut resize: Resize) -> Result<Resized, ClientError> {
        resize.wait = true;
        match self.call(&Request::Resize(resize))? {
            Reply::Resized(resized) => Ok(resized),
            other => Err(unexpected(&other)),
        }
    }
}

fn unexpected(reply: &Reply) -> ClientError {
    ClientError::Refused(format!("unexpected answer of the backend: {reply:?}"))
}
