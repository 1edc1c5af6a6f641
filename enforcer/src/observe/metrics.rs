//! Metrics in OpenMetrics text.

mod attempts;
mod encode;
mod kubernetes;
mod plain;
mod traffic;

use std::fmt;
use std::time::Duration;

use enforcer_core::flows::{Decision, Key};
use enforcer_ebpf::contract::ABI_VERSION;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::{
    ConntrackReport, DriftReport, DropRecord, Endpoint, FlowReport, Isolation, NriReport,
    ProcessUse, RejectReport, Report, TableUse, process,
};
use crate::nri::Outcome;
use attempts::{AUDITS, Attempts, Counts, DENIALS, Series};
use encode::{counters, gauge, gauges};

pub(super) use plain::plain;
pub use traffic::PodMetrics;

/// The prefix of the metrics' names.
const PREFIX: &str = "enforcer";
/// The conventional prefix of metrics of the process.
const PROCESS: &str = "process";
/// The revision of the agent's source, if the build sets it.
const REVISION: Option<&str> = option_env!("ENFORCER_REVISION");

/// Metrics that accumulate over time; all others are taken from a [`Report`].
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pods: PodMetrics,
    programming: Histogram,
    unknown: Histogram,
    sandboxes: [Counter; Outcome::ALL.len()],
    starting: Histogram,
    denials: Attempts,
    audits: Attempts,
}

impl Metrics {
    /// Metrics that are all zero.
    #[must_use]
    pub fn new(pods: PodMetrics) -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let abi = ABI_VERSION.to_string();
        let mut build = vec![("version", env!("CARGO_PKG_VERSION").to_owned()), ("abi", abi)];
        build.extend(REVISION.map(|revision| ("revision", revision.to_owned())));
        let help = "Version of the agent, layout of its tables (abi) and revision of its source";
        registry.register("build", help, Info::new(build));
        // Half a millisecond to 16 seconds.
        let programming = Histogram::new(exponential_buckets(0.0005, 2.0, 16));
        registry.register_with_unit(
            "programming_duration",
            "Time from the arrival of a change of pods, namespaces or policies to the last write of its effect",
            Unit::Seconds,
            programming.clone(),
        );
        // A millisecond to half a minute.
        let unknown = Histogram::new(exponential_buckets(0.001, 2.0, 16));
        registry.register_with_unit(
            "pod_unknown_duration",
            "Time from the detection of a pod's interface until the pod is known and its policy programmed",
            Unit::Seconds,
            unknown.clone(),
        );
        // A millisecond to 4 seconds.
        let starting = Histogram::new(exponential_buckets(0.001, 2.0, 13));
        registry.register_with_unit(
            "pod_sandbox_programming_duration",
            "Time from the announcement of a pod's sandbox by the container runtime until the pod is programmed",
            Unit::Seconds,
            starting.clone(),
        );
        Self {
            registry,
            pods,
            programming,
            unknown,
            sandboxes: Default::default(),
            starting,
            denials: Attempts::default(),
            audits: Attempts::default(),
        }
    }

    /// Notes how long an interface existed before its pod was known (semantics C6).
    pub fn was_unknown(&self, duration: Duration) {
        self.unknown.observe(duration.as_secs_f64());
    }

    /// Notes the outcome of a pod that the container runtime was about to start (semantics C6).
    pub fn pod_started(&self, outcome: Outcome, took: Duration) {
        let counters = Outcome::ALL.iter().zip(&self.sandboxes);
        for (_, counter) in counters.filter(|(it, _)| **it == outcome) {
            counter.inc();
        }
        if outcome == Outcome::Programmed {
            self.starting.observe(took.as_secs_f64());
        }
    }

    /// Counts an attempt to connect whose packets were dropped.
    pub fn denied(&self, record: &DropRecord) {
        self.denials.add(Series::of_drop(record), 1);
    }

    /// Counts connections whose decision at one end policies in audit would reverse.
    pub fn audited(&self, flow: &Key, decision: &Decision, connections: u64) {
        if let Some(series) = Series::of_audit(flow, decision) {
            self.audits.add(series, connections);
        }
    }

    /// Notes the time from a change until the kernel's tables have it.
    pub fn programmed(&self, duration: Duration) {
        self.programming.observe(duration.as_secs_f64());
    }

    /// All metrics as OpenMetrics text. The series of pods that are not in `report` end.
    #[must_use]
    pub fn text(&self, report: Report) -> String {
        let mut process = Registry::with_prefix(PROCESS);
        if let Some(found) = report.process {
            process.register_collector(Box::new(Process(found)));
        }
        let mut current = Registry::with_prefix(PREFIX);
        let started = self.sandboxes.each_ref().map(Counter::get);
        let pods = || report.protection.values().map(|it| &**it);
        let attempts = [self.denials.counts(&DENIALS, pods()), self.audits.counts(&AUDITS, pods())];
        current.register_collector(Box::new(Current(report, self.pods, started, attempts)));
        let mut text = String::new();
        let written = encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &current))
            .and_then(|()| encode_registry(&mut text, &process))
            .and_then(|()| encode_eof(&mut text));
        debug_assert!(written.is_ok(), "writing to a string does not fail");
        text
    }
}

