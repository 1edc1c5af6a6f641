//! Network policies.

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};

use super::{Converted, Problem, block, field, port, selector};
use enforcer_core::model::{self, Peer, PolicyId, Rule, Selector};

/// A network policy with its defaults applied (semantics S3, R8).
#[must_use]
pub fn policy(object: &NetworkPolicy) -> Converted<model::Policy> {
    let mut problems = Vec::new();
    let name = field::name(&object.metadata, &mut problems);
    let id = PolicyId::new(field::namespace(&object.metadata), name);
    let spec = object.spec.clone().unwrap_or_else(|| {
        let message = "missing: the policy isolates every pod of its namespace for ingress";
        problems.push(Problem::warning("spec", message));
        NetworkPolicySpec::default()
    });
    let subjects = optional_selector(spec.pod_selector.as_ref(), "spec.podSelector", &mut problems);
    let directions = directions(&spec, &mut problems);
    let audit = field::audit(&object.metadata, &mut problems);
    // Rules without effect are still checked: the API server would reject them, too.
    let ingress = spec.ingress.iter().flatten();
    let ingress = ingress.map(|it| (it.from.as_deref(), it.ports.as_deref()));
    let ingress = rules(ingress, "spec.ingress", "from", &mut problems);
    let egress = spec.egress.iter().flatten();
    let egress = egress.map(|it| (it.to.as_deref(), it.ports.as_deref()));
    let egress = rules(egress, "spec.egress", "to", &mut problems);
    let value = model::Policy {
        id,
        subjects: subjects.unwrap_or_default(),
        ingress: directions.ingress.then_some(ingress),
        egress: directions.egress.then_some(egress),
        audit,
    };
    Converted::new(value, problems)
}

/// The stand-in for a policy that never was without errors: it isolates the selected pods in the
/// policy's directions and allows nothing (semantics R9). If the selector has an error, these are
/// all pods of the namespace.
#[must_use]
pub fn closed_policy(object: &NetworkPolicy) -> model::Policy {
    let mut ignored = Vec::new();
    let id = PolicyId::new(
        field::namespace(&object.metadata),
        field::name(&object.metadata, &mut ignored),
    );
    let spec = object.spec.clone().unwrap_or_default();
    let directions = directions(&spec, &mut ignored);
    let mut errors = Vec::new();
    let subjects = optional_selector(spec.pod_selector.as_ref(), "spec.podSelector", &mut errors);
    model::Policy {
        id,
        subjects: subjects.filter(|_| errors.is_empty()).unwrap_or_default(),
        ingress: directions.ingress.then(Vec::new),
        egress: directions.egress.then(Vec::new),
        audit: field::audit(&object.metadata, &mut ignored),
    }
}

struct Directions {
    ingress: bool,
    egress: bool,
}

/// `spec.policyTypes` or its default (semantics S3).
fn directions(spec: &NetworkPolicySpec, problems: &mut Vec<Problem>) -> Directions {
    let has_ingress = spec.ingress.as_ref().is_some_and(|rules| !rules.is_empty());
    let has_egress = spec.egress.as_ref().is_some_and(|rules| !rules.is_empty());
    let types = spec.policy_types.as_deref().unwrap_or_default();
    if types.is_empty() {
        return Directions { ingress: true, egress: has_egress };
    }
    if types.len() > 2 {
        let message = "more than two policy types";
        problems.push(Problem::error("spec.policyTypes", message).help("name each type once"));
    }
    let mut found = Directions { ingress: false, egress: false };
    for (index, name) in types.iter().enumerate() {
        match name.as_str() {
            "Ingress" => found.ingress = true,
            "Egress" => found.egress = true,
            other => {
                let path = format!("spec.policyTypes[{index}]");
                let allowed = ["Ingress", "Egress"];
                problems.push(field::unknown_word(&path, other, "policy type", &allowed));
                // The intent is unknown: no warnings that would follow from it.
                found = Directions { ingress: true, egress: true };
            }
        }
    }
    warn_without_effect(has_ingress && !found.ingress, "ingress", "Ingress", problems);
    warn_without_effect(has_egress && !found.egress, "egress", "Egress", problems);
    found
}

fn warn_without_effect(is_so: bool, field: &str, kind: &str, problems: &mut Vec<Problem>) {
    if is_so {
        let message = format!("these rules have no effect: spec.policyTypes lacks {kind}");
        let help = format!("add {kind} to spec.policyTypes, or remove the rules");
        problems.push(Problem::warning(format!("spec.{field}"), message).help(help));
    }
}

/// The rules of one direction, given as their peers and ports.
fn rules<'a>(
    list: impl Iterator<Item = (Option<&'a [NetworkPolicyPeer]>, Option<&'a [NetworkPolicyPort]>)>,
    path: &str,
    peers_field: &str,
    problems: &mut Vec<Problem>,
) -> Vec<Rule> {
    let rule = |(index, (its_peers, its_ports)): (usize, (_, _))| Rule {
        peers: peers(its_peers, &format!("{path}[{index}].{peers_field}"), problems),
        ports: ports(its_ports, &format!("{path}[{index}]"), problems),
    };
    list.enumerate().map(rule).collect()
}

// An entry that is left out below always comes with an error, so an emptied list, which would
// match everything (semantics R1), never takes effect.

fn ports(
    list: Option<&[NetworkPolicyPort]>,
    path: &str,
    problems: &mut Vec<Problem>,
) -> Vec<model::PortRule> {
    let list = list.unwrap_or_default().iter().enumerate();
    list.filter_map(|(index, it)| port::rule(it, &format!("{path}.ports[{index}]"), problems))
        .collect()
}

fn peers(list: Option<&[NetworkPolicyPeer]>, path: &str, problems: &mut Vec<Problem>) -> Vec<Peer> {
    let list = list.unwrap_or_default().iter().enumerate();
    list.filter_map(|(index, it)| peer(it, &format!("{path}[{index}]"), problems)).collect()
}

/// One entry of `from` or `to` (semantics R2).
pub(super) fn peer(
    object: &NetworkPolicyPeer,
    path: &str,
    problems: &mut Vec<Problem>,
) -> Option<Peer> {
    let NetworkPolicyPeer { ip_block, namespace_selector, pod_selector } = object;
    let at = format!("{path}.namespaceSelector");
    let namespaces = optional_selector(namespace_selector.as_ref(), &at, problems);
    let pods = optional_selector(pod_selector.as_ref(), &format!("{path}.podSelector"), problems);
    let with_selectors = namespaces.is_some() || pods.is_some();
    if let Some(ip_block) = ip_block {
        if with_selectors {
            let message = "ipBlock can't be combined with podSelector or namespaceSelector";
            let help = "make them two entries; either one then matches";
            problems.push(Problem::error(path, message).help(help));
        }
        return block::block(ip_block, &format!("{path}.ipBlock"), problems).map(Peer::Block);
    }
    if !with_selectors {
        let message = "a peer needs a podSelector, a namespaceSelector or an ipBlock";
        let help = "to match every pod, write `namespaceSelector: {}`";
        problems.push(Problem::error(path, message).help(help));
        return None;
    }
    Some(Peer::Pods { namespaces, pods: pods.unwrap_or_default() })
}

fn optional_selector(
    object: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector>,
    path: &str,
    problems: &mut Vec<Problem>,
) -> Option<Selector> {
    object.map(|it| selector(it, path, problems))
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "JSON literals read best as plain arguments")]
#[path = "policy_tests.rs"]
mod tests;
