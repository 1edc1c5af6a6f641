//! Metrics in OpenMetrics text.

mod kubernetes;
mod traffic;

use std::fmt;
use std::time::Duration;

use enforcer_ebpf::contract::ABI_VERSION;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabel, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::{Endpoint, FlowReport, Isolation, NriReport, ProcessUse, Report, process};
use crate::nri::Outcome;

pub use traffic::PodMetrics;

/// What every metric's name begins with.
const PREFIX: &str = "enforcer";
/// What the names of metrics of the process begin with, by convention.
const PROCESS: &str = "process";
/// The revision that the agent was built from, where whoever built it has said so.
const REVISION: Option<&str> = option_env!("ENFORCER_REVISION");

/// Metrics that build up over time; all others are read off a [`Report`].
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pods: PodMetrics,
    programming: Histogram,
    unknown: Histogram,
    sandboxes: [Counter; Outcome::ALL.len()],
    starting: Histogram,
}

impl Metrics {
    /// Metrics of an agent that has done nothing yet.
    #[must_use]
    pub fn new(pods: PodMetrics) -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let abi = ABI_VERSION.to_string();
        let mut build = vec![("version", env!("CARGO_PKG_VERSION").to_owned()), ("abi", abi)];
        build.extend(REVISION.map(|revision| ("revision", revision.to_owned())));
        let help = "The agent's version, its tables' layout and the revision of its source";
        registry.register("build", help, Info::new(build));
        // Half a millisecond to 16 seconds.
        let programming = Histogram::new(exponential_buckets(0.0005, 2.0, 16));
        registry.register_with_unit(
            "programming_duration",
            "From the arrival of a change of pods, namespaces or policies to the last write of its effect",
            Unit::Seconds,
            programming.clone(),
        );
        // A millisecond to half a minute.
        let unknown = Histogram::new(exponential_buckets(0.001, 2.0, 16));
        registry.register_with_unit(
            "pod_unknown_duration",
            "From the first sight of a pod's interface until the pod was known and its policy programmed",
            Unit::Seconds,
            unknown.clone(),
        );
        // A millisecond to 4 seconds.
        let starting = Histogram::new(exponential_buckets(0.001, 2.0, 13));
        registry.register_with_unit(
            "pod_sandbox_programming_duration",
            "From a pod's sandbox, announced by the container runtime, until it was programmed",
            Unit::Seconds,
            starting.clone(),
        );
        Self { registry, pods, programming, unknown, sandboxes: Default::default(), starting }
    }

    /// Notes for how long an interface was there before its pod was known (semantics C6).
    pub fn was_unknown(&self, duration: Duration) {
        self.unknown.observe(duration.as_secs_f64());
    }

    /// Notes what became of a pod that the container runtime was about to start (semantics C6).
    pub fn pod_started(&self, outcome: Outcome, took: Duration) {
        let counters = Outcome::ALL.iter().zip(&self.sandboxes);
        for (_, counter) in counters.filter(|(it, _)| **it == outcome) {
            counter.inc();
        }
        if outcome == Outcome::Programmed {
            self.starting.observe(took.as_secs_f64());
        }
    }

    /// Notes how long it took from a change until the kernel's tables had it.
    pub fn programmed(&self, duration: Duration) {
        self.programming.observe(duration.as_secs_f64());
    }

    /// All metrics as OpenMetrics text. Series of pods that `report` lacks end.
    #[must_use]
    pub fn text(&self, report: Report) -> String {
        let mut process = Registry::with_prefix(PROCESS);
        if let Some(found) = report.process {
            process.register_collector(Box::new(Process(found)));
        }
        let mut current = Registry::with_prefix(PREFIX);
        let started = self.sandboxes.each_ref().map(Counter::get);
        current.register_collector(Box::new(Current(report, self.pods, started)));
        let mut text = String::new();
        let written = encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &current))
            .and_then(|()| encode_registry(&mut text, &process))
            .and_then(|()| encode_eof(&mut text));
        debug_assert!(written.is_ok(), "writing to a string does not fail");
        text
    }
}

/// The metrics that a report has, and how many pods were started with each outcome.
#[derive(Debug)]
struct Current(Report, PodMetrics, [u64; Outcome::ALL.len()]);

