//! `enforcer top`: the pods of this node by their traffic and drops.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::agent::AgentArgs;
use super::ask::ask;
use super::format::Format;
use super::status::{dropped, read};
use super::table::table;
use crate::inspect::{Output, document};
use crate::observe::{EndpointStatus, Status};

/// The help after the options.
pub(super) const HELP: &str =
    "The pods with the most dropped packets come first, then those with the \
most traffic. With --output json, one document per interval: see docs/json.md.

Exit codes: 0 success, 2 error.

Examples:
  enforcer top
  enforcer top --count 1 --interval 10 --output json";

/// The arguments of `top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Seconds between two readings.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600), value_name = "SECONDS")]
    pub interval: u64,
    /// End after this many intervals [default: never].
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Show only this many pods.
    #[arg(long, default_value_t = 30, value_name = "N")]
    pub pods: usize,
    /// The agent.
    #[command(flatten)]
    pub agent: AgentArgs,
    /// Output format.
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,
}

/// A pod's traffic in an interval.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct PodRate {
    /// `namespace/name`
    pod: String,
    /// Packets a second that passed.
    packets: f64,
    /// Bits a second that passed.
    bits: f64,
    /// Packets a second that were dropped.
    dropped: f64,
}

/// The pods in an interval.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Rates {
    /// The interval's length in seconds.
    seconds: f64,
    /// The pods with the most drops, then with the most traffic.
    pods: Vec<PodRate>,
    /// The problems that need attention.
    problems: Vec<String>,
}

/// Prints the pods after each interval.
///
/// # Errors
/// There is no agent at that address, or `out` can't be written.
pub fn run(arguments: &TopArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let status = || read(&ask(arguments.agent.status, "GET", "/status", "")?);
    let (mut before, mut since) = (status()?, Instant::now());
    let mut left = arguments.count;
    while left != Some(0) {
        std::thread::sleep(Duration::from_secs(arguments.interval));
        let (now, at) = (status()?, Instant::now());
        print(&before, &now, at - since, arguments.pods, arguments.output, out)?;
        (before, since) = (now, at);
        left = left.map(|it| it.saturating_sub(1));
    }
    Ok(())
}

/// Prints the pods of an interval.
pub(super) fn print(
    before: &Status,
    now: &Status,
    interval: Duration,
    most: usize,
    output: Format,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let rates = rates(before, now, interval, most);
    match output {
        Format::Json => {
            let text = document("top", &rates, Output::Json)?.unwrap_or_default();
            out.write_all(text.as_bytes())?;
        }
        Format::Text => {
            if io::stdout().is_terminal() {
                // The cursor to the first cell, and everything after it erased.
                write!(out, "\x1b[H\x1b[J")?;
            }
            out.write_all(text(&rates).as_bytes())?;
        }
    }
    Ok(out.flush()?)
}

/// Packets and bytes that passed, and packets that were dropped.
type Sums = (u64, u64, u64);

fn sums(endpoint: &EndpointStatus) -> Sums {
    let passed = endpoint.counters.iter().filter(|it| !it.dropped);
    let (packets, bytes) =
        passed.fold((0, 0), |(packets, bytes), it| (packets + it.packets, bytes + it.bytes));
    (packets, bytes, dropped(endpoint))
}

#[expect(clippy::cast_precision_loss, reason = "rates for people")]
fn rates(before: &Status, now: &Status, interval: Duration, most: usize) -> Rates {
    let known: BTreeMap<&str, Sums> =
        before.endpoints.iter().map(|it| (it.pod.as_str(), sums(it))).collect();
    let seconds = interval.as_secs_f64().max(0.001);
    let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
    let pods = now.endpoints.iter().map(|it| {
        let (packets, bytes, dropped) = sums(it);
        // A pod that is new since then began at zero.
        let old = known.get(it.pod.as_str()).copied().unwrap_or_default();
        PodRate {
            pod: it.pod.clone(),
            packets: rate(packets, old.0),
            bits: rate(bytes, old.1) * 8.0,
            dropped: rate(dropped, old.2),
        }
    });
    let mut pods: Vec<PodRate> = pods.collect();
    pods.sort_by(|one, two| {
        two.dropped.total_cmp(&one.dropped).then(two.bits.total_cmp(&one.bits))
    });
    pods.truncate(most);
    Rates { seconds, pods, problems: now.problems.clone() }
}

fn text(rates: &Rates) -> String {
    let rows = rates.pods.iter().map(|it| {
        let number = |it: f64| format!("{it:.1}");
        vec![it.pod.clone(), number(it.dropped), number(it.packets), bits(it.bits)]
    });
    let mut text: String =
        rates.problems.iter().map(|it| format!("needs attention: {it}\n")).collect();
    text += &table(&["POD", "DROPPED/S", "PACKETS/S", "BITS/S"], rows);
    text + "\n"
}

fn bits(bits: f64) -> String {
    let units = ["", "k", "M", "G", "T"];
    let mut value = bits;
    let mut unit = "";
    for it in units {
        unit = it;
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
    }
    format!("{value:.1} {unit}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{CounterStatus, Interface, Isolation, ProtectionStatus};

    fn status(pods: &[(&str, u64, u64)]) -> Status {
        let counter = |reason: &str, dropped, packets| CounterStatus {
            direction: "ingress".to_owned(),
            reason: reason.to_owned(),
            dropped,
            packets,
            bytes: packets * 1_000,
        };
        let endpoints = pods.iter().map(|(pod, passed, dropped)| EndpointStatus {
            pod: (*pod).to_owned(),
            interface: Interface::default(),
            ingress: Isolation::NotIsolated,
            egress: Isolation::NotIsolated,
            counters: vec![counter("policy", false, *passed), counter("denied", true, *dropped)],
            protection: ProtectionStatus::default(),
        });
        Status { endpoints: endpoints.collect(), ..Status::default() }
    }

    #[test]
    fn pods_with_drops_come_first() {
        let before = status(&[("a/quiet", 5, 5), ("a/busy", 100, 0), ("a/denied", 0, 0)]);
        let now =
            status(&[("a/quiet", 5, 5), ("a/busy", 4_100, 0), ("a/denied", 0, 3), ("a/new", 2, 0)]);
        let rates = rates(&before, &now, Duration::from_secs(2), 3);
        insta::assert_snapshot!(text(&rates), @"
        POD       DROPPED/S  PACKETS/S  BITS/S
        a/denied  1.5        0.0        0.0
        a/busy    0.0        2000.0     16.0 M
        a/new     0.0        1.0        8.0 k
        ");
    }
}
