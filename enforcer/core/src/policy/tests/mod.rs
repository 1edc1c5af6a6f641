//! Small tests for each numbered rule, named after it. Every test compares the compiler, the
//! reference evaluator and an expectation written by hand.
//!
//! What belongs here: rules that policy decides, one at a time. What does not: generated clusters
//! (`tests/properties` of the workspace), planned tables ([`crate::tables`]).

mod audit;
pub(crate) mod histories;
mod incremental;
mod isolation;
mod peers;
mod ports;
mod reference;
mod shape;
mod shares;

use std::collections::BTreeSet;
use std::net::IpAddr;

use enforcer_ebpf::contract::verdict::Direction::{self, Egress, Ingress};

use super::{Compiled, compile, reference as naive};
use crate::model::{
    Block, Cluster, ContainerPort, Labels, Name, Namespace, Peer, Pod, PodId, Policy, PolicyId,
    PortRange, PortRule, PortSpec, Protocol, Requirement, Rule, Selector, SharedSet, Traffic,
};

/// Port 80 of TCP, for tests about something else.
const WEB: Traffic = tcp(80);

const fn tcp(port: u16) -> Traffic {
    Traffic::Port(Protocol::Tcp, port)
}

/// `a=1,b=2` as labels.
fn labels(text: &str) -> Labels {
    text.split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// `a=1,b=2` as `matchLabels`.
fn select(text: &str) -> Selector {
    let requirement =
        |(key, value): (&Name, &Name)| Requirement::In(key.to_string(), [value.to_string()].into());
    Selector { requirements: labels(text).iter().map(requirement).collect() }
}

/// A selector of one requirement.
fn only(requirement: Requirement) -> Selector {
    Selector { requirements: [requirement].into() }
}

fn values(values: &[&str]) -> BTreeSet<String> {
    values.iter().map(|it| (*it).to_owned()).collect()
}

/// Pods of the policy's namespace.
fn pods(pods: &str) -> Peer {
    Peer::Pods { namespaces: None, pods: select(pods) }
}

/// Pods of the namespaces with these labels.
fn pods_in(namespaces: &str, pods: &str) -> Peer {
    Peer::Pods { namespaces: Some(select(namespaces)), pods: select(pods) }
}

fn block(cidr: &str, except: &[&str]) -> Peer {
    let except = except.iter().map(|it| it.parse().unwrap()).collect();
    Peer::Block(Block { cidr: cidr.parse().unwrap(), except })
}

fn port(protocol: Protocol, first: u16, last: u16) -> PortRule {
    PortRule { protocol, port: PortSpec::Range(PortRange { first, last }) }
}

fn named(protocol: Protocol, name: &str) -> PortRule {
    PortRule { protocol, port: PortSpec::Named(name.to_owned()) }
}

fn rule(peers: impl Into<Vec<Peer>>, ports: impl Into<Vec<PortRule>>) -> Rule {
    Rule { peers: peers.into(), ports: ports.into() }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A cluster under construction. All its pods are local.
#[derive(Default)]
struct World {
    cluster: Cluster,
}

impl World {
    fn namespace(mut self, name: &str, text: &str) -> Self {
        self.cluster.namespaces.insert(name.to_owned(), Namespace::new(name, labels(text)));
        self
    }

    /// Adds a pod of namespace `default` with these labels and addresses (separated by blanks).
    fn pod(self, name: &str, text: &str, addresses: &str) -> Self {
        self.pod_in("default", name, text, addresses)
    }

    fn pod_in(mut self, namespace: &str, name: &str, text: &str, addresses: &str) -> Self {
        let pod = Pod {
            labels: labels(text),
            addresses: addresses.split_whitespace().map(ip).collect(),
            ..Pod::new(PodId::new(namespace, name))
        };
        self.cluster.pods.insert(pod.id.clone(), pod);
        self
    }

    /// Changes the pod of this namespace and name.
    fn with(mut self, namespace: &str, name: &str, change: impl FnOnce(&mut Pod)) -> Self {
        change(self.cluster.pods.get_mut(&PodId::new(namespace, name)).unwrap());
        self
    }

    /// Gives a pod of namespace `default` a named port.
    fn serving(self, name: &str, port_name: &str, protocol: Protocol, port: u16) -> Self {
        let port = ContainerPort { name: port_name.to_owned(), protocol, port };
        self.with("default", name, |pod| {
            pod.ports.insert(port);
        })
    }

    /// Adds a policy of namespace `default` for the pods that `subjects` matches.
    fn policy(
        mut self,
        name: &str,
        subjects: Selector,
        ingress: Option<Vec<Rule>>,
        egress: Option<Vec<Rule>>,
    ) -> Self {
        let id = PolicyId::new("default", name);
        self.cluster
            .policies
            .insert(id.clone(), Policy { id, subjects, ingress, egress, audit: false });
        self
    }

    /// Adds a policy with these ingress rules for `app=web`.
    fn ingress(self, rules: impl Into<Vec<Rule>>) -> Self {
        let name = format!("ingress-{}", self.cluster.policies.len());
        self.policy(&name, select("app=web"), Some(rules.into()), None)
    }

    /// Adds a policy with these egress rules for `app=web`.
    fn egress(self, rules: impl Into<Vec<Rule>>) -> Self {
        let name = format!("egress-{}", self.cluster.policies.len());
        self.policy(&name, select("app=web"), None, Some(rules.into()))
    }

    fn compile(&self) -> Compiled {
        compile(&self.cluster, &self.cluster.pods.keys().cloned().collect())
    }

    /// Whether the pod of namespace `default` allows the traffic, according to both evaluators.
    fn allows(&self, pod: &str, direction: Direction, peer: &str, traffic: Traffic) -> bool {
        let pod = PodId::new("default", pod);
        let compiled = self.compile();
        let verdict = compiled.verdict(&pod, direction, ip(peer));
        let compiled = verdict.is_none_or(|verdict| verdict.allows(traffic));
        let naive = match direction {
            Ingress => naive::ingress_allows(&self.cluster, &pod, ip(peer), traffic),
            Egress => naive::egress_allows(&self.cluster, &pod, ip(peer), traffic),
        };
        assert_eq!(compiled, naive, "compiler and reference: {pod} {direction:?} {peer}");
        compiled
    }

    /// Whether pod `web` accepts this traffic from the peer.
    fn accepts(&self, peer: &str, traffic: Traffic) -> bool {
        self.allows("web", Ingress, peer, traffic)
    }

    /// Whether pod `web` may send this traffic to the peer.
    fn sends(&self, peer: &str, traffic: Traffic) -> bool {
        self.allows("web", Egress, peer, traffic)
    }
}

/// Pod `web` (`app=web`) at 10.0.0.1 and fd00::1.
fn world() -> World {
    World::default().namespace("default", "").pod("web", "app=web", "10.0.0.1 fd00::1")
}
