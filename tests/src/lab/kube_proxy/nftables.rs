//! The rules in the language of nft, laid out as kube-proxy's nftables mode does.
//!
//! ```text
//! services: map of address . protocol . port ┬ cluster address ──► service-…  (local-…)
//!                                            └ external address ─► external-…
//!           map of protocol . port at the node's addresses ──────► external-…
//!   external-…  mark, then service-…; with the policy Local: local-…, unmarked
//!   service-…   a random endpoint-…, or with affinity the client's last one
//!   endpoint-…  mark if the backend calls itself, then dnat
//! masquerading: masquerade marked packets
//! service-endpoints: maps of ports without any backend (reject) or one on this node (drop)
//! ```
//! Each family has a table of its own, which is replaced in one transaction: nothing of the earlier
//! rules stays, not even the clients' affinity.

use std::fmt::Write;
use std::net::IpAddr;

use enforcer_core::model::TrafficPolicy;

use super::MASQUERADE_MARK;
use super::plan::{Backend, Plan, PortPlan};
use crate::lab::Family;

/// The text for `nft -f`: replaces the table of one family.
pub(super) fn render(plan: &Plan) -> String {
    let ip = words(plan.family).0;
    let mut table = Table::new(plan);
    for port in &plan.ports {
        table.port(port);
    }
    // Without the `add`, deleting a missing table would be an error.
    format!("add table {ip} kube-proxy\ndelete table {ip} kube-proxy\n{}", table.text())
}

/// nft's names of the family and of its addresses' type.
const fn words(family: Family) -> (&'static str, &'static str) {
    match family {
        Family::V4 => ("ip", "ipv4_addr"),
        Family::V6 => ("ip6", "ipv6_addr"),
    }
}

struct Table<'a> {
    plan: &'a Plan,
    ip: &'static str,
    address: &'static str,
    /// Elements of the maps.
    service_ips: Vec<String>,
    service_nodeports: Vec<String>,
    no_endpoint_services: Vec<String>,
    no_endpoint_nodeports: Vec<String>,
    cluster_ips: Vec<String>,
    /// Chains and sets of the Services, as they are written.
    own: String,
}

impl<'a> Table<'a> {
    fn new(plan: &'a Plan) -> Self {
        let (ip, address) = words(plan.family);
        Self {
            plan,
            ip,
            address,
            service_ips: Vec::new(),
            service_nodeports: Vec::new(),
            no_endpoint_services: Vec::new(),
            no_endpoint_nodeports: Vec::new(),
            cluster_ips: Vec::new(),
            own: String::new(),
        }
    }

    fn chain(&mut self, name: &str, rules: &[String]) {
        let _ = writeln!(self.own, "  chain {name} {{");
        for rule in rules {
            let _ = writeln!(self.own, "    {rule}");
        }
        self.own.push_str("  }\n");
    }

    fn port(&mut self, port: &PortPlan) {
        self.cluster_ips.extend(port.cluster.iter().map(ToString::to_string));
        self.without_backends(port);
        if port.all.is_empty() {
            return;
        }
        for backend in &port.all {
            self.endpoint(port, backend);
        }
        let marked = self.mark_others(port);
        let is_local = |policy| policy == TrafficPolicy::Local;
        let (internal, external) = (port.distribution.internal, port.distribution.external);
        let before = if is_local(internal) { Vec::new() } else { marked.clone() };
        let rules = self.choose(port, &port.all, before);
        self.chain(&chain("service", port), &rules);
        if is_local(internal) || is_local(external) {
            let before = if is_local(internal) { marked } else { Vec::new() };
            let rules = self.choose(port, &port.local, before);
            self.chain(&chain("local", port), &rules);
        }
        if port.is_external() {
            let rules = self.external_rules(port);
            self.chain(&chain("external", port), &rules);
        }
        self.frontends(port);
    }

