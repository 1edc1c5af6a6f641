//! Nanoseconds a packet, by `BPF_PROG_TEST_RUN`; how soon a saved policy acts, see [`effect`];
//! and what watching a cluster takes, see [`watched`].
//!
//! Each case has a thousand packets of different peers and flows. A round runs each packet of each
//! case many times in a row and takes the thread's CPU time; the empty and the parse-only program
//! run on the same packets in the same round, and the median over the rounds of the difference is
//! what a case costs. All on one pinned core.

mod cases;
mod effect;
mod table;
mod watched;

use std::time::Duration;

use clap::{Parser, ValueEnum};
use enforcer::kernel::{RunInput, RunProgram};
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::rig::{ELSEWHERE, Rig, stay_on_one_cpu, with_interfaces};
use cases::{Case, Shape};
pub use effect::{Effect, Through, Times};
pub use watched::Watched;

/// Measures what a packet costs, beside the empty and the parse-only program; how long a policy that
/// was saved takes to act on packets; and what memory and CPU time watching a cluster takes.
#[derive(Debug, Parser)]
pub struct Options {
    /// How to write the figures.
    #[arg(long, value_enum, default_value = "table")]
    pub output: Output,
    /// Rounds; the median counts.
    #[arg(long, default_value_t = 11)]
    pub rounds: usize,
    /// Only from saving a policy to its effect.
    #[arg(long, conflicts_with_all = ["packets", "watched"])]
    pub effect: bool,
    /// Only what a packet costs.
    #[arg(long, conflicts_with = "watched")]
    pub packets: bool,
    /// Only what watching a cluster takes.
    #[arg(long)]
    pub watched: bool,
    /// How many policies to save.
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub saves: usize,
}

/// How to write the figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For scripts.
    Json,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Figures {
    /// The running kernel.
    pub kernel: String,
    /// Rounds that each figure is the median of.
    pub rounds: usize,
    /// What the verifier had to look at, by program.
    pub verified_instructions: Vec<(&'static str, Option<u32>)>,
    /// By case.
    pub rows: Vec<Figure>,
}

/// What one case costs.
#[derive(Debug, Serialize)]
pub struct Figure {
    /// 4 or 6.
    pub family: u8,
    /// Policies that select the subject.
    pub policies: usize,
    /// Pods that the policies name.
    pub peers: usize,
    /// What happens to the packet.
    pub case: &'static str,
    /// Nanoseconds of the empty program, the loop around it included.
    pub empty: f64,
    /// Nanoseconds of the program that only parses.
    pub parse_only: f64,
    /// Nanoseconds of the whole program.
    pub total: f64,
    /// Nanoseconds beyond parsing.
    pub over_parse: f64,
    /// Times the empty program.
    pub ratio: f64,
}

/// Pods of the clusters that are watched.
const CLUSTERS: [usize; 3] = [10, 1_000, 10_000];

/// Measures and prints.
///
/// # Errors
/// The programs can't be loaded or run.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let measure_packets = || with_interfaces(2, |interfaces| measure(options, &interfaces));
    let all = !(options.packets || options.effect || options.watched);
    let figures = (all || options.packets).then(measure_packets).transpose()?;
    if let (Some(figures), Output::Table) = (&figures, options.output) {
        table::print(figures)?;
    }
    let measure_effect = || {
        progress(&format!("{} saves of a policy, twice", options.saves));
        let both = [Through::Files, Through::Api].into_iter();
        both.map(|through| effect::measure(options.saves, through)).collect()
    };
    let effect: Option<Vec<Effect>> = (all || options.effect).then(measure_effect).transpose()?;
    if let Output::Table = options.output {
        effect.iter().flatten().try_for_each(table::print_effect)?;
    }
    let measure_watched = || {
        let one = |pods: usize| {
            progress(&format!("{pods} pods at the Kubernetes API"));
            watched::measure(pods)
        };
        CLUSTERS.into_iter().map(one).collect()
    };
    let watched: Option<Vec<Watched>> =
        (all || options.watched).then(measure_watched).transpose()?;
    match options.output {
        Output::Table => watched.iter().try_for_each(|rows| table::print_watched(rows)),
        Output::Json => table::print_json(&Everything { figures, effect, watched }),
    }
}

/// The JSON document: what was not asked for is left out.
#[derive(Debug, Serialize)]
struct Everything {
    #[serde(flatten)]
    figures: Option<Figures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    effect: Option<Vec<Effect>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    watched: Option<Vec<Watched>>,
}

fn measure(options: &Options, interfaces: &[u32]) -> anyhow::Result<Figures> {
    stay_on_one_cpu()?;
    let mut rows = Vec::new();
    let mut verified_instructions = Vec::new();
    for shape in Shape::ALL {
        progress(&format!("{} policies, {} peers", shape.policies, shape.peers));
        let mut rig = Rig::new()?;
        let mut cases = cases::prepare(&mut rig, interfaces, shape)?;
        verified_instructions = rig.kernel.verified_instructions();
        for case in &mut cases {
            rows.push(one(&mut rig, case, shape, options.rounds)?);
        }
    }
    let kernel = nix::sys::utsname::uname()?.release().to_string_lossy().into_owned();
    Ok(Figures { kernel, rounds: options.rounds, verified_instructions, rows })
}

#[expect(clippy::print_stderr, reason = "progress, away from the figures")]
fn progress(what: &str) {
    eprintln!("measuring with {what}");
}

fn one(rig: &mut Rig, case: &mut Case, shape: Shape, rounds: usize) -> anyhow::Result<Figure> {
    let (mut empty, mut parse, mut total) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let packets = case.next_packets();
        empty.push(time(rig, case, RunProgram::Empty, &packets)?);
        parse.push(time(rig, case, RunProgram::ParseOnly, &packets)?);
        total.push(time(rig, case, case.program, &packets)?);
    }
    let over: Vec<f64> = total.iter().zip(&parse).map(|(total, parse)| total - parse).collect();
    let (empty, parse_only, total) = (median(empty), median(parse), median(total));
    Ok(Figure {
        family: case.family,
        policies: shape.policies,
        peers: shape.peers,
        case: case.name,
        empty,
        parse_only,
        total,
        over_parse: median(over),
        ratio: total / empty,
    })
}

/// Nanoseconds for one run of `program` on one of the packets: this thread's CPU time, or, where
/// no packet may come twice, the kernel's own measure, since entering it costs ten times as much.
fn time(
    rig: &mut Rig,
    case: &Case,
    program: RunProgram,
    packets: &[Vec<u8>],
) -> anyhow::Result<f64> {
    let began = thread_time()?;
    let mut inside = Duration::ZERO;
    for frame in packets {
        let input = RunInput {
            frame,
            ifindex: case.ifindex,
            ingress_ifindex: ELSEWHERE,
            mark: case.mark,
            repeat: case.repeat,
        };
        let run = rig.kernel.run(program, &input)?;
        inside += run.duration;
        anyhow::ensure!(
            program != case.program || run.passes == case.passes,
            "{}: a packet was judged wrongly: the figures would mean nothing",
            case.name
        );
    }
    let took = match case.repeat {
        1 => inside,
        _ => thread_time()?.checked_sub(began).unwrap_or_default(),
    };
    Ok(took.as_secs_f64() * 1e9 / (packets.len() as f64 * f64::from(case.repeat)))
}

fn thread_time() -> anyhow::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
