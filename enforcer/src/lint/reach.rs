//! Traffic that a policy forgets: name resolution, and what the control plane and load balancers send.

use std::net::{IpAddr, Ipv4Addr};

use enforcer_core::model::{
    Labels, Peer, Pod, Policy, PortRule, PortSpec, Protocol, Rule, Selector, TargetPort,
};
use serde_json::{Value, json};

use super::estate::{Estate, Subject};
use super::finding::Finding;

pub(super) const EGRESS_WITHOUT_DNS: &str = "egress-without-dns";
pub(super) const LOAD_BALANCER_PROBES: &str = "load-balancer-probes";
pub(super) const WEBHOOK: &str = "webhook";

const DNS: u16 = 53;
/// The addresses of AKS' LocalDNS (two) and of NodeLocal DNSCache, on each node.
const LOCAL_DNS: [Ipv4Addr; 3] = [
    Ipv4Addr::new(169, 254, 10, 10),
    Ipv4Addr::new(169, 254, 10, 11),
    Ipv4Addr::new(169, 254, 20, 10),
];
/// Where Azure's load balancer sends its probes from.
const AZURE_PROBES: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);
/// A block of more addresses may contain the name servers.
const SMALL_BLOCK: u8 = 16;

pub(super) fn lint(estate: &Estate<'_>, subject: &Subject<'_>) -> Vec<Finding> {
    let Some(policy) = subject.policy else { return Vec::new() };
    let mut found: Vec<Finding> = without_dns(estate, policy).into_iter().collect();
    found.extend(without_probes(estate, policy));
    found.extend(without_webhook(estate, policy));
    found
}

