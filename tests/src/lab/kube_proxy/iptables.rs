//! The rules in the language of iptables-restore, laid out as kube-proxy's iptables mode does.
//!
//! ```text
//! nat PREROUTING, OUTPUT ─► KUBE-SERVICES ┬ cluster address ──► KUBE-SVC-… (KUBE-SVL-…)
//!                                         ├ external address ─► KUBE-EXT-…
//!                                         └ own address ─► KUBE-NODEPORTS ─► KUBE-EXT-…
//!   KUBE-EXT-…  KUBE-MARK-MASQ, then KUBE-SVC-…; with the policy Local: KUBE-SVL-…, unmarked
//!   KUBE-SVC-…  a random KUBE-SEP-…, or with affinity the client's last one
//!   KUBE-SEP-…  KUBE-MARK-MASQ if the backend calls itself, then DNAT
//! nat POSTROUTING ─► KUBE-POSTROUTING: MASQUERADE marked packets
//! filter: REJECT without any backend, DROP without one on this node
//! ```

use std::fmt::Write;
use std::net::IpAddr;

use enforcer_core::model::TrafficPolicy;

use super::MASQUERADE_MARK;
use super::plan::{Backend, Plan, PortPlan};

/// The text for `iptables-restore` or `ip6tables-restore`: the complete tables nat and filter.
pub(super) fn render(plan: &Plan) -> String {
    filter(plan) + &nat(plan)
}

/// A table: its chains, and its rules in order.
struct Table {
    name: &'static str,
    chains: Vec<String>,
    rules: Vec<String>,
}

impl Table {
    /// A table with the kernel's own chains (`built_in`) and others.
    fn new(name: &'static str, built_in: &[&str], own: &[&str]) -> Self {
        let built_in = built_in.iter().map(|chain| format!("{chain} ACCEPT"));
        let own = own.iter().map(|chain| format!("{chain} -"));
        Self { name, chains: built_in.chain(own).collect(), rules: Vec::new() }
    }

    fn chain(&mut self, name: &str) {
        self.chains.push(format!("{name} -"));
    }

    fn rule(&mut self, chain: &str, rule: &str) {
        self.rules.push(format!("-A {chain} {rule}"));
    }

    fn text(&self) -> String {
        let mut text = format!("*{}\n", self.name);
        for chain in &self.chains {
            let _ = writeln!(text, ":{chain} [0:0]");
        }
        for rule in &self.rules {
            let _ = writeln!(text, "{rule}");
        }
        text + "COMMIT\n"
    }
}

const NEW: &str = "-m conntrack --ctstate NEW";

fn filter(plan: &Plan) -> String {
    let own = ["KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES", "KUBE-FORWARD", "KUBE-FIREWALL"];
    let mut table = Table::new("filter", &["INPUT", "FORWARD", "OUTPUT"], &own);
    table.rule("INPUT", &format!("{NEW} -j KUBE-EXTERNAL-SERVICES"));
    table.rule("INPUT", "-j KUBE-FIREWALL");
    table.rule("FORWARD", "-j KUBE-FORWARD");
    table.rule("FORWARD", &format!("{NEW} -j KUBE-SERVICES"));
    table.rule("FORWARD", &format!("{NEW} -j KUBE-EXTERNAL-SERVICES"));
    table.rule("OUTPUT", &format!("{NEW} -j KUBE-SERVICES"));
    table.rule("OUTPUT", "-j KUBE-FIREWALL");
    // Only this node may send to its loopback (the kubelet's rule).
    let loopback = match plan.family {
        crate::lab::Family::V4 => "127.0.0.0/8",
        crate::lab::Family::V6 => "::1/128",
    };
    let answers = "-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT";
    table.rule("KUBE-FIREWALL", &format!("! -s {loopback} -d {loopback} {answers} -j DROP"));
    // A packet unknown to conntrack would leave with its address untranslated.
    table.rule("KUBE-FORWARD", "-m conntrack --ctstate INVALID -j DROP");
    let mark = format!("{MASQUERADE_MARK:#x}");
    table.rule("KUBE-FORWARD", &format!("-m mark --mark {mark}/{mark} -j ACCEPT"));
    table.rule("KUBE-FORWARD", "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT");
    for port in &plan.ports {
        without_backends(&mut table, port);
    }
    table.text()
}

