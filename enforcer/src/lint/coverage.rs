//! Whether the files declare the pods that selectors are about. Policies are often kept apart from their
//! workloads, beside a few pods of something else.

use std::collections::{BTreeMap, BTreeSet};

use enforcer_core::model::{Peer, Pod, Requirement, Selector};

use super::estate::Estate;

/// The namespaces of the pods that a selector can match.
type Namespaces = BTreeSet<String>;

/// The selectors of an estate that match declared pods, and those that match none, by namespaces.
#[derive(Debug, Default)]
pub(super) struct Coverage(BTreeMap<Namespaces, Tally>);

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    matching: usize,
    idle: usize,
}

impl Coverage {
    pub(super) fn of(estate: &Estate<'_>) -> Self {
        let mut coverage = Self::default();
        for policy in estate.subjects.iter().filter_map(|it| it.policy) {
            let own: Vec<&Pod> = estate.pods_in(&policy.id.namespace).collect();
            coverage.note(&policy.subjects, &own);
            let rules = policy.ingress.iter().chain(&policy.egress).flatten();
            for peer in rules.flat_map(|it| &it.peers) {
                if let Peer::Pods { pods, .. } = peer {
                    coverage.note(pods, &estate.peers(policy, peer).0);
                }
            }
        }
        coverage
    }

    fn note(&mut self, selector: &Selector, pods: &[&Pod]) {
        if selector.requirements.is_empty() || pods.is_empty() {
            return;
        }
        let tally = self.0.entry(namespaces(pods)).or_default();
        let matches = pods.iter().any(|it| selector.matches(&it.labels));
        let count = if matches { &mut tally.matching } else { &mut tally.idle };
        *count += 1;
    }

    /// Whether a selector that matches none of these pods is worth a remark: it nearly matches one, or other
    /// selectors show that the files declare the pods of these namespaces. Without others, pods of the policy's
    /// own namespace are enough.
    pub(super) fn is_odd(&self, selector: &Selector, pods: &[&Pod], own: &str) -> bool {
        let namespaces = namespaces(pods);
        let Tally { matching, idle } = self.0.get(&namespaces).copied().unwrap_or_default();
        let is_own = namespaces.iter().eq([own]);
        idle <= matching.max(usize::from(is_own))
            || pods.iter().any(|it| nearly_matches(selector, it))
    }
}

fn namespaces(pods: &[&Pod]) -> Namespaces {
    pods.iter().map(|it| it.id.namespace.to_string()).collect()
}

/// Whether a selector would match a pod if one key or value were written a little differently.
fn nearly_matches(selector: &Selector, pod: &Pod) -> bool {
    let mut failing = selector.requirements.iter().filter(|it| !it.matches(&pod.labels));
    let (Some(Requirement::In(key, values)), None) = (failing.next(), failing.next()) else {
        return false;
    };
    pod.labels.iter().any(|(name, value)| {
        (name.as_str() == key && values.iter().any(|it| is_near(it, value)))
            || (values.contains(value.as_str()) && is_near(key, name))
    })
}

/// Whether two words differ by their case, one letter, or two letters of many. Names of services often share a
/// long part.
fn is_near(word: &str, other: &str) -> bool {
    let most = if word.len() < 8 { 1 } else { 2 };
    strsim::damerau_levenshtein(&word.to_lowercase(), &other.to_lowercase()) <= most
}

#[cfg(test)]
mod tests {
    use crate::lint::fixture::{found, named};

    const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, labels: {app: web-shop, tier: front}}\n\
         spec: {containers: [{name: c}]}\n";

    fn selecting(labels: &[&str]) -> usize {
        let policy = |(index, it): (usize, &&str)| {
            named(&format!("p{index}"), &format!("podSelector: {{matchLabels: {{{it}}}}}"))
        };
        let policies: String = labels.iter().enumerate().map(policy).collect();
        found(&(POD.to_owned() + &policies)).len()
    }

    #[test]
    fn selectors_are_odd_where_the_others_match() {
        assert_eq!(selecting(&["app: db"]), 1);
        assert_eq!(selecting(&["app: db", "tier: front"]), 1);
        assert_eq!(selecting(&["app: web-shop", "tier: front", "app: db", "app: cache"]), 2);
        // Their workloads are elsewhere.
        assert_eq!(selecting(&["app: db", "app: cache"]), 0);
        assert_eq!(selecting(&["app: db", "app: cache", "tier: front"]), 0);
    }

    #[test]
    fn a_misspelt_label_is_odd_anywhere() {
        let others = ["app: db", "app: cache", "app: queue"];
        for odd in ["app: web-shpo", "app: Web-Shop", "aap: web-shop", "app: web-shop, teir: front"]
        {
            let all: Vec<&str> = others.iter().copied().chain([odd]).collect();
            assert_eq!(selecting(&all), 1, "{odd}");
        }
        for other in ["app: web", "app: pay-shop", "name: web-shop", "app: web-shop, tier: back"] {
            let all: Vec<&str> = others.iter().copied().chain([other]).collect();
            assert_eq!(selecting(&all), 0, "{other}");
        }
    }
}
