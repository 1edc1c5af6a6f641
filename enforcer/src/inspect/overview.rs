//! Everything about a cluster that the web page shows at once, as a document.

use std::collections::BTreeMap;

use enforcer_core::explain::{self, Opened, Workload};
use enforcer_core::model::{Pod, PodId, Protocol};
use serde::Serialize;

use super::describe::{NamespaceDescription, Subject, describe};
use super::pairs::examples;
use super::state::State;
use crate::source::manifests::Location;

/// A workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorkloadOverview {
    /// Its name for people, such as `shop/web (deploy)`.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name as an end of `explain`, such as `shop/deploy/web`.
    pub end: String,
    /// The ports that its pods declare, such as `TCP 8080`.
    pub ports: Vec<String>,
}

/// A pod to which policies can apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PodOverview {
    /// The pod as `namespace/name`.
    pub name: String,
    /// An index of `workloads`.
    pub workload: usize,
    /// An index of `matrix.cells`: pods of a kind have the same connections.
    pub kind: usize,
    /// Whether policies isolate it for ingress.
    pub ingress: bool,
    /// Whether policies isolate it for egress.
    pub egress: bool,
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyOverview {
    /// The policy as `namespace/name`.
    pub name: String,
    /// Where it is declared, if a file declares it.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
}

/// A set of traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerdictOverview {
    /// Such as `TCP 80; UDP 53`, `everything`, or empty: nothing.
    pub text: String,
    /// Whether protocols without ports belong to it.
    pub portless: bool,
    /// The first and the last port of each range, by protocol.
    pub ports: BTreeMap<&'static str, Vec<[u16; 2]>>,
}

/// The connections of all pods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MatrixOverview {
    /// By the sender's kind and the receiver's kind: an index of `verdicts`.
    pub cells: Vec<Vec<usize>>,
    /// The traffic that a cell allows.
    pub verdicts: Vec<VerdictOverview>,
    /// The kind of the addresses outside.
    pub outside: usize,
}

/// A cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Overview {
    /// Where the state is read.
    pub source: String,
    /// The namespaces, as in `describe`.
    pub namespaces: Vec<NamespaceDescription>,
    /// The workloads.
    pub workloads: Vec<WorkloadOverview>,
    /// The pods to which policies can apply.
    pub pods: Vec<PodOverview>,
    /// The policies.
    pub policies: Vec<PolicyOverview>,
    /// The connections.
    pub matrix: MatrixOverview,
    /// Policies, and parts of policies, that have no effect at present.
    pub without_effect: Vec<String>,
    /// What the document assumes, and remarks on the objects.
    pub notes: Vec<String>,
}

/// The document about a state that was read at `source`.
#[must_use]
pub fn overview(state: &State, source: &str) -> Overview {
    let everything = describe(state, &Subject::Everything, "").unwrap_or_default();
    let outside = examples(&state.cluster);
    let matrix = explain::matrix(&state.cluster, &outside);
    let mut groups: BTreeMap<Workload, Vec<&Pod>> = BTreeMap::new();
    for pod in matrix.pods.keys().filter_map(|id| state.cluster.pods.get(id)) {
        groups.entry(state.workloads.of(pod)).or_default().push(pod);
    }
    let mut pods = Vec::with_capacity(matrix.pods.len());
    for (workload, members) in groups.values().enumerate() {
        pods.extend(members.iter().map(|pod| self::pod(state, &matrix.pods, pod, workload)));
    }
    let policies = state.cluster.policies.keys().map(|id| PolicyOverview {
        name: id.to_string(),
        location: state.place(id, "metadata.name"),
    });
    Overview {
        source: source.to_owned(),
        namespaces: everything.namespaces,
        workloads: groups.iter().map(|(it, pods)| workload(it, pods)).collect(),
        pods,
        policies: policies.collect(),
        matrix: MatrixOverview {
            verdicts: matrix.verdicts.iter().map(verdict).collect(),
            cells: matrix.cells,
            outside: matrix.outside,
        },
        without_effect: everything.without_effect,
        notes: notes(state),
    }
}

fn workload(workload: &Workload, pods: &[&Pod]) -> WorkloadOverview {
    let Workload { namespace, name, kind } = workload;
    let ports = pods.first().into_iter().flat_map(|it| &it.ports);
    WorkloadOverview {
        name: workload.to_string(),
        namespace: namespace.clone(),
        end: match *kind {
            "" | "pod" => format!("{namespace}/{name}"),
            kind => format!("{namespace}/{kind}/{name}"),
        },
        ports: ports.map(|it| format!("{} {}", it.protocol, it.port)).collect(),
    }
}

fn pod(state: &State, kinds: &BTreeMap<PodId, usize>, pod: &Pod, workload: usize) -> PodOverview {
    let protection = explain::protection(&state.cluster, pod);
    PodOverview {
        name: pod.id.to_string(),
        workload,
        kind: kinds.get(&pod.id).copied().unwrap_or_default(),
        ingress: !protection.ingress.is_empty(),
        egress: !protection.egress.is_empty(),
    }
}

fn verdict(set: &Opened) -> VerdictOverview {
    let mut ports: BTreeMap<&'static str, Vec<[u16; 2]>> = BTreeMap::new();
    for (protocol, range) in set.ports.iter() {
        ports.entry(Protocol::name(protocol)).or_default().push([range.first, range.last]);
    }
    let text = if set.is_empty() { String::new() } else { set.to_string() };
    VerdictOverview { text, portless: set.portless, ports }
}

fn notes(state: &State) -> Vec<String> {
    let assumed = (!state.assumed.is_empty() && state.has_blocks()).then(|| {
        format!(
            "pods without an address yet: {}; addresses of --pod-cidr are assumed, which matters for \
             ipBlock only",
            state.assumed.len()
        )
    });
    let remarks = state.errors.iter().chain(&state.remarks).cloned();
    assumed.into_iter().chain(remarks).collect()
}
