//! Talking to a backend over its control socket.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::protocol::{LatencyStatus, Reply, Request, Resize, Resized, Status};

/// Why a request got no answer that it could have.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "no backend answers at {path}: {source}; start vssd-host, or name its socket with --control"
    )]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke, or the answer took too long.
    #[error("the backend did not answer: {0}")]
    Broken(#[from] io::Error),
    /// The answer is none.
    #[error("the backend answered what this program does not understand: {0}")]
    Answer(#[from] serde_json::Error),
    /// The backend refused.
    #[error("{0}")]
    Refused(String),
}

/// A connection to the control socket.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects; an answer may take `timeout`, or as long as it takes.
    pub fn connect(path: &Path, timeout: Option<Duration>) -> Result<Self, ClientError> {
        let failed = |source| ClientError::Connect {
            path: path.to_owned(),
            source,
        };
        let stream = UnixStream::connect(path).map_err(failed)?;
        stream.set_read_timeout(timeout).map_err(failed)?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Sends a request without waiting for the answer.
    pub fn send(&mut self, request: &Request) -> Result<(), ClientError> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line)?;
        Ok(())
    }

    /// The next answer.
    pub fn receive(&mut self) -> Result<Reply, ClientError> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
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
    ClientError::Refused(format!(
        "the backend gave an answer to another question: {reply:?}"
    ))
}
