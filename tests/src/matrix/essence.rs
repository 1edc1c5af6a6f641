//! Summaries of policies in words.

use enforcer_core::model::{Block, Peer, Policy, PortRule, PortSpec, Requirement, Rule, Selector};

/// The pods that a policy selects, and one line for each rule.
pub fn essence(policy: &Policy) -> Vec<String> {
    let mut lines = vec![format!(
        "{} selects {} of {}",
        policy.id.name,
        pods(&policy.subjects),
        policy.id.namespace
    )];
    for (direction, word, rules) in [("in", "from", &policy.ingress), ("out", "to", &policy.egress)]
    {
        match rules.as_deref() {
            None => {}
            Some([]) => lines.push(format!("  {direction}: nothing")),
            Some(rules) => {
                lines.extend(
                    rules.iter().map(|it| {
                        format!("  {direction}: {}", rule(it, word, &policy.id.namespace))
                    }),
                );
            }
        }
    }
    lines
}

fn rule(rule: &Rule, word: &str, own: &str) -> String {
    let ports = match rule.ports.as_slice() {
        [] => "everything".to_owned(),
        ports => ports.iter().map(port).collect::<Vec<_>>().join(", "),
    };
    let peers = match rule.peers.as_slice() {
        [] => "anywhere".to_owned(),
        peers => peers.iter().map(|it| peer(it, own)).collect::<Vec<_>>().join(", or "),
    };
    format!("{ports} {word} {peers}")
}

fn port(rule: &PortRule) -> String {
    match &rule.port {
        PortSpec::All => format!("every {} port", rule.protocol),
        PortSpec::Named(name) => format!("{} port \"{name}\"", rule.protocol),
        PortSpec::Range(range) if range.first == range.last => {
            format!("{} {}", rule.protocol, range.first)
        }
        PortSpec::Range(range) => format!("{} {}-{}", rule.protocol, range.first, range.last),
    }
}

fn peer(peer: &Peer, own: &str) -> String {
    match peer {
        Peer::Pods { namespaces: None, pods: selector } => format!("{} of {own}", pods(selector)),
        Peer::Pods { namespaces: Some(namespaces), pods: selector } => {
            let of = match requirements(namespaces) {
                None => "any namespace".to_owned(),
                Some(text) => format!("namespaces with {text}"),
            };
            format!("{} of {of}", pods(selector))
        }
        Peer::Block(block) => addresses(block),
    }
}

fn addresses(block: &Block) -> String {
    let except: Vec<String> = block.except.iter().map(ToString::to_string).collect();
    if except.is_empty() {
        block.cidr.to_string()
    } else {
        format!("{} except {}", block.cidr, except.join(", "))
    }
}

fn pods(selector: &Selector) -> String {
    requirements(selector).map_or_else(|| "all pods".to_owned(), |text| format!("pods with {text}"))
}

/// The requirements in words; `None`: there are none, so all match.
fn requirements(selector: &Selector) -> Option<String> {
    let words: Vec<String> = selector.requirements.iter().map(requirement).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

fn requirement(requirement: &Requirement) -> String {
    let list = |values: &enforcer_core::model::SharedSet<String>| {
        values.iter().map(String::as_str).collect::<Vec<_>>().join("|")
    };
    match requirement {
        Requirement::In(key, values) => format!("{key}={}", list(values)),
        Requirement::NotIn(key, values) => format!("{key}≠{}", list(values)),
        Requirement::Exists(key) => key.clone(),
        Requirement::DoesNotExist(key) => format!("no {key}"),
    }
}
