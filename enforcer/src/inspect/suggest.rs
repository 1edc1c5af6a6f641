//! Suggested policies as manifests.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use enforcer_core::model::{
    AUDIT_ANNOTATION, Block, Peer, PortRule, PortSpec, Protocol, Requirement, Rule, Selector,
};
use enforcer_core::suggest::{Denied, Observed, Suggestion, Suggestions, allow, suggest};

use super::state::State;
use crate::observe::{FlowRecord, summed};

/// Suggested policies. `Display`: manifests, with the evidence as comments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggested {
    /// The policies.
    pub suggestions: Suggestions,
    /// Whether the policies only report at first.
    pub audit: bool,
    /// What they were made from.
    pub basis: Basis,
}

/// What suggested policies were made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// Flows that were observed.
    Observed,
    /// Connections that policies in audit would deny.
    WouldDeny,
}

/// Suggests policies for the flows that were allowed.
#[must_use]
pub fn suggested(
    state: &State,
    flows: Vec<FlowRecord>,
    namespace: Option<&str>,
    audit: bool,
) -> Suggested {
    let (allowed, others): (Vec<_>, Vec<_>) =
        flows.into_iter().partition(|it| matches!(&*it.verdict, "allowed" | "would-deny"));
    let observed: Vec<Observed> = summed(allowed).iter().filter_map(observed).collect();
    let mut suggestions = suggest(&state.cluster, &state.workloads, &observed, namespace);
    let wanted = |it: &FlowRecord| namespace.is_none_or(|name| it.is_in(name));
    suggestions.notes.extend(unused(others.iter().filter(|it| wanted(it))));
    Suggested { suggestions, audit, basis: Basis::Observed }
}

/// Remarks on flows that were not allowed: one for each receiver, however many senders tried.
fn unused<'a>(flows: impl Iterator<Item = &'a FlowRecord>) -> BTreeSet<String> {
    const MOST: usize = 4;
    let mut senders: BTreeMap<(&str, String, &str), BTreeSet<&str>> = BTreeMap::new();
    for FlowRecord { from, to, protocol, port, verdict, .. } in flows {
        let port = port.map(|it| format!("{it}/")).unwrap_or_default();
        senders.entry((to, format!("{port}{protocol}"), verdict)).or_default().insert(from);
    }
    let note = |((to, what, verdict), from): ((&str, String, &str), BTreeSet<&str>)| {
        let mut names = from.iter().take(MOST).copied().collect::<Vec<_>>().join(", ");
        if let Some(more @ 1..) = from.len().checked_sub(MOST) {
            names += &format!(" and {more} more");
        }
        format!("{verdict}, and not allowed here either: {to} {what} from {names}")
    };
    senders.into_iter().map(note).collect()
}

/// Policies that would allow what policies in audit would deny, at the ends where these do. They are in audit,
/// too: enforced alone they would isolate pods that nothing isolates yet.
#[must_use]
pub fn allowing(state: &State, flows: Vec<FlowRecord>, namespace: Option<&str>) -> Suggested {
    let flows = flows.into_iter().filter(|it| it.verdict == "would-deny");
    let denied: Vec<Denied> = summed(flows.collect()).iter().filter_map(denied).collect();
    let suggestions = allow(&state.cluster, &state.workloads, &denied, namespace);
    Suggested { suggestions, audit: true, basis: Basis::WouldDeny }
}

fn denied(flow: &FlowRecord) -> Option<Denied> {
    let is_denied = |direction: &str| {
        let mut ends = flow.ends.iter().filter(|it| it.direction == direction);
        ends.any(|it| it.audit.as_ref().is_some_and(|audit| !audit.allows))
    };
    let flow = observed(flow)?;
    Some(Denied { flow, at_sender: is_denied("egress"), at_receiver: is_denied("ingress") })
}

fn observed(flow: &FlowRecord) -> Option<Observed> {
    let [from, to] = flow.parties()?;
    let protocol = Protocol::ALL.into_iter().find(|it| it.name() == flow.protocol);
    let port = protocol.zip(flow.port);
    let what = match port {
        Some((protocol, port)) => format!("{port}/{protocol}"),
        None => flow.protocol.clone(),
    };
    let mut evidence = format!(
        "{from} → {to} {what}: {} connections, {} to {}",
        flow.connections, flow.first_seen, flow.last_seen
    );
    if !flow.services.is_empty() {
        evidence += &format!(", by Service {}", flow.services.join(", "));
    }
    Some(Observed { from, to, port, evidence })
}

impl fmt::Display for Suggested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for note in &self.suggestions.notes {
            comment(f, "", note)?;
        }
        for suggestion in &self.suggestions.policies {
            self.policy(f, suggestion)?;
        }
        match (self.suggestions.policies.as_slice(), self.basis) {
            ([], Basis::Observed) => comment(f, "", "no flow was seen that a policy could allow"),
            ([], Basis::WouldDeny) => comment(f, "", "policies in audit would deny nothing"),
            _ => Ok(()),
        }
    }
}

