//! The selector that selects exactly some pods of a namespace.

use std::collections::BTreeSet;

use crate::model::{Labels, Name, Pod, Requirement, Selector};

/// Labels that name a single pod, or a revision of its workload: the next rollout has others.
const TRANSIENT: [&str; 11] = [
    "pod-template-hash",
    "pod-template-generation",
    "controller-revision-hash",
    "controller-uid",
    "job-name",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
    "batch.kubernetes.io/job-completion-index",
    "batch.kubernetes.io/cronjob-scheduled-timestamp",
];

/// Labels that name an application, the most usual first.
const PREFERRED: [&str; 9] = [
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/component",
    "app",
    "k8s-app",
    "component",
    "name",
    "role",
    "tier",
];

fn is_stable(key: &str) -> bool {
    !TRANSIENT.contains(&key)
}

/// The stable labels that all pods have.
fn common(pods: &[&Pod]) -> Labels {
    let mut pods = pods.iter();
    let mut labels = pods.next().map(|it| it.labels.clone()).unwrap_or_default();
    labels.retain(|key, _| is_stable(key));
    for pod in pods {
        labels.retain(|key, value| pod.labels.get(key).is_some_and(|it| **it == *value));
    }
    labels
}

/// A selector that matches all of `pods` and none of `others`.
///
/// # Errors
/// The others that no stable label distinguishes.
pub(super) fn exact<'a>(pods: &[&Pod], others: &[&'a Pod]) -> Result<Selector, Vec<&'a Pod>> {
    let common = common(pods);
    let usual =
        PREFERRED.iter().flat_map(|wanted| common.iter().filter(move |it| **it.0 == **wanted));
    let further = common.iter().filter(|(key, _)| !PREFERRED.contains(&key.as_str()));
    let mut requirements = BTreeSet::new();
    let mut matched: Vec<&Pod> = others.to_vec();
    for (key, value) in usual.chain(further) {
        let left = |it: &&&Pod| it.labels.get(key) == Some(value);
        let remaining: Vec<&Pod> = matched.iter().filter(left).copied().collect();
        if remaining.len() < matched.len() || requirements.is_empty() {
            requirements.insert(Requirement::In(key.to_string(), [value.to_string()].into()));
            matched = remaining;
        }
        if matched.is_empty() {
            break;
        }
    }
    let mut alike = Vec::new();
    for other in matched {
        match requirements.iter().all(|it: &Requirement| it.matches(&other.labels)) {
            false => {}
            true => match without(pods, other) {
                Some(requirement) => drop(requirements.insert(requirement)),
                None => alike.push(other),
            },
        }
    }
    if alike.is_empty() { Ok(Selector { requirements: requirements.into() }) } else { Err(alike) }
}

/// A requirement that all pods meet and another does not: it has a label or a value that they lack.
fn without(pods: &[&Pod], other: &Pod) -> Option<Requirement> {
    let stable = || other.labels.iter().filter(|(key, _)| is_stable(key));
    let lacking = |it: &(&Name, &Name)| !pods.iter().any(|pod| pod.labels.contains_key(it.0));
    let differing =
        |it: &(&Name, &Name)| !pods.iter().any(|pod| pod.labels.get(it.0) == Some(it.1));
    let absent = stable().find(lacking);
    absent.map(|(key, _)| Requirement::DoesNotExist(key.to_string())).or_else(|| {
        let (key, value) = stable().find(differing)?;
        Some(Requirement::NotIn(key.to_string(), [value.to_string()].into()))
    })
}
