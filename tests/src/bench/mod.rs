//! Benchmarks: the cost of a packet, the delay of a policy, the cost of watching a cluster.
//!
//! Here belong measurements and their output. Nothing here decides whether a test passes.

mod attach;
mod cases;
mod effect;
mod lab;
mod packets;
mod print;
mod rotator;
mod watched;

use clap::{Parser, ValueEnum};
use serde::Serialize;

use crate::rig::with_interfaces;
use attach::Attached;
use effect::{Effect, Through};
use packets::Figures;
use print::progress;
use watched::Watched;

/// Measures the cost of a packet compared with the empty and the parse-only program, the time from
/// saving a policy to its effect, and the memory and CPU time for watching a cluster.
#[derive(Debug, Parser)]
pub struct Options {
    /// Output format
    #[arg(long, value_enum, default_value = "table")]
    pub output: Output,
    /// Number of rounds; figures are medians
    #[arg(long, default_value_t = 11)]
    pub rounds: usize,
    /// Measure only the time from saving a policy to its effect
    #[arg(long, conflicts_with_all = ["packets", "watched"])]
    pub effect: bool,
    /// Measure only the cost of packets
    #[arg(long, conflicts_with = "watched")]
    pub packets: bool,
    /// Measure only the cost of watching a cluster
    #[arg(long)]
    pub watched: bool,
    /// Measure only the time until interfaces have their programs
    #[arg(long, conflicts_with_all = ["effect", "packets", "watched"])]
    pub attach: bool,
    /// The numbers of pods of the watched clusters
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = CLUSTERS)]
    pub pods: Vec<usize>,
    /// Number of saved policies
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub saves: usize,
}

/// The format of the figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For scripts.
    Json,
}

/// The numbers of pods of the watched clusters.
const CLUSTERS: [usize; 3] = [10, 1_000, 10_000];

/// Runs the measurements and prints the figures.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let measure_packets =
        || with_interfaces(2, |found| packets::measure(options.rounds, &found, progress));
    let all = !(options.packets || options.effect || options.watched || options.attach);
    let figures = (all || options.packets).then(measure_packets).transpose()?;
    if let (Some(figures), Output::Table) = (&figures, options.output) {
        print::packets(figures)?;
    }
    let measure_effect = || {
        progress(&format!("{} saves of a policy, twice", options.saves));
        let both = [Through::Files, Through::Api].into_iter();
        both.map(|through| effect::measure(options.saves, through)).collect()
    };
    let effect: Option<Vec<Effect>> = (all || options.effect).then(measure_effect).transpose()?;
    if let Output::Table = options.output {
        effect.iter().flatten().try_for_each(print::effect)?;
    }
    let measure_watched = || {
        let one = |pods: usize| {
            progress(&format!("{pods} pods at the Kubernetes API"));
            watched::measure(pods)
        };
        options.pods.iter().copied().map(one).collect()
    };
    let watched: Option<Vec<Watched>> =
        (all || options.watched).then(measure_watched).transpose()?;
    if let Output::Table = options.output {
        watched.iter().try_for_each(|rows| print::watched(rows))?;
    }
    let attached: Option<Vec<Attached>> =
        (all || options.attach).then(attach::measure).transpose()?;
    match options.output {
        Output::Table => attached.iter().try_for_each(|rows| print::attached(rows)),
        Output::Json => print::json(&Everything { figures, effect, watched, attached }),
    }
}

/// The JSON document, without the measurements that were not requested.
#[derive(Debug, Serialize)]
struct Everything {
    #[serde(flatten)]
    figures: Option<Figures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    effect: Option<Vec<Effect>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    watched: Option<Vec<Watched>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attached: Option<Vec<Attached>>,
}
