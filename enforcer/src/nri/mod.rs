//! A plugin of the container runtime: pods start after they are programmed (semantics C6).
//!
//! ```text
//! runtime ─ socket ─► multiplex ─► ttrpc ─► service ─► Event ─► the agent's loop
//!    ▲                                         │                     │
//!    └─────────── answer: proceed ◄────────────┴──── programmed ◄────┘
//! ```
//! Belongs here: the protocol and the connection. Does not belong here: merging the runtime's pods
//! with the source's (`agent`).
//!
//! containerd and CRI-O call NRI plugins (Node Resource Interface) when a pod's network is ready
//! and none of its containers exists, and wait for the answer. The plugin answers when the pod is
//! programmed, at the latest after three quarters of the runtime's time limit for plugins: 1.5 of 2
//! seconds by default. A pod never fails because of this: `--unknown-pod` decides how it is treated
//! until it is programmed. The runtime calls for one pod at a time.
//!
//! The protocol is ttrpc, by the crate of that name, within a framing of NRI's ([`multiplex`]).

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

/// The default socket of containerd and CRI-O for plugins.
pub const DEFAULT_SOCKET: &str = "/var/run/nri/nri.sock";

/// Whether pods wait until they are programmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Mode {
    /// If the runtime supports it.
    #[default]
    Auto,
    /// No.
    Off,
    /// Yes: the agent is not ready without it.
    Required,
}

/// The settings for the connection to the runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Whether to connect.
    pub mode: Mode,
    /// The runtime's socket for plugins.
    pub socket: PathBuf,
}

/// A message from the runtime.
#[derive(Debug)]
pub enum Event {
    /// All sandboxes; this replaces all earlier events.
    All(Vec<Sandbox>),
    /// A pod's sandbox has its network. Its containers wait until the sender is used or dropped.
    Started(Sandbox, oneshot::Sender<()>),
    /// The sandbox with this id is stopped or removed.
    Ended(String),
    /// The connection is lost.
    Lost,
}

/// The state of the connection to the runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It is turned off.
    Off,
    /// No runtime listens at the socket.
    Absent {
        /// The error.
        why: String,
    },
    /// A runtime listens there, but did not accept the plugin.
    Refused {
        /// The error.
        why: String,
    },
    /// Pods wait until they are programmed.
    Connected {
        /// The runtime's name and version.
        runtime: String,
    },
}

/// The outcome for a pod that the runtime was about to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// It was programmed before its first instruction.
    Programmed,
    /// It was not programmed within the time limit.
    TimedOut,
    /// It uses its node's network, so policy does not apply to it.
    HostNetwork,
    /// Neither its addresses nor its network namespace could be determined.
    NotLocated,
    /// A newer event replaced it: the pod is gone, or another one has its name.
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

/// A receiver of the plugin's state and outcomes.
pub trait Observer: Send + Sync {
    /// Receives a new state of the connection.
    fn state(&self, state: State);

    /// Receives the outcome for a pod that waited for `took` and may start now.
    fn started(&self, pod: &PodId, outcome: Outcome, took: Duration);
}

#[cfg(test)]
mod tests;
