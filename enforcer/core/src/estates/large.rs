//! A large cluster of ordinary tenants.

use super::{NODE, labels, pod};
use crate::model::{
    Change, Cluster, Namespace, Peer, Pod, PodId, Policy, PolicyId, PortRange, PortRule, PortSpec,
    Protocol, Requirement, Rule, Selector,
};

/// Sizes of a large cluster. A tenth of the policies' namespaces have pods on this node.
#[derive(Debug, Clone, Copy)]
pub struct Large {
    /// Pods of the cluster.
    pub pods: u32,
    /// Policies of the cluster.
    pub policies: u32,
    /// Pods of this node.
    pub local: u32,
    /// Policies in the namespaces of this node's pods that select these.
    pub relevant: u32,
}

/// Pods of one application.
const REPLICAS: u32 = 10;
/// Applications of one namespace.
const APPS: u32 = 20;

impl Large {
    /// The cluster. The applications `app-0…` of each namespace have [`REPLICAS`] pods each; the
    /// first pods are this node's.
    #[must_use]
    pub fn cluster(&self) -> Cluster {
        let mut cluster = Cluster::default();
        let namespaces = self.pods.div_ceil(REPLICAS * APPS);
        for at in 0..namespaces {
            let labels = labels([("team", format!("team-{}", at % 50))]);
            cluster.apply(Change::Namespace(Namespace::new(namespace(at), labels)));
        }
        for at in 0..self.pods {
            cluster.apply(Change::Pod(self.pod(at)));
        }
        for at in 0..self.policies {
            cluster.apply(Change::Policy(self.policy(at, namespaces)));
        }
        cluster
    }

    /// The pod of this number.
    #[must_use]
    pub fn pod(&self, at: u32) -> Pod {
        let app = at / REPLICAS;
        // The node's pods are spread over its namespaces.
        let is_local = at.is_multiple_of(REPLICAS) && app < self.local;
        let labels = labels([
            ("app", format!("app-{}", app % APPS)),
            ("pod-template-hash", format!("{:08x}", app.wrapping_mul(2_654_435_761))),
            ("tier", ["web", "api", "db"][app as usize % 3].to_owned()),
        ]);
        let name = format!("app-{}-{:08x}-{at:05}", app % APPS, app.wrapping_mul(2_654_435_761));
        let node = if is_local { NODE.to_owned() } else { format!("node-{}", 1 + at / 100) };
        // Nodes have a /24 each, of which they use about a hundred addresses.
        let address = 0x0a00_0000 + ((at / 100) << 8) + 4 + at % 100;
        let uid = format!("{at:08x}-0000-4000-8000-{at:012x}");
        Pod {
            node: Some(node.into()),
            uid: uid.into(),
            ..pod(&namespace(app / APPS), name, labels, address)
        }
    }

    /// The name of the pod of this number.
    #[must_use]
    pub fn pod_id(&self, at: u32) -> PodId {
        self.pod(at).id
    }

    /// The policy of this number. The first `relevant` ones select pods of this node.
    #[must_use]
    pub fn policy(&self, at: u32, namespaces: u32) -> Policy {
        let apps = if at < self.relevant { self.local } else { namespaces * APPS };
        let app = if at < self.relevant { at % apps.max(1) } else { (self.local + at) % apps };
        let client = (app + 1 + at / apps.max(1)) % (namespaces * APPS);
        let port = PortSpec::Range(PortRange::single(8_000 + u16::try_from(at % 40).unwrap_or(0)));
        let ports = vec![PortRule { protocol: Protocol::Tcp, port }];
        let own =
            Peer::Pods { namespaces: None, pods: select("app", format!("app-{}", client % APPS)) };
        let other = Peer::Pods {
            namespaces: Some(select("team", format!("team-{}", at % 50))),
            pods: select("tier", "web".to_owned()),
        };
        let rules = vec![Rule { peers: vec![own, other], ports }];
        let (ingress, egress) = if at % 4 == 3 { (None, Some(rules)) } else { (Some(rules), None) };
        let id = PolicyId::new(namespace(app / APPS), format!("policy-{at:05}"));
        Policy {
            id,
            subjects: select("app", format!("app-{}", app % APPS)),
            ingress,
            egress,
            audit: false,
        }
    }

    /// The number of the cluster's namespaces.
    #[must_use]
    pub fn namespaces(&self) -> u32 {
        self.pods.div_ceil(REPLICAS * APPS)
    }
}

fn namespace(at: u32) -> String {
    format!("team-{at:03}")
}

fn select(key: &str, value: String) -> Selector {
    let requirement = Requirement::In(key.to_owned(), [value].into());
    Selector { requirements: [requirement].into() }
}
