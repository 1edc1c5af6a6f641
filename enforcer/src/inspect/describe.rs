//! Policies in sentences, a pod's protection, namespaces' coverage.

use std::fmt;

use enforcer_core::explain::{self, Coverage, Unused};
use enforcer_core::model::{Cluster, Pod, PodId, Policy, PolicyId};
use serde::Serialize;

use super::end::EndError;
use super::state::State;
use crate::source::manifests::Location;

/// What `describe` is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// Every namespace.
    Everything,
    /// An object by its name: `ns/NAME`, `pod/NAME`, `netpol/NAME`, a namespace, `NAMESPACE/NAME` of
    /// a pod or a policy.
    Named(String),
}

/// A policy and its meaning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyDescription {
    /// `namespace/name`
    pub policy: String,
    /// Where it is declared, if a file declares it.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// Whether it is in audit: reported, and not enforced.
    pub audit: bool,
    /// Its meaning.
    pub sentences: Vec<String>,
    /// The pods that it selects.
    pub pods: Vec<String>,
}

/// A pod's protection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PodDescription {
    /// `namespace/name`
    pub pod: String,
    /// Its workload.
    pub workload: String,
    /// Its addresses; empty: assumed or none.
    pub addresses: Vec<String>,
    /// Its labels as `key=value`.
    pub labels: Vec<String>,
    /// Why no policy can apply to it, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exempt: Option<&'static str>,
    /// The policies that isolate it for ingress.
    pub ingress: Vec<String>,
    /// The policies that isolate it for egress.
    pub egress: Vec<String>,
    /// The policies that would isolate it, were they not in audit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub audit: Vec<String>,
}

/// A namespace's coverage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NamespaceDescription {
    /// Its name.
    pub namespace: String,
    /// Its policies.
    pub policies: usize,
    /// Those in audit: reported, and not enforced.
    pub audit: usize,
    /// Pods to which policies can apply.
    pub pods: usize,
    /// Those that are isolated for ingress.
    pub ingress_isolated: usize,
    /// Those that are isolated for egress.
    pub egress_isolated: usize,
    /// Pods that are isolated in no direction.
    pub unprotected: Vec<String>,
    /// Pods to which no policy can apply.
    pub exempt: Vec<String>,
}

/// The answer of `describe`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Description {
    /// Policies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<PolicyDescription>,
    /// Pods.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<PodDescription>,
    /// Namespaces.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<NamespaceDescription>,
    /// Policies, and entries of `from` and `to`, without effect at present.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub without_effect: Vec<String>,
}

/// Describes a subject; names without a namespace are in `namespace`.
///
/// # Errors
/// There is no such object.
pub fn describe(
    state: &State,
    subject: &Subject,
    namespace: &str,
) -> Result<Description, EndError> {
    let name = match subject {
        Subject::Everything => return Ok(everything(state, None)),
        Subject::Named(name) => name,
    };
    let parts: Vec<&str> = name.split('/').collect();
    let (kind, id) = match parts.as_slice() {
        [name] if state.cluster.namespaces.contains_key(*name) => ("ns", (*name, "")),
        [name] => ("", (namespace, *name)),
        [kind @ ("ns" | "namespace"), name] => (*kind, (*name, "")),
        [kind @ ("pod" | "netpol" | "networkpolicy" | "policy"), name] => {
            (*kind, (namespace, *name))
        }
        [space, name] => ("", (*space, *name)),
        [space, kind @ ("pod" | "netpol" | "networkpolicy" | "policy"), name] => {
            (*kind, (*space, *name))
        }
        _ => return Err(EndError::Syntax(name.clone())),
    };
    match kind {
        "ns" | "namespace" => of_namespace(state, id.0),
        "pod" => of_objects(state, id, true, false),
        "" => of_objects(state, id, true, true),
        _ => of_objects(state, id, false, true),
    }
}

fn of_namespace(state: &State, name: &str) -> Result<Description, EndError> {
    if !state.cluster.namespaces.contains_key(name) {
        let hint = String::new();
        return Err(EndError::Missing { kind: "namespace", name: name.to_owned(), hint });
    }
    Ok(everything(state, Some(name)))
}

