//! Policies and rules beside others: duplicates, and one address family of two.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;

use enforcer_core::model::{Peer, Policy, Rule};
use ipnet::IpNet;
use serde_json::{Value, json};

use super::estate::{Estate, Subject};
use super::finding::Finding;

/// The lint of what is declared twice.
pub const DUPLICATE: &str = "duplicate";
pub(super) const ONE_FAMILY: &str = "one-family";

pub(super) fn lint(estate: &Estate<'_>, subject: &Subject<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    repeated_lists(subject, &mut found);
    found.extend(same_policy(estate, subject));
    if is_dual_stack(estate) {
        families(subject, &mut found);
    }
    found
}

/// Rules, peers, ports and policy types that occur twice.
fn repeated_lists(subject: &Subject<'_>, found: &mut Vec<Finding>) {
    for field in ["ingress", "egress", "policyTypes"] {
        let list = subject.json.pointer(&format!("/spec/{field}")).and_then(Value::as_array);
        let list = list.into_iter().flatten().enumerate();
        repeated(field, list.map(|(index, it)| (format!("spec.{field}[{index}]"), it)), found);
    }
    for rule in subject.rules() {
        repeated(rule.peers, rule.peer_list(), found);
        repeated("ports", rule.list("ports"), found);
    }
}

fn repeated<'a>(
    field: &str,
    list: impl Iterator<Item = (String, &'a Value)>,
    found: &mut Vec<Finding>,
) {
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let mut right: Vec<&Value> = Vec::new();
    let mut repeats = Vec::new();
    for (path, value) in list {
        match known.entry(value.to_string()) {
            Entry::Occupied(first) => {
                let message = format!("the same as {}; remove one of the two", first.get());
                repeats.push(Finding::new(DUPLICATE, path, message));
            }
            Entry::Vacant(entry) => {
                entry.insert(path);
                right.push(value);
            }
        }
    }
    let mut repeats = repeats.into_iter();
    // Once: the list may have thousands of entries.
    found.extend(repeats.next().map(|it| it.snippet(&json!({ field: right }))));
    found.extend(repeats);
}

/// Another policy of the namespace with the same specification.
fn same_policy(estate: &Estate<'_>, subject: &Subject<'_>) -> Option<Finding> {
    let policy = subject.policy?;
    let mut before = estate.policies_in(&policy.id.namespace).take_while(|it| it.id < policy.id);
    let same = before.find(|it| {
        it.subjects == policy.subjects
            && it.ingress == policy.ingress
            && it.egress == policy.egress
            && are_together(estate, subject, it)
    })?;
    let message = format!("the policy {} means the same; remove one of the two", same.id);
    Some(Finding::new(DUPLICATE, "metadata.name", message))
}

/// Whether two policies are surely of one namespace. Policies that don't name theirs, in different folders, are often
/// applied to different ones.
fn are_together(estate: &Estate<'_>, subject: &Subject<'_>, other: &Policy) -> bool {
    let other = estate.subjects.iter().find(|it| it.policy.is_some_and(|it| it.id == other.id));
    other.is_some_and(|it| it.loose == subject.loose)
}

/// Whether some object has addresses of both families, or wants them.
fn is_dual_stack(estate: &Estate<'_>) -> bool {
    let both = |mut addresses: Box<dyn Iterator<Item = IpAddr> + '_>| {
        let first = addresses.next().map(|it| it.is_ipv4());
        addresses.any(|it| Some(it.is_ipv4()) != first)
    };
    let pods = estate.cluster.pods.values();
    let services = estate.cluster.services.values();
    let wanted = |(_, json): &(&str, &Value)| {
        let policy = json.pointer("/spec/ipFamilyPolicy").and_then(Value::as_str);
        matches!(policy, Some("PreferDualStack" | "RequireDualStack"))
    };
    pods.into_iter().any(|it| both(Box::new(it.addresses.iter().copied())))
        || services.into_iter().any(|it| both(Box::new(it.cluster_addresses.iter().copied())))
        || estate.others.iter().any(wanted)
}

