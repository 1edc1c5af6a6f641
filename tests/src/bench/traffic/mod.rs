//! Traffic of real connections through the lab, with several ways to enforce the same policies.
//!
//! A client and a server are pods of one node. Of all policies one selects the server, in the middle of
//! the list; it allows the client on some ports. The others select pods of other labels. Conntrack is on
//! in every setup: the node has a Service, by kube-proxy's rules.
//!
//! Belongs here: setups, loads, and their figures. The rules of the other implementations are laid out
//! in `nftables` and `npm`.

mod addresses;
mod inplace;
mod load;
mod nftables;
mod npm;
mod setup;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lab::in_sandbox;
use crate::lab::Sandbox;
pub(super) use inplace::InPlace;
use load::Meter;
pub(super) use load::{Idle, requests, throughput};
pub(super) use setup::{Setup, Stage};

/// The numbers of policies.
const POLICIES: [usize; 3] = [1, 100, 1_000];

/// All figures of traffic.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Traffic {
    /// Rounds; each figure is a median.
    pub rounds: usize,
    /// By setup and number of policies.
    pub rows: Vec<Row>,
    /// What was not measured, and why.
    pub missing: Vec<String>,
    /// The time that the programs take in place.
    pub in_place: Vec<InPlace>,
}

/// The figures of one setup. Medians of the rounds; ratios are medians of each round's.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Row {
    /// The setup.
    pub setup: String,
    /// Policies in the cluster.
    pub policies: usize,
    /// TCP throughput with one stream, Gbit/s.
    pub one_stream_gbit: f64,
    /// TCP throughput with 32 streams, Gbit/s.
    pub streams_gbit: f64,
    /// Connections with a request and a reply, per second.
    pub connections: f64,
    /// CPU time for each, of the whole machine, microseconds.
    pub connection_cpu_us: f64,
    /// CPU time for each, divided by that without policy in the same round.
    pub connection_cpu_ratio: f64,
    /// The same of client and server alone, with the kernel's work on their behalf.
    pub own_cpu_ratio: f64,
    /// Small datagrams received per second.
    pub datagrams: f64,
    /// Round-trip time of a small message on an open connection, microseconds: median, 90 %, 99 %,
    /// 99.9 %.
    pub latency_us: [f64; 4],
}

/// The figures of one measurement.
#[derive(Debug, Clone, Copy)]
struct Sample {
    one_stream: f64,
    streams: f64,
    connections: f64,
    cpu: f64,
    own_cpu: f64,
    datagrams: f64,
    latency: [f64; 4],
}

/// The duration of each load.
const LOAD: Duration = Duration::from_millis(600);
/// That of connections, whose CPU time has a resolution of 10 ms.
const CONNECTIONS: Duration = Duration::from_millis(1_200);

/// Measures every setup with each number of policies, in turns.
pub(super) fn measure(rounds: usize, progress: impl Fn(&str)) -> anyhow::Result<Traffic> {
    let mut rows = Vec::new();
    let mut missing = Vec::new();
    let setups: Vec<Setup> = Setup::ALL
        .into_iter()
        .filter(|setup| match setup.missing() {
            Some(program) => {
                missing.push(format!("{}: not measured: {program} is missing", setup.name()));
                false
            }
            None => true,
        })
        .collect();
    for policies in POLICIES {
        let mut samples = vec![Vec::new(); setups.len()];
        for round in 0..rounds {
            progress(&format!("traffic with {policies} policies, round {} of {rounds}", round + 1));
            // In another order each time: the first one finds a cooler machine.
            for turn in 0..setups.len() {
                let at = if round % 2 == 0 { turn } else { setups.len() - 1 - turn };
                let (Some(setup), Some(of)) = (setups.get(at), samples.get_mut(at)) else {
                    continue;
                };
                of.push(sample(*setup, policies)?);
            }
        }
        let Some(base) = samples.first().cloned() else { continue };
        rows.extend(setups.iter().zip(&samples).map(|(it, of)| row(*it, policies, of, &base)));
    }
    progress("the programs in place");
    Ok(Traffic { rounds, rows, missing, in_place: inplace::measure()? })
}

fn sample(setup: Setup, policies: usize) -> anyhow::Result<Sample> {
    in_sandbox(async |sandbox: &Sandbox| {
        let stage = Stage::start(sandbox, setup, policies).await?;
        let ends = stage.ends()?;
        let one_stream = throughput(&ends, 1, LOAD).await?;
        let streams = throughput(&ends, 32, LOAD).await?;
        let meter = Meter::start()?;
        let made = requests(&ends, CONNECTIONS).await?;
        let (machine, own) = meter.stop()?;
        let datagrams = load::datagrams(&ends, LOAD).await?;
        let latency = load::latency(&ends, LOAD).await?;
        stage.end().await?;
        let each = |time: Duration| time.as_secs_f64() * 1e6 / made.max(1) as f64;
        Ok(Sample {
            one_stream,
            streams,
            connections: made as f64 / CONNECTIONS.as_secs_f64(),
            cpu: each(machine),
            own_cpu: each(own),
            datagrams,
            latency,
        })
    })
}

fn row(setup: Setup, policies: usize, samples: &[Sample], base: &[Sample]) -> Row {
    let of = |figure: &dyn Fn(&Sample) -> f64| median(samples.iter().map(figure).collect());
    let ratio = |figure: &dyn Fn(&Sample) -> f64| {
        median(samples.iter().zip(base).map(|(it, base)| figure(it) / figure(base)).collect())
    };
    Row {
        setup: setup.name().to_owned(),
        policies,
        one_stream_gbit: of(&|it| it.one_stream),
        streams_gbit: of(&|it| it.streams),
        connections: of(&|it| it.connections),
        connection_cpu_us: of(&|it| it.cpu),
        connection_cpu_ratio: ratio(&|it| it.cpu),
        own_cpu_ratio: ratio(&|it| it.own_cpu),
        datagrams: of(&|it| it.datagrams),
        latency_us: std::array::from_fn(|at| {
            of(&|it| it.latency.get(at).copied().unwrap_or(f64::NAN))
        }),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
