//! A dropped packet as one line, for people.
//!
//! It is read in terminals, so nothing is in it twice: the pod that dropped the packet, if it is one of the
//! ends; the namespace of policies, which is that pod's; and the name or address of the peer, which the
//! nearest rule is about. [`DropRecord`]'s JSON has everything in full.

use std::fmt;
use std::net::SocketAddr;

use enforcer_ebpf::contract::verdict::{Direction, Reason};

use super::attribution::Nearest;
use super::drops::{DropRecord, End};

/// The explanation of a reason, by its name; empty for a denial, which its policies explain.
fn explain(reason: &str) -> &str {
    let known = Reason::ALL.into_iter().find(|it| it.name() == reason);
    match known {
        Some(Reason::Denied) => "",
        Some(Reason::Malformed) => "its headers can't be read",
        Some(Reason::SpoofedSource) => "its source is none of the pod's addresses",
        Some(Reason::Fragment) => "its first fragment was not seen",
        Some(Reason::NotIp) => "it is neither IP nor the link's own traffic",
        Some(Reason::Unrepresented) => "the pod's policy does not fit the tables",
        Some(Reason::UnknownPod) => "no known pod is behind the interface",
        Some(Reason::SpoofedLink) => "it claims an address of another, or only routers send it",
        Some(Reason::Encapsulated) => "it is a tunnel's packet to the pod's own node",
        Some(Reason::WrongDestination) => "it is not addressed to the pod",
        Some(Reason::MarkLost) => "another program cleared the mark that names its sender",
        Some(Reason::Unguarded) => "it comes from an interface that no agent has guarded yet",
        _ => reason,
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(pod) = &self.pod {
            write!(f, "{pod} ")?;
        }
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).fmt(f),
            None => self.address.fmt(f),
        }
    }
}

impl fmt::Display for DropRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(source), Some(destination)) = (&self.source, &self.destination) {
            write!(f, "{source} ")?;
            if let Some(sender) = &self.sender {
                write!(f, "(sent by {sender}) ")?;
            }
            write!(f, "→ {destination} ")?;
        }
        f.write_str(&self.protocol)?;
        if let Some((kind, code)) = self.icmp {
            write!(f, " type {kind} code {code}")?;
        }
        let is_denied = self.reason == Reason::Denied.name();
        let verdict = if is_denied { "denied" } else { "dropped" };
        write!(f, " {verdict} at {}", self.direction)?;
        let subject = self.subject().and_then(|it| it.pod.as_ref());
        match &self.pod {
            None => write!(f, " of interface {}", self.ifindex)?,
            Some(pod) if Some(pod) == subject => {}
            Some(pod) => write!(f, " of {pod}")?,
        }
        self.write_reason(f)
    }
}

impl DropRecord {
    /// Whether a pod's policy for packets to it dropped the packet; `None`: the direction is unknown.
    fn is_ingress(&self) -> Option<bool> {
        let known = Direction::ALL.into_iter().find(|it| it.name() == self.direction);
        known.map(|it| it == Direction::Ingress)
    }

    /// The end whose policy dropped the packet.
    fn subject(&self) -> Option<&End> {
        let end = if self.is_ingress()? { &self.destination } else { &self.source };
        end.as_ref()
    }

    /// The other end.
    fn peer(&self) -> Option<&End> {
        let sender = self.sender.as_ref().or(self.source.as_ref());
        if self.is_ingress()? { sender } else { self.destination.as_ref() }
    }

