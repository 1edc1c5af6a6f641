//! Policies in sentences.

use enforcer_ebpf::contract::verdict::Direction;

use super::connection::rules;
use crate::model::{
    Block, NAMESPACE_NAME_LABEL, Peer, Policy, PortRule, PortSpec, Requirement, Rule, Selector,
    SharedSet,
};

/// The selector's requirements, such as `role=api, tier in (a, b)`; empty if it has none.
#[must_use]
pub fn selector_text(selector: &Selector) -> String {
    let requirements = selector.requirements.iter().map(requirement);
    requirements.collect::<Vec<_>>().join(", ")
}

fn requirement(requirement: &Requirement) -> String {
    let list = |values: &SharedSet<String>| {
        values.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
    };
    match requirement {
        Requirement::In(key, values) if values.len() == 1 => format!("{key}={}", list(values)),
        Requirement::In(key, values) => format!("{key} in ({})", list(values)),
        Requirement::NotIn(key, values) if values.len() == 1 => format!("{key}!={}", list(values)),
        Requirement::NotIn(key, values) => format!("{key} not in ({})", list(values)),
        Requirement::Exists(key) => format!("label {key}"),
        Requirement::DoesNotExist(key) => format!("no label {key}"),
    }
}

fn pods_text(selector: &Selector) -> String {
    match selector_text(selector).as_str() {
        "" => "all pods".to_owned(),
        requirements => format!("pods with {requirements}"),
    }
}

fn namespaces_text(selector: &Selector) -> String {
    let mut requirements = selector.requirements.iter();
    if let (Some(Requirement::In(key, names)), None) = (requirements.next(), requirements.next())
        && key == NAMESPACE_NAME_LABEL
    {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let word = if names.len() == 1 { "namespace" } else { "namespaces" };
        return format!("{word} {}", names.join(" and "));
    }
    match selector_text(selector).as_str() {
        "" => "all namespaces".to_owned(),
        requirements => format!("namespaces with {requirements}"),
    }
}

/// An entry of a rule's `from` or `to`, such as `pods with role=api of namespace shop`.
#[must_use]
pub fn peer_text(policy: &Policy, peer: &Peer) -> String {
    match peer {
        Peer::Block(Block { cidr, except }) if except.is_empty() => format!("{cidr}"),
        Peer::Block(Block { cidr, except }) => {
            let except: Vec<String> = except.iter().map(ToString::to_string).collect();
            format!("{cidr} except {}", except.join(" and "))
        }
        Peer::Pods { namespaces: None, pods } => {
            format!("{} of namespace {}", pods_text(pods), policy.id.namespace)
        }
        Peer::Pods { namespaces: Some(namespaces), pods } => {
            format!("{} of {}", pods_text(pods), namespaces_text(namespaces))
        }
    }
}

/// An entry of a rule's `ports`, such as `TCP 80-90`.
#[must_use]
pub fn port_text(PortRule { protocol, port }: &PortRule) -> String {
    match port {
        PortSpec::All => format!("every {protocol} port"),
        PortSpec::Range(range) if range.first == range.last => {
            format!("{protocol} {}", range.first)
        }
        PortSpec::Range(range) => format!("{protocol} {}-{}", range.first, range.last),
        PortSpec::Named(name) => format!("{protocol} {name}"),
    }
}

/// A rule's ports, such as `TCP 80, UDP 53`.
#[must_use]
pub fn ports_text(rule: &Rule) -> String {
    if rule.ports.is_empty() {
        return "every port and protocol".to_owned();
    }
    rule.ports.iter().map(port_text).collect::<Vec<_>>().join(", ")
}

/// A rule, such as `from pods with role=api of namespace shop: TCP 80`.
#[must_use]
pub fn rule_text(policy: &Policy, direction: Direction, rule: &Rule) -> String {
    let word = match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    let peers = match rule.peers.as_slice() {
        [] => "everywhere".to_owned(),
        peers => peers.iter().map(|it| peer_text(policy, it)).collect::<Vec<_>>().join(", or "),
    };
    format!("{word} {peers}: {}", ports_text(rule))
}

/// The policy's meaning: its subjects, then for each direction what it allows.
#[must_use]
pub fn policy_sentences(policy: &Policy) -> Vec<String> {
    let subjects = pods_text(&policy.subjects);
    let mut sentences = vec![format!("Selects {subjects} of namespace {}.", policy.id.namespace)];
    for direction in Direction::ALL {
        let name = direction.name();
        match rules(policy, direction).map(Vec::as_slice) {
            None => sentences.push(format!("Does not restrict {name}.")),
            Some([]) => sentences.push(format!("Allows no {name}.")),
            Some(rules) => {
                sentences.push(format!("Allows only this {name}:"));
                let rules = rules.iter().enumerate();
                let text = |(index, rule)| {
                    format!("  {name}[{index}] {}", rule_text(policy, direction, rule))
                };
                sentences.extend(rules.map(text));
            }
        }
    }
    sentences
}