/// Every address of one family in a rule, and none of the other family in that direction.
fn families(subject: &Subject<'_>, found: &mut Vec<Finding>) {
    let Some(policy) = subject.policy else { return };
    for (rules, direction, field) in
        [(&policy.ingress, "ingress", "from"), (&policy.egress, "egress", "to")]
    {
        let rules = rules.as_deref().unwrap_or_default();
        for (index, at, cidr) in whole_families(rules) {
            let is_other = |it: &IpNet| it.addr().is_ipv4() != cidr.addr().is_ipv4();
            if rules.iter().any(|it| it.peers.is_empty()) || blocks(rules).any(|it| is_other(&it)) {
                continue;
            }
            let other = if cidr.addr().is_ipv4() { "::/0" } else { "0.0.0.0/0" };
            let path = format!("spec.{direction}[{index}].{field}[{at}].ipBlock.cidr");
            let message = format!(
                "the objects beside it have addresses of both families, but {cidr} matches one of them only"
            );
            let peers = [
                json!({"ipBlock": {"cidr": cidr.to_string()}}),
                json!({"ipBlock": {"cidr": other}}),
            ];
            found.push(Finding::new(ONE_FAMILY, path, message).snippet(&json!({ field: peers })));
        }
    }
}

/// Peers that are a whole family: the indices of rule and peer, and the block.
fn whole_families(rules: &[Rule]) -> impl Iterator<Item = (usize, usize, IpNet)> + '_ {
    let peers = rules.iter().enumerate().flat_map(|(index, rule)| {
        rule.peers.iter().enumerate().map(move |(at, peer)| (index, at, peer))
    });
    peers.filter_map(|(index, at, peer)| match peer {
        Peer::Block(block) if block.cidr.prefix_len() == 0 => Some((index, at, block.cidr)),
        _ => None,
    })
}

fn blocks(rules: &[Rule]) -> impl Iterator<Item = IpNet> + '_ {
    rules.iter().flat_map(|it| &it.peers).filter_map(|it| match it {
        Peer::Block(block) => Some(block.cidr),
        Peer::Pods { .. } => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::fixture::{found, named, policy};

    #[test]
    fn duplicates() {
        let rule = "{from: [{podSelector: {}}], ports: [{port: 80}]}";
        for (spec, path) in [
            (format!("ingress: [{rule}, {rule}]"), "spec.ingress[1]"),
            ("policyTypes: [Ingress, Ingress]".to_owned(), "spec.policyTypes[1]"),
            (
                "ingress: [{ports: [{port: 80}, {port: 81}, {port: 80}]}]".to_owned(),
                "spec.ingress[0].ports[2]",
            ),
            (
                "ingress: [{from: [{podSelector: {}}, {podSelector: {}}]}]".to_owned(),
                "spec.ingress[0].from[1]",
            ),
        ] {
            let text = policy(&format!("podSelector: {{}}\n{spec}"));
            assert_eq!(found(&text), [(DUPLICATE, path.to_owned())], "{spec}");
        }
        let different =
            "ingress: [{ports: [{port: 80}, {port: 80, protocol: UDP}]}, {ports: [{port: 80}]}]";
        assert_eq!(found(&policy(&format!("podSelector: {{}}\n{different}"))), []);
    }

    #[test]
    fn policies_that_mean_the_same() {
        let two = |a: &str, b: &str| named("a", a) + &named("b", b);
        let text = two("podSelector: {}\ningress: []", "podSelector: {}\npolicyTypes: [Ingress]");
        assert_eq!(found(&text), [(DUPLICATE, "metadata.name".to_owned())]);
        assert_eq!(found(&two("podSelector: {}", "podSelector: {matchLabels: {a: b}}")), []);
    }

    #[test]
    fn families_of_a_dual_stack_estate() {
        let spec =
            |peers: &str| policy(&format!("podSelector: {{}}\ningress: [{{from: [{peers}]}}]"));
        let v4 = "{ipBlock: {cidr: 0.0.0.0/0}}";
        let service = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ipFamilyPolicy: PreferDualStack}\n";
        let at = "spec.ingress[0].from[0].ipBlock.cidr".to_owned();
        assert_eq!(found(&(service.to_owned() + &spec(v4))), [(ONE_FAMILY, at)]);
        for good in
            [spec(v4), service.to_owned() + &spec(&format!("{v4}, {{ipBlock: {{cidr: '::/0'}}}}"))]
        {
            assert_eq!(found(&good), []);
        }
        let some = service.to_owned() + &spec("{ipBlock: {cidr: 10.0.0.0/8}}");
        assert_eq!(found(&some), []);
    }
}
