//! The policies that select each local pod: from subjects to rows.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use enforcer_ebpf::contract::verdict::Direction;

use super::grants::DraftRow;
use super::ports::{NamedPort, named_port};
use super::selectors::{SelectorId, SelectorIndex, SelectorTable};
use crate::interner::Interner;
use crate::model::{Cluster, ContainerPort, Pod, PodId, Policy, PolicyId, PortSpec, Rule};

/// One direction of all subjects that the same policies isolate: a row in the making.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Draft<'a> {
    pub(super) direction: Direction,
    /// The policies of this direction that select the subjects, by their position among the
    /// namespace's policies.
    policies: Vec<usize>,
    /// The namespace of subjects and policies.
    pub(super) namespace: &'a str,
    /// Ingress: the subjects' ports that the policies refer to by name (semantics R7).
    pub(super) ports: Vec<&'a ContainerPort>,
}

/// The local subjects and the rows that judge them.
#[derive(Debug, Default)]
pub(super) struct Subjects<'a> {
    /// For each row its rules, which add up (semantics S4).
    pub(super) rows: Vec<(Draft<'a>, Vec<&'a Rule>)>,
    /// The rows of each subject by direction, ingress first; `None`: not isolated.
    pub(super) pods: BTreeMap<PodId, [Option<DraftRow>; 2]>,
}

/// Whether the pod is a subject of policy (semantics S1).
pub(super) fn is_subject(pod: &Pod) -> bool {
    pod.is_peer() && !pod.addresses.is_empty()
}

/// The subjects among the pods `local`, and their rows.
pub(super) fn select<'a>(cluster: &'a Cluster, local: &BTreeSet<PodId>) -> Subjects<'a> {
    let mut namespaces: HashMap<&str, NamespacePolicies<'a>> = HashMap::new();
    let mut rows: Interner<Draft<'a>> = Interner::default();
    let mut subjects = Subjects::default();
    let pods = local.iter().filter_map(|id| cluster.pods.get(id)).filter(|pod| is_subject(pod));
    for pod in pods {
        let policies = namespaces
            .entry(&pod.id.namespace)
            .or_insert_with(|| NamespacePolicies::new(cluster, &pod.id.namespace));
        let row = Direction::ALL.map(|direction| {
            let (draft, rules) = policies.draft(pod, direction)?;
            let row = rows.intern(draft.clone());
            if row == subjects.rows.len() {
                subjects.rows.push((draft, rules));
            }
            Some(row)
        });
        subjects.pods.insert(pod.id.clone(), row);
    }
    subjects
}

/// The policies of one namespace. No others select its pods (semantics S2).
struct NamespacePolicies<'a> {
    policies: Vec<&'a Policy>,
    selectors: SelectorIndex<'a>,
    by_selector: BTreeMap<SelectorId, Vec<usize>>,
}

impl<'a> NamespacePolicies<'a> {
    fn new(cluster: &'a Cluster, namespace: &str) -> Self {
        let first = PolicyId::new(namespace, "");
        let policies: Vec<&Policy> = cluster
            .policies
            .range(first..)
            .take_while(|(id, _)| id.namespace == namespace)
            .map(|(_, policy)| policy)
            .filter(|policy| !cluster.is_in_audit(policy))
            .collect();
        let mut table = SelectorTable::default();
        let mut by_selector: BTreeMap<SelectorId, Vec<usize>> = BTreeMap::new();
        for (position, policy) in policies.iter().enumerate() {
            by_selector.entry(table.intern(&policy.subjects)).or_default().push(position);
        }
        Self { policies, selectors: SelectorIndex::new(table), by_selector }
    }

    /// The pod's row in this direction, with its rules; `None`: not isolated (semantics S4).
    fn draft(&self, pod: &'a Pod, direction: Direction) -> Option<(Draft<'a>, Vec<&'a Rule>)> {
        let mut policies: Vec<usize> = self
            .selectors
            .matching(&pod.labels)
            .into_iter()
            .filter_map(|selector| self.by_selector.get(&selector))
            .flatten()
            .copied()
            .filter(|position| rules(self.policies[*position], direction).is_some())
            .collect();
        if policies.is_empty() {
            return None;
        }
        policies.sort_unstable();
        let rules: Vec<&Rule> = policies
            .iter()
            .filter_map(|position| rules(self.policies[*position], direction))
            .flatten()
            .collect();
        let ports = match direction {
            Direction::Ingress => named_ports(&rules, pod),
            Direction::Egress => Vec::new(),
        };
        Some((Draft { direction, policies, namespace: &pod.id.namespace, ports }, rules))
    }
}

/// The policy's rules in this direction; `None`: the policy does not isolate in it.
fn rules(policy: &Policy, direction: Direction) -> Option<&Vec<Rule>> {
    match direction {
        Direction::Ingress => policy.ingress.as_ref(),
        Direction::Egress => policy.egress.as_ref(),
    }
}

/// The pod's ports that the rules refer to by name and protocol (semantics R7).
fn named_ports<'a>(rules: &[&Rule], pod: &'a Pod) -> Vec<&'a ContainerPort> {
    let names: BTreeSet<NamedPort<'_>> = rules
        .iter()
        .flat_map(|rule| &rule.ports)
        .filter_map(|port| match &port.port {
            PortSpec::Named(name) => Some((port.protocol, name.as_str())),
            PortSpec::All | PortSpec::Range(_) => None,
        })
        .collect();
    pod.ports.iter().filter(|it| names.contains(&named_port(it))).collect()
}