fn of_objects(
    state: &State,
    (namespace, name): (&str, &str),
    pods: bool,
    policies: bool,
) -> Result<Description, EndError> {
    let pod = state.cluster.pods.get(&PodId::new(namespace, name)).filter(|_| pods);
    let policy = state.cluster.policies.get(&PolicyId::new(namespace, name)).filter(|_| policies);
    if pod.is_none() && policy.is_none() {
        let kind = match (pods, policies) {
            (true, true) => "pod or policy",
            (true, false) => "pod",
            _ => "policy",
        };
        let name = format!("{namespace}/{name}");
        return Err(EndError::Missing { kind, name, hint: String::new() });
    }
    Ok(Description {
        pods: pod.into_iter().map(|it| of_pod(state, it)).collect(),
        policies: policy.into_iter().map(|it| of_policy(state, it)).collect(),
        without_effect: policy
            .map(|it| unused(&state.cluster, Some(&it.id), None))
            .unwrap_or_default(),
        ..Description::default()
    })
}

fn everything(state: &State, namespace: Option<&str>) -> Description {
    let is_in = |it: &str| namespace.is_none_or(|wanted| wanted == it);
    let coverage = explain::coverage(&state.cluster).into_iter();
    let namespaces = coverage.filter(|it| is_in(&it.namespace)).map(of_coverage).collect();
    let policies = state.cluster.policies.values().filter(|it| namespace == Some(&it.id.namespace));
    Description {
        namespaces,
        policies: policies.map(|it| of_policy(state, it)).collect(),
        without_effect: unused(&state.cluster, None, namespace),
        ..Description::default()
    }
}

fn of_coverage(it: Coverage) -> NamespaceDescription {
    let exempt = it.exempt.iter().map(|(pod, why)| format!("{pod}: {why}"));
    NamespaceDescription {
        policies: it.policies,
        audit: it.audit,
        pods: it.pods,
        ingress_isolated: it.ingress,
        egress_isolated: it.egress,
        unprotected: it.unprotected.iter().map(PodId::to_string).collect(),
        exempt: exempt.collect(),
        namespace: it.namespace,
    }
}

fn of_pod(state: &State, pod: &Pod) -> PodDescription {
    let protection = explain::protection(&state.cluster, pod);
    let names = |ids: &[PolicyId]| ids.iter().map(PolicyId::to_string).collect();
    let known = pod.addresses.iter().filter(|_| !state.assumed.contains(&pod.id));
    PodDescription {
        pod: pod.id.to_string(),
        workload: state.workloads.of(pod).to_string(),
        addresses: known.map(ToString::to_string).collect(),
        labels: pod.labels.iter().map(|(key, value)| format!("{key}={value}")).collect(),
        exempt: protection.exempt,
        ingress: names(&protection.ingress),
        egress: names(&protection.egress),
        audit: protection.audit.iter().map(PolicyId::to_string).collect(),
    }
}

fn of_policy(state: &State, policy: &Policy) -> PolicyDescription {
    let pods = state.cluster.pods.values().filter(|pod| {
        pod.id.namespace == policy.id.namespace
            && pod.is_peer()
            && policy.subjects.matches(&pod.labels)
    });
    PolicyDescription {
        policy: policy.id.to_string(),
        audit: state.cluster.is_in_audit(policy),
        location: state.place(&policy.id, "metadata.name"),
        sentences: explain::policy_sentences(policy),
        pods: pods.map(|it| it.id.to_string()).collect(),
    }
}

