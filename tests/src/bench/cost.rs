//! What packets cost apart from time: executed instructions, calls of helpers, and the memory of tables
//! that they touch. The simulator counts them, so they do not depend on the machine or its load.

use std::collections::BTreeMap;

use enforcer::kernel::{Kernel, Settings};
use enforcer_ebpf::contract::table::Limits;
use serde::{Deserialize, Serialize};

use super::cases::{self, Case, Flows};
use super::cluster::Shape;
use super::target::simulate;
use crate::simulator::{Simulator, Trace};

/// The cluster: large enough that look-ups go as deep as they do in practice.
pub(super) const SHAPE: Shape = Shape { policies: 1_000, peers: 10_000 };
/// The flows; their number changes no count, only how many groups of the table are full.
pub(super) const FLOWS: Flows = Flows { common: 512, established: &[512], replies: &[512] };
/// The packets of each case that are run. The greatest figure counts.
pub(super) const SAMPLE: usize = 64;
/// Interfaces; the simulator needs none that exist.
const INTERFACES: [u32; 2] = [70, 71];

/// All figures.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Costs {
    /// By case.
    pub packets: Vec<Cost>,
    /// By program.
    pub programs: Vec<Program>,
}

/// The most that a packet of a case costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// The packet and its fate.
    pub case: String,
    /// 4 or 6.
    pub family: u8,
    /// Executed instructions of the object.
    pub instructions: u32,
    /// Look-ups in arrays, which the kernel inlines.
    pub array_lookups: u32,
    /// Other calls of helpers.
    pub calls: u32,
    /// Cache lines of tables that were read or written.
    pub lines: u32,
    /// Bytes of tables that were read or written.
    pub bytes: u32,
    /// Calls by helper, for explanations.
    pub calls_by_helper: BTreeMap<String, u32>,
    /// Cache lines by table, for explanations.
    pub lines_by_table: BTreeMap<String, u32>,
}

/// The size of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its name.
    pub program: String,
    /// Its instructions, with all functions that it may call.
    pub instructions: u32,
    /// The instructions that the verifier processed, if the kernel reports them.
    pub verified: Option<u32>,
}

/// Measures all cases in the simulator, and loads the programs for the verifier's part.
///
/// # Errors
/// There is no object, the kernel rejects it, or a verdict is wrong.
pub fn measure() -> anyhow::Result<Costs> {
    let mut simulator = Simulator::new(Limits::DEFAULT)?;
    let cases = cases::prepare(&mut simulator, INTERFACES, SHAPE, FLOWS)?;
    simulator.end_learning()?;
    let packets = cases.iter().map(|case| one(&mut simulator, case));
    let packets = packets.collect::<Result<_, _>>()?;
    let verified: BTreeMap<_, _> =
        Kernel::load(&Settings::default())?.verified_instructions().into_iter().collect();
    let programs = simulator.sizes().map(|(name, size)| Program {
        program: name.to_owned(),
        instructions: u32::try_from(size).unwrap_or(u32::MAX),
        verified: verified.get(name).copied().flatten(),
    });
    Ok(Costs { packets, programs: programs.collect() })
}

fn one(simulator: &mut Simulator, case: &Case) -> anyhow::Result<Cost> {
    let mut stop = case.stop;
    simulator.renew_budget()?;
    if let Some(entered) = &case.entered {
        stop.mark = simulate(simulator, cases::ENTRY, entered)?.both();
    }
    let mut most = Cost {
        case: case.name.to_owned(),
        family: case.family,
        instructions: 0,
        array_lookups: 0,
        calls: 0,
        lines: 0,
        bytes: 0,
        calls_by_helper: BTreeMap::new(),
        lines_by_table: BTreeMap::new(),
    };
    for at in sample(case.packets.ends.len()) {
        let trace = simulate(simulator, stop, &case.packets.frame_at(at))?;
        anyhow::ensure!(trace.passes == case.passes, "{}: wrong verdict of packet {at}", case.name);
        most.add(&trace);
    }
    Ok(most)
}

/// Positions, evenly among so many packets.
pub(super) fn sample(packets: usize) -> impl Iterator<Item = usize> {
    let number = packets.min(SAMPLE);
    (0..number).map(move |at| at * packets / number)
}

impl Cost {
    fn add(&mut self, trace: &Trace) {
        let lines = trace.touched.values().map(|it| it.lines).sum();
        if lines >= self.lines {
            let by_table = trace.touched.iter().map(|(name, it)| (name.clone(), it.lines));
            self.lines_by_table = by_table.collect();
        }
        let array_lookups = trace.array_lookups();
        let calls = trace.calls.values().sum::<u32>() - array_lookups;
        if calls >= self.calls {
            let calls = trace.calls.iter();
            self.calls_by_helper = calls.map(|(name, it)| ((*name).to_owned(), *it)).collect();
        }
        self.instructions = self.instructions.max(trace.instructions);
        self.array_lookups = self.array_lookups.max(array_lookups);
        self.calls = self.calls.max(calls);
        self.lines = self.lines.max(lines);
        self.bytes = self.bytes.max(trace.touched.values().map(|it| it.bytes).sum());
    }
}
