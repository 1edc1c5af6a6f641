//! Least-privilege policies from observed flows.
//!
//! ```text
//! Cluster ─► groups: pods that one selector selects exactly ─┐
//! observed flows ─► ends: groups, blocks ────────────────────┴─► rules ─► policies
//! ```
//! Belongs here: which policies allow exactly these flows. Does not belong here: their YAML, and where
//! flows come from.

mod blocks;
mod data;
mod groups;
mod rules;
mod selector;

use std::collections::{BTreeMap, BTreeSet};

use crate::explain::Workloads;
use crate::flows::FlowEnd;
use crate::model::{Cluster, Protocol};

pub use data::{Denied, Observed, Suggestion, Suggestions};
use groups::Groups;

/// The policies that allow exactly the observed flows of the workloads in `namespace`, or of all
/// workloads: one for each workload that has any, isolating it in both directions. Beyond what was
/// observed they allow DNS by TCP where DNS by UDP was seen, and blocks instead of many addresses
/// outside (a rule of `docs/flows.md`).
#[must_use]
pub fn suggest(
    cluster: &Cluster,
    workloads: &Workloads,
    observed: &[Observed],
    namespace: Option<&str>,
) -> Suggestions {
    let groups = Groups::new(cluster, workloads);
    let mut notes = BTreeSet::new();
    let mut drafts: BTreeMap<usize, rules::Draft> = BTreeMap::new();
    let is_there = |it: &FlowEnd| namespace.is_none() || it.namespace() == namespace;
    let concerned = observed.iter().filter(|it| is_there(&it.from) || is_there(&it.to));
    for flow in concerned.flat_map(with_dns) {
        draft(&groups, &flow, [true; 2], &mut drafts, &mut notes);
    }
    let wanted = |group: &usize| {
        let of = groups.get(*group).map(|it| it.namespace.as_str());
        of.is_some() && namespace.is_none_or(|it| of == Some(it))
    };
    let unseen = groups.iter().filter(|(number, _)| wanted(number) && !drafts.contains_key(number));
    for name in unseen.flat_map(|(_, group)| &group.workloads) {
        notes.insert(format!("{name}: no flow was seen, so no policy is suggested"));
    }
    let mut names = rules::Names::new("observed");
    let drafts = drafts.into_iter().filter(|(group, _)| wanted(group));
    let policies =
        drafts.filter_map(|(group, draft)| draft.policy(&groups, group, &mut names, true));
    Suggestions { policies: policies.collect(), notes }
}

/// The policies that allow these flows at the ends that deny them, and nothing else: beside the policies that
/// deny them, for the workloads in `namespace`, or for all. Each isolates in the directions only in which
/// something was denied.
#[must_use]
pub fn allow(
    cluster: &Cluster,
    workloads: &Workloads,
    denied: &[Denied],
    namespace: Option<&str>,
) -> Suggestions {
    let groups = Groups::new(cluster, workloads);
    let mut notes = BTreeSet::new();
    let mut drafts: BTreeMap<usize, rules::Draft> = BTreeMap::new();
    for Denied { flow, at_sender, at_receiver } in denied {
        draft(&groups, flow, [*at_sender, *at_receiver], &mut drafts, &mut notes);
    }
    let mut names = rules::Names::new("allow");
    let is_wanted = |group: &usize| {
        let of = groups.get(*group).map(|it| it.namespace.as_str());
        namespace.is_none() || of == namespace
    };
    let drafts = drafts.into_iter().filter(|(group, _)| is_wanted(group));
    let policies =
        drafts.filter_map(|(group, draft)| draft.policy(&groups, group, &mut names, false));
    Suggestions { policies: policies.collect(), notes }
}

/// Adds a flow to the drafts of its ends: the sender's, the receiver's.
fn draft(
    groups: &Groups<'_>,
    flow: &Observed,
    [at_sender, at_receiver]: [bool; 2],
    drafts: &mut BTreeMap<usize, rules::Draft>,
    notes: &mut BTreeSet<String>,
) {
    for (from, to, port) in rules::pairs(groups, flow, notes) {
        let evidence = flow.evidence.as_str();
        if let (rules::End::Group(group), true) = (&from, at_sender) {
            let draft = drafts.entry(*group).or_default();
            draft.egress.add(to.clone(), port, evidence);
        }
        if let (rules::End::Group(group), true) = (&to, at_receiver) {
            let draft = drafts.entry(*group).or_default();
            draft.ingress.add(from, port, evidence);
        }
    }
}

/// A flow; for DNS by UDP also the same by TCP, which resolvers use for long answers (RFC 7766).
fn with_dns(flow: &Observed) -> Vec<Observed> {
    const DNS: u16 = 53;
    if flow.port != Some((Protocol::Udp, DNS)) {
        return vec![flow.clone()];
    }
    let evidence = "DNS by TCP, for long answers: not observed".to_owned();
    let tcp = Observed { port: Some((Protocol::Tcp, DNS)), evidence, ..flow.clone() };
    vec![flow.clone(), tcp]
}

#[cfg(test)]
mod tests;