/// Packets that nat does not translate, for lack of a backend.
fn without_backends(table: &mut Table, port: &PortPlan) {
    let verdict = |backends| port.without_backend(backends, "REJECT", "DROP");
    if let Some(verdict) = verdict(port.internal()) {
        for address in &port.cluster {
            table.rule("KUBE-SERVICES", &format!("{} -j {verdict}", to(*address, port, port.port)));
        }
    }
    if let Some(verdict) = verdict(port.outside()) {
        const CHAIN: &str = "KUBE-EXTERNAL-SERVICES";
        for address in &port.external {
            table.rule(CHAIN, &format!("{} -j {verdict}", to(*address, port, port.port)));
        }
        if let Some(number) = port.node_port {
            let own = "-m addrtype --dst-type LOCAL";
            table.rule(CHAIN, &format!("{own} {} -j {verdict}", to_port(port, number)));
        }
    }
}

fn nat(plan: &Plan) -> String {
    let built_in = ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"];
    let own = ["KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-POSTROUTING", "KUBE-MARK-MASQ"];
    let mut table = Table::new("nat", &built_in, &own);
    table.rule("PREROUTING", "-j KUBE-SERVICES");
    table.rule("OUTPUT", "-j KUBE-SERVICES");
    table.rule("POSTROUTING", "-j KUBE-POSTROUTING");
    let mark = format!("{MASQUERADE_MARK:#x}");
    table.rule("KUBE-MARK-MASQ", &format!("-j MARK --or-mark {mark}"));
    table.rule("KUBE-POSTROUTING", &format!("-m mark ! --mark {mark}/{mark} -j RETURN"));
    // Unmarked again: a packet may pass here a second time (tunnels).
    table.rule("KUBE-POSTROUTING", &format!("-j MARK --xor-mark {mark}"));
    table.rule("KUBE-POSTROUTING", "-j MASQUERADE --random-fully");
    for port in plan.ports.iter().filter(|port| !port.all.is_empty()) {
        service(&mut table, plan, port);
    }
    table.rule("KUBE-SERVICES", "-m addrtype --dst-type LOCAL -j KUBE-NODEPORTS");
    table.text()
}

fn service(table: &mut Table, plan: &Plan, port: &PortPlan) {
    let (all, local) = (format!("KUBE-SVC-{}", port.id), format!("KUBE-SVL-{}", port.id));
    let internal = match port.distribution.internal {
        TrafficPolicy::Cluster => &all,
        TrafficPolicy::Local => &local,
    };
    let external = format!("KUBE-EXT-{}", port.id);
    frontends(table, port, internal, &external);
    for backend in &port.all {
        endpoint(table, port, backend);
    }
    table.chain(&all);
    let uses_local = port.distribution.internal == TrafficPolicy::Local
        || port.distribution.external == TrafficPolicy::Local;
    if uses_local {
        table.chain(&local);
    }
    // Before the choice of a backend, which ends the traversal.
    if let Some(range) = plan.pod_range {
        for address in &port.cluster {
            let from_elsewhere = format!("! -s {range} {}", to(*address, port, port.port));
            table.rule(internal, &format!("{from_elsewhere} -j KUBE-MARK-MASQ"));
        }
    }
    choose(table, port, &all, &port.all);
    if uses_local {
        choose(table, port, &local, &port.local);
    }
    if port.is_external() {
        table.chain(&external);
        from_outside(table, plan, port, [&external, &all, &local]);
    }
}