/// What the process uses.
#[derive(Debug)]
struct Process(ProcessUse);

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        process::encode(&mut encoder, &self.0)
    }
}

impl Collector for Current {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        traffic::encode(&mut encoder, &self.0, self.1)?;
        endpoints(&mut encoder, &self.0)?;
        tables(&mut encoder, &self.0)?;
        flows(&mut encoder, &self.0)?;
        let lost =
            "Drop events that were not sent, because too many came at once; all are counted.";
        let counter = MetricType::Counter;
        let mut family = encoder.encode_descriptor("events_lost", lost, None, counter)?;
        family.encode_counter::<NoLabelSet, u64, u64>(&self.0.lost_events, None)?;
        nri(&mut encoder, &self.0.nri, self.2)?;
        known(&mut encoder, &self.0)?;
        lifetime(&mut encoder, &self.0)?;
        kubernetes::watches(&mut encoder, &self.0.watches)?;
        self.0.events.map_or(Ok(()), |it| kubernetes::events(&mut encoder, it))
    }
}

type Label<'a> = (&'static str, &'a str);

fn endpoints(encoder: &mut DescriptorEncoder<'_>, report: &Report) -> fmt::Result {
    let count = |wanted: &dyn Fn(&&Endpoint) -> bool| {
        number(report.endpoints.iter().filter(wanted).count())
    };
    let states = [
        ("ingress-isolated", count(&|it| it.ingress != Isolation::NotIsolated)),
        ("egress-isolated", count(&|it| it.egress != Isolation::NotIsolated)),
        ("unrestricted", count(&|it| isolations(it) == [Isolation::NotIsolated; 2])),
        ("unrepresented", count(&|it| isolations(it).contains(&Isolation::Closed))),
        ("unknown", number(report.unknown.len())),
        ("ambiguous", number(report.ambiguous.len())),
    ];
    let help = "Pod interfaces of this node by state; an interface may be in several: isolated by \
                policy in a direction, in none (unrestricted), closed because its policy does not \
                fit the tables (unrepresented), without a known pod (unknown), claimed by several \
                pods (ambiguous).";
    let mut family = encoder.encode_descriptor("endpoints", help, None, MetricType::Gauge)?;
    states
        .iter()
        .try_for_each(|(state, value)| put_gauge(&mut family, &[("state", *state)], *value))
}

fn isolations(endpoint: &Endpoint) -> [Isolation; 2] {
    [endpoint.ingress, endpoint.egress]
}

fn tables(encoder: &mut DescriptorEncoder<'_>, report: &Report) -> fmt::Result {
    let help = "Elements of a table in use.";
    let mut family = encoder.encode_descriptor("table_entries", help, None, MetricType::Gauge)?;
    for table in &report.tables {
        put_gauge(&mut family, &[("table", &*table.table)], table.used)?;
    }
    let help = "Elements that a table has room for.";
    let mut family =
        encoder.encode_descriptor("table_entries_limit", help, None, MetricType::Gauge)?;
    for table in &report.tables {
        put_gauge(&mut family, &[("table", &*table.table)], table.limit)?;
    }
    Ok(())
}

fn flows(encoder: &mut DescriptorEncoder<'_>, report: &Report) -> fmt::Result {
    type Of<T> = (&'static str, &'static str, fn(&FlowReport) -> T);
    let gauges: [Of<[u64; 2]>; 2] = [
        (
            "flows",
            "Flows remembered so that their replies pass: established (two-way, and not ended) and \
             opening (all others), as of the last look at the tables.",
            |it| [it.established, it.opening],
        ),
        ("flows_limit", "Flows that there is room for.", |it| {
            [it.established_limit, it.opening_limit]
        }),
    ];
    for (name, help, of) in gauges {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for flows in &report.flows {
            for (state, value) in ["established", "opening"].into_iter().zip(of(flows)) {
                put_gauge(&mut family, &[("family", &*flows.family), ("state", state)], value)?;
            }
        }
    }
    let counters: [Of<u64>; 2] = [
        (
            "flows_refused",
            "Flows that were established and found no room among such: others may displace them.",
            |it| it.refused,
        ),
        (
            "flows_evicted",
            "Flows, not established, that were forgotten to make room for others.",
            |it| it.evicted,
        ),
    ];
    for (name, help, of) in counters {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for flows in &report.flows {
            put_counter(&mut family, &[("family", &*flows.family)], of(flows))?;
        }
    }
    Ok(())
}

