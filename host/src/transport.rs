//! How a vSSD and its guest exchange the messages of the contract, and what that leaves of its
//! virtqueues for requests (SPEC.md, sections 3 and 10).

use std::path::{Path, PathBuf};

/// Request queues of a vSSD at most: vhost-user-backend has a bit for each in a word.
pub const MAX_REQUEST_QUEUES: u16 = 64;

/// See the module. A vSSD has one of these, so a driver and an agent never both answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// The last two of three virtqueues, for a driver in the guest's kernel.
    #[default]
    Virtqueues,
    /// A byte stream, for an agent in the guest: every virtqueue carries requests, and the device
    /// looks like any virtio-blk disk.
    Stream {
        /// Where the frontend connects the agent's serial port.
        agent: PathBuf,
        /// The number of virtqueues.
        queues: u16,
    },
}

impl Transport {
    /// The number of virtqueues.
    pub fn queues(&self) -> usize {
        match self {
            Self::Virtqueues => 3,
            Self::Stream { queues, .. } => usize::from(*queues),
        }
    }

    /// How many of them carry requests: the first ones.
    pub fn request_queues(&self) -> usize {
        match self {
            Self::Virtqueues => 1,
            Self::Stream { queues, .. } => usize::from(*queues),
        }
    }

    /// The socket of the agent's channel.
    pub fn agent_socket(&self) -> Option<&Path> {
        match self {
            Self::Virtqueues => None,
            Self::Stream { agent, .. } => Some(agent),
        }
    }
}
