//! Pods from their first instruction on: a plugin of the container runtime's (semantics C6).
//!
//! ```text
//! runtime ─ socket ─► multiplex ─► ttrpc ─► service ─► Event ─► the agent's loop
//!    ▲                                         │                     │
//!    └─────────── answer: go on ◄──────────────┴──── programmed ◄────┘
//! ```
//! containerd and CRI-O tell NRI plugins (Node Resource Interface) of a pod when its network is
//! there and none of its containers is, and wait for the answer. It is given when the pod is
//! programmed; or after three quarters of the time that the runtime gives its plugins, 1.5 of
//! 2 seconds unless configured otherwise. A pod never fails for it: what it then has, until it is
//! programmed, is said by `--unknown-pod`. The runtime tells of one pod at a time.
//!
//! ttrpc is the crate of that name. Its bytes travel in a framing of NRI's ([`multiplex`]).

mod messages;
mod multiplex;
mod plugin;
mod sandbox;
mod service;

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use tokio::sync::oneshot;

pub use plugin::run;

use enforcer_core::model::{PodId, Sandbox};

/// Where containerd and CRI-O listen for plugins, unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/var/run/nri/nri.sock";

/// Whether pods shall wait for their policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Mode {
    /// Where the runtime offers it.
    #[default]
    Auto,
    /// No.
    Off,
    /// Yes: without, the agent is not ready.
    Required,
}

/// How the runtime is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Whether it is.
    pub mode: Mode,
    /// The socket where it listens for plugins.
    pub socket: PathBuf,
}

/// What the runtime tells.
#[derive(Debug)]
pub enum Event {
    /// The sandboxes that there are; what was told earlier is void.
    All(Vec<Sandbox>),
    /// A pod's sandbox has its network; its containers wait until something is sent, or the sender
    /// dropped.
    Started(Sandbox, oneshot::Sender<()>),
    /// The sandbox of that id is stopped or removed.
    Ended(String),
    /// Nothing is told any more.
    Lost,
}

/// How the connection to the runtime is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It is not wanted.
    Off,
    /// Nobody listens at the socket.
    Absent {
        /// What the system says.
        why: String,
    },
    /// Somebody listens there, but the plugin is not accepted.
    Refused {
        /// What went wrong.
        why: String,
    },
    /// Pods wait for their policy.
    Connected {
        /// The runtime's name and version.
        runtime: String,
    },
}

/// What became of a pod that the runtime was about to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// It was programmed before its first instruction.
    Programmed,
    /// It was not, within the time that there is.
    TimedOut,
    /// It uses its node's network: policy has nothing to say about it.
    HostNetwork,
    /// Neither its addresses nor its network namespace could be found out.
    NotLocated,
    /// Something newer was heard of the pod: it is gone, or another of its name is there.
    Superseded,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 5] =
        [Self::Programmed, Self::TimedOut, Self::HostNetwork, Self::NotLocated, Self::Superseded];

    /// The name for metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Programmed => "programmed",
            Self::TimedOut => "timed-out",
            Self::HostNetwork => "host-network",
            Self::NotLocated => "not-located",
            Self::Superseded => "superseded",
        }
    }
}

/// Who wants to know how it goes.
pub trait Observer: Send + Sync {
    /// The connection is in another state.
    fn state(&self, state: State);

    /// A pod was about to be started, and may go on; it waited for `took`.
    fn started(&self, pod: &PodId, outcome: Outcome, took: Duration);
}

#[cfg(test)]
mod tests;
