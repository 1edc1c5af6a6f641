//! Flows as rules.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::blocks::{blocks, everything};
use super::data::{Observed, Suggestion};
use super::groups::Groups;
use crate::explain::backends;
use crate::flows::FlowEnd;
use crate::model::{
    NAMESPACE_NAME_LABEL, Peer, Policy, PolicyId, PortRange, PortRule, PortSpec, Protocol,
    Requirement, Rule, Selector, ServiceId,
};

/// A protocol and a port.
type Port = (Protocol, u16);

/// An end that rules can name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    /// By the group's number.
    Group(usize),
    Address(IpAddr),
    Outside,
}

/// The flows of one direction: the other ends, their ports, and the evidence.
#[derive(Debug, Default)]
pub(super) struct Flows(BTreeMap<End, BTreeMap<Port, BTreeSet<String>>>);

/// The flows of a group.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) ingress: Flows,
    pub(super) egress: Flows,
}

impl Flows {
    pub(super) fn add(&mut self, other: End, port: Port, evidence: &str) {
        let ports = self.0.entry(other).or_default();
        ports.entry(port).or_default().insert(evidence.to_owned());
    }
}

/// The pairs of ends that a flow stands for. A Service whose backends are of several workloads stands
/// for all of these.
pub(super) fn pairs(
    groups: &Groups<'_>,
    flow: &Observed,
    notes: &mut BTreeSet<String>,
) -> Vec<(End, End, Port)> {
    let about = format!("{} → {}", flow.from, flow.to);
    if flow.from == FlowEnd::Node || flow.to == FlowEnd::Node {
        // Allowed in any case (semantics A2).
        return Vec::new();
    }
    let Some(port) = flow.port else {
        // One remark for each receiver, however many senders it has.
        notes.insert(format!(
            "{}: not used: protocols without ports, such as ping, which a rule can't allow alone",
            flow.to
        ));
        return Vec::new();
    };
    let end = |it: &FlowEnd| end(groups, it);
    let from = end(&flow.from);
    let to = match &flow.to {
        FlowEnd::Service(name) => through(groups, name, port),
        other => end(other).map(|it| vec![(it, port)]),
    };
    match (from, to) {
        (Ok(from), Ok(to)) => to.into_iter().map(|(to, port)| (from.clone(), to, port)).collect(),
        (Err(why), _) | (_, Err(why)) => {
            notes.insert(format!("{about}: not used: {why}"));
            Vec::new()
        }
    }
}

fn end(groups: &Groups<'_>, end: &FlowEnd) -> Result<End, String> {
    match end {
        FlowEnd::Workload(name) => {
            let group = groups.of(name).map(End::Group);
            group.ok_or_else(|| format!("{name} has no pods"))
        }
        FlowEnd::Address(it) if groups.known.contains(it) => {
            Err(format!("{it} is an address of the cluster now"))
        }
        FlowEnd::Address(it) => Ok(End::Address(*it)),
        FlowEnd::Outside => Ok(End::Outside),
        FlowEnd::Node | FlowEnd::Service(_) => Err(format!("{end} is no end of a rule")),
    }
}

fn through(
    groups: &Groups<'_>,
    name: &str,
    (protocol, port): Port,
) -> Result<Vec<(End, Port)>, String> {
    let missing = || format!("{name} has no backends for port {port}/{protocol}");
    let (namespace, short) = name.split_once('/').ok_or_else(missing)?;
    let service = groups.cluster.services.get(&ServiceId::new(namespace, short));
    let service = service.ok_or_else(missing)?;
    let ports = service.ports.iter().filter(|it| (it.protocol, it.port) == (protocol, port));
    let found = ports.flat_map(|it| backends(groups.cluster, service, it));
    let ends = found.filter_map(|it| Some((End::Group(groups.of_pod(&it.pod)?), it.port)));
    let ends: BTreeSet<_> = ends.map(|(end, port)| (end, (protocol, port))).collect();
    if ends.is_empty() { Err(missing()) } else { Ok(ends.into_iter().collect()) }
}

