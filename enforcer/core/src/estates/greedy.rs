//! A tenant whose policies need more than a node has, beside modest ones.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{NODE, labels, pod};
use crate::model::{
    Block, Change, Cluster, Peer, PodId, Policy, PolicyId, PortRange, PortRule, PortSpec, Protocol,
    Rule, Selector,
};
use crate::model::{Labels, Requirement};

/// Sizes of a greedy tenant and of its neighbours.
#[derive(Debug, Clone, Copy)]
pub struct Greedy {
    /// Local pods of the greedy namespace, each selected by a policy of its own.
    pub pods: u32,
    /// Blocks that each of the policies names, each with a port of its own.
    pub pairs: u32,
    /// Whether the policies name the same blocks.
    pub shared: bool,
    /// Exceptions within each policy's outermost blocks: each block nests in all the earlier ones.
    pub nested: bool,
    /// Local pods of a namespace with small policies.
    pub modest: u32,
}

/// The greedy namespace.
const GREEDY: &str = "greedy";
/// The modest namespace.
const MODEST: &str = "modest";

impl Greedy {
    /// `pods` × `pairs`, alone on the node.
    #[must_use]
    pub fn alone(pods: u32, pairs: u32) -> Self {
        Self { pods, pairs, shared: false, nested: false, modest: 0 }
    }

    /// Whether the pod is the greedy tenant's.
    #[must_use]
    pub fn is_greedy(pod: &PodId) -> bool {
        pod.namespace == GREEDY
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> Cluster {
        let mut cluster = Cluster::default();
        for at in 0..self.pods {
            self.add(&mut cluster, GREEDY, at, 0x0a00_0000 + at);
            let ingress = Some((0..self.pairs).map(|pair| self.rule(at, pair)).collect());
            add_policy(&mut cluster, GREEDY, at, ingress, None);
        }
        for at in 0..self.modest {
            self.add(&mut cluster, MODEST, at, 0x0a01_0000 + at);
            let next = format!("{}", (at + 1) % self.modest);
            let client = Peer::Pods { namespaces: None, pods: app(&next) };
            let dns = block(0x0a00_0a0a, 32, []);
            let ingress = Some(vec![rule(client, 8080)]);
            let egress = Some(vec![rule(dns, 53)]);
            add_policy(&mut cluster, MODEST, at, ingress, egress);
        }
        cluster
    }

    fn add(&self, cluster: &mut Cluster, namespace: &str, at: u32, address: u32) {
        let mut pod = pod(namespace, format!("pod-{at:04}"), app_labels(at), address);
        pod.node = Some(NODE.into());
        cluster.apply(Change::Pod(pod));
    }

    fn rule(&self, at: u32, pair: u32) -> Rule {
        let number = if self.shared { pair } else { at * self.pairs + pair };
        let port = u16::try_from(1 + (at * 7 + pair) % 60_000).unwrap_or(1);
        if self.nested {
            // All the same block, each with an exception of its own.
            let base = 0x6400_0000;
            return rule(block(base, 8, [(base + number * 4, 30)]), port);
        }
        rule(block(0x1400_0000 + number * 4, 30, []), port)
    }
}

fn app(name: &str) -> Selector {
    let values = [name.to_owned()].into();
    Selector { requirements: [Requirement::In("app".to_owned(), values)].into() }
}

fn app_labels(at: u32) -> Labels {
    labels([("app", format!("{at}"))])
}

fn block<const N: usize>(base: u32, length: u8, except: [(u32, u8); N]) -> Peer {
    let net = |(base, length)| Ipv4Net::new(Ipv4Addr::from(base), length).map(Into::into);
    let any = || Ipv4Net::default().into();
    Peer::Block(Block {
        cidr: net((base, length)).unwrap_or_else(|_| any()),
        except: except.into_iter().filter_map(|it| net(it).ok()).collect(),
    })
}

fn rule(peer: Peer, port: u16) -> Rule {
    let port = PortSpec::Range(PortRange::single(port));
    Rule { peers: vec![peer], ports: vec![PortRule { protocol: Protocol::Tcp, port }] }
}

fn add_policy(
    cluster: &mut Cluster,
    namespace: &str,
    at: u32,
    ingress: Option<Vec<Rule>>,
    egress: Option<Vec<Rule>>,
) {
    let id = PolicyId::new(namespace, format!("policy-{at:04}"));
    let subjects = app(&format!("{at}"));
    cluster.apply(Change::Policy(Policy { id, subjects, ingress, egress, audit: false }));
}
