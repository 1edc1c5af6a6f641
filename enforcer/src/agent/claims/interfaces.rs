//! The interfaces that lead to another network namespace, from their creation to their end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use crate::node::{PodInterface, Snapshot, Uplink};
use enforcer_core::model::PodId;
use enforcer_core::tables::{Inherited, Owner};

/// The strength of the evidence for a binding, the weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Evidence {
    /// An address, and time without a competing claim. Such a binding is reconsidered.
    Waited,
    /// An address: of a host route, or as first observed.
    Address,
    /// An earlier agent's binding.
    Inherited,
    /// The container runtime's record.
    Record,
}

/// The pod of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) pod: PodId,
    /// The pod's UID; empty if unknown.
    pub(super) uid: String,
    pub(super) by: Evidence,
    /// Whether an earlier agent reported that the pod no longer has the interface. Only a record
    /// opens it again.
    pub(super) ended: bool,
}

/// An interface that leads to another network namespace.
#[derive(Debug)]
pub(super) struct Interface {
    /// See [`PodInterface::identity`].
    pub(super) identity: u32,
    /// The network namespace of the other end when the interface was first seen.
    pub(super) namespace: i32,
    /// The first addresses that were observed inside.
    observed: BTreeSet<IpAddr>,
    /// The destinations of the first host routes.
    routes: BTreeSet<IpAddr>,
    pub(super) bound: Option<Bound>,
    /// The pods of conflicting evidence: the interface stays closed until it is gone or a record
    /// resolves the conflict.
    pub(super) doubt: Option<BTreeSet<PodId>>,
    /// Since when it has been without a pod; `None`: it never was.
    pub(super) waiting: Option<Instant>,
}

impl Interface {
    /// The addresses that the CNI plugin gave the interface: by its host routes, else by the first
    /// observation.
    pub(super) fn own(&self) -> &BTreeSet<IpAddr> {
        if self.routes.is_empty() { &self.observed } else { &self.routes }
    }
}

/// The interfaces that lead to another network namespace, and those of them that are uplinks.
#[derive(Debug, Default)]
pub(super) struct Interfaces {
    pub(super) known: BTreeMap<u32, Interface>,
    /// The identities of uplinks, by index.
    uplinks: BTreeMap<u32, u32>,
}

impl Interfaces {
    /// Takes over the bindings of an earlier agent, before the first [`Self::see`].
    pub(super) fn resume(&mut self, inherited: &[Inherited], snapshot: &Snapshot) {
        let uplinks = snapshot.uplinks.values().filter_map(|it| it.veth.as_ref());
        let veths: BTreeMap<u32, &PodInterface> =
            snapshot.veths().chain(uplinks).map(|it| (it.ifindex, it)).collect();
        for it in inherited {
            let (Some(owner), Some(veth)) = (&it.owner, veths.get(&it.ifindex)) else { continue };
            let Some(pod) = owner.pod() else { continue };
            if it.identity != 0 && it.identity != veth.identity {
                continue;
            }
            let ended = matches!(owner, Owner::Gone(_));
            let (pod, uid) = (pod.clone(), it.uid.clone());
            let bound = Bound { pod, uid, by: Evidence::Inherited, ended };
            let interface = Interface { bound: Some(bound), ..Interface::new(veth) };
            self.known.insert(it.ifindex, interface);
        }
    }

    /// Notes the node's interfaces. Corrects the snapshot where an interface's role was known before:
    /// a pod's interface never becomes an uplink, and an uplink stays one.
    pub(super) fn see(&mut self, snapshot: &mut Snapshot) {
        self.settle_roles(snapshot);
        let known = &mut self.known;
        known.retain(|ifindex, it| {
            snapshot.veth(*ifindex).is_some_and(|veth| veth.identity == it.identity)
        });
        for veth in snapshot.veths() {
            let it = known.entry(veth.ifindex).or_insert_with(|| Interface::new(veth));
            if it.observed.is_empty() {
                it.observed.clone_from(&veth.addresses);
            }
            if it.routes.is_empty() {
                it.routes.clone_from(&veth.routes);
            }
        }
    }

    fn settle_roles(&mut self, snapshot: &mut Snapshot) {
        let is_pods = |it: &PodInterface| {
            let known = self.known.get(&it.ifindex);
            known.is_some_and(|known| known.identity == it.identity && known.bound.is_some())
        };
        let pods: Vec<u32> = snapshot
            .uplinks
            .iter()
            .filter(|(_, uplink)| uplink.veth.as_ref().is_some_and(is_pods))
            .map(|(ifindex, _)| *ifindex)
            .collect();
        for ifindex in pods {
            if let Some(veth) = snapshot.uplinks.remove(&ifindex).and_then(|it| it.veth) {
                snapshot.enter(veth);
            }
        }
        let uplinks = &mut self.uplinks;
        uplinks.retain(|ifindex, identity| {
            let uplink = snapshot.uplinks.get(ifindex).and_then(|it| it.veth.as_ref());
            let veth = uplink.or_else(|| snapshot.veth(*ifindex));
            veth.is_some_and(|veth| veth.identity == *identity)
        });
        for ifindex in uplinks.keys() {
            let unaddressed = &mut snapshot.unaddressed;
            let veth = snapshot.interfaces.remove(ifindex).or_else(|| unaddressed.remove(ifindex));
            if let Some(veth) = veth {
                let uplink =
                    Uplink { name: veth.name.clone(), is_ethernet: true, veth: Some(veth) };
                snapshot.uplinks.insert(*ifindex, uplink);
            }
        }
        let veths = snapshot.uplinks.values().filter_map(|it| it.veth.as_ref());
        uplinks.extend(veths.map(|it| (it.ifindex, it.identity)));
    }
}

impl Interface {
    fn new(veth: &PodInterface) -> Self {
        Self {
            identity: veth.identity,
            namespace: veth.namespace,
            observed: BTreeSet::new(),
            routes: BTreeSet::new(),
            bound: None,
            doubt: None,
            waiting: None,
        }
    }
}