impl Draft {
    /// The policy of a group. `both`: it isolates in both directions, also where nothing is allowed.
    pub(super) fn policy(
        &self,
        groups: &Groups<'_>,
        number: usize,
        names: &mut Names,
        both: bool,
    ) -> Option<Suggestion> {
        let group = groups.get(number)?;
        let id = names.policy(&group.namespace, group.workloads.first()?);
        let (ingress, of_ingress) = rules(groups, &group.namespace, &self.ingress, Some(number));
        let (egress, of_egress) = rules(groups, &group.namespace, &self.egress, None);
        let [ingress, egress] =
            [ingress, egress].map(|it| Some(it).filter(|rules| both || !rules.is_empty()));
        let subjects = group.selector.clone();
        Some(Suggestion {
            policy: Policy { id, subjects, ingress, egress, audit: false },
            workloads: group.workloads.clone(),
            ingress: of_ingress,
            egress: of_egress,
        })
    }
}

/// The names of policies that were made.
pub(super) struct Names {
    prefix: &'static str,
    taken: BTreeSet<PolicyId>,
}

impl Names {
    pub(super) const fn new(prefix: &'static str) -> Self {
        Self { prefix, taken: BTreeSet::new() }
    }

    /// The name of a workload's policy that no other has.
    fn policy(&mut self, namespace: &str, workload: &str) -> PolicyId {
        let prefix = self.prefix;
        let name = workload.split_once('/').map_or(workload, |it| it.1);
        let (name, kind) = name.split_once(" (").unwrap_or((name, ""));
        let plain = PolicyId::new(namespace, format!("{prefix}-{name}"));
        let id = match self.taken.contains(&plain) {
            true => {
                PolicyId::new(namespace, format!("{prefix}-{name}-{}", kind.trim_end_matches(')')))
            }
            false => plain,
        };
        self.taken.insert(id.clone());
        id
    }
}

/// The rules of one direction: one for all ends with the same ports. `receiver`: the group whose pods
/// receive; `None`: the other ends do.
fn rules(
    groups: &Groups<'_>,
    namespace: &str,
    flows: &Flows,
    receiver: Option<usize>,
) -> (Vec<Rule>, Vec<BTreeSet<String>>) {
    let mut by_ports: BTreeMap<Vec<PortRule>, (BTreeSet<&End>, BTreeSet<String>)> = BTreeMap::new();
    for (end, ports) in &flows.0 {
        let named = |(protocol, port): &Port| {
            let group = match (receiver, end) {
                (Some(group), _) => Some(group),
                (None, End::Group(group)) => Some(*group),
                (None, _) => None,
            };
            let name = group.and_then(|it| groups.port_name(it, *protocol, *port));
            let number = || PortSpec::Range(PortRange::single(*port));
            let port = name.map_or_else(number, |it| PortSpec::Named(it.to_owned()));
            PortRule { protocol: *protocol, port }
        };
        let rules: BTreeSet<PortRule> = ports.keys().map(named).collect();
        let (ends, evidence) = by_ports.entry(rules.into_iter().collect()).or_default();
        ends.insert(end);
        evidence.extend(ports.values().flatten().cloned());
    }
    let rule = |(ports, (ends, evidence))| (peers(groups, namespace, &ends), ports, evidence);
    let all = by_ports.into_iter().map(rule);
    all.map(|(peers, ports, evidence)| (Rule { peers, ports }, evidence)).unzip()
}

fn peers(groups: &Groups<'_>, namespace: &str, ends: &BTreeSet<&End>) -> Vec<Peer> {
    let mut peers = Vec::new();
    let mut addresses = BTreeSet::new();
    let mut outside = false;
    for end in ends {
        match end {
            End::Group(number) => peers.extend(groups.get(*number).map(|group| {
                let is_own = group.namespace == namespace;
                let namespaces = (!is_own).then(|| named(&group.namespace));
                Peer::Pods { namespaces, pods: group.selector.clone() }
            })),
            End::Address(address) => drop(addresses.insert(*address)),
            End::Outside => outside = true,
        }
    }
    peers.extend(blocks(&addresses, &groups.known));
    if outside {
        peers.extend(everything());
    }
    peers
}

/// The selector of a namespace by its name.
fn named(namespace: &str) -> Selector {
    let values = [namespace.to_owned()].into();
    let requirement = Requirement::In(NAMESPACE_NAME_LABEL.to_owned(), values);
    Selector { requirements: [requirement].into() }
}
