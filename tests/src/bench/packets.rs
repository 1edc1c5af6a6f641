//! Nanoseconds per packet, measured with `BPF_PROG_TEST_RUN`.
//!
//! Each run has another packet: another peer, another flow. A round runs thousands of them in a row
//! and takes the thread's CPU time. The empty and the parse-only program run on the same packets in
//! the same round. The cost of a case is the median over the rounds of the difference. Everything
//! runs on one pinned core. The programs are loaded several times, and a figure is the median over the
//! rounds of all loads: where a load's code and tables are in memory makes some nanoseconds of difference,
//! the same in each of its rounds.

use enforcer::kernel::{RunProgram, Settings};
use enforcer_ebpf::contract::table::Limits;
use serde::{Deserialize, Serialize};

use super::cases::{self, Case, Flows};
use super::cluster::Shape;
use super::rotator::{Place, Rotator};
use super::target::Loaded;
use crate::rig::{ELSEWHERE, Rig, stay_on_one_cpu};

/// Runs in a row, at least.
const MINIMUM: u32 = 4_000;
/// The programs' verdict on a packet that passes (TC_ACT_UNSPEC).
const NEXT: u32 = u32::MAX;

/// How often the programs are loaded for each cluster.
const LOADS: usize = 3;

/// How often they are loaded if a flow finds no place, which the secret of the flows' hash decides: of
/// 1.1 million flows in the largest table, one did in 8 of 240 simulated ones. Its packets would be denied.
const SECRETS: usize = 4;

/// The numbers of policies and of peers; each with each.
const POLICIES: [usize; 2] = [1, 1_000];
const PEERS: [usize; 4] = [1, 10, 1_000, 100_000];
/// The cluster with [`ALL_FLOWS`].
const LARGEST: Shape = Shape { policies: 1_000, peers: 100_000 };
/// The flows in the largest cluster, and in the others.
const ALL_FLOWS: Flows = Flows {
    common: 1_000,
    established: &[1, 1_000, 10_000, 100_000, 1_000_000],
    replies: &[1, 1_000, 10_000, 100_000],
};
const SOME_FLOWS: Flows =
    Flows { common: 1_000, established: &[1, 1_000, 100_000], replies: &[1_000] };

/// The costs of all cases.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Figures {
    /// The number of rounds of each load; a figure is the median of all rounds.
    pub rounds: usize,
    /// How often the programs were loaded.
    #[serde(default)]
    pub loads: usize,
    /// Instructions that the verifier processed, by program.
    pub verified_instructions: Vec<(String, Option<u32>)>,
    /// By case.
    pub rows: Vec<Figure>,
}

/// The cost of one case.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Figure {
    /// 4 or 6.
    pub family: u8,
    /// Policies that select the subject.
    pub policies: usize,
    /// Pods that the policies select as peers.
    pub peers: usize,
    /// The packet and its fate.
    pub case: String,
    /// The number of different packets, each of another flow.
    pub flows: usize,
    /// The flows of this family that the tables are made for.
    pub room: u32,
    /// Nanoseconds of the empty program, the loop around it included.
    pub empty: f64,
    /// Nanoseconds of the parse-only program.
    pub parse_only: f64,
    /// Nanoseconds of the complete program.
    pub total: f64,
    /// Nanoseconds beyond the empty program.
    pub over_empty: f64,
    /// The same, the first and the third quartile of the rounds.
    pub over_empty_quartiles: [f64; 2],
    /// Nanoseconds beyond parsing.
    pub over_parse: f64,
    /// The complete program's time divided by the empty one's.
    pub ratio: f64,
}

/// The times of a case, one of each kind for each round.
struct Times {
    /// The figure's words; its numbers are not known yet.
    of: Figure,
    empty: Vec<f64>,
    parse: Vec<f64>,
    total: Vec<f64>,
}

pub(super) fn measure(
    rounds: usize,
    interfaces: [u32; 2],
    progress: impl Fn(&str),
) -> anyhow::Result<Figures> {
    stay_on_one_cpu()?;
    let mut verified_instructions = Vec::new();
    let mut times: Vec<Times> = Vec::new();
    let mut rotator = Some(Rotator::load()?);
    for load in 1..=LOADS {
        let mut at = 0;
        for shape in shapes() {
            let Shape { policies, peers } = shape;
            progress(&format!(
                "packets with {policies} policies and {peers} peers ({load} of {LOADS})"
            ));
            let with = rotator.take().map_or_else(Rotator::load, Ok)?;
            let (mut loaded, cases, room) = load_programs(with, interfaces, shape)?;
            let verified = loaded.rig.kernel.verified_instructions().into_iter();
            verified_instructions =
                verified.map(|(name, count)| (name.to_owned(), count)).collect();
            // Connections are in progress, and the programs have been there for long.
            loaded.rig.kernel.end_learning()?;
            for mut case in cases {
                let more = one(&mut loaded, &mut case, shape, room, rounds)?;
                match times.get_mut(at) {
                    Some(known) => known.extend(more)?,
                    None => times.push(more),
                }
                at += 1;
            }
            rotator = Some(loaded.rotator);
        }
    }
    let rows = times.into_iter().map(Times::figure).collect();
    Ok(Figures { rounds, loads: LOADS, verified_instructions, rows })
}