    fn write_reason(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attribution = &self.attribution;
        let mut separator = ": ";
        let mut part = |f: &mut fmt::Formatter<'_>, text: &str| {
            let before = std::mem::replace(&mut separator, "; ");
            if text.is_empty() { Ok(()) } else { write!(f, "{before}{text}") }
        };
        match explain(&self.reason) {
            "" => {}
            text => part(f, text)?,
        }
        if !attribution.isolated_by.is_empty() {
            part(f, &format!("isolated by {}", self.policies(&attribution.isolated_by)))?;
        }
        if let Some(nearest) = &attribution.nearest {
            part(f, &self.nearest(nearest))?;
        }
        if !attribution.would_allow.is_empty() {
            let allowing = self.policies(&attribution.would_allow);
            part(f, &format!("would be allowed by {allowing} (in audit)"))?;
        }
        Ok(())
    }

    fn nearest(&self, Nearest { policy, path, differences }: &Nearest) -> String {
        let names = self.peer().map(|it| (it.pod.clone(), it.address.to_string()));
        let names: Vec<_> =
            names.into_iter().flat_map(|(pod, it)| pod.into_iter().chain([it])).collect();
        let short = |text: &String| {
            let of_peer = names.iter().find_map(|it| text.strip_prefix(it)?.strip_prefix(' '));
            of_peer.unwrap_or(text).to_owned()
        };
        let differences: Vec<_> = differences.iter().map(short).collect();
        let path = path.strip_prefix("spec.").unwrap_or(path);
        format!("nearest: {} {path}: {}", self.policy(policy), differences.join(", "))
    }

    fn policies(&self, names: &[String]) -> String {
        names.iter().map(|it| self.policy(it)).collect::<Vec<_>>().join(", ")
    }

    /// A policy's name without the namespace that the pod which dropped the packet has, too.
    fn policy<'a>(&self, name: &'a str) -> &'a str {
        let namespace = self.pod.as_deref().and_then(|it| it.split_once('/'));
        let own = namespace.and_then(|(it, _)| name.strip_prefix(it)?.strip_prefix('/'));
        own.unwrap_or(name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::attribution::Attribution;
    use super::*;

    #[test]
    fn every_reason_to_drop_is_explained() {
        for reason in Reason::ALL.into_iter().filter(|it| it.is_drop()) {
            assert_ne!(explain(reason.name()), reason.name());
        }
    }

    fn end(address: &str, pod: Option<&str>, port: u16) -> Option<End> {
        let address = address.parse().unwrap();
        Some(End { address, pod: pod.map(str::to_owned), port: Some(port) })
    }

    /// A denial by the receiver's policy `db-clients`.
    fn denied(differences: &[&str]) -> DropRecord {
        DropRecord {
            source: end("10.244.1.17", Some("shop/web-5d9f-x7k2p"), 43512),
            destination: end("10.244.2.5", Some("shop/db-0"), 5432),
            protocol: "TCP".to_owned(),
            pod: Some("shop/db-0".to_owned()),
            direction: "ingress".to_owned(),
            reason: "denied".to_owned(),
            attribution: Attribution {
                isolated_by: ["shop/db-clients", "shop/default-deny"].map(str::to_owned).into(),
                nearest: Some(Nearest {
                    policy: "shop/db-clients".to_owned(),
                    path: "spec.ingress[0].from[0].podSelector".to_owned(),
                    differences: differences.iter().map(|it| (*it).to_owned()).collect(),
                }),
                ..Attribution::default()
            },
            ..super::super::fixture::drop()
        }
    }

    const LACKS: &str = "shop/web-5d9f-x7k2p lacks label role=api";

    /// The example of `docs/monitoring.md`, whose lines are broken.
    #[test]
    fn the_documented_line_is_real() {
        let document = include_str!("../../../docs/monitoring.md");
        let words: Vec<_> = document.split_whitespace().collect();
        let line = format!("INFO enforcer::drops: {}", denied(&[LACKS]));
        assert!(words.join(" ").contains(&line), "docs/monitoring.md lacks: {line}");
    }

    /// Behind an address of the node, the sender is the peer (semantics N3).
    #[test]
    fn n3_a_rule_is_about_the_sender_behind_the_source() {
        let DropRecord { source: sender, .. } = denied(&[]);
        let source = end("10.244.2.1", None, 1024);
        let line = DropRecord { source, sender, ..denied(&[LACKS]) }.to_string();
        assert!(line.contains("podSelector: lacks label role=api"), "{line}");
    }

    #[test]
    fn the_peers_address_is_not_repeated() {
        let source = end("203.0.113.7", None, 40000);
        let nearest = denied(&["203.0.113.7 is no pod with role=api", "203.0.113.70 is another"]);
        let line = DropRecord { source, ..nearest }.to_string();
        assert!(
            line.ends_with("podSelector: is no pod with role=api, 203.0.113.70 is another"),
            "{line}"
        );
    }

    #[test]
    fn a_line_names_the_pod_that_is_neither_end() {
        let pod = Some("shop/thief".to_owned());
        let direction = "egress".to_owned();
        let spoofed = DropRecord { pod, direction, ..denied(&[]) };
        let reason = "spoofed-source".to_owned();
        let line =
            DropRecord { reason, attribution: Attribution::default(), ..spoofed }.to_string();
        assert!(line.ends_with(
            "TCP dropped at egress of shop/thief: its source is none of the pod's addresses"
        ));
    }

    /// Only the peer's name goes without saying, and only the namespace of the pod that dropped the packet.
    #[test]
    fn a_name_that_is_not_obvious_stays() {
        let own =
            denied(&["shop/db-0 has no TCP port named sql", "shop/web-5d9f-x7k2p-2 is another"]);
        let mut line = own.to_string();
        assert!(
            line.ends_with(
                ": shop/db-0 has no TCP port named sql, shop/web-5d9f-x7k2p-2 is another"
            )
        );
        let would_allow = vec!["shopping/a".to_owned(), "shop/b".to_owned()];
        let attribution = Attribution { would_allow, ..Attribution::default() };
        line = DropRecord { attribution, ..denied(&[]) }.to_string();
        assert!(
            line.ends_with("TCP denied at ingress: would be allowed by shopping/a, b (in audit)"),
            "{line}"
        );
    }
}