/// Egress rules to pods by name, and no rule for name resolution.
fn without_dns(estate: &Estate<'_>, policy: &Policy) -> Option<Finding> {
    let rules = policy.egress.as_deref().filter(|it| !it.is_empty())?;
    let names = rules.iter().flat_map(|it| &it.peers).any(|it| matches!(it, Peer::Pods { .. }));
    let others = estate.policies_in(&policy.id.namespace);
    let others = others.filter(|it| covers(&it.subjects, &policy.subjects));
    let mut rules = others.flat_map(|it| it.egress.iter().flatten());
    if !names || rules.any(allows_dns) {
        return None;
    }
    let message =
        "no egress rule allows DNS (port 53), so the pods can't resolve the names of the peers";
    let peer = json!({
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    });
    let ports = json!([{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]);
    let finding = Finding::new(EGRESS_WITHOUT_DNS, "spec.egress", message);
    Some(finding.snippet(&json!([{"to": [peer], "ports": ports}])))
}

/// Whether one selector matches all that another one matches, as far as their requirements show.
fn covers(wide: &Selector, narrow: &Selector) -> bool {
    wide.requirements.iter().all(|it| narrow.requirements.contains(it))
}

fn allows_dns(rule: &Rule) -> bool {
    let is_dns = |it: &PortRule| match &it.port {
        PortSpec::All => true,
        PortSpec::Range(range) => range.contains(DNS),
        PortSpec::Named(name) => name.contains("dns"),
    };
    let ports: Vec<&PortRule> = rule.ports.iter().filter(|it| is_dns(it)).collect();
    if rule.ports.is_empty() {
        return rule.peers.is_empty() || rule.peers.iter().any(may_be_dns);
    }
    ports.iter().any(|it| it.protocol != Protocol::Sctp)
}

/// Whether a peer may be a name server, by any port.
fn may_be_dns(peer: &Peer) -> bool {
    match peer {
        Peer::Pods { namespaces, .. } => namespaces.is_some(),
        Peer::Block(block) => {
            let local = LOCAL_DNS.iter().any(|it| block.cidr.contains(&IpAddr::from(*it)));
            local || block.cidr.prefix_len() <= SMALL_BLOCK
        }
    }
}

/// A policy for outside clients of a LoadBalancer Service that leaves out the load balancer's probes.
fn without_probes(estate: &Estate<'_>, policy: &Policy) -> Option<Finding> {
    policy.ingress.as_ref()?;
    let balanced = |pod: &&Pod| estate.services_of(pod).any(|it| estate.is_balanced(&it.id));
    let pod = estate.selected(policy).into_iter().find(balanced)?;
    let rules = || estate.policies_of(pod).flat_map(|it| it.ingress.iter().flatten());
    let blocks = || {
        rules().flat_map(|it| &it.peers).filter_map(|it| match it {
            Peer::Block(block) => Some(block),
            Peer::Pods { .. } => None,
        })
    };
    let probes = IpAddr::from(AZURE_PROBES);
    let allowed = rules().any(|it| it.peers.is_empty())
        || blocks().any(|it| {
            it.cidr.contains(&probes) && !it.except.iter().any(|it| it.contains(&probes))
        });
    // Without blocks, no outside client is meant.
    if allowed || blocks().next().is_none() {
        return None;
    }
    let own = policy.ingress.iter().flatten().flat_map(|it| &it.peers);
    own.into_iter().find(|it| matches!(it, Peer::Block(_)))?;
    let message = format!(
        "the policy allows outside clients of a LoadBalancer Service, but not the load balancer's probes \
         ({AZURE_PROBES} on Azure): without answers it takes the node out of service"
    );
    let right = json!({"from": [{"ipBlock": {"cidr": format!("{AZURE_PROBES}/32")}}]});
    Some(Finding::new(LOAD_BALANCER_PROBES, "spec.ingress", message).snippet(&right))
}

/// A policy for the pods of a webhook that leaves out the API server's calls.
fn without_webhook(estate: &Estate<'_>, policy: &Policy) -> Option<Finding> {
    policy.ingress.as_ref()?;
    let subjects = estate.selected(policy);
    for (service, number) in webhooks(estate) {
        let services = estate.cluster.services.values();
        let service = services.filter(|it| it.id.to_string() == service).find(|_| true);
        let Some(service) = service else { continue };
        let leads = |pod: &&&Pod| {
            pod.id.namespace == service.id.namespace
                && service.selector.as_ref().is_some_and(|it| it.matches(&pod.labels))
        };
        let Some(pod) = subjects.iter().find(leads) else { continue };
        let Some(port) = service.ports.iter().find(|it| it.port == number) else { continue };
        let (target, name) = match &port.target {
            TargetPort::Number(target) => (Some(*target), None),
            TargetPort::Named(name) => (
                pod.ports.iter().find(|it| it.name == *name).map(|it| it.port),
                Some(name.as_str()),
            ),
        };
        let mut rules = estate.policies_of(pod).flat_map(|it| it.ingress.iter().flatten());
        if rules.any(|it| allows_konnectivity(it, target, name)) {
            continue;
        }
        let message = format!(
            "the API server calls the webhook at Service {}, and no rule allows it: in managed clusters the \
             calls come from the konnectivity agents",
            service.id
        );
        let peer = json!({
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": {"app": "konnectivity-agent"}},
        });
        let ports = json!([{"port": target.map_or_else(|| json!(name), Value::from)}]);
        let finding = Finding::new(WEBHOOK, "spec.ingress", message);
        return Some(finding.snippet(&json!([{"from": [peer], "ports": ports}])));
    }
    None
}

/// The Services of webhooks, and the ports they are called at.
fn webhooks(estate: &Estate<'_>) -> Vec<(String, u16)> {
    let kinds = ["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"];
    let objects = estate.others.iter().filter(|(kind, _)| kinds.contains(kind));
    let hooks = objects.filter_map(|(_, it)| it.get("webhooks")?.as_array()).flatten();
    let called = hooks.filter_map(|it| {
        let service = it.pointer("/clientConfig/service")?;
        let text = |field: &str| service.get(field).and_then(Value::as_str);
        let port = service.get("port").and_then(Value::as_u64).unwrap_or(443);
        let name = format!("{}/{}", text("namespace")?, text("name")?);
        Some((name, u16::try_from(port).ok()?))
    });
    called.collect()
}

fn allows_konnectivity(rule: &Rule, target: Option<u16>, name: Option<&str>) -> bool {
    let system: Labels = [("kubernetes.io/metadata.name".to_owned(), "kube-system".to_owned())]
        .into_iter()
        .collect();
    let peer = |it: &Peer| match it {
        Peer::Pods { namespaces, .. } => namespaces.as_ref().is_some_and(|it| it.matches(&system)),
        // Which addresses the agents have is not known.
        Peer::Block(_) => true,
    };
    let port = |it: &PortRule| match &it.port {
        PortSpec::All => it.protocol == Protocol::Tcp,
        PortSpec::Range(range) => target.is_none_or(|it| range.contains(it)),
        PortSpec::Named(it) => name.is_none_or(|name| name == it),
    };
    (rule.peers.is_empty() || rule.peers.iter().any(peer))
        && (rule.ports.is_empty() || rule.ports.iter().any(port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::fixture::{found, named, policy};

    fn lints(text: &str) -> Vec<&'static str> {
        found(text).into_iter().map(|it| it.0).collect()
    }

    #[test]
    fn egress_needs_name_resolution() {
        let spec = |rules: &str| {
            policy(&format!("podSelector: {{matchLabels: {{a: b}}}}\negress: [{rules}]"))
        };
        let web = "{to: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 80}]}";
        assert_eq!(lints(&spec(web)), [EGRESS_WITHOUT_DNS]);
        assert_eq!(lints(&spec("{to: [{podSelector: {}}]}")), [EGRESS_WITHOUT_DNS]);
        for rules in [
            "".to_owned(),
            "{}".to_owned(),
            format!("{web}, {{ports: [{{port: 53, protocol: UDP}}]}}"),
            format!("{web}, {{to: [{{namespaceSelector: {{}}}}]}}"),
            format!("{web}, {{to: [{{ipBlock: {{cidr: 169.254.20.10/32}}}}]}}"),
            format!(
                "{web}, {{to: [{{ipBlock: {{cidr: 169.254.10.11/32}}}}], ports: [{{port: 53, protocol: UDP}}]}}"
            ),
            format!("{web}, {{to: [{{ipBlock: {{cidr: 0.0.0.0/0}}}}]}}"),
            "{to: [{ipBlock: {cidr: 10.1.2.3/32}}]}".to_owned(),
        ] {
            assert_eq!(lints(&spec(&rules)), [""; 0], "{rules}");
        }
        // Another policy may allow it.
        let dns = named(
            "dns",
            "podSelector: {}\npolicyTypes: [Egress]\negress: [{ports: [{port: 53, protocol: UDP}]}]",
        );
        assert_eq!(lints(&(spec(web) + &dns)), [""; 0]);
        let other = dns.replace("podSelector: {}", "podSelector: {matchLabels: {c: d}}");
        assert_eq!(lints(&(spec(web) + &other)), [EGRESS_WITHOUT_DNS]);
    }

    const WEB: &str = "apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: c, ports: [{name: hook, containerPort: 9443}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 443, targetPort: hook}]}
";

    fn ingress(rules: &str) -> String {
        policy(&format!("podSelector: {{}}\ningress: [{rules}]"))
    }

    #[test]
    fn outside_clients_come_through_a_load_balancer() {
        let office = "{from: [{ipBlock: {cidr: 203.0.113.0/24}}]}";
        assert_eq!(lints(&(WEB.to_owned() + &ingress(office))), [LOAD_BALANCER_PROBES]);
        let local = WEB.replace("{type:", "{externalTrafficPolicy: Local, type:");
        let internal = WEB.replace("LoadBalancer", "ClusterIP");
        for good in [
            ingress(office),
            local + &ingress(office),
            internal + &ingress(office),
            WEB.to_owned() + &ingress("{from: [{podSelector: {}}]}"),
            WEB.to_owned()
                + &ingress(&format!(
                    "{office}, {{from: [{{ipBlock: {{cidr: 168.63.129.16/32}}}}]}}"
                )),
        ] {
            assert_eq!(lints(&good), [""; 0], "{good}");
        }
    }

    #[test]
    fn webhooks_are_called_by_konnectivity_agents() {
        let web = WEB.replace("LoadBalancer", "ClusterIP");
        let hook = "---\napiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\n\
                    metadata: {name: h}\nwebhooks: [{clientConfig: {service: {namespace: default, name: web}}}]\n";
        let estate = |rules: &str| format!("{web}{hook}{}", ingress(rules));
        assert_eq!(lints(&estate("{from: [{podSelector: {}}]}")), [WEBHOOK]);
        for rules in [
            "{}",
            "{ports: [{port: 9443}]}",
            "{ports: [{port: hook}]}",
            "{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}}]}",
            "{from: [{ipBlock: {cidr: 10.240.0.0/16}}], ports: [{port: 9443}]}",
        ] {
            assert_eq!(lints(&estate(rules)), [""; 0], "{rules}");
        }
        assert_eq!(lints(&(web.clone() + &ingress("{from: [{podSelector: {}}]}"))), [""; 0]);
    }
}
