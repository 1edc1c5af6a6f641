//! Questions about the verdicts of one pod: other ends and ports that its policies distinguish, and others.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;

use enforcer_core::model::{
    Block, Cluster, Peer, Pod, PodId, Policy, PolicyId, PortSpec, Protocol, Rule, Traffic,
};
use enforcer_ebpf::contract::verdict::Direction;
use ipnet::IpNet;

use crate::agent::pod_addresses::PodAddresses;

/// A question about a pod of this node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Question {
    pub(super) ifindex: u32,
    pub(super) pod: PodId,
    pub(super) direction: Direction,
    /// The other end.
    pub(super) peer: IpAddr,
    pub(super) traffic: Traffic,
}

/// Numbers that nobody can foresee: a fault must not hide between the questions.
#[derive(Debug, Default)]
pub(super) struct Dice {
    seed: RandomState,
    thrown: u64,
}

impl Dice {
    /// A number below `end`; 0 if that is 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.thrown += 1;
        let number = usize::try_from(self.seed.hash_one(self.thrown) >> 1).unwrap_or(0);
        number.checked_rem(end).unwrap_or(0)
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        list.get(self.below(list.len()))
    }
}

/// The part of the cluster that the verdicts for a pod and some other ends depend on: its namespace's
/// policies, the pod, and the pods that have these addresses, with their namespaces.
pub(super) fn part(
    cluster: &Cluster,
    addresses: &PodAddresses,
    subject: &Pod,
    peers: &[IpAddr],
) -> Cluster {
    let mut part = cluster.without_objects();
    let others = peers.iter().flat_map(|it| addresses.pods(it, cluster));
    for pod in others.chain([subject]) {
        let namespace = pod.id.namespace.as_str();
        if let Some(it) = cluster.namespaces.get(namespace) {
            part.namespaces.insert(namespace.to_owned(), it.clone());
        }
        part.pods.insert(pod.id.clone(), pod.clone());
    }
    let policies = policies(cluster, &subject.id).map(|it| (it.id.clone(), it.clone()));
    part.policies.extend(policies);
    part
}

fn policies<'c>(cluster: &'c Cluster, pod: &'c PodId) -> impl Iterator<Item = &'c Policy> {
    let first = PolicyId::new(&pod.namespace, "");
    let policies = cluster.policies.range(first..);
    policies.take_while(|(id, _)| id.namespace == pod.namespace).map(|(_, policy)| policy)
}

/// The rules that may concern a pod.
pub(super) struct Rules<'c> {
    rules: Vec<&'c Rule>,
}

impl<'c> Rules<'c> {
    pub(super) fn of(cluster: &'c Cluster, pod: &'c PodId) -> Self {
        let rules = policies(cluster, pod)
            .flat_map(|it| it.ingress.iter().chain(&it.egress).flatten())
            .collect();
        Self { rules }
    }

    /// An address at the edge of a block, or just beyond; without blocks, any address.
    pub(super) fn address(&self, dice: &mut Dice) -> IpAddr {
        let rule = dice.pick(&self.rules).copied();
        let blocks: Vec<&Block> = rule
            .into_iter()
            .flat_map(|rule| &rule.peers)
            .filter_map(|peer| match peer {
                Peer::Block(block) => Some(block),
                Peer::Pods { .. } => None,
            })
            .collect();
        let nets: Vec<IpNet> = match dice.pick(&blocks) {
            Some(block) => block.except.iter().copied().chain([block.cidr]).collect(),
            None => Vec::new(),
        };
        match dice.pick(&nets) {
            Some(net) => near(net, dice.below(5)),
            None => anywhere(dice),
        }
    }

