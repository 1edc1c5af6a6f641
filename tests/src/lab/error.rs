//! The lab's errors.

use std::io;

use super::party::Party;
use super::topology::MAX_NODES;

/// A failure of the lab itself, never a dropped packet.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A system call failed.
    #[error("{what}: {source}")]
    Io {
        /// The attempted action.
        what: String,
        /// The cause.
        source: io::Error,
    },
    /// A netlink request failed.
    #[error("{what}: {source}")]
    Netlink {
        /// The attempted action.
        what: String,
        /// The cause.
        source: Box<rtnetlink::Error>,
    },
    /// The process is not inside a [`Sandbox`](crate::lab::Sandbox): a named namespace would be
    /// left behind on the host.
    #[error("the calling thread is not inside the lab's sandbox")]
    NoSandbox,
    /// The thread inside a namespace has ended.
    #[error("the thread inside namespace {0} has ended")]
    Gone(String),
    /// The subnet has no free address.
    #[error("the lab's pod subnet is full")]
    Full,
    /// An unsupported number of nodes.
    #[error("a lab has 1 to {max} nodes, not {0}", max = MAX_NODES)]
    Nodes(u8),
    /// Services can't work on this machine.
    #[error("Services can't work here: {0}")]
    NoProxy(String),
    /// The pod, node or outside client does not exist.
    #[error("the lab has no {0}")]
    Unknown(Party),
    /// A command could not be started or waited for.
    #[error("{0}")]
    Agent(String),
}

/// Adds a context to errors.
pub(crate) trait Context<T> {
    /// The same result, with the attempted action in the error.
    fn context(self, what: impl Into<String>) -> Result<T, LabError>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, what: impl Into<String>) -> Result<T, LabError> {
        self.map_err(|source| LabError::Io { what: what.into(), source })
    }
}

impl<T> Context<T> for nix::Result<T> {
    fn context(self, what: impl Into<String>) -> Result<T, LabError> {
        self.map_err(io::Error::from).context(what)
    }
}

impl<T> Context<T> for Result<T, rtnetlink::Error> {
    fn context(self, what: impl Into<String>) -> Result<T, LabError> {
        let wrap = |source| LabError::Netlink { what: what.into(), source: Box::new(source) };
        self.map_err(wrap)
    }
}
