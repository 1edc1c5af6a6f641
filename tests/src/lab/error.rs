//! What can go wrong while the lab is built or used.

use std::io;

use crate::lab::Party;

/// A failure of the lab itself, never a packet that was dropped.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A system call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A netlink request was refused.
    #[error("{what}: {source}")]
    Netlink {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: Box<rtnetlink::Error>,
    },
    /// The process is not inside a [`Sandbox`](crate::lab::Sandbox): a named namespace would be
    /// left behind on the host.
    #[error("the calling thread is not inside the lab's sandbox")]
    NoSandbox,
    /// The thread inside a namespace has ended.
    #[error("the thread inside namespace {0} is gone")]
    Gone(String),
    /// The subnet has no free address.
    #[error("the lab's pod subnet is full")]
    Full,
    /// No lab has so many nodes, or none.
    #[error("a lab has 1 to {max} nodes, not {0}", max = crate::lab::MAX_NODES)]
    Nodes(u8),
    /// Services can't work on this machine.
    #[error("Services can't work here: {0}")]
    NoProxy(String),
    /// No such pod or outside client.
    #[error("the lab has no {0}")]
    Unknown(Party),
    /// A command could not be started or waited for.
    #[error("{0}")]
    Agent(String),
}

impl LabError {
    /// Gives an I/O error its context.
    pub fn io(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Io { what: what.into(), source: source.into() }
    }

    /// Gives a netlink error its context.
    pub(crate) fn netlink(what: impl Into<String>, source: rtnetlink::Error) -> Self {
        Self::Netlink { what: what.into(), source: Box::new(source) }
    }
}