/// Loads the programs for a cluster, and opens its flows; returns the number that the tables are made for.
fn load_programs(
    mut rotator: Rotator,
    interfaces: [u32; 2],
    shape: Shape,
) -> anyhow::Result<(Loaded, Vec<Case>, u32)> {
    let flows = if shape == LARGEST { ALL_FLOWS } else { SOME_FLOWS };
    let room = flows.room().max(Limits::DEFAULT.flows);
    let limits = Limits { flows: room, ..Limits::DEFAULT };
    for _ in 0..SECRETS {
        let rig = Rig::with(&Settings { limits, ..Settings::default() })?;
        let mut loaded = Loaded { rig, rotator };
        let cases = cases::prepare(&mut loaded, interfaces, shape, flows)?;
        if loaded.rig.kernel.flows().lost()? == 0 {
            return Ok((loaded, cases, room));
        }
        rotator = loaded.rotator;
    }
    anyhow::bail!("some of the flows found no place in tables for {room} flows, {SECRETS} times")
}

/// All clusters.
fn shapes() -> impl Iterator<Item = Shape> {
    PEERS.into_iter().flat_map(|peers| POLICIES.map(|policies| Shape { policies, peers }))
}

/// The times of one load of the programs.
fn one(
    loaded: &mut Loaded,
    case: &mut Case,
    shape: Shape,
    room: u32,
    rounds: usize,
) -> anyhow::Result<Times> {
    loaded.rotator.prepare(&case.packets)?;
    let mut times = Times::none(case, shape, room);
    // A round of very many packets is steady by itself.
    let rounds = if case.packets.ends.len() > 200_000 { rounds.min(5) } else { rounds };
    for round in 0..=rounds {
        if let Some(entered) = &case.entered {
            case.stop.mark = loaded.rig.wire(RunProgram::FromWire, entered, 0)?.mark;
        }
        if round == 0 {
            // Each flow and peer once, before anything is measured.
            time(loaded, case, case.stop.program)?;
            continue;
        }
        times.empty.push(time(loaded, case, RunProgram::Empty)?);
        times.parse.push(time(loaded, case, RunProgram::ParseOnly)?);
        times.total.push(time(loaded, case, case.stop.program)?);
    }
    Ok(times)
}

impl Times {
    fn none(case: &Case, shape: Shape, room: u32) -> Self {
        let of = Figure {
            family: case.family,
            policies: shape.policies,
            peers: shape.peers,
            case: case.name.to_owned(),
            flows: case.packets.ends.len(),
            room,
            ..Figure::default()
        };
        Self { of, empty: Vec::new(), parse: Vec::new(), total: Vec::new() }
    }

    fn extend(&mut self, more: Self) -> anyhow::Result<()> {
        let of = |it: &Figure| (it.family, it.policies, it.peers, it.flows, it.case.clone());
        anyhow::ensure!(of(&self.of) == of(&more.of), "the loads have different cases");
        self.empty.extend(more.empty);
        self.parse.extend(more.parse);
        self.total.extend(more.total);
        Ok(())
    }

    fn figure(self) -> Figure {
        let beyond = |than: &[f64]| -> Vec<f64> {
            self.total.iter().zip(than).map(|(a, b)| a - b).collect()
        };
        let over = beyond(&self.empty);
        let over_parse = median(&beyond(&self.parse));
        let (empty, total) = (median(&self.empty), median(&self.total));
        Figure {
            empty,
            parse_only: median(&self.parse),
            total,
            over_empty: median(&over),
            over_empty_quartiles: [25, 75].map(|percent| percentile(&over, percent)),
            over_parse,
            ratio: total / empty,
            ..self.of
        }
    }
}

/// Nanoseconds of one run of the rotator and `program`: this thread's CPU time.
fn time(loaded: &mut Loaded, case: &Case, program: RunProgram) -> anyhow::Result<f64> {
    let fd = loaded.rig.kernel.program_fd(program)?;
    let (ifindex, mark) = (case.stop.ifindex, case.stop.mark);
    let place = Place { ifindex, ingress_ifindex: ELSEWHERE, mark };
    let runs = MINIMUM.max(u32::try_from(case.packets.ends.len())?);
    let before = dropped(&loaded.rig, case)?;
    let (took, last) = loaded.rotator.run(&fd, &case.packets, place, runs)?;
    if program == case.stop.program {
        let wrong = if case.passes { 0 } else { u64::from(runs) };
        anyhow::ensure!(
            (last == NEXT) == case.passes && dropped(&loaded.rig, case)? - before == wrong,
            "{}: wrong verdict of a packet: the figures would be meaningless",
            case.name
        );
    }
    Ok(took.as_secs_f64() * 1e9 / f64::from(runs))
}

/// The packets that the pod's programs have dropped so far.
fn dropped(rig: &Rig, case: &Case) -> anyhow::Result<u64> {
    let Some((pod, direction)) = &case.counted else { return Ok(0) };
    Ok(cases::drops(&rig.counters(pod)?, *direction))
}

fn median(values: &[f64]) -> f64 {
    percentile(values, 50)
}

fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = sorted.len().saturating_sub(1) * percent / 100;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}
