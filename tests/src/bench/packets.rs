//! Nanoseconds per packet, measured with `BPF_PROG_TEST_RUN`.
//!
//! Each run has another packet: another peer, another flow. A round runs thousands of them in a row
//! and takes the thread's CPU time. The empty and the parse-only program run on the same packets in
//! the same round. The cost of a case is the median over the rounds of the difference. Everything
//! runs on one pinned core.

use enforcer::kernel::RunProgram;
use serde::Serialize;

use super::cases::{self, Case, Shape};
use super::rotator::{Place, Rotator};
use crate::rig::{ELSEWHERE, Rig, stay_on_one_cpu};

/// Runs in a row, at least.
const MINIMUM: u32 = 4_000;
/// The programs' verdict on a packet that passes (TC_ACT_UNSPEC).
const NEXT: u32 = u32::MAX;

/// The costs of all cases.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    /// The running kernel.
    pub kernel: String,
    /// The number of rounds; each figure is their median.
    pub rounds: usize,
    /// Instructions that the verifier processed, by program.
    pub verified_instructions: Vec<(&'static str, Option<u32>)>,
    /// By case.
    pub rows: Vec<Figure>,
}

/// The cost of one case.
#[derive(Debug, Serialize)]
pub(super) struct Figure {
    /// 4 or 6.
    pub family: u8,
    /// Policies that select the subject.
    pub policies: usize,
    /// Pods that the policies select as peers.
    pub peers: usize,
    /// The packet and its fate.
    pub case: &'static str,
    /// The number of different packets, each of another flow.
    pub flows: usize,
    /// Nanoseconds of the empty program, the loop around it included.
    pub empty: f64,
    /// Nanoseconds of the parse-only program.
    pub parse_only: f64,
    /// Nanoseconds of the complete program.
    pub total: f64,
    /// Nanoseconds beyond the empty program.
    pub over_empty: f64,
    /// Nanoseconds beyond parsing.
    pub over_parse: f64,
    /// The complete program's time divided by the empty one's.
    pub ratio: f64,
}

pub(super) fn measure(
    rounds: usize,
    interfaces: &[u32],
    progress: impl Fn(&str),
) -> anyhow::Result<Figures> {
    stay_on_one_cpu()?;
    let mut rotator = Rotator::load()?;
    let mut rows = Vec::new();
    let mut verified_instructions = Vec::new();
    for shape in Shape::ALL {
        progress(&format!("{} policies, {} peers", shape.policies, shape.peers));
        let mut rig = Rig::new()?;
        let mut cases = cases::prepare(&mut rig, interfaces, shape)?;
        verified_instructions = rig.kernel.verified_instructions();
        // Connections are in progress, and the programs have been there for long.
        rig.kernel.end_learning()?;
        for case in &mut cases {
            rows.push(one(&mut rig, &mut rotator, case, shape, rounds)?);
        }
    }
    let kernel = nix::sys::utsname::uname()?.release().to_string_lossy().into_owned();
    Ok(Figures { kernel, rounds, verified_instructions, rows })
}

fn one(
    rig: &mut Rig,
    rotator: &mut Rotator,
    case: &mut Case,
    shape: Shape,
    rounds: usize,
) -> anyhow::Result<Figure> {
    rotator.prepare(&case.packets)?;
    let (mut empty, mut parse, mut total) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        if let Some(entered) = &case.entered {
            case.mark = rig.wire(RunProgram::FromWire, entered, 0)?.mark;
        }
        if round == 0 {
            // Each flow and peer once, before anything is measured.
            time(rig, rotator, case, case.program)?;
            continue;
        }
        empty.push(time(rig, rotator, case, RunProgram::Empty)?);
        parse.push(time(rig, rotator, case, RunProgram::ParseOnly)?);
        total.push(time(rig, rotator, case, case.program)?);
    }
    let beyond = |than: &[f64]| median(total.iter().zip(than).map(|(a, b)| a - b).collect());
    let (over_empty, over_parse) = (beyond(&empty), beyond(&parse));
    let (empty, parse_only, total) = (median(empty), median(parse), median(total));
    Ok(Figure {
        family: case.family,
        policies: shape.policies,
        peers: shape.peers,
        case: case.name,
        flows: case.packets.ends.len(),
        empty,
        parse_only,
        total,
        over_empty,
        over_parse,
        ratio: total / empty,
    })
}

/// Nanoseconds of one run of the rotator and `program`: this thread's CPU time.
fn time(
    rig: &mut Rig,
    rotator: &mut Rotator,
    case: &Case,
    program: RunProgram,
) -> anyhow::Result<f64> {
    let fd = rig.kernel.program_fd(program)?;
    let place = Place { ifindex: case.ifindex, ingress_ifindex: ELSEWHERE, mark: case.mark };
    let runs = MINIMUM.max(u32::try_from(case.packets.ends.len())?);
    let dropped = case.dropped(rig)?;
    let (took, last) = rotator.run(&fd, &case.packets, place, runs)?;
    if program == case.program {
        let wrong = if case.passes { 0 } else { u64::from(runs) };
        anyhow::ensure!(
            (last == NEXT) == case.passes && case.dropped(rig)? - dropped == wrong,
            "{}: wrong verdict of a packet: the figures would be meaningless",
            case.name
        );
    }
    Ok(took.as_secs_f64() * 1e9 / f64::from(runs))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
