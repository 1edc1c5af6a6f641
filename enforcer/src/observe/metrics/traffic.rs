//! Packets by direction and reason, and by pod, namespace or node.

use std::collections::BTreeMap;
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

pub(super) fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    report: &Report,
    by: PodMetrics,
) -> fmt::Result {
    let traffic = sum(report, by);
    let help =
        "Dropped packets by pod (see --pod-metrics), direction as seen from the pod, and reason.";
    let drops = traffic.iter().filter(|((_, _, reason), _)| reason.is_drop());
    let drops = drops.map(|(key, count)| (labels(key), count.packets));
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
