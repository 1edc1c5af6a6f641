//! The matrix of connections: measured results beside the policies' expected ones.
//!
//! Here belong the choice of connections, the expectation by the reference evaluator, and the
//! table. Making a connection belongs to [`probe`](crate::probe).

mod essence;
mod expect;
mod legend;
mod measure;
mod render;
mod service;
#[cfg(test)]
mod tests;
mod through;

use enforcer_core::model::Protocol;
use enforcer_core::policy::reference::Traffic;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

pub use essence::essence;
pub use expect::{Expectation, Judge};
pub use measure::{Scope, measure, probes};
pub use render::{Style, render};

use crate::probe::{Outcome, Probe};

/// One connection: its measured result, and the reference evaluator's verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// The attempted connection.
    pub probe: Probe,
    /// Its outcome.
    pub measured: Outcome,
    /// Whether the policies allow it.
    pub expected: bool,
}

impl Cell {
    /// Whether the outcome agrees with the policies. Forbidden packets must be *dropped*: a refusal
    /// means that the packet reached a host that refused it.
    #[must_use]
    pub fn as_expected(&self) -> bool {
        match self.measured {
            Outcome::Open => self.expected,
            Outcome::TimedOut => !self.expected,
            Outcome::Refused | Outcome::Error(_) => false,
        }
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut cell = serializer.serialize_struct("Cell", 8)?;
        cell.serialize_field("from", &self.probe.from)?;
        cell.serialize_field("to", &self.probe.to)?;
        cell.serialize_field("family", &self.probe.family)?;
        cell.serialize_field("protocol", protocol(self.probe.traffic))?;
        cell.serialize_field("port", &port(self.probe.traffic))?;
        cell.serialize_field("expected", if self.expected { "open" } else { "timed-out" })?;
        cell.serialize_field("measured", &self.measured)?;
        cell.serialize_field("as_expected", &self.as_expected())?;
        cell.end()
    }
}

/// The protocol's name; [`Traffic::Portless`] is an echo request.
fn protocol(traffic: Traffic) -> &'static str {
    match traffic {
        Traffic::Port(protocol, _) => protocol.name(),
        Traffic::Portless => "ICMP",
    }
}

fn port(traffic: Traffic) -> Option<u16> {
    match traffic {
        Traffic::Port(_, port) => Some(port),
        Traffic::Portless => None,
    }
}

/// A port as a column's heading.
fn heading(traffic: Traffic) -> String {
    match traffic {
        Traffic::Port(Protocol::Tcp, port) => format!(":{port}"),
        Traffic::Port(protocol, port) => format!(":{port}/{}", protocol.name().to_lowercase()),
        Traffic::Portless => "ping".to_owned(),
    }
}

/// All cells of one measurement.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Matrix {
    /// By sender, receiver, traffic and family.
    pub cells: Vec<Cell>,
}

impl Matrix {
    /// The number of cells as expected.
    pub fn good(&self) -> usize {
        self.cells.iter().filter(|cell| cell.as_expected()).count()
    }

    /// Whether every cell is as expected. False for a matrix without cells, which proves nothing.
    #[must_use]
    pub fn all_good(&self) -> bool {
        !self.cells.is_empty() && self.good() == self.cells.len()
    }

    /// The cell of this probe, if there is one.
    pub fn find(&self, probe: &Probe) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.probe == *probe)
    }
}
