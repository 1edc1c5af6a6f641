//! Protocols, port numbers and port names.

use k8s_openapi::api::networking::v1::NetworkPolicyPort;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Problem, field};
use enforcer_core::model::{PortRange, PortRule, PortSpec, Protocol};

/// A protocol; TCP if absent (semantics R8); `None` after an error.
pub(super) fn protocol(
    name: Option<&str>,
    path: &str,
    problems: &mut Vec<Problem>,
) -> Option<Protocol> {
    let Some(name) = name else { return Some(Protocol::Tcp) };
    let known = Protocol::ALL.into_iter().find(|it| it.name() == name);
    if known.is_none() {
        let allowed = Protocol::ALL.map(Protocol::name);
        problems.push(field::unknown_word(&format!("{path}.protocol"), name, "protocol", &allowed));
    }
    known
}

/// A port number, which is from 1 to 65535.
pub(super) fn number(value: i32, path: &str, problems: &mut Vec<Problem>) -> Option<u16> {
    let port = u16::try_from(value).ok().filter(|it| *it != 0);
    if port.is_none() {
        let message = format!("{value} is not a port number; expected 1 to 65535");
        problems.push(Problem::error(path, message));
    }
    port
}

/// One entry of a rule's `ports` (semantics R7, R8); `None` after an error.
pub(super) fn rule(
    port: &NetworkPolicyPort,
    path: &str,
    problems: &mut Vec<Problem>,
) -> Option<PortRule> {
    let protocol = protocol(port.protocol.as_deref(), path, problems);
    let port_path = format!("{path}.port");
    let spec = match &port.port {
        Some(IntOrString::Int(first)) => {
            let first = number(*first, &port_path, problems);
            let last = end(port.end_port, first, path, problems);
            PortSpec::Range(PortRange { first: first?, last: last? })
        }
        other => {
            if port.end_port.is_some() {
                let message = "endPort needs a numeric port to start from";
                problems.push(Problem::error(format!("{path}.endPort"), message));
            }
            match other {
                Some(IntOrString::String(text)) => name(text, &port_path, problems)?,
                _ => PortSpec::All,
            }
        }
    };
    Some(PortRule { protocol: protocol?, port: spec })
}

/// The last port of a range that starts at `first`.
fn end(
    value: Option<i32>,
    first: Option<u16>,
    path: &str,
    problems: &mut Vec<Problem>,
) -> Option<u16> {
    let Some(value) = value else { return first };
    let path = format!("{path}.endPort");
    let last = number(value, &path, problems)?;
    if let Some(first) = first.filter(|it| *it > last) {
        problems.push(Problem::error(path, format!("endPort {last} is below port {first}")));
    }
    Some(last)
}

/// A port by name.
pub(super) fn name(text: &str, path: &str, problems: &mut Vec<Problem>) -> Option<PortSpec> {
    if is_service_name(text) {
        return Some(PortSpec::Named(text.to_owned()));
    }
    let message = format!("`{text}` is not a port name");
    let help = if !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit()) {
        format!("write {text} without quotes")
    } else {
        "1 to 15 lower-case letters, digits and single inner hyphens, at least one letter"
            .to_owned()
    };
    problems.push(Problem::error(path, message).help(help));
    None
}

/// Whether a text is a service name (RFC 6335, section 5.1), in lower case as Kubernetes requires.
fn is_service_name(text: &str) -> bool {
    let allowed = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
    (1..=15).contains(&text.len())
        && text.bytes().all(allowed)
        && text.bytes().any(|it| it.is_ascii_lowercase())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !text.contains("--")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn convert(port: Value) -> (Option<PortRule>, Vec<Problem>) {
        let mut problems = Vec::new();
        let rule = rule(&serde_json::from_value(port).unwrap(), "p", &mut problems);
        (rule, problems)
    }

    fn good(port: Value) -> PortRule {
        let (rule, problems) = convert(port);
        assert_eq!(problems, []);
        rule.unwrap()
    }

    fn bad(port: Value) -> String {
        let (_, problems) = convert(port);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].severity, crate::source::remark::Severity::Error);
        problems[0].to_string()
    }

    #[test]
    fn r7_r8_good_ports() {
        let range = |first, last| PortSpec::Range(PortRange { first, last });
        assert_eq!(good(json!({})), PortRule { protocol: Protocol::Tcp, port: PortSpec::All });
        assert_eq!(good(json!({"port": 80})).port, range(80, 80));
        assert_eq!(good(json!({"port": 1, "endPort": 65535})).port, range(1, 65535));
        assert_eq!(good(json!({"port": 7, "endPort": 7})).port, range(7, 7));
        assert_eq!(good(json!({"port": "dns-tcp"})).port, PortSpec::Named("dns-tcp".into()));
        assert_eq!(good(json!({"protocol": "UDP"})).protocol, Protocol::Udp);
        assert_eq!(good(json!({"protocol": "SCTP"})).protocol, Protocol::Sctp);
    }

    #[test]
    fn bad_numbers() {
        assert_eq!(bad(json!({"port": 0})), "p.port: 0 is not a port number; expected 1 to 65535");
        assert!(bad(json!({"port": 65536})).starts_with("p.port: 65536"));
        assert!(bad(json!({"port": -1})).starts_with("p.port: -1"));
        assert!(bad(json!({"port": 1, "endPort": 70000})).starts_with("p.endPort: 70000"));
        assert_eq!(bad(json!({"port": 9, "endPort": 8})), "p.endPort: endPort 8 is below port 9");
        assert!(bad(json!({"endPort": 8})).starts_with("p.endPort: endPort needs"));
        assert!(bad(json!({"port": "http", "endPort": 8})).starts_with("p.endPort: endPort needs"));
    }

    #[test]
    fn bad_names() {
        assert_eq!(
            bad(json!({"port": "80"})),
            "p.port: `80` is not a port name (write 80 without quotes)"
        );
        for name in ["", "HTTP", "-a", "a-", "a--b", "a_b", "abcdefghijklmnop", "1-2"] {
            assert!(bad(json!({"port": name})).contains("is not a port name (1 to 15"), "{name}");
        }
        good(json!({"port": "abcdefghijklmno"}));
    }

    #[test]
    fn bad_protocols() {
        assert_eq!(
            bad(json!({"protocol": "tcp"})),
            "p.protocol: unknown protocol `tcp`; expected one of TCP, UDP, SCTP (did you mean `TCP`?)"
        );
        assert!(bad(json!({"protocol": "ICMP"})).ends_with("SCTP"));
    }
}
