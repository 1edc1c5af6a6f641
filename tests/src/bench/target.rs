//! Programs that cases are prepared on: those in the kernel, or those in the simulator.

use std::collections::BTreeMap;

use enforcer::kernel::RunProgram;
use enforcer_core::model::{Cluster, PodId};

use super::rotator::{Packets, Place, Rotator};
use crate::rig::{ELSEWHERE, Outcome, Rig, run_input};
use crate::simulator::{Arrival, Simulator, Trace};

/// Where packets meet a program.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stop {
    pub(super) program: RunProgram,
    pub(super) ifindex: u32,
    /// As in [`crate::rig::Outcome`].
    pub(super) mark: u64,
}

/// Programs, and tables to prepare.
pub(super) trait Target {
    /// Programs the tables.
    fn program(&mut self, cluster: &Cluster, at: BTreeMap<PodId, u32>) -> anyhow::Result<()>;

    /// Runs a program on a packet, which must pass; returns the mark.
    fn pass(&mut self, stop: Stop, frame: &[u8]) -> anyhow::Result<u64>;

    /// Runs a program on all packets.
    fn all(&mut self, stop: Stop, packets: &Packets) -> anyhow::Result<()>;
}

/// The programs in the kernel, and the rotator in front of them.
pub(super) struct Loaded {
    pub(super) rig: Rig,
    pub(super) rotator: Rotator,
}

impl Loaded {
    /// Runs a program on a packet.
    pub(super) fn outcome(&mut self, stop: Stop, frame: &[u8]) -> anyhow::Result<Outcome> {
        let input = run_input(frame, stop.ifindex, ELSEWHERE, stop.mark);
        let run = self.rig.kernel.run(stop.program, &input)?;
        let mark = u64::from(run.index) << 32 | u64::from(run.mark);
        Ok(Outcome { passes: run.passes, mark })
    }
}

impl Target for Loaded {
    fn program(&mut self, cluster: &Cluster, at: BTreeMap<PodId, u32>) -> anyhow::Result<()> {
        self.rig.program(cluster, at).map(|_| ())
    }

    fn pass(&mut self, stop: Stop, frame: &[u8]) -> anyhow::Result<u64> {
        let outcome = self.outcome(stop, frame)?;
        let name = stop.program.name();
        anyhow::ensure!(outcome.passes, "{name}: a packet of the preparation was denied");
        Ok(outcome.mark)
    }

    fn all(&mut self, stop: Stop, packets: &Packets) -> anyhow::Result<()> {
        let fd = self.rig.kernel.program_fd(stop.program)?;
        self.rotator.prepare(packets)?;
        let place = Place { ifindex: stop.ifindex, ingress_ifindex: ELSEWHERE, mark: stop.mark };
        self.rotator.run(&fd, packets, place, u32::try_from(packets.ends.len())?)?;
        Ok(())
    }
}

/// Runs a packet in the simulator.
pub(super) fn simulate(
    simulator: &mut Simulator,
    stop: Stop,
    frame: &[u8],
) -> anyhow::Result<Trace> {
    let halves = [stop.mark & u64::from(u32::MAX), stop.mark >> 32];
    let [mark, index] = [u32::try_from(halves[0])?, u32::try_from(halves[1])?];
    let (program, ifindex) = (stop.program.name(), stop.ifindex);
    simulator.run(&Arrival { program, frame, ifindex, ingress_ifindex: ELSEWHERE, mark, index })
}

impl Target for Simulator {
    fn program(&mut self, cluster: &Cluster, at: BTreeMap<PodId, u32>) -> anyhow::Result<()> {
        Self::program(self, cluster, at)
    }

    fn pass(&mut self, stop: Stop, frame: &[u8]) -> anyhow::Result<u64> {
        let trace = simulate(self, stop, frame)?;
        let name = stop.program.name();
        anyhow::ensure!(trace.passes, "{name}: a packet of the preparation was denied");
        Ok(trace.both())
    }

    fn all(&mut self, stop: Stop, packets: &Packets) -> anyhow::Result<()> {
        (0..packets.ends.len())
            .try_for_each(|at| self.pass(stop, &packets.frame_at(at)).map(|_| ()))
    }
}
