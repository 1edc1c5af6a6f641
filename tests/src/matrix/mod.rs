//! The matrix of connections: measured results beside the policies' expected ones.
//!
//! Here belong the choice of connections, the expectation by the reference evaluator, and the
//! table. Making a connection belongs to [`probe`](crate::probe).

mod essence;
mod expect;
mod layout;
mod legend;
mod measure;
mod render;
mod service;
#[cfg(test)]
mod tests;
mod through;

use std::collections::BTreeSet;

use enforcer_core::model::{PodId, Protocol};
use enforcer_core::policy::reference::Traffic;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

pub use essence::essence;
pub use expect::{Expectation, Judge};
pub use measure::{Scope, measure, probes};
pub use render::{Style, render};

use crate::lab::Party;
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
    /// Whether an end was a pod whose interface no agent guarded yet: an answer proves nothing then.
    pub unguarded: bool,
}

impl Cell {
    /// Whether the outcome agrees with the policies. Forbidden packets must be *dropped*: a refusal
    /// means that the packet reached a host that refused it. An answer between unguarded ends passed
    /// unchecked.
    #[must_use]
    pub fn as_expected(&self) -> bool {
        match self.measured {
            Outcome::Open => self.expected && !self.unguarded,
            Outcome::TimedOut => !self.expected,
            Outcome::Refused | Outcome::Error(_) => false,
        }
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut cell = serializer.serialize_struct("Cell", 9)?;
        cell.serialize_field("from", &self.probe.from)?;
        cell.serialize_field("to", &self.probe.to)?;
        cell.serialize_field("family", &self.probe.family)?;
        cell.serialize_field("protocol", protocol(self.probe.traffic))?;
        cell.serialize_field("port", &port(self.probe.traffic))?;
        cell.serialize_field("expected", if self.expected { "open" } else { "timed-out" })?;
        cell.serialize_field("measured", &self.measured)?;
        cell.serialize_field("unguarded", &self.unguarded)?;
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
    /// Pods that no agent guarded yet when the cells were measured.
    #[serde(skip)]
    unguarded: BTreeSet<PodId>,
}

impl Matrix {
    /// A matrix of guarded connections.
    pub fn new(cells: Vec<Cell>) -> Self {
        Self { cells, unguarded: BTreeSet::new() }
    }

    /// The number of cells as expected.
    pub fn good(&self) -> usize {
        self.cells.iter().filter(|cell| cell.as_expected()).count()
    }

    /// Whether every cell is as expected. False for a matrix without cells, which proves nothing.
    #[must_use]
    pub fn all_good(&self) -> bool {
        !self.cells.is_empty() && self.good() == self.cells.len()
    }

    /// Marks the connections from and to these pods as unguarded.
    pub fn mark_unguarded(&mut self, pods: BTreeSet<PodId>) {
        let is_one = |party: &Party| matches!(party, Party::Pod(id) if pods.contains(id));
        for cell in &mut self.cells {
            cell.unguarded = is_one(&cell.probe.from) || is_one(&cell.probe.to);
        }
        self.unguarded = pods;
    }

    /// The pods that [`Self::mark_unguarded`] named.
    pub fn unguarded(&self) -> &BTreeSet<PodId> {
        &self.unguarded
    }

    /// The cell of this probe, if there is one.
    pub fn find(&self, probe: &Probe) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.probe == *probe)
    }
}