fn nri(
    encoder: &mut DescriptorEncoder<'_>,
    report: &NriReport,
    started: [u64; Outcome::ALL.len()],
) -> fmt::Result {
    let help = "Whether the container runtime lets pods wait until they are programmed: connected, \
                absent (nobody listens at its socket), refused, off.";
    let mut family = encoder.encode_descriptor("nri", help, None, MetricType::Gauge)?;
    for state in NriReport::STATES {
        put_gauge(&mut family, &[("state", state)], u64::from(report.state == state))?;
    }
    let help = "Pods that the container runtime was about to start, by what became of them first.";
    let mut family = encoder.encode_descriptor("pod_sandboxes", help, None, MetricType::Counter)?;
    for (outcome, count) in Outcome::ALL.into_iter().zip(started) {
        put_counter(&mut family, &[("outcome", outcome.name())], count)?;
    }
    Ok(())
}

fn known(encoder: &mut DescriptorEncoder<'_>, report: &Report) -> fmt::Result {
    let gauges = [
        ("policies", "Network policies known.", report.policies),
        ("pods", "Pods known, those of other nodes included.", report.pods),
        ("namespaces", "Namespaces known.", report.namespaces),
        (
            "manifest_errors",
            "Errors in the manifests, or in objects of the Kubernetes API, at present.",
            number(report.manifest_errors.len()),
        ),
    ];
    for (name, help, value) in gauges {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        family.encode_gauge(&value)?;
    }
    Ok(())
}

/// How the agent lives: its heartbeat, what was there before it, and what will be after it.
fn lifetime(encoder: &mut DescriptorEncoder<'_>, report: &Report) -> fmt::Result {
    let help = "For how long the loop that carries changes to the kernel has been away; it comes round \
                each second, and /healthz fails after 60.";
    let (gauge, unit) = (MetricType::Gauge, Some(&Unit::Seconds));
    let mut family = encoder.encode_descriptor("heartbeat_age", help, unit, gauge)?;
    family.encode_gauge(&report.heartbeat_age.as_secs_f64())?;
    let help = "Whether what is enforced stays in force when the agent ends: 1, or 0 without pins.";
    let mut family = encoder.encode_descriptor("outlives_agent", help, None, MetricType::Gauge)?;
    family.encode_gauge(&u64::from(report.outlives_agent))?;
    let help = "Whether the agent took over from an earlier one when it started.";
    let mut family = encoder.encode_descriptor("taken_over", help, None, MetricType::Gauge)?;
    family.encode_gauge(&u64::from(report.taken_over.is_some()))?;
    let help = "Pod interfaces that an earlier agent had enforced when this one started.";
    let mut family =
        encoder.encode_descriptor("taken_over_endpoints", help, None, MetricType::Gauge)?;
    family.encode_gauge(&report.taken_over.map_or(0, |it| it.endpoints))
}

fn put_counter<L: EncodeLabel, const N: usize>(
    family: &mut MetricEncoder<'_>,
    labels: &[L; N],
    value: u64,
) -> fmt::Result {
    family.encode_family(labels)?.encode_counter::<NoLabelSet, u64, u64>(&value, None)
}

fn put_gauge<L: EncodeLabel, const N: usize>(
    family: &mut MetricEncoder<'_>,
    labels: &[L; N],
    value: u64,
) -> fmt::Result {
    family.encode_family(labels)?.encode_gauge(&value)
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn exposition() {
        let metrics = Metrics::new(PodMetrics::Pod);
        metrics.programmed(Duration::from_micros(700));
        metrics.programmed(Duration::from_millis(40));
        metrics.pod_started(Outcome::Programmed, Duration::from_millis(7));
        metrics.pod_started(Outcome::TimedOut, Duration::from_millis(1500));
        let text = metrics.text(fixture::report());
        let version = env!("CARGO_PKG_VERSION");
        insta::assert_snapshot!(text.replace(version, "VERSION"));
    }
}