/// Rules from the Service's addresses to its chains.
fn frontends(table: &mut Table, port: &PortPlan, internal: &str, external: &str) {
    let comment = |what: &str| format!("-m comment --comment \"{} {what}\"", port.name);
    for address in &port.cluster {
        let match_ = to(*address, port, port.port);
        table.rule("KUBE-SERVICES", &format!("{match_} {} -j {internal}", comment("cluster IP")));
    }
    for address in &port.external {
        let match_ = to(*address, port, port.port);
        table.rule("KUBE-SERVICES", &format!("{match_} {} -j {external}", comment("external IP")));
    }
    if let Some(number) = port.node_port {
        let match_ = to_port(port, number);
        table.rule("KUBE-NODEPORTS", &format!("{match_} {} -j {external}", comment("node port")));
    }
}

fn from_outside(table: &mut Table, plan: &Plan, port: &PortPlan, chains: [&String; 3]) {
    let [external, all, local] = chains;
    match port.distribution.external {
        TrafficPolicy::Cluster => {
            table.rule(external, "-j KUBE-MARK-MASQ");
            table.rule(external, &format!("-j {all}"));
        }
        TrafficPolicy::Local => {
            // Pods and the node itself are internal clients: they get any backend.
            if let Some(range) = plan.pod_range {
                table.rule(external, &format!("-s {range} -j {all}"));
            }
            let own = "-m addrtype --src-type LOCAL";
            table.rule(external, &format!("{own} -j KUBE-MARK-MASQ"));
            table.rule(external, &format!("{own} -j {all}"));
            if !port.local.is_empty() {
                table.rule(external, &format!("-j {local}"));
            }
        }
    }
}

/// The choice of one of `backends` with equal probability.
fn choose(table: &mut Table, port: &PortPlan, chain: &str, backends: &[Backend]) {
    if let Some(seconds) = port.distribution.affinity {
        for backend in backends {
            let endpoint = endpoint_chain(backend);
            let known = format!("-m recent --name {endpoint} --rcheck --seconds {seconds} --reap");
            table.rule(chain, &format!("{known} -j {endpoint}"));
        }
    }
    for (index, backend) in backends.iter().enumerate() {
        let endpoint = endpoint_chain(backend);
        match backends.len() - index {
            1 => table.rule(chain, &format!("-j {endpoint}")),
            left => {
                let chance = 1.0 / u32::try_from(left).map_or(f64::INFINITY, f64::from);
                let dice = format!("-m statistic --mode random --probability {chance:.10}");
                table.rule(chain, &format!("{dice} -j {endpoint}"));
            }
        }
    }
}

fn endpoint(table: &mut Table, port: &PortPlan, backend: &Backend) {
    let chain = endpoint_chain(backend);
    table.chain(&chain);
    let own = net(backend.at.ip());
    table.rule(&chain, &format!("-s {own} -j KUBE-MARK-MASQ"));
    let remember = match port.distribution.affinity {
        Some(_) => format!("-m recent --name {chain} --set "),
        None => String::new(),
    };
    let protocol = lower(port);
    let target = format!("-j DNAT --to-destination {}", backend.at);
    table.rule(&chain, &format!("-p {protocol} {remember}-m {protocol} {target}"));
}

fn endpoint_chain(backend: &Backend) -> String {
    format!("KUBE-SEP-{}", backend.id)
}

fn to(address: IpAddr, port: &PortPlan, number: u16) -> String {
    format!("-d {} {}", net(address), to_port(port, number))
}

fn to_port(port: &PortPlan, number: u16) -> String {
    let protocol = lower(port);
    format!("-p {protocol} -m {protocol} --dport {number}")
}

fn lower(port: &PortPlan) -> String {
    port.protocol.name().to_lowercase()
}

fn net(address: IpAddr) -> ipnet::IpNet {
    address.into()
}

#[cfg(test)]
#[path = "iptables_tests.rs"]
mod tests;