fn unused(cluster: &Cluster, policy: Option<&PolicyId>, namespace: Option<&str>) -> Vec<String> {
    let wanted = |it: &PolicyId| {
        policy.is_none_or(|wanted| wanted == it)
            && namespace.is_none_or(|wanted| wanted == it.namespace)
    };
    let found = explain::unused(cluster).into_iter();
    let text = found.filter_map(|it| match it {
        Unused::Policy(id) if wanted(&id) => Some(format!("{id} selects no pod")),
        Unused::Peer(rule, peer) if wanted(&rule.policy) => {
            let list = if rule.direction.name() == "ingress" { "from" } else { "to" };
            Some(format!("{} {rule}.{list}[{}] matches no pod", rule.policy, peer.index))
        }
        Unused::Policy(_) | Unused::Peer(..) => None,
    });
    text.collect()
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        coverage(f, &self.namespaces)?;
        for it in &self.pods {
            write!(f, "{it}")?;
        }
        for it in &self.policies {
            write!(f, "{it}")?;
        }
        if !self.without_effect.is_empty() {
            writeln!(f, "Without effect at present:")?;
        }
        for it in &self.without_effect {
            writeln!(f, "  {it}")?;
        }
        Ok(())
    }
}

/// Namespaces as a table, and the pods that are not protected.
fn coverage(f: &mut fmt::Formatter<'_>, namespaces: &[NamespaceDescription]) -> fmt::Result {
    const HEADER: [&str; 6] = ["NAMESPACE", "POLICIES", "PODS", "INGRESS", "EGRESS", "UNPROTECTED"];
    if namespaces.is_empty() {
        return Ok(());
    }
    let names = namespaces.iter().map(|it| it.namespace.chars().count());
    let width = names.max().unwrap_or(0).max(HEADER[0].len());
    let [name, policies, pods, ingress, egress, unprotected] = HEADER;
    writeln!(f, "{name:<width$}  {policies}  {pods}  {ingress}  {egress}  {unprotected}")?;
    for it in namespaces {
        let NamespaceDescription { namespace, policies, pods, .. } = it;
        let (ingress, egress) = (it.ingress_isolated, it.egress_isolated);
        let unprotected = it.unprotected.len();
        writeln!(
            f,
            "{namespace:<width$}  {policies:<8}  {pods:<4}  {ingress:<7}  {egress:<6}  {unprotected}"
        )?;
    }
    for it in namespaces.iter().filter(|it| it.audit > 0) {
        let policies = if it.audit == 1 { "policy" } else { "policies" };
        writeln!(f, "in audit, not enforced: {} {policies} of {}", it.audit, it.namespace)?;
    }
    for pod in namespaces.iter().flat_map(|it| &it.unprotected) {
        writeln!(f, "unprotected: {pod}")?;
    }
    for pod in namespaces.iter().flat_map(|it| &it.exempt) {
        writeln!(f, "no policy applies to {pod}")?;
    }
    Ok(())
}

impl fmt::Display for PodDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |it: &[String]| if it.is_empty() { "none".to_owned() } else { it.join(", ") };
        write!(f, "Pod {}", self.pod)?;
        match self.workload == self.pod {
            true => writeln!(f)?,
            false => writeln!(f, ", of {}", self.workload)?,
        }
        writeln!(f, "  addresses: {}", list(&self.addresses))?;
        writeln!(f, "  labels: {}", list(&self.labels))?;
        if let Some(why) = self.exempt {
            writeln!(f, "  no policy applies to it: {why}")?;
        }
        for (direction, policies) in [("ingress", &self.ingress), ("egress", &self.egress)] {
            match policies.as_slice() {
                [] => writeln!(f, "  {direction}: not isolated, everything is allowed")?,
                policies => writeln!(f, "  {direction}: isolated by {}", policies.join(", "))?,
            }
        }
        if !self.audit.is_empty() {
            writeln!(f, "  in audit, not enforced: {}", self.audit.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Display for PolicyDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NetworkPolicy {}", self.policy)?;
        match &self.location {
            Some(it) => writeln!(f, " ({}:{})", it.file.display(), it.line)?,
            None => writeln!(f)?,
        }
        if self.audit {
            writeln!(f, "  In audit: it is reported, and not enforced.")?;
        }
        for it in &self.sentences {
            writeln!(f, "  {it}")?;
        }
        let pods = if self.pods.is_empty() { "none".to_owned() } else { self.pods.join(", ") };
        writeln!(f, "  Selected pods: {pods}")
    }
}
