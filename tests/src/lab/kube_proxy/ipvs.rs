//! The layout of kube-proxy's ipvs mode: virtual servers of the kernel, the Services' addresses on the
//! interface `kube-ipvs0`, and a fixed number of rules that look up sets.
//! Source: kubernetes/kubernetes, pkg/proxy/ipvs (README.md, proxier.go, ipset.go, netlink_linux.go)
//!
//! ```text
//! kube-ipvs0 (dummy, down)  each cluster and external address: packets to it are delivered locally
//! nat PREROUTING, OUTPUT ─► KUBE-SERVICES ┬ KUBE-CLUSTER-IP, from elsewhere ─► KUBE-MARK-MASQ
//!                                         ├ KUBE-LOAD-BALANCER ─► KUBE-LOAD-BALANCER ─► KUBE-MARK-MASQ
//!                                         └ own address ─► KUBE-NODE-PORT ─► KUBE-MARK-MASQ
//! LOCAL_IN ─► ip_vs: replaces the destination, sends the packet out again (LOCAL_OUT, POSTROUTING)
//! nat POSTROUTING ─► KUBE-POSTROUTING: MASQUERADE marked packets, and those of a pod to itself
//! ```
//!
//! Not supported: session affinity, ports without a backend (which ip_vs rejects itself), and a
//! distinction of external addresses from the load balancer's.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use enforcer_core::model::{Protocol, TrafficPolicy};

use super::MASQUERADE_MARK;
use super::plan::{Backend, Plan, PortPlan};
use crate::lab::Family;

/// The interface with the Services' addresses.
const INTERFACE: &str = "kube-ipvs0";

/// The settings of `NewProxier`: conntrack sees ip_vs' connections, and dead backends are forgotten.
pub(super) const SETTINGS: [&str; 3] =
    ["ipv4/vs/conntrack", "ipv4/vs/expire_nodest_conn", "ipv4/vs/expire_quiescent_template"];

/// A program with its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) program: &'static str,
    pub(super) arguments: &'static [&'static str],
    pub(super) input: String,
}

/// The programs that replace everything by these plans, one for each family.
pub(super) fn steps(plans: &[Plan]) -> Vec<Step> {
    let text = |of: fn(&Plan) -> String| plans.iter().map(of).collect::<String>();
    let step = |program, arguments, input| Step { program, arguments, input };
    let mut steps = vec![
        step("ip", &["-force", "-batch", "-"], text(addresses)),
        // Rules hold on to the sets that they use.
        step("ipset", &["restore"], text(sets)),
    ];
    for plan in plans {
        let program = match plan.family {
            Family::V4 => "iptables-restore",
            Family::V6 => "ip6tables-restore",
        };
        steps.push(step(program, &["-w"], filter() + &nat(plan)));
    }
    steps.push(step("ipvsadm", &["--clear"], String::new()));
    steps.push(step("ipvsadm", &["--restore"], text(servers)));
    steps
}

/// Every address of a Service is one of the node.
fn addresses(plan: &Plan) -> String {
    let mut text = String::new();
    // Only the first time: later ones fail, which -force ignores.
    if plan.family == Family::V4 {
        let _ = writeln!(text, "link add {INTERFACE} type dummy");
        let _ = writeln!(text, "address flush dev {INTERFACE}");
    }
    let length = if plan.family == Family::V4 { 32 } else { 128 };
    let mut all: Vec<_> = plan.ports.iter().flat_map(frontends).map(|it| it.ip()).collect();
    all.sort();
    all.dedup();
    for address in all {
        let _ = writeln!(text, "address add {address}/{length} dev {INTERFACE}");
    }
    text
}

/// The cluster and external addresses of a port.
fn frontends(port: &PortPlan) -> impl Iterator<Item = SocketAddr> {
    port.cluster.iter().chain(&port.external).map(|it| SocketAddr::new(*it, port.port))
}

/// A set's name in this family.
fn set(family: Family, name: &str) -> String {
    match family {
        Family::V4 => format!("KUBE-{name}"),
        Family::V6 => format!("KUBE-6-{name}"),
    }
}

fn sets(plan: &Plan) -> String {
    let family = plan.family;
    let inet = if family == Family::V4 { "inet" } else { "inet6" };
    let mut text = String::new();
    for (name, kind) in [
        ("LOOP-BACK", "hash:ip,port,ip"),
        ("CLUSTER-IP", "hash:ip,port"),
        ("LOAD-BALANCER", "hash:ip,port"),
        ("LOAD-BALANCER-LOCAL", "hash:ip,port"),
    ] {
        let name = set(family, name);
        let _ = writeln!(text, "create {name} {kind} family {inet} -exist\nflush {name}");
    }
    for name in ["TCP", "UDP", "LOCAL-TCP", "LOCAL-UDP"] {
        let name = set(family, &format!("NODE-PORT-{name}"));
        let _ = writeln!(text, "create {name} bitmap:port range 0-65535 -exist\nflush {name}");
    }
    for port in &plan.ports {
        members(&mut text, family, port);
    }
    text
}