/// The metrics of a report, the number of started pods by outcome, the attempts that were dropped, and
/// the connections that policies in audit would decide otherwise.
#[derive(Debug)]
struct Current(Report, PodMetrics, [u64; Outcome::ALL.len()], [Counts; 2]);

/// The resources of the process.
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
        let [denials, audits] = &self.3;
        DENIALS.encode(&mut encoder, denials)?;
        AUDITS.encode(&mut encoder, audits)?;
        endpoints(&mut encoder, &self.0)?;
        tables(&mut encoder, &self.0)?;
        flows(&mut encoder, &self.0)?;
        let lost =
            "Drop events that were not sent because there were too many; the packets are counted.";
        let counter = MetricType::Counter;
        let mut family = encoder.encode_descriptor("events_lost", lost, None, counter)?;
        family.encode_counter::<NoLabelSet, u64, u64>(&self.0.lost_events, None)?;
        rejections(&mut encoder, &self.0)?;
        hooks(&mut encoder, &self.0)?;
        nri(&mut encoder, &self.0.nri, self.2)?;
        known(&mut encoder, &self.0)?;
        lifetime(&mut encoder, &self.0)?;
        kubernetes::watches(&mut encoder, &self.0.watches)?;
        self.0.events.map_or(Ok(()), |it| kubernetes::events(&mut encoder, it))
    }
}

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
        ("unplaced", number(report.unplaced.len())),
    ];
    let help = "Pod interfaces of this node by state. An interface may have several states: isolated \
                by policy in a direction, isolated in none (unrestricted), closed because its policy \
                does not fit the tables (unrepresented), without a known pod (unknown), claimed by \
                several pods (ambiguous), closed because there are more interfaces than the tables \
                hold (unplaced).";
    let states = states.map(|(state, value)| ([("state", state)], value));
    gauges(encoder, "endpoints", help, states)
}

fn isolations(endpoint: &Endpoint) -> [Isolation; 2] {
    [endpoint.ingress, endpoint.egress]
}

fn tables(encoder: &mut DescriptorEncoder<'_>, report: &Report) -> fmt::Result {
    let by_table = |of: fn(&TableUse) -> u64| {
        report.tables.iter().map(move |it| ([("table", &*it.table)], of(it)))
    };
    gauges(encoder, "table_entries", "Used entries of a table.", by_table(|it| it.used))?;
    let help = "Maximum number of entries of a table.";
    gauges(encoder, "table_entries_limit", help, by_table(|it| it.limit))
}

fn flows(encoder: &mut DescriptorEncoder<'_>, report: &Report) -> fmt::Result {
    let by_state = |of: fn(&FlowReport) -> [u64; 2]| {
        report.flows.iter().flat_map(move |flows| {
            let [established, opening] = of(flows);
            [("established", established), ("opening", opening)]
                .map(|(state, value)| ([("family", &*flows.family), ("state", state)], value))
        })
    };
    let help = "Flows that are remembered so that their replies pass: established (two-way and not \
                ended) and opening (all others), as of the last sweep of the tables.";
    gauges(encoder, "flows", help, by_state(|it| [it.established, it.opening]))?;
    let by_family = |of: fn(&FlowReport) -> u64| {
        report.flows.iter().map(move |it| ([("family", &*it.family)], of(it)))
    };
    let help = "Number of flows that the table is made for.";
    gauges(encoder, "flows_limit", help, by_family(|it| it.limit))?;
    let help = "Pods with more flows than their share of a full table.";
    gauges(encoder, "pods_over_flow_share", help, by_family(|it| it.over_share))?;
    let help = "New flows that found no place in the table: their replies are denied where policy \
                does not allow them by itself.";
    counters(encoder, "flows_refused", help, by_family(|it| it.refused))?;
    let help = "Flows that new ones displaced: opening ones, and established ones of pods with more \
                than their share.";
    counters(encoder, "flows_evicted", help, by_state(|it| [it.reduced, it.displaced]))?;
    let ConntrackReport { imported, picked_up, failing, .. } = &report.conntrack;
    let help = "Flows that were imported from conntrack because they are older than the programs.";
    let counter = MetricType::Counter;
    let mut family = encoder.encode_descriptor("flows_imported", help, None, counter)?;
    family.encode_counter::<NoLabelSet, u64, u64>(imported, None)?;
    let help = "Connections at the last import that conntrack had found in progress: their initiator \
                is unknown.";
    gauge(encoder, "flows_without_initiator", help, *picked_up)?;
    let help = "1 if flows have to be imported but conntrack can't be read: replies to older \
                connections of isolated pods are denied.";
    gauge(encoder, "conntrack_unreadable", help, u64::from(failing.is_some()))
}

