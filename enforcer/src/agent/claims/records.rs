//! The container runtime's records as evidence: which pods they name for an interface.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::interfaces::Interface;
use crate::node::{PodInterface, Snapshot};
use enforcer_core::model::Sandbox;

/// The sandboxes by what names their interfaces.
#[derive(Debug, Default)]
pub(super) struct Records<'a> {
    by_name: BTreeMap<&'a str, Vec<&'a Sandbox>>,
    by_namespace: BTreeMap<i32, Vec<&'a Sandbox>>,
    by_address: BTreeMap<IpAddr, Vec<&'a Sandbox>>,
}

impl<'a> Records<'a> {
    /// A record that names an interface of this node, or its network namespace, claims no other by
    /// address.
    pub(super) fn new(sandboxes: impl Iterator<Item = &'a Sandbox>, snapshot: &Snapshot) -> Self {
        let names: BTreeSet<&str> = snapshot.veths().map(|it| it.name.as_str()).collect();
        let mut records = Self::default();
        for sandbox in sandboxes {
            let present = || sandbox.interfaces.iter().filter(|it| names.contains(it.as_str()));
            if present().next().is_some() {
                for name in present() {
                    records.by_name.entry(name.as_str()).or_default().push(sandbox);
                }
            } else if let Some(namespace) = sandbox.namespace {
                records.by_namespace.entry(namespace).or_default().push(sandbox);
            } else {
                for address in &sandbox.addresses {
                    records.by_address.entry(*address).or_default().push(sandbox);
                }
            }
        }
        records
    }

    /// The sandboxes whose records name the interface: by its name, its namespace, the host route to
    /// their address, or, without host routes, the first observation of their address.
    pub(super) fn of(&self, veth: &PodInterface, interface: &Interface) -> Vec<&'a Sandbox> {
        let named = self.by_name.get(veth.name.as_str());
        if let Some(found) = named.or_else(|| self.by_namespace.get(&interface.namespace)) {
            return found.clone();
        }
        let mut found: Vec<&Sandbox> = Vec::new();
        for sandbox in interface.own().iter().filter_map(|it| self.by_address.get(it)).flatten() {
            if !found.contains(sandbox) {
                found.push(sandbox);
            }
        }
        found
    }
}
