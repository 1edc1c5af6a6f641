//! Whether the simulator does what the loaded programs do: the ground on which its counts are believed.

use enforcer::kernel::RunProgram;
use enforcer_core::model::PodId;
use enforcer_ebpf::contract::table::Limits;

use super::cases::{self, Case};
use super::cost::{FLOWS, SHAPE, sample};
use super::rotator::Rotator;
use super::target::{Loaded, Target as _, simulate};
use crate::rig::{Rig, with_interfaces};
use crate::simulator::Simulator;

/// Runs packets of every case through both, and compares verdicts, marks, and the pods' counters.
///
/// # Errors
/// They differ, or one of them can't be loaded.
pub fn check() -> anyhow::Result<()> {
    with_interfaces(2, |found| {
        let interfaces = <[u32; 2]>::try_from(found.as_slice())?;
        let mut simulator = Simulator::new(Limits::DEFAULT)?;
        let mut loaded = Loaded { rig: Rig::new()?, rotator: Rotator::load()? };
        let simulated = cases::prepare(&mut simulator, interfaces, SHAPE, FLOWS)?;
        let measured = cases::prepare(&mut loaded, interfaces, SHAPE, FLOWS)?;
        simulator.end_learning()?;
        loaded.rig.kernel.end_learning()?;
        for (one, other) in simulated.into_iter().zip(measured) {
            compare(&mut simulator, &mut loaded, one, other)?;
        }
        for pod in ["subject", "free"].map(|name| PodId::new("bench", name)) {
            let (ours, kernels) = (simulator.counters(&pod)?, loaded.rig.counters(&pod)?);
            anyhow::ensure!(ours == kernels, "{pod}: counters differ: {ours:?}, {kernels:?}");
        }
        Ok(())
    })
}

fn compare(
    simulator: &mut Simulator,
    loaded: &mut Loaded,
    mut simulated: Case,
    mut measured: Case,
) -> anyhow::Result<()> {
    // A client's number depends on the CPU.
    let is_numbered = simulated.stop.program == RunProgram::FromWire || simulated.entered.is_some();
    if let Some(entered) = &simulated.entered {
        simulated.stop.mark = simulate(simulator, cases::ENTRY, entered)?.both();
        measured.stop.mark = loaded.pass(cases::ENTRY, entered)?;
    }
    for at in sample(simulated.packets.ends.len()) {
        let (name, frame) = (simulated.name, simulated.packets.frame_at(at));
        let trace = simulate(simulator, simulated.stop, &frame)?;
        let outcome = loaded.outcome(measured.stop, &frame)?;
        let same_mark = is_numbered || trace.both() == outcome.mark;
        anyhow::ensure!(
            trace.passes == outcome.passes && same_mark,
            "{name}, packet {at}: the simulator {trace:?}, the kernel {outcome:?}"
        );
    }
    Ok(())
}
