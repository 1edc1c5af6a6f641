//! Packets by direction and reason, and by pod, namespace or node.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use enforcer_ebpf::contract::counters::{Count, Counters};
use enforcer_ebpf::contract::verdict::{Direction, Reason};
use prometheus_client::encoding::DescriptorEncoder;

use super::super::report::nonzero;
use super::super::{FORMER_NAMESPACES, Isolation, Report};
use super::encode::{Label, counters};
use enforcer_core::model::PodId;

/// The labels of the packet metrics. Each pod, namespace or node has up to 70 series; most
/// combinations of direction and reason never occur, and have no series until they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum PodMetrics {
    /// By pod; the series of a pod end with it.
    Pod,
    /// By namespace; ended pods stay in the sum.
    #[default]
    Namespace,
    /// For the node as a whole.
    Node,
}

/// The labels `namespace` and `pod`. An unused label is empty, not absent: a Prometheus that honours
/// labels would set it to the agent's own pod.
type PodLabels<'a> = (&'a str, &'a str);

/// The labels of the node as a whole, and of unknown pods.
const NO_POD: PodLabels<'static> = ("", "");

fn pod_labels(pod: &PodId, by: PodMetrics) -> PodLabels<'_> {
    match by {
        PodMetrics::Pod => (&pod.namespace, &pod.name),
        PodMetrics::Namespace => (&pod.namespace, ""),
        PodMetrics::Node => NO_POD,
    }
}

type Key<'a> = (PodLabels<'a>, Direction, Reason);

type Traffic<'a> = BTreeMap<Key<'a>, Count>;

fn add<'a>(traffic: &mut Traffic<'a>, pod: PodLabels<'a>, counters: &Counters) {
    for (direction, reason, count) in nonzero(counters) {
        let total = traffic.entry((pod, direction, reason)).or_default();
        total.packets += count.packets;
        total.bytes += count.bytes;
    }
}

fn sum(report: &Report, by: PodMetrics) -> Traffic<'_> {
    let mut traffic = Traffic::new();
    match by {
        PodMetrics::Pod => {
            add(&mut traffic, NO_POD, &report.podless);
            for endpoint in &report.endpoints {
                add(&mut traffic, pod_labels(&endpoint.pod, by), &endpoint.counters);
            }
        }
        PodMetrics::Namespace => {
            let totals = report.namespaces_total.iter();
            for (namespace, counters) in totals.filter(|(it, _)| *it != FORMER_NAMESPACES) {
                add(&mut traffic, (namespace, ""), counters);
            }
        }
        PodMetrics::Node => {
            for counters in report.namespaces_total.values() {
                add(&mut traffic, NO_POD, counters);
            }
        }
    }
    // The denials of an isolated pod start at zero, so that an alert on their rate sees the first one.
    for endpoint in &report.endpoints {
        for direction in Direction::ALL {
            if endpoint.isolation(direction) != Isolation::NotIsolated {
                traffic
                    .entry((pod_labels(&endpoint.pod, by), direction, Reason::Denied))
                    .or_default();
            }
        }
    }
    traffic
}

/// The drops that the default alerts watch.
const WATCHED: [(Direction, Reason); 3] = [
    (Direction::Egress, Reason::SpoofedSource),
    (Direction::Egress, Reason::MarkLost),
    (Direction::Ingress, Reason::MarkLost),
];

/// The drops that start at zero, so that an alert on their rate sees the first one: for a node all that can be,
/// for pods and namespaces, which are many, those that are watched.
fn expected(report: &Report, by: PodMetrics) -> BTreeSet<Key<'_>> {
    let unknown = Direction::ALL.map(|it| (NO_POD, it, Reason::UnknownPod));
    let former = report.namespaces_total.keys().map(|it| (it.as_str(), ""));
    let former = former.filter(|it| *it != NO_POD && it.0 != FORMER_NAMESPACES);
    let ended = (by == PodMetrics::Namespace).then_some(former);
    let all = report
        .endpoints
        .iter()
        .map(|it| pod_labels(&it.pod, by))
        .chain(ended.into_iter().flatten());
    let known: Vec<Key<'_>> = match by {
        PodMetrics::Node => {
            possible().map(|(direction, reason)| (NO_POD, direction, reason)).collect()
        }
        _ => all
            .flat_map(|pod| WATCHED.map(|(direction, reason)| (pod, direction, reason)))
            .collect(),
    };
    known.into_iter().chain(unknown).collect()
}

/// The drops of a known pod.
fn possible() -> impl Iterator<Item = (Direction, Reason)> {
    use Reason::{Encapsulated, SpoofedSource, UnknownPod, WrongDestination};
    let of = |direction| {
        let never: &[Reason] = match direction {
            Direction::Ingress => &[UnknownPod, SpoofedSource, Encapsulated],
            Direction::Egress => &[UnknownPod, WrongDestination],
        };
        let drops = Reason::ALL.into_iter().filter(|it| it.is_drop() && !never.contains(it));
        drops.map(move |reason| (direction, reason))
    };
    Direction::ALL.into_iter().flat_map(of)
}

pub(super) fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    report: &Report,
    by: PodMetrics,
) -> fmt::Result {
    let traffic = sum(report, by);
    let help =
        "Dropped packets by pod (see --pod-metrics), direction as seen from the pod, and reason.";
    let mut drops: BTreeMap<_, _> = expected(report, by).into_iter().map(|key| (key, 0)).collect();
    let found = traffic.iter().filter(|((_, _, reason), _)| reason.is_drop());
    drops.extend(found.map(|(key, count)| (*key, count.packets)));
    let drops = drops.iter().map(|(key, packets)| (labels(key), *packets));
    counters(encoder, "drops", help, drops)?;
    let all = |of: fn(&Count) -> u64| {
        traffic.iter().map(move |(key, count)| (labels_with_verdict(key), of(count)))
    };
    let help = "Packets at pods' interfaces, allowed and dropped.";
    counters(encoder, "packets", help, all(|it| it.packets))?;
    let help = "Bytes of the packets at pods' interfaces, link-layer headers included.";
    counters(encoder, "bytes", help, all(|it| it.bytes))
}

fn labels<'a>(((namespace, pod), direction, reason): &Key<'a>) -> [Label<'a>; 4] {
    [
        ("namespace", namespace),
        ("pod", pod),
        ("direction", direction.name()),
        ("reason", reason.name()),
    ]
}

fn labels_with_verdict<'a>(key: &Key<'a>) -> [Label<'a>; 5] {
    let [namespace, pod, direction, reason] = labels(key);
    let verdict = if key.2.is_drop() { "drop" } else { "allow" };
    [namespace, pod, direction, ("verdict", verdict), reason]
}

#[cfg(test)]
mod tests;
