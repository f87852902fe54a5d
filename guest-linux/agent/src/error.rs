//! What ends the agent, and its exit codes.

use std::fmt;
use std::io;

/// Why the agent ends, or why a step of it failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot do what its options ask for. To start it again does not help.
    #[error("{0}")]
    Refused(String),
    /// The system failed it; another attempt may succeed.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The device or another program does not do its part; another attempt may succeed.
    #[error("{0}")]
    Failed(String),
}

/// A result of the agent.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The exit code: 1 when a restart may help, 3 when it does not; clap ends with 2.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) => 3,
            Self::System { .. } | Self::Failed(_) => 1,
        }
    }

    /// A refusal.
    pub fn refused(text: impl fmt::Display) -> Self {
        Self::Refused(text.to_string())
    }
}

/// Says what was tried when the system fails.
pub trait During<T> {
    /// `what` names the values, as in `open /dev/vda`.
    fn during(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> During<T> for std::result::Result<T, E> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::System {
            what: what(),
            source: error.into(),
        })
    }
}
