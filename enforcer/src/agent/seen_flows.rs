//! What was seen of flows, and denied attempts.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use enforcer_core::flows::{Decision, Denial, FlowEnd, Ledger, Miss, WouldBe};
use enforcer_core::model::{Change, Cluster};
use enforcer_ebpf::contract::verdict::Direction;

use crate::observe::{DropRecord, End, Flows};

/// What was seen, shared with observers.
#[derive(Debug)]
pub(super) struct SeenFlows {
    node: String,
    ledger: Mutex<Ledger>,
    /// The node's own addresses, as of the last look.
    node_addresses: Mutex<BTreeSet<IpAddr>>,
}

impl SeenFlows {
    pub(super) fn new(node: &str) -> Self {
        let ledger = Ledger::new(now()).into();
        Self { node: node.to_owned(), ledger, node_addresses: Mutex::default() }
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the node's own addresses.
    pub(super) fn set_node_addresses(&self, addresses: &BTreeSet<IpAddr>) {
        let mut own = self.node_addresses.lock().unwrap_or_else(PoisonError::into_inner);
        own.clone_from(addresses);
    }

    /// What was seen after a revision.
    pub(super) fn document(&self, after: u64) -> Flows {
        Flows::new(&self.node, &self.ledger(), after)
    }

    /// The name of the node.
    pub(super) fn node(&self) -> &str {
        &self.node
    }

    /// Takes an attempt that policy denied; other drops are no flows.
    pub(super) fn denied(&self, record: &DropRecord) {
        let denial = {
            let own = self.node_addresses.lock().unwrap_or_else(PoisonError::into_inner);
            denial(record, &own)
        };
        if let Some(denial) = denial {
            self.ledger().denied(denial, now());
        }
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs())
}

/// Whether flows may need another explanation after a change.
pub(super) fn alters_decisions(change: &Change, cluster: &Cluster) -> bool {
    match change {
        Change::Policy(_)
        | Change::PolicyGone(_)
        | Change::Namespace(_)
        | Change::NamespaceGone(_) => true,
        Change::Pod(pod) => cluster
            .pods
            .get(&pod.id)
            .is_some_and(|known| (&known.labels, &known.ports) != (&pod.labels, &pod.ports)),
        Change::PodGone(_) | Change::Service(_) | Change::ServiceGone(_) => false,
    }
}

/// The flow of a dropped packet; `None`: no policy dropped it.
fn denial(record: &DropRecord, node_addresses: &BTreeSet<IpAddr>) -> Option<Denial> {
    if !matches!(record.reason.as_str(), "denied" | "unrepresented") {
        return None;
    }
    let attribution = &record.attribution;
    let end = |end: &End, workload: &Option<String>| match workload.as_ref().or(end.pod.as_ref()) {
        Some(name) => FlowEnd::Workload(name.clone()),
        None if node_addresses.contains(&end.address) => FlowEnd::Node,
        None => FlowEnd::Address(end.address),
    };
    let (source, destination) = (record.source.as_ref()?, record.destination.as_ref()?);
    let source = record.sender.as_ref().unwrap_or(source);
    let direction = Direction::ALL.into_iter().find(|it| it.name() == record.direction)?;
    let nearest = attribution.nearest.as_ref().map(|it| Miss {
        policy: it.policy.clone(),
        path: it.path.clone(),
        differences: it.differences.clone(),
    });
    let isolated_by = attribution.isolated_by.clone();
    let audit = (!attribution.would_allow.is_empty()).then(|| WouldBe {
        policies: attribution.would_allow.clone(),
        allows: true,
        by: Vec::new(),
        nearest: None,
    });
    Some(Denial {
        from: end(source, &attribution.from_workload),
        to: end(destination, &attribution.to_workload),
        protocol: record.protocol.clone(),
        port: destination.port,
        decision: Decision {
            direction,
            reason: "no-rule",
            isolated_by,
            by: Vec::new(),
            nearest,
            audit,
        },
    })
}
