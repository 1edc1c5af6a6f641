//! The use of policies' rules.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use enforcer_ebpf::contract::verdict::Direction;

use crate::model::{Policy, PolicyId};

/// A rule; or, without an index, the isolation by a policy in a direction.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UseKey {
    /// The policy.
    pub policy: PolicyId,
    /// The direction.
    pub direction: Direction,
    /// The rule's index.
    pub rule: Option<usize>,
}

/// The use of a rule, at the pods of this node. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuleUse {
    /// New connections that it allowed.
    pub connections: u64,
    /// Attempts that were denied at pods that the policy isolates; in entries without a rule.
    pub denied: u64,
    /// Since when they are counted.
    pub since: u64,
    /// The last packet that it allowed.
    pub last_used: Option<u64>,
}

/// The use of all rules that isolate this node's pods.
#[derive(Debug, Default)]
pub(super) struct Uses {
    rules: BTreeMap<UseKey, RuleUse>,
    /// What each policy said when its rules began to be counted.
    contents: BTreeMap<PolicyId, u64>,
    /// Attempts that policies denied which the next look at the tables makes known.
    early: BTreeMap<UseKey, u64>,
}

/// The most such policies.
const EARLY: usize = 1_024;

impl Uses {
    /// Notes the policies that isolate pods of this node. A changed one is counted from zero.
    pub(super) fn retain<'a>(&mut self, policies: impl Iterator<Item = &'a Policy>, now: u64) {
        let mut present = BTreeMap::new();
        for policy in policies {
            let content = content(policy);
            present.insert(policy.id.clone(), content);
            if self.contents.get(&policy.id) == Some(&content) {
                continue;
            }
            self.rules.retain(|key, _| key.policy != policy.id);
            for (direction, rules) in
                [(Direction::Ingress, &policy.ingress), (Direction::Egress, &policy.egress)]
            {
                let Some(rules) = rules else { continue };
                for rule in std::iter::once(None).chain((0..rules.len()).map(Some)) {
                    let key = UseKey { policy: policy.id.clone(), direction, rule };
                    let denied = self.early.remove(&key).unwrap_or_default();
                    self.rules.insert(key, RuleUse { since: now, denied, ..RuleUse::default() });
                }
            }
        }
        self.rules.retain(|key, _| present.contains_key(&key.policy));
        self.contents = present;
        self.early.clear();
    }

    /// Counts connections that a rule allowed.
    pub(super) fn allowed(&mut self, key: &UseKey, new: u64, last: u64) {
        if let Some(used) = self.rules.get_mut(key) {
            used.connections = used.connections.saturating_add(new);
            used.last_used = used.last_used.max(Some(last));
        }
    }

    /// Counts an attempt that was denied at a pod that the policy isolates.
    pub(super) fn denied(&mut self, policy: &str, direction: Direction) {
        let Some((namespace, name)) = policy.split_once('/') else { return };
        let key = UseKey { policy: PolicyId::new(namespace, name), direction, rule: None };
        if let Some(used) = self.rules.get_mut(&key) {
            used.denied = used.denied.saturating_add(1);
        } else if self.early.len() < EARLY || self.early.contains_key(&key) {
            *self.early.entry(key).or_default() += 1;
        }
    }

    pub(super) fn list(&self) -> impl Iterator<Item = (&UseKey, &RuleUse)> {
        self.rules.iter()
    }
}

fn content(policy: &Policy) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&policy.subjects, &policy.ingress, &policy.egress).hash(&mut hasher);
    hasher.finish()
}