fn rejections(encoder: &mut DescriptorEncoder<'_>, report: &Report) -> fmt::Result {
    let RejectReport { sent, limited, failed, .. } = report.rejections;
    let help = "Denied packets of pods whose namespace asks for an answer (--deny-with): answered (sent), \
                not answered because there were too many (limited), or because sending failed.";
    let results = [("sent", sent), ("limited", limited), ("failed", failed)];
    let results = results.map(|(result, count)| ([("result", result)], count));
    counters(encoder, "rejections", help, results)
}

fn hooks(encoder: &mut DescriptorEncoder<'_>, report: &Report) -> fmt::Result {
    let help = "Interfaces at which packets may pass unchecked: a program could not be attached, was \
                detached, or another program runs before it.";
    gauge(encoder, "unguarded_interfaces", help, number(report.unguarded.len()))?;
    let help = "Interfaces whose programs were missing or not first, and were restored.";
    let counter = MetricType::Counter;
    let mut family = encoder.encode_descriptor("hooks_restored", help, None, counter)?;
    family.encode_counter::<NoLabelSet, u64, u64>(&report.hooks_restored, None)?;
    let DriftReport { checks, samples, found, differences } = &report.drift;
    let help = "Verdicts of the kernel's tables that were compared with the policies.";
    let mut family = encoder.encode_descriptor("drift_checks", help, None, counter)?;
    family.encode_counter::<NoLabelSet, u64, u64>(checks, None)?;
    let help = "Verdicts among them for which the programs were run, too.";
    let mut family = encoder.encode_descriptor("drift_samples", help, None, counter)?;
    family.encode_counter::<NoLabelSet, u64, u64>(samples, None)?;
    let help = "Verdicts that differed from the policies when they were compared first.";
    let mut family = encoder.encode_descriptor("drift_found", help, None, counter)?;
    family.encode_counter::<NoLabelSet, u64, u64>(found, None)?;
    let help = "Known verdicts that differ from the policies at present, at most 16.";
    gauge(encoder, "drift", help, number(differences.len()))
}

fn nri(
    encoder: &mut DescriptorEncoder<'_>,
    report: &NriReport,
    started: [u64; Outcome::ALL.len()],
) -> fmt::Result {
    let help = "1 for the state of the connection to the container runtime, which delays pods until \
                they are programmed: connected, absent (no listener at its socket), refused, off.";
    let states = NriReport::STATES;
    let states = states.map(|state| ([("state", state)], u64::from(report.state == state)));
    gauges(encoder, "nri", help, states)?;
    let help = "Pods that the container runtime was about to start, by their first outcome.";
    let outcomes = Outcome::ALL.into_iter().zip(started);
    let outcomes = outcomes.map(|(outcome, count)| ([("outcome", outcome.name())], count));
    counters(encoder, "pod_sandboxes", help, outcomes)
}

fn known(encoder: &mut DescriptorEncoder<'_>, report: &Report) -> fmt::Result {
    gauge(encoder, "policies", "Known network policies.", report.policies)?;
    let help = "Network policies in audit that select pods of this node: reported, not enforced.";
    gauge(encoder, "policies_in_audit", help, report.in_audit().count() as u64)?;
    let help = "Whether all policies are in audit, by --audit.";
    gauge(encoder, "audit_all", help, u64::from(report.audit_all))?;
    gauge(encoder, "pods", "Known pods, including those of other nodes.", report.pods)?;
    gauge(encoder, "namespaces", "Known namespaces.", report.namespaces)?;
    let help = "Present errors in manifests or in objects of the Kubernetes API.";
    gauge(encoder, "manifest_errors", help, number(report.manifest_errors.len()))
}

/// The watchdog's age, and the state that outlives an agent.
fn lifetime(encoder: &mut DescriptorEncoder<'_>, report: &Report) -> fmt::Result {
    let help =
        "Seconds since the main loop last ran; it runs every second, and /healthz fails after 60.";
    let unit = Some(&Unit::Seconds);
    let mut family = encoder.encode_descriptor("heartbeat_age", help, unit, MetricType::Gauge)?;
    family.encode_gauge(&report.heartbeat_age.as_secs_f64())?;
    let help = "1 if enforcement continues when the agent ends, 0 without pins.";
    gauge(encoder, "outlives_agent", help, u64::from(report.outlives_agent))?;
    let help = "1 if the agent took over from an earlier one when it started.";
    gauge(encoder, "taken_over", help, u64::from(report.taken_over.is_some()))?;
    let help = "Pod interfaces that an earlier agent had enforced when this agent started.";
    gauge(encoder, "taken_over_endpoints", help, report.taken_over.map_or(0, |it| it.endpoints))
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
