//! A state of a case as manifests, and as the reference evaluator's cluster.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use enforcer::model::{Cluster, PodId, Protocol};
use enforcer::policy::reference::Traffic;
use enforcer::source::manifests::{Manifests, Severity};
use enforcer_tests::lab::{Family, NODE_NAME, Party, Topology};
use serde_json::{Value, json};

use crate::case::{Case, Labels, State};
use crate::expect::outside;

/// A pod that no case names. With every state its ingress policy comes or goes: the agent's
/// status shows by it which state is in force.
pub(crate) const CANARY: &str = "canary/canary";

/// Which pod has which host of the pods' subnet: the lowest free one goes first, as in the lab.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hosts {
    numbers: BTreeMap<String, u8>,
}

impl Hosts {
    /// Follows pods that end and, after these, pods that start.
    pub(crate) fn follow(&mut self, state: &State) {
        let pods: Vec<&str> =
            std::iter::once(CANARY).chain(state.pods.keys().map(String::as_str)).collect();
        self.numbers.retain(|name, _| pods.contains(&name.as_str()));
        for name in pods {
            if !self.numbers.contains_key(name) {
                let taken = |number: &u8| self.numbers.values().any(|it| it == number);
                let free = (2..=254).find(|number| !taken(number)).unwrap();
                self.numbers.insert(name.to_owned(), free);
            }
        }
    }

    /// The pods' addresses.
    pub(crate) fn addresses(&self, topology: Topology) -> BTreeMap<PodId, [IpAddr; 2]> {
        let address = |number| topology.host(number).map(|net| net.addr());
        self.numbers.iter().map(|(name, number)| (pod_id(name), address(*number))).collect()
    }

    /// Replaces `${x/a.v4}` and `${x/a.v6}` by the pod's address, `${pods.v4}` and `${pods.v6}` by
    /// the pods' subnet.
    fn fill(&self, topology: Topology, text: &str) -> String {
        let (v4, v6) = (topology.pods_v4().to_string(), topology.pods_v6().to_string());
        let mut text = text.replace("${pods.v4}", &v4).replace("${pods.v6}", &v6);
        for (id, [v4, v6]) in self.addresses(topology) {
            text = text.replace(&format!("${{{id}.v4}}"), &v4.to_string());
            text = text.replace(&format!("${{{id}.v6}}"), &v6.to_string());
        }
        assert!(!text.contains("${"), "a placeholder is unknown: {text}");
        text
    }
}

pub(crate) fn pod_id(name: &str) -> PodId {
    let (namespace, name) = name.split_once('/').expect("namespace/name");
    PodId::new(namespace, name)
}

/// The state's manifests, a line for each object. JSON is YAML.
pub(crate) fn manifests(
    state: &State,
    hosts: &Hosts,
    topology: Topology,
    canary_is_isolated: bool,
) -> String {
    let mut text = String::new();
    let mut add = |document: &Value| writeln!(text, "---\n{document}").unwrap();
    state.beside.iter().for_each(&mut add);
    for (name, labels) in &state.namespaces {
        add(&json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": labels}}));
    }
    let canary = (CANARY.to_owned(), Labels::new());
    for (name, labels) in state.pods.iter().chain([(&canary.0, &canary.1)]) {
        add(&pod(&pod_id(name), labels));
    }
    let isolated = json!({"podSelector": {}, "policyTypes": ["Ingress"]});
    let isolated = canary_is_isolated.then_some((&canary.0, &isolated));
    for (name, spec) in state.policies.iter().chain(isolated) {
        let PodId { namespace, name } = pod_id(name);
        add(&json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"namespace": namespace, "name": name}, "spec": spec}));
    }
    hosts.fill(topology, &text)
}

fn pod(id: &PodId, labels: &Labels) -> Value {
    // The names of TCP 80, TCP 81, UDP 80 and UDP 81, see base.yaml.
    let names = match id.name.as_str() {
        "a" => ["web", "admin", "dns", "log"],
        "b" => ["admin", "web", "log", "dns"],
        _ => ["front", "back", "beat", "dns"],
    };
    let numbers = [("TCP", 80), ("TCP", 81), ("UDP", 80), ("UDP", 81)];
    let ports = names.iter().zip(numbers).map(|(name, (protocol, number))| {
        json!({"name": name, "protocol": protocol, "containerPort": number})
    });
    let ports: Vec<Value> = ports.collect();
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": id.namespace, "name": id.name, "labels": labels},
        "spec": {"containers": [{"name": "main", "image": "example.org/main", "ports": ports}]}})
}

/// The cluster as the manifests in `folder` declare it, its pods on the lab's node. An error of
/// the reader is one of the case.
pub(crate) fn cluster(folder: &Path, text: &str, hosts: &Hosts, topology: Topology) -> Cluster {
    fs::write(folder.join("cluster.yaml"), text).unwrap();
    let update = Manifests::new(vec![folder.to_owned()]).unwrap().rescan();
    for report in &update.reports {
        assert_ne!(report.severity, Severity::Error, "{report}\n{text}");
    }
    let mut cluster = Cluster::default();
    for change in update.changes {
        cluster.apply(change);
    }
    for (id, addresses) in hosts.addresses(topology) {
        let pod = cluster.pods.get_mut(&id).unwrap();
        pod.addresses = addresses.into();
        pod.node = Some(NODE_NAME.to_owned());
    }
    cluster.node_addresses = topology.node_addresses().into_iter().collect();
    cluster
}

/// What is tried: from everybody to every pod what the case is about, and from the pods to
/// everybody else the page on TCP 80, and an echo request where the case is about these too.
pub(crate) fn cells(case: &Case, state: &State) -> Vec<(Party, Party, Traffic)> {
    let pods: Vec<Party> = state.pods.keys().map(|name| Party::Pod(pod_id(name))).collect();
    let others: Vec<Party> = [Party::Node].into_iter().chain(outside()).collect();
    let page = [Traffic::Port(Protocol::Tcp, 80)];
    let ping = case.traffic.iter().copied().filter(|it| *it == Traffic::Portless);
    let to_others: Vec<Traffic> = page.into_iter().chain(ping).collect();
    let mut cells = Vec::new();
    let mut add = |senders: &[&Party], receivers: &[Party], traffic: &[Traffic]| {
        for from in senders {
            for to in receivers {
                cells.extend(traffic.iter().map(|what| ((*from).clone(), to.clone(), *what)));
            }
        }
    };
    add(&pods.iter().chain(&others).collect::<Vec<_>>(), &pods, &case.traffic);
    add(&pods.iter().collect::<Vec<_>>(), &others, &to_others);
    cells
}

/// The address of a party that needs no lab.
pub(crate) fn address(
    party: &Party,
    family: Family,
    hosts: &Hosts,
    topology: Topology,
) -> Option<IpAddr> {
    let of_family = |address: &IpAddr| Family::of(*address) == family;
    match party {
        Party::Pod(id) => hosts.addresses(topology).get(id)?.iter().copied().find(of_family),
        Party::Node => topology.node_addresses().into_iter().find(of_family),
        Party::Outside(name) => {
            let client = enforcer_tests::lab::OUTSIDE_CLIENTS.iter().find(|it| it.name == name)?;
            [client.v4.into(), client.v6.into()].into_iter().find(of_family)
        }
        Party::OtherNode(_) | Party::Service(_) => None,
    }
}