    /// Map elements from the Service's addresses to its chains. Those without a backend here are
    /// left to the filter.
    fn frontends(&mut self, port: &PortPlan) {
        let kind = match port.distribution.internal {
            TrafficPolicy::Cluster => "service",
            TrafficPolicy::Local => "local",
        };
        if !port.internal().is_empty() {
            for address in &port.cluster {
                let element = format!("{} : goto {}", key(*address, port), chain(kind, port));
                self.service_ips.push(element);
            }
        }
        for address in &port.external {
            let element = format!("{} : goto {}", key(*address, port), chain("external", port));
            self.service_ips.push(element);
        }
        if let Some(number) = port.node_port {
            let (protocol, chain) = (protocol(port), chain("external", port));
            self.service_nodeports.push(format!("{protocol} . {number} : goto {chain}"));
        }
    }

    fn without_backends(&mut self, port: &PortPlan) {
        let verdict = |backends| port.without_backend(backends, "goto reject-chain", "drop");
        let element = |address: &IpAddr, verdict| format!("{} : {verdict}", key(*address, port));
        if let Some(verdict) = verdict(port.internal()) {
            let all = port.cluster.iter().map(|it| element(it, verdict));
            self.no_endpoint_services.extend(all);
        }
        // Under the policy Local, pods and the node itself still get a backend elsewhere: their
        // packets are translated before the filter.
        if let Some(verdict) = verdict(port.outside()) {
            let all = port.external.iter().map(|it| element(it, verdict));
            self.no_endpoint_services.extend(all);
            if let Some(number) = port.node_port {
                let element = format!("{} . {number} : {verdict}", protocol(port));
                self.no_endpoint_nodeports.push(element);
            }
        }
    }

    /// Marks packets to a cluster address that do not come from a pod.
    fn mark_others(&self, port: &PortPlan) -> Vec<String> {
        let (ip, Some(range)) = (self.ip, self.plan.pod_range) else { return Vec::new() };
        let rule = |address: &IpAddr| {
            format!(
                "{ip} daddr {address} {} dport {} {ip} saddr != {range} jump mark-for-masquerade",
                protocol(port),
                port.port
            )
        };
        port.cluster.iter().map(rule).collect()
    }

    fn external_rules(&self, port: &PortPlan) -> Vec<String> {
        let (ip, all) = (self.ip, chain("service", port));
        if port.distribution.external == TrafficPolicy::Cluster {
            return vec!["jump mark-for-masquerade".to_owned(), format!("goto {all}")];
        }
        // Pods and the node itself are internal clients: they get any backend.
        let pods = self.plan.pod_range.map(|range| format!("{ip} saddr {range} goto {all}"));
        let mut rules: Vec<String> = pods.into_iter().collect();
        rules.push("fib saddr type local jump mark-for-masquerade".to_owned());
        rules.push(format!("fib saddr type local goto {all}"));
        if !port.local.is_empty() {
            rules.push(format!("goto {}", chain("local", port)));
        }
        rules
    }

    /// The choice of one of `backends` with equal probability.
    fn choose(&self, port: &PortPlan, backends: &[Backend], before: Vec<String>) -> Vec<String> {
        let mut rules = before;
        if port.distribution.affinity.is_some() {
            rules.extend(backends.iter().map(|backend| {
                let (set, chain) = (affinity(backend), endpoint_chain(port, backend));
                format!("{} saddr @{set} goto {chain}", self.ip)
            }));
        }
        let choices: Vec<String> = backends
            .iter()
            .enumerate()
            .map(|(index, it)| format!("{index} : goto {}", endpoint_chain(port, it)))
            .collect();
        if !choices.is_empty() {
            let (all, choices) = (choices.len(), choices.join(", "));
            rules.push(format!("numgen random mod {all} vmap {{ {choices} }}"));
        }
        rules
    }

    fn endpoint(&mut self, port: &PortPlan, backend: &Backend) {
        let (ip, own) = (self.ip, backend.at.ip());
        let mut rules = vec![format!("{ip} saddr {own} jump mark-for-masquerade")];
        if let Some(seconds) = port.distribution.affinity {
            let set = affinity(backend);
            let _ = writeln!(
                self.own,
                "  set {set} {{ type {}; flags dynamic,timeout; timeout {seconds}s; }}",
                self.address
            );
            rules.push(format!("update @{set} {{ {ip} saddr }}"));
        }
        rules.push(format!("meta l4proto {} dnat to {}", protocol(port), backend.at));
        self.chain(&endpoint_chain(port, backend), &rules);
    }