    /// A port of a rule, one beside it, or any.
    pub(super) fn traffic(&self, subject: &Pod, dice: &mut Dice) -> Traffic {
        let any = dice.below(1 << 16);
        let rule = dice.pick(&self.rules).and_then(|rule| dice.pick(&rule.ports));
        let (protocol, port) = match rule.map(|it| (it.protocol, &it.port)) {
            Some((protocol, PortSpec::Range(range))) => {
                let edges = [range.first, range.last].map(usize::from);
                let near = [edges[0], edges[1], edges[0].wrapping_sub(1), edges[1] + 1];
                (protocol, dice.pick(&near).copied().unwrap_or(any))
            }
            Some((protocol, PortSpec::Named(name))) => {
                let named = subject.ports.iter().find(|it| it.name == *name);
                (protocol, named.map_or(any, |it| it.port.into()))
            }
            Some((protocol, PortSpec::All)) => (protocol, any),
            None => (Protocol::ALL[dice.below(Protocol::ALL.len())], any),
        };
        match dice.below(8) {
            0 => Traffic::Portless,
            1 => Traffic::Port(Protocol::ALL[dice.below(Protocol::ALL.len())], short(port)),
            _ => Traffic::Port(protocol, short(port)),
        }
    }
}

fn short(port: usize) -> u16 {
    u16::try_from(port & 0xffff).unwrap_or_default()
}

/// The first or last address of a prefix, the one before or behind it, or one within it.
fn near(net: &IpNet, which: usize) -> IpAddr {
    let (first, last) = (bits(net.network()), bits(net.broadcast()));
    let number = match which {
        0 => first,
        1 => last,
        2 => first.wrapping_sub(1),
        3 => last.wrapping_add(1),
        _ => first + (last - first) / 2,
    };
    address(net, number)
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(it) => it.to_bits().into(),
        IpAddr::V6(it) => it.to_bits(),
    }
}

/// An address of the prefix's family.
fn address(net: &IpNet, number: u128) -> IpAddr {
    match net {
        IpNet::V4(_) => {
            IpAddr::V4(u32::try_from(number & u128::from(u32::MAX)).unwrap_or_default().into())
        }
        IpNet::V6(_) => IpAddr::V6(number.into()),
    }
}

fn anywhere(dice: &mut Dice) -> IpAddr {
    let [high, low] = [0; 2].map(|_: u8| dice.below(usize::MAX) as u128);
    match dice.below(2) {
        0 => IpAddr::V4(u32::try_from(low & u128::from(u32::MAX)).unwrap_or_default().into()),
        _ => IpAddr::V6((high << 64 | low).into()),
    }
}

#[cfg(test)]
mod tests {
    use enforcer_core::model::{Change, Selector};
    use enforcer_core::policy::reference;

    use super::*;

    /// With `--audit`, the tables isolate nobody, and that is no difference.
    #[test]
    fn in_audit_a_part_enforces_nothing_either() {
        let mut cluster = Cluster { audit: true, ..Cluster::default() };
        let deny = Policy {
            id: PolicyId::new("shop", "deny"),
            subjects: Selector::default(),
            ingress: Some(Vec::new()),
            egress: None,
            audit: false,
        };
        let addresses = ["10.0.0.9".parse().unwrap()].into();
        let pod = Pod { addresses, ..Pod::new(PodId::new("shop", "db")) };
        cluster.apply(Change::Pod(pod.clone()));
        cluster.apply(Change::Policy(deny));
        let peer = "10.0.0.1".parse().unwrap();
        let allows = |cluster: &Cluster| {
            let part = part(cluster, &PodAddresses::default(), &pod, &[peer]);
            reference::why(&part, &pod.id, Direction::Ingress, peer, Traffic::Portless).allows()
        };
        assert!(allows(&cluster));
        assert!(!allows(&Cluster { audit: false, ..cluster }));
    }

    #[test]
    fn addresses_are_at_the_edges_of_blocks() {
        let net: IpNet = "10.0.1.0/24".parse().unwrap();
        let all: Vec<String> = (0..5).map(|it| near(&net, it).to_string()).collect();
        assert_eq!(all, ["10.0.1.0", "10.0.1.255", "10.0.0.255", "10.0.2.0", "10.0.1.127"]);
        let all: IpNet = "::/0".parse().unwrap();
        assert_eq!(near(&all, 3), "::".parse::<IpAddr>().unwrap());
    }
}
