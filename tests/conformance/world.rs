//! A state of a case as manifests, and as the reference evaluator's cluster.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use enforcer::source::manifests::Manifests;
use enforcer::source::{Severity, convert};
use enforcer_core::model::{Change, Cluster, PodId, Protocol};
use enforcer_core::policy::reference::Traffic;
use enforcer_tests::lab::{Family, Party, Site};
use serde_json::{Value, json};

use crate::case::{Case, Labels, State};
use crate::expect::outside;
use crate::ground::Ground;

/// Pods that no case names, one on each node. Their policy changes with every state, so the agents'
/// status shows which state is active.
pub(crate) const CANARIES: [&str; 2] = ["canary/a", "canary/b"];

/// The canaries of a ground's nodes.
pub(crate) fn canaries(ground: Ground) -> &'static [&'static str] {
    &CANARIES[..usize::from(ground.nodes)]
}

/// The host number of each pod in its node's subnet: the lowest free one first, as in the lab.
#[derive(Debug, Clone)]
pub(crate) struct Hosts {
    ground: Ground,
    numbers: BTreeMap<String, u8>,
}

impl Hosts {
    pub(crate) fn new(ground: Ground) -> Self {
        Self { ground, numbers: BTreeMap::new() }
    }

    /// Releases the numbers of pods that end, then assigns those of pods that start.
    pub(crate) fn follow(&mut self, state: &State) {
        let canaries = canaries(self.ground).iter().copied();
        let pods: Vec<&str> = canaries.chain(state.pods.keys().map(String::as_str)).collect();
        self.numbers.retain(|name, _| pods.contains(&name.as_str()));
        for name in pods {
            if !self.numbers.contains_key(name) {
                let node = self.ground.node_of(name);
                let neighbours = self.numbers.iter();
                let neighbours = neighbours.filter(|(it, _)| self.ground.node_of(it) == node);
                let taken: Vec<u8> = neighbours.map(|(_, number)| *number).collect();
                let free = (2..=254).find(|number| !taken.contains(number)).unwrap();
                self.numbers.insert(name.to_owned(), free);
            }
        }
    }

    /// The pods' addresses.
    pub(crate) fn addresses(&self) -> BTreeMap<PodId, [IpAddr; 2]> {
        let address = |name: &str, number| {
            let site = Site::new(self.ground.topology, self.ground.node_of(name));
            site.host(number).map(|net| net.addr())
        };
        self.numbers.iter().map(|(name, number)| (pod_id(name), address(name, *number))).collect()
    }

    /// Replaces `${x/a.v4}` and `${x/a.v6}` by the pod's address, `${pods.v4}` and `${pods.v6}` by
    /// the pods' subnet.
    fn fill(&self, text: &str) -> String {
        let [v4, v6] = self.ground.pods().map(|it| it.to_string());
        let mut text = text.replace("${pods.v4}", &v4).replace("${pods.v6}", &v6);
        for (id, [v4, v6]) in self.addresses() {
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

/// The label that selects the canaries' policy. A state is active when every node's canary is
/// isolated in one direction only, which alternates with the states.
pub(crate) const TURN: &str = "turn";

/// The state's manifests, a line for each object. JSON is YAML.
pub(crate) fn manifests(state: &State, hosts: &Hosts, is_odd: bool) -> String {
    let mut text = String::new();
    for document in documents(state, hosts, is_odd) {
        writeln!(text, "---\n{document}").unwrap();
    }
    text
}

/// The state's objects: further ones, namespaces, pods, policies; the alternating ones of each kind
/// are last.
pub(crate) fn documents(state: &State, hosts: &Hosts, is_odd: bool) -> Vec<Value> {
    let ground = hosts.ground;
    let mut all = state.beside.clone();
    for (name, labels) in &state.namespaces {
        all.push(json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": labels}}));
    }
    if is_odd {
        all.push(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": TURN}}));
    }
    let turn = json!({TURN: if is_odd { "odd" } else { "even" }});
    let of_canaries: Labels = serde_json::from_value(turn.clone()).unwrap();
    let canaries = canaries(ground).iter().map(|name| ((*name).to_owned(), of_canaries.clone()));
    let canaries: Vec<(String, Labels)> = canaries.collect();
    let canaries = canaries.iter().map(|(name, labels)| (name, labels));
    for (name, labels) in state.pods.iter().chain(canaries) {
        all.push(pod(name, labels, ground));
    }
    let direction = if is_odd { "Ingress" } else { "Egress" };
    let alternating = json!({"podSelector": {"matchLabels": turn}, "policyTypes": [direction]});
    let alternating = (CANARIES[0].to_owned(), alternating);
    for (name, spec) in state.policies.iter().chain([(&alternating.0, &alternating.1)]) {
        let PodId { namespace, name } = pod_id(name);
        all.push(json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"namespace": namespace, "name": name}, "spec": spec}));
    }
    let filled = all.iter().map(|it| serde_json::from_str(&hosts.fill(&it.to_string())).unwrap());
    filled.collect()
}

fn pod(name: &str, labels: &Labels, ground: Ground) -> Value {
    let id = pod_id(name);
    let node = Site::new(ground.topology, ground.node_of(name)).name();
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
        "spec": {"nodeName": node, "containers": [{"name": "main", "image": "example.org/main", "ports": ports}]}})
}

/// The cluster of the manifests in `folder`, its pods on the lab's node. A manifest error is an
/// error of the case. `stored`: the state whose policies an API server has from before.
pub(crate) fn cluster(folder: &Path, text: &str, stored: Option<&State>, hosts: &Hosts) -> Cluster {
    fs::write(folder.join("cluster.yaml"), text).unwrap();
    let update = Manifests::new(vec![folder.to_owned()]).unwrap().rescan();
    for report in &update.reports {
        assert!(stored.is_some() || report.severity != Severity::Error, "{report}\n{text}");
    }
    let mut cluster = Cluster::default();
    for change in update.changes {
        cluster.apply(change);
    }
    for (id, spec) in stored.into_iter().flat_map(|it| &it.policies) {
        let (namespace, name) = id.split_once('/').unwrap();
        let object = json!({"metadata": {"namespace": namespace, "name": name}, "spec": spec});
        let policy = convert::policy(&serde_json::from_value(object).unwrap()).value;
        cluster.apply(Change::Policy(policy.unwrap()));
    }
    for (id, addresses) in hosts.addresses() {
        let pod = cluster.pods.get_mut(&id).unwrap();
        pod.addresses = addresses.into();
    }
    cluster.node_addresses = hosts.ground.node_addresses().into_iter().collect();
    cluster
}

/// The connections of a case: its traffic from all parties to every pod, and TCP 80 from the pods
/// to all other parties, with an echo request where the case includes these.
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

/// A party's address, computed without a lab.
pub(crate) fn address(party: &Party, family: Family, hosts: &Hosts) -> Option<IpAddr> {
    let of_family = |address: &IpAddr| Family::of(*address) == family;
    match party {
        Party::Pod(id) => hosts.addresses().get(id)?.iter().copied().find(of_family),
        Party::Node => hosts.ground.node_addresses().into_iter().find(of_family),
        Party::Outside(name) => {
            let client = enforcer_tests::lab::OUTSIDE_CLIENTS.iter().find(|it| it.name == name)?;
            [client.v4.into(), client.v6.into()].into_iter().find(of_family)
        }
        Party::OtherNode(_) | Party::Service(_) => None,
    }
}