fn members(text: &mut String, family: Family, port: &PortPlan) {
    let protocol = lower(port.protocol);
    let mut add = |name: &str, member: String| {
        let _ = writeln!(text, "add {} {member} -exist", set(family, name));
    };
    for address in &port.cluster {
        add("CLUSTER-IP", format!("{address},{protocol}:{}", port.port));
    }
    let is_local = port.distribution.external == TrafficPolicy::Local;
    for address in &port.external {
        add("LOAD-BALANCER", format!("{address},{protocol}:{}", port.port));
        if is_local {
            add("LOAD-BALANCER-LOCAL", format!("{address},{protocol}:{}", port.port));
        }
    }
    if let Some(number) = port.node_port
        && port.protocol != Protocol::Sctp
    {
        add(&format!("NODE-PORT-{}", port.protocol.name()), number.to_string());
        if is_local {
            add(&format!("NODE-PORT-LOCAL-{}", port.protocol.name()), number.to_string());
        }
    }
    for Backend { at, .. } in &port.all {
        let own = at.ip();
        add("LOOP-BACK", format!("{own},{protocol}:{},{own}", at.port()));
    }
}

fn lower(protocol: Protocol) -> String {
    protocol.name().to_lowercase()
}

fn filter() -> String {
    let mark = format!("{MASQUERADE_MARK:#x}");
    format!(
        "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
         :KUBE-FORWARD - [0:0]\n\
         -A FORWARD -j KUBE-FORWARD\n\
         -A KUBE-FORWARD -m mark --mark {mark}/{mark} -j ACCEPT\n\
         -A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\nCOMMIT\n"
    )
}

fn nat(plan: &Plan) -> String {
    let mark = format!("{MASQUERADE_MARK:#x}");
    let matches =
        |name: &str, sides: &str| format!("-m set --match-set {} {sides}", set(plan.family, name));
    let mut text = String::from("*nat\n");
    for chain in ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"] {
        let _ = writeln!(text, ":{chain} ACCEPT [0:0]");
    }
    for chain in ["SERVICES", "POSTROUTING", "MARK-MASQ", "NODE-PORT", "LOAD-BALANCER"] {
        let _ = writeln!(text, ":KUBE-{chain} - [0:0]");
    }
    let mut rule = |chain: &str, rule: &str| {
        let _ = writeln!(text, "-A {chain} {rule}");
    };
    rule("PREROUTING", "-j KUBE-SERVICES");
    rule("OUTPUT", "-j KUBE-SERVICES");
    rule("POSTROUTING", "-j KUBE-POSTROUTING");
    rule("KUBE-MARK-MASQ", &format!("-j MARK --or-mark {mark}"));
    let itself = matches("LOOP-BACK", "dst,dst,src");
    rule("KUBE-POSTROUTING", &format!("{itself} -j MASQUERADE"));
    rule("KUBE-POSTROUTING", &format!("-m mark ! --mark {mark}/{mark} -j RETURN"));
    rule("KUBE-POSTROUTING", &format!("-j MARK --xor-mark {mark}"));
    rule("KUBE-POSTROUTING", "-j MASQUERADE --random-fully");
    let (cluster, balancer) =
        (matches("CLUSTER-IP", "dst,dst"), matches("LOAD-BALANCER", "dst,dst"));
    if let Some(range) = plan.pod_range {
        rule("KUBE-SERVICES", &format!("! -s {range} {cluster} -j KUBE-MARK-MASQ"));
    }
    rule("KUBE-SERVICES", &format!("{balancer} -j KUBE-LOAD-BALANCER"));
    let local = matches("LOAD-BALANCER-LOCAL", "dst,dst");
    rule("KUBE-LOAD-BALANCER", &format!("{local} -j RETURN"));
    rule("KUBE-LOAD-BALANCER", "-j KUBE-MARK-MASQ");
    rule("KUBE-SERVICES", "-m addrtype --dst-type LOCAL -j KUBE-NODE-PORT");
    for protocol in ["TCP", "UDP"] {
        let lower = protocol.to_lowercase();
        let local = matches(&format!("NODE-PORT-LOCAL-{protocol}"), "dst");
        rule("KUBE-NODE-PORT", &format!("-p {lower} {local} -j RETURN"));
        let all = matches(&format!("NODE-PORT-{protocol}"), "dst");
        rule("KUBE-NODE-PORT", &format!("-p {lower} {all} -j KUBE-MARK-MASQ"));
    }
    rule("KUBE-SERVICES", &format!("{cluster} -j ACCEPT"));
    rule("KUBE-SERVICES", &format!("{balancer} -j ACCEPT"));
    text + "COMMIT\n"
}

/// The virtual servers, in the language of `ipvsadm --restore`.
fn servers(plan: &Plan) -> String {
    let mut text = String::new();
    let mut server = |port: &PortPlan, at: SocketAddr, backends: &[Backend]| {
        let kind = match port.protocol {
            Protocol::Udp => "-u",
            Protocol::Sctp => "--sctp-service",
            _ => "-t",
        };
        let _ = writeln!(text, "-A {kind} {at} -s rr");
        for backend in backends {
            let _ = writeln!(text, "-a {kind} {at} -r {} -m -w 1", backend.at);
        }
    };
    for port in &plan.ports {
        let at = |address: &IpAddr| SocketAddr::new(*address, port.port);
        for address in &port.cluster {
            server(port, at(address), port.internal());
        }
        for address in &port.external {
            server(port, at(address), port.outside());
        }
        for address in port.node_port.iter().flat_map(|_| &plan.node_addresses) {
            let number = port.node_port.unwrap_or_default();
            server(port, SocketAddr::new(*address, number), port.outside());
        }
    }
    text
}

#[cfg(test)]
#[path = "ipvs_tests.rs"]
mod tests;
