//! Packets by direction and reason, and by as much of the pod as is asked for.

use std::collections::BTreeMap;
use std::fmt;

use enforcer_ebpf::contract::counters::{Count, Counters};
use enforcer_ebpf::contract::verdict::{Direction, Reason};
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::super::{FORMER_NAMESPACES, Isolation, Report};
use super::{Label, put_counter};
use enforcer_core::model::PodId;

/// By what packets are counted in the metrics. The more, the more series: up to 70 for each, though
/// most combinations of direction and reason never occur, and have no series until they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum PodMetrics {
    /// Each pod by its name; its series end with it.
    Pod,
    /// Each namespace, the pods that ended included.
    #[default]
    Namespace,
    /// The node alone.
    Node,
}

/// The namespace and the pod that packets are counted for. Where one is not told apart, its label is
/// empty, not absent: a Prometheus that honours labels would put the agent's own pod there.
type Whose<'a> = (&'a str, &'a str);

/// The node alone, or whom nobody knows.
const NOBODY: Whose<'static> = ("", "");

fn whose(pod: &PodId, by: PodMetrics) -> Whose<'_> {
    match by {
        PodMetrics::Pod => (&pod.namespace, &pod.name),
        PodMetrics::Namespace => (&pod.namespace, ""),
        PodMetrics::Node => NOBODY,
    }
}

type Traffic<'a> = BTreeMap<(Whose<'a>, Direction, Reason), Count>;

fn add<'a>(traffic: &mut Traffic<'a>, whose: Whose<'a>, counters: &Counters) {
    for (direction, counts) in Direction::ALL.into_iter().zip(counters.counts) {
        for (reason, count) in Reason::ALL.into_iter().zip(counts) {
            // Most of the combinations never occur.
            if count.packets > 0 {
                let total = traffic.entry((whose, direction, reason)).or_default();
                total.packets += count.packets;
                total.bytes += count.bytes;
            }
        }
    }
}

fn sum(report: &Report, by: PodMetrics) -> Traffic<'_> {
    let mut traffic = Traffic::new();
    match by {
        PodMetrics::Pod => {
            add(&mut traffic, NOBODY, &report.podless);
            for endpoint in &report.endpoints {
                add(&mut traffic, whose(&endpoint.pod, by), &endpoint.counters);
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
                add(&mut traffic, NOBODY, counters);
            }
        }
    }
    // Refusals of an isolated pod begin at zero, so that an alert on their rate sees the first one.
    for endpoint in &report.endpoints {
        for direction in Direction::ALL {
            if endpoint.isolation(direction) != Isolation::NotIsolated {
                traffic.entry((whose(&endpoint.pod, by), direction, Reason::Denied)).or_default();
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
    let counter = MetricType::Counter;
    let help = "Packets dropped, by pod (as far as --pod-metrics says), direction seen from the pod, \
                and reason.";
    let mut family = encoder.encode_descriptor("drops", help, None, counter)?;
    for ((whose, direction, reason), count) in &traffic {
        if reason.is_drop() {
            put_counter(&mut family, &labels(*whose, *direction, *reason), count.packets)?;
        }
    }
    let help = "Packets judged, allowed and dropped alike.";
    let mut family = encoder.encode_descriptor("packets", help, None, counter)?;
    for ((whose, direction, reason), count) in &traffic {
        put_counter(&mut family, &judged(*whose, *direction, *reason), count.packets)?;
    }
    let help = "Bytes of the packets judged, link-layer headers included.";
    let mut family = encoder.encode_descriptor("bytes", help, None, counter)?;
    for ((whose, direction, reason), count) in &traffic {
        put_counter(&mut family, &judged(*whose, *direction, *reason), count.bytes)?;
    }
    Ok(())
}

fn labels((namespace, pod): Whose<'_>, direction: Direction, reason: Reason) -> [Label<'_>; 4] {
    [
        ("namespace", namespace),
        ("pod", pod),
        ("direction", direction.name()),
        ("reason", reason.name()),
    ]
}

fn judged(whose: Whose<'_>, direction: Direction, reason: Reason) -> [Label<'_>; 5] {
    let [namespace, pod, direction, because] = labels(whose, direction, reason);
    let verdict = if reason.is_drop() { "drop" } else { "allow" };
    [namespace, pod, direction, ("verdict", verdict), because]
}

#[cfg(test)]
mod tests;
