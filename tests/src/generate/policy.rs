//! Policies with every kind of peer and port.

use std::collections::BTreeMap;

use enforcer_core::model::{Peer, Policy, PolicyId, PortRange, PortRule, PortSpec, Rule, Selector};
use proptest::collection::vec;
use proptest::prop_oneof;
use proptest::sample::select;
use proptest::strategy::{Just, Strategy};
use proptest::{bool, option};

use super::address::block;
use super::label::{namespace_selector, selector};
use super::pod::{PORT_NAMES, PORTS, namespace, protocol};
use super::size::Size;

fn peer() -> impl Strategy<Value = Peer> {
    let pods = (option::of(namespace_selector()), selector())
        .prop_map(|(namespaces, pods)| Peer::Pods { namespaces, pods });
    prop_oneof![1 => pods, 1 => block().prop_map(Peer::Block)]
}

fn port_spec() -> impl Strategy<Value = PortSpec> {
    let port = || select(PORTS.to_vec());
    let one = port().prop_map(|it| PortSpec::Range(PortRange { first: it, last: it }));
    let range = (port(), port()).prop_map(|(one, two)| {
        PortSpec::Range(PortRange { first: one.min(two), last: one.max(two) })
    });
    let named = select(PORT_NAMES.to_vec()).prop_map(|it| PortSpec::Named(it.to_owned()));
    prop_oneof![1 => Just(PortSpec::All), 3 => one, 3 => range, 3 => named]
}

fn port_rule() -> impl Strategy<Value = PortRule> {
    (protocol(), port_spec()).prop_map(|(protocol, port)| PortRule { protocol, port })
}

fn rule(size: Size) -> impl Strategy<Value = Rule> {
    let peers = prop_oneof![1 => Just(vec![]), 5 => vec(peer(), 1..=size.entries)];
    let ports = prop_oneof![1 => Just(vec![]), 2 => vec(port_rule(), 1..=size.entries)];
    (peers, ports).prop_map(|(peers, ports)| Rule { peers, ports })
}

/// A policy of one or both types, rarely of neither; without a name.
pub(super) fn policy(size: Size) -> impl Strategy<Value = Policy> {
    let subjects = prop_oneof![1 => Just(Selector::default()), 2 => selector()];
    let rules = move || option::weighted(0.7, vec(rule(size), 0..=size.rules));
    let audit = bool::weighted(0.1);
    (namespace(), subjects, rules(), rules(), audit).prop_map(
        |(namespace, subjects, ingress, egress, audit)| {
            let id = PolicyId::new(namespace, "");
            Policy { id, subjects, ingress, egress, audit }
        },
    )
}

/// The policies by their ids, with unique names.
pub(super) fn numbered(policies: Vec<Policy>) -> BTreeMap<PolicyId, Policy> {
    let named = policies.into_iter().enumerate().map(|(number, mut policy)| {
        policy.id.name = format!("policy-{number}").into();
        policy
    });
    named.map(|policy| (policy.id.clone(), policy)).collect()
}
