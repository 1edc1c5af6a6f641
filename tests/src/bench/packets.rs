//! Nanoseconds per packet, measured with `BPF_PROG_TEST_RUN`.
//!
//! Each case has a thousand packets of different peers and flows. A round runs each packet of each
//! case many times in a row and takes the thread's CPU time. The empty and the parse-only program
//! run on the same packets in the same round. The cost of a case is the median over the rounds of
//! the difference. Everything runs on one pinned core.

use std::time::Duration;

use enforcer::kernel::{RunInput, RunProgram};
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::cases::{self, Case, Shape};
use crate::rig::{ELSEWHERE, Rig, run_input, stay_on_one_cpu};

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
    /// Nanoseconds of the empty program, the loop around it included.
    pub empty: f64,
    /// Nanoseconds of the parse-only program.
    pub parse_only: f64,
    /// Nanoseconds of the complete program.
    pub total: f64,
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
    let mut rows = Vec::new();
    let mut verified_instructions = Vec::new();
    for shape in Shape::ALL {
        progress(&format!("{} policies, {} peers", shape.policies, shape.peers));
        let mut rig = Rig::new()?;
        let mut cases = cases::prepare(&mut rig, interfaces, shape)?;
        verified_instructions = rig.kernel.verified_instructions();
        for case in &mut cases {
            rows.push(one(&mut rig, case, shape, rounds)?);
        }
    }
    let kernel = nix::sys::utsname::uname()?.release().to_string_lossy().into_owned();
    Ok(Figures { kernel, rounds, verified_instructions, rows })
}

fn one(rig: &mut Rig, case: &mut Case, shape: Shape, rounds: usize) -> anyhow::Result<Figure> {
    let (mut empty, mut parse, mut total) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let packets = case.next_packets();
        if let Some(entered) = &case.entered {
            case.mark = rig.wire(RunProgram::FromWire, entered, 0)?.mark;
        }
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

/// Nanoseconds of one run of `program` on one packet: this thread's CPU time. Where no packet may
/// be repeated, it is the kernel's own measurement, since the system call costs ten times as much.
fn time(
    rig: &mut Rig,
    case: &Case,
    program: RunProgram,
    packets: &[Vec<u8>],
) -> anyhow::Result<f64> {
    let started_at = thread_time()?;
    let mut inside = Duration::ZERO;
    for frame in packets {
        let once = run_input(frame, case.ifindex, ELSEWHERE, case.mark);
        let input = RunInput { repeat: case.repeat, ..once };
        let run = rig.kernel.run(program, &input)?;
        inside += run.duration;
        anyhow::ensure!(
            program != case.program || run.passes == case.passes,
            "{}: wrong verdict of a packet: the figures would be meaningless",
            case.name
        );
    }
    let took = match case.repeat {
        1 => inside,
        _ => thread_time()?.checked_sub(started_at).unwrap_or_default(),
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