    fn text(&self) -> String {
        let Self { ip, address, .. } = self;
        let nodeport_ips: Vec<String> =
            self.plan.node_addresses.iter().map(ToString::to_string).collect();
        let by_address = format!("type {address} . inet_proto . inet_service : verdict;");
        let by_port = "type inet_proto . inet_service : verdict;";
        let mut text = format!("table {ip} kube-proxy {{\n");
        for (kind, name, type_, elements) in [
            ("set", "cluster-ips", format!("type {address};"), &self.cluster_ips),
            ("set", "nodeport-ips", format!("type {address};"), &nodeport_ips),
            ("map", "service-ips", by_address.clone(), &self.service_ips),
            ("map", "service-nodeports", by_port.to_owned(), &self.service_nodeports),
            ("map", "no-endpoint-services", by_address, &self.no_endpoint_services),
            ("map", "no-endpoint-nodeports", by_port.to_owned(), &self.no_endpoint_nodeports),
        ] {
            let elements = match elements.join(", ") {
                none if none.is_empty() => String::new(),
                some => format!(" elements = {{ {some} }}"),
            };
            let _ = writeln!(text, "  {kind} {name} {{ {type_}{elements} }}");
        }
        text + &base_chains(ip) + &self.own + "}\n"
    }
}

/// The chains that do not depend on the Services.
fn base_chains(ip: &str) -> String {
    let mark = format!("{MASQUERADE_MARK:#x}");
    format!(
        "  chain reject-chain {{ reject; }}
  chain mark-for-masquerade {{ meta mark set meta mark or {mark}; }}
  chain masquerading {{
    meta mark and {mark} == 0 return
    meta mark set meta mark xor {mark}
    masquerade fully-random
  }}
  chain services {{
    {ip} daddr . meta l4proto . th dport vmap @service-ips
    {ip} daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
  }}
  chain service-endpoints {{ {ip} daddr . meta l4proto . th dport vmap @no-endpoint-services; }}
  chain nodeport-endpoints {{
    {ip} daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports
  }}
  chain cluster-ips-check {{ {ip} daddr @cluster-ips reject; }}
  chain nat-prerouting {{ type nat hook prerouting priority -100; jump services; }}
  chain nat-output {{ type nat hook output priority -100; jump services; }}
  chain nat-postrouting {{ type nat hook postrouting priority 100; jump masquerading; }}
  chain filter-input {{
    type filter hook input priority 0
    ct state new jump nodeport-endpoints
    ct state new jump service-endpoints
  }}
  chain filter-forward {{
    type filter hook forward priority 0
    ct state new jump service-endpoints
    ct state new jump cluster-ips-check
  }}
  chain filter-output {{
    type filter hook output priority 0
    ct state new jump service-endpoints
    ct state new jump cluster-ips-check
  }}
"
    )
}

fn key(address: IpAddr, port: &PortPlan) -> String {
    format!("{address} . {} . {}", protocol(port), port.port)
}

fn chain(kind: &str, port: &PortPlan) -> String {
    let (id, service) = (&port.id, &port.service);
    format!("{kind}-{id}-{service}/{}/{}", protocol(port), port.port)
}

fn endpoint_chain(port: &PortPlan, backend: &Backend) -> String {
    // No colons in names.
    let at = backend.at.ip().to_string().replace(':', ".");
    format!("endpoint-{}-{}__{at}/{}", backend.id, port.service, backend.at.port())
}

fn affinity(backend: &Backend) -> String {
    format!("affinity-{}", backend.id)
}

fn protocol(port: &PortPlan) -> String {
    port.protocol.name().to_lowercase()
}

#[cfg(test)]
#[path = "nftables_tests.rs"]
mod tests;