impl Suggested {
    fn policy(&self, f: &mut fmt::Formatter<'_>, it: &Suggestion) -> fmt::Result {
        let policy = &it.policy;
        writeln!(f, "---")?;
        let workloads: Vec<&str> = it.workloads.iter().map(String::as_str).collect();
        let basis = match self.basis {
            Basis::Observed => "from observed flows",
            Basis::WouldDeny => "what policies in audit would deny",
        };
        comment(f, "", &format!("{}, {basis}", workloads.join(" and ")))?;
        writeln!(f, "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:")?;
        writeln!(f, "  namespace: {}", scalar(&policy.id.namespace))?;
        writeln!(f, "  name: {}", scalar(&policy.id.name))?;
        if self.audit {
            let until = match self.basis {
                Basis::Observed => "It only reports what it would deny. Remove this to enforce it.",
                Basis::WouldDeny => {
                    "It isolates its pods: enforce it together with the policies that it complements."
                }
            };
            comment(f, "  ", until)?;
            writeln!(f, "  annotations: {{{AUDIT_ANNOTATION}: \"true\"}}")?;
        }
        writeln!(f, "spec:\n  podSelector: {}", selector(&policy.subjects))?;
        let types = [("Ingress", &policy.ingress), ("Egress", &policy.egress)].into_iter();
        let types: Vec<&str> = types.filter(|it| it.1.is_some()).map(|it| it.0).collect();
        writeln!(f, "  policyTypes: [{}]", types.join(", "))?;
        let directions = [
            ("ingress", "from", &policy.ingress, &it.ingress),
            ("egress", "to", &policy.egress, &it.egress),
        ];
        for (name, list, rules, evidence) in directions {
            let Some(rules) = rules else { continue };
            if rules.is_empty() {
                writeln!(f, "  {name}: []")?;
                continue;
            }
            writeln!(f, "  {name}:")?;
            for (rule, evidence) in rules.iter().zip(evidence) {
                write_rule(f, list, rule, evidence)?;
            }
        }
        Ok(())
    }
}

fn write_rule(
    f: &mut fmt::Formatter<'_>,
    list: &str,
    rule: &Rule,
    evidence: &BTreeSet<String>,
) -> fmt::Result {
    for line in evidence {
        comment(f, "  ", line)?;
    }
    writeln!(f, "  - {list}:")?;
    for peer in &rule.peers {
        writeln!(f, "    - {}", self::peer(peer))?;
    }
    writeln!(f, "    ports:")?;
    for port in &rule.ports {
        writeln!(f, "    - {}", self::port(port))?;
    }
    Ok(())
}

/// A comment on one line, whatever the text has.
fn comment(f: &mut fmt::Formatter<'_>, indent: &str, text: &str) -> fmt::Result {
    let line: String = text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect();
    writeln!(f, "{indent}# {line}")
}

fn peer(peer: &Peer) -> String {
    match peer {
        Peer::Block(Block { cidr, except }) if except.is_empty() => {
            format!("ipBlock: {{cidr: {}}}", scalar(&cidr.to_string()))
        }
        Peer::Block(Block { cidr, except }) => {
            let except: Vec<_> = except.iter().map(|it| scalar(&it.to_string())).collect();
            let cidr = scalar(&cidr.to_string());
            format!("ipBlock: {{cidr: {cidr}, except: [{}]}}", except.join(", "))
        }
        Peer::Pods { namespaces: None, pods } => format!("podSelector: {}", selector(pods)),
        Peer::Pods { namespaces: Some(namespaces), pods } => format!(
            "namespaceSelector: {}\n      podSelector: {}",
            selector(namespaces),
            selector(pods)
        ),
    }
}

fn port(PortRule { protocol, port }: &PortRule) -> String {
    match port {
        PortSpec::All => format!("protocol: {protocol}"),
        PortSpec::Named(name) => format!("{{protocol: {protocol}, port: {}}}", scalar(name)),
        PortSpec::Range(range) if range.first == range.last => {
            format!("{{protocol: {protocol}, port: {}}}", range.first)
        }
        PortSpec::Range(range) => {
            format!("{{protocol: {protocol}, port: {}, endPort: {}}}", range.first, range.last)
        }
    }
}

fn selector(selector: &Selector) -> String {
    let mut labels: BTreeMap<&str, &str> = BTreeMap::new();
    let mut expressions = Vec::new();
    for requirement in &selector.requirements {
        let (key, operator, values) = match requirement {
            Requirement::In(key, values) => match (values.len(), values.first()) {
                (1, Some(value)) if !labels.contains_key(key.as_str()) => {
                    labels.insert(key, value);
                    continue;
                }
                _ => (key, "In", Some(values)),
            },
            Requirement::NotIn(key, values) => (key, "NotIn", Some(values)),
            Requirement::Exists(key) => (key, "Exists", None),
            Requirement::DoesNotExist(key) => (key, "DoesNotExist", None),
        };
        let mut text = format!("{{key: {}, operator: {operator}", scalar(key));
        if let Some(values) = values {
            let values: Vec<String> = values.iter().map(|it| scalar(it)).collect();
            // Writing to a string can't fail.
            let _ = write!(text, ", values: [{}]", values.join(", "));
        }
        expressions.push(text + "}");
    }
    let labels = labels.iter().map(|(key, it)| format!("{}: {}", scalar(key), scalar(it)));
    let labels: Vec<String> = labels.collect();
    let mut parts = Vec::new();
    if !labels.is_empty() {
        parts.push(format!("matchLabels: {{{}}}", labels.join(", ")));
    }
    if !expressions.is_empty() {
        parts.push(format!("matchExpressions: [{}]", expressions.join(", ")));
    }
    format!("{{{}}}", parts.join(", "))
}

/// A string in YAML: plain where every parser reads it as a string, else quoted as in JSON.
fn scalar(text: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let starts = text.starts_with(|it: char| it.is_ascii_alphabetic());
    let plain = text.chars().all(|it| it.is_ascii_alphanumeric() || "-_./".contains(it));
    let is_word = WORDS.contains(&text.to_ascii_lowercase().as_str());
    // Numbers such as `inf` and `e1` of some parsers begin with a letter, too, but never with these.
    let is_number = text.to_ascii_lowercase().starts_with("inf") || text.starts_with("0x");
    if starts && plain && !is_word && !is_number {
        return text.to_owned();
    }
    serde_json::to_string(text).unwrap_or_default()
}
