//! The snapshot of the reconciler's state, as the reconciler publishes it.

use enforcer_ebpf::contract::counters::{Counters, NOBODY};
use enforcer_ebpf::contract::endpoint::{Endpoint as Record, flags};
use enforcer_ebpf::contract::verdict::Direction;

use super::guard::Unguarded;
use super::reconciler::Reconciler;
use super::snapshot::Snapshot;
use crate::observe::{
    Endpoint, Interface, Isolation, NriReport, Report, TableUse, UnguardedReport,
};
use enforcer_core::model::{DenyWith, PodId};
use enforcer_core::tables::{Owner, Table};

impl Reconciler {
    /// A snapshot of the present state.
    pub(super) fn publish(&self) -> Snapshot {
        let mut snapshot =
            Snapshot { report: self.report(), podless: vec![NOBODY], ..Snapshot::default() };
        for (owner, record) in self.state.endpoints() {
            let pod = owner.pod();
            snapshot.names.extend(pod.map(|pod| (record.id, pod.clone())));
            let rejects = pod
                .filter(|pod| self.cluster.denies_with(pod.namespace.as_str()) == DenyWith::Reject);
            snapshot.rejecting.extend(rejects.map(|_| record.id));
            if let Owner::Pod(pod) = owner {
                let interface = self.interface(record.ifindex);
                snapshot.report.endpoints.push(endpoint(pod, record, interface));
                snapshot.ids.push(record.id);
            } else {
                snapshot.podless.push(record.id);
            }
        }
        snapshot
    }

    /// The present state without endpoints and counters.
    fn report(&self) -> Report {
        let interface = |ifindex: &u32| self.interface(*ifindex);
        let ambiguous = self.assignment.ambiguous.iter();
        Report {
            unknown: self.assignment.unknown.iter().map(interface).collect(),
            ambiguous: ambiguous.map(|(it, pods)| (interface(it), pods.clone())).collect(),
            unrepresented: self
                .unrepresented
                .iter()
                .map(|it| (it.pod.clone(), format!("{}: {}", it.direction.name(), it.reason)))
                .collect(),
            unplaced: self.unplaced.iter().map(interface).collect(),
            unguarded: self.unguarded().into_iter().map(|it| self.unguarded_report(it)).collect(),
            hooks_restored: self.guard.restored(),
            tables: Table::ALL.into_iter().map(|table| self.table_use(table)).collect(),
            conntrack: self.older.report.clone(),
            protection: self.protection.pods(),
            policies: self.cluster.policies.len() as u64,
            audit_all: self.cluster.audit,
            pods: self.cluster.pods.len() as u64,
            namespaces: self.cluster.namespaces.len() as u64,
            cni: self.records_report(),
            denies_unknown: self.denies_unknown(),
            nri: NriReport { sandboxes: self.sandboxes.count() as u64, ..NriReport::default() },
            outlives_agent: self.pins.is_some() && self.pins_problem.is_none(),
            pins_problem: self.pins_problem.clone(),
            taken_over: self.taken_over,
            ..Report::default()
        }
    }

    fn interface(&self, ifindex: u32) -> Interface {
        let known = self.snapshot.veth(ifindex);
        Interface {
            ifindex,
            name: known.map(|it| it.name.clone()).unwrap_or_default(),
            addresses: known.map(|it| it.addresses.clone()).unwrap_or_default(),
        }
    }

    fn unguarded_report(&self, it: Unguarded) -> UnguardedReport {
        let Unguarded { ifindex, name, why } = it;
        let pod = self.assignment.pods.get(&ifindex).cloned();
        UnguardedReport { interface: name, pod, why }
    }

    fn table_use(&self, table: Table) -> TableUse {
        let (used, limit) = self.state.usage(table);
        TableUse { table: table.name().to_owned(), used: used.into(), limit: limit.into() }
    }
}

fn endpoint(pod: &PodId, record: &Record, interface: Interface) -> Endpoint {
    Endpoint {
        pod: pod.clone(),
        interface,
        ingress: isolation(record.flags, Direction::Ingress),
        egress: isolation(record.flags, Direction::Egress),
        counters: Counters::default(),
    }
}

fn isolation(bits: u32, direction: Direction) -> Isolation {
    let (isolated, closed) = match direction {
        Direction::Ingress => (flags::INGRESS_ISOLATED, flags::INGRESS_CLOSED),
        Direction::Egress => (flags::EGRESS_ISOLATED, flags::EGRESS_CLOSED),
    };
    if bits & closed != 0 {
        Isolation::Closed
    } else if bits & isolated != 0 {
        Isolation::Isolated
    } else {
        Isolation::NotIsolated
    }
}
