//! Hand-made states: interfaces, and clusters given by their rows.

use std::collections::BTreeSet;

use enforcer_ebpf::contract::table::Limits;

use super::harness::SMALL;
use crate::model::{PodId, PortRange, Protocol};
use crate::policy::{Compiled, PodPolicy, PortSet, Row, Verdict};
use crate::tables::{Desired, Interface, Owner};

/// Limits for clusters with thousands of columns.
pub(super) fn wide() -> Limits {
    Limits { trie4_blocks: 5_000, verdict_blocks: 200, port_sets: 9_000, ..SMALL }
}

pub(super) fn pod(at: usize) -> PodId {
    PodId::new("default", format!("pod{at}"))
}

/// An interface without addresses or source check.
pub(super) fn interface(owner: Owner) -> Interface {
    Interface {
        owner,
        uid: String::new(),
        identity: 0,
        addresses: BTreeSet::new(),
        check_source: false,
    }
}

/// The verdict that allows these TCP ports.
pub(super) fn tcp(first: u16, last: u16) -> Verdict {
    Verdict::ports(PortSet::new([(Protocol::Tcp, PortRange { first, last })]))
}

/// A row that denies column 0, and allows each other column one port.
pub(super) fn single_ports(ports: impl IntoIterator<Item = u16>) -> Vec<Verdict> {
    let ports = ports.into_iter().map(|port| tcp(port, port));
    [Verdict::Deny].into_iter().chain(ports).collect()
}

/// A state in which row `n` judges the ingress of pod `n`, and column `n` is `10.x.y.1`.
pub(super) fn state(rows: Vec<Vec<Verdict>>) -> Desired {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(1);
    let address = |at: usize| format!("10.{}.{}.1/32", at / 250, at % 250).parse().unwrap();
    let pad = |mut verdicts: Vec<Verdict>| {
        verdicts.resize(columns, Verdict::Deny);
        Row { verdicts }
    };
    let policy = |row| (pod(row), PodPolicy { ingress: Some(row), egress: None });
    let interfaces = (10..).zip((0..rows.len()).map(|at| interface(Owner::Pod(pod(at)))));
    Desired {
        interfaces: interfaces.collect(),
        compiled: Compiled {
            columns,
            addresses: (1..columns).map(|column| (address(column), column)).collect(),
            pods: (0..rows.len()).map(policy).collect(),
            rows: rows.into_iter().map(pad).collect(),
            ..Compiled::default()
        },
    }
}
