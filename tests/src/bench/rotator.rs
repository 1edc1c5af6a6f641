//! Runs a program on many different packets in a row: see the rotator's source, `rotate.rs`.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Context as _;
use aya::Ebpf;
use aya::maps::{Array, MapData, ProgramArray};
use aya::programs::{ProgramFd, SchedClassifier, TestRun as _, TestRunOptions};
use enforcer::kernel::TestContext;
use enforcer_ebpf::rotation::{self, Ends, Rotation};
use nix::time::{ClockId, clock_gettime};

use crate::host::object;

/// The loaded rotator.
pub(super) struct Rotator {
    ebpf: Ebpf,
    ends: Array<MapData, Ends>,
    rotation: Array<MapData, Rotation>,
    under_test: ProgramArray<MapData>,
}

/// Packets that differ only in their ends.
pub(super) struct Packets {
    /// The first packet.
    pub(super) frame: Vec<u8>,
    /// The ends of all.
    pub(super) ends: Vec<Ends>,
    /// Added to the source port of each packet when the packets have all been used.
    pub(super) port_step: u16,
}

/// The place where a program sees the packets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) ifindex: u32,
    pub(super) ingress_ifindex: u32,
    /// As in [`crate::rig::Outcome`].
    pub(super) mark: u64,
}

/// The beginning of the addresses, and their length.
const fn addresses(v4: bool) -> (usize, usize) {
    if v4 { (26, 8) } else { (22, 32) }
}

impl Packets {
    /// The packets of these frames, whose headers have no options.
    pub(super) fn new(frames: impl Iterator<Item = Vec<u8>>) -> anyhow::Result<Self> {
        let mut frames = frames.peekable();
        let frame = frames.peek().context("no packets")?.clone();
        let ends = frames.map(|frame| ends(&frame).context("a short frame"));
        let ends: Vec<Ends> = ends.collect::<Result<_, _>>()?;
        let different: HashSet<&[u8]> = ends.iter().map(bytemuck::bytes_of).collect();
        anyhow::ensure!(
            different.len() == ends.len(),
            "the packets of a case are not all different"
        );
        Ok(Self { ends, frame, port_step: 0 })
    }

    /// A packet in the first turn.
    pub(super) fn frame_at(&self, at: usize) -> Vec<u8> {
        let mut frame = self.frame.clone();
        let (start, length) = addresses(is_v4(&frame));
        let ends = self.ends.get(at).copied().unwrap_or_default();
        let bytes = bytemuck::bytes_of(&ends.addresses).iter().take(length);
        let bytes = bytes.chain(bytemuck::bytes_of(&ends.ports));
        for (place, byte) in frame.iter_mut().skip(start).zip(bytes) {
            *place = *byte;
        }
        frame
    }
}

fn is_v4(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[8, 0])
}

fn ends(frame: &[u8]) -> Option<Ends> {
    let (start, length) = addresses(is_v4(frame));
    let mut ends = Ends::default();
    bytemuck::bytes_of_mut(&mut ends.addresses)
        .get_mut(..length)?
        .copy_from_slice(frame.get(start..start + length)?);
    bytemuck::bytes_of_mut(&mut ends.ports)
        .copy_from_slice(frame.get(start + length..start + length + 4)?);
    Some(ends)
}

impl Rotator {
    /// Loads the rotator from beside the programs' object.
    pub(super) fn load() -> anyhow::Result<Self> {
        let path = object("rotate.o")?;
        let what = || format!("can't load {}: run `cargo xtask build-ebpf`", path.display());
        let mut ebpf = Ebpf::load_file(&path).with_context(what)?;
        for name in ["rotate4", "rotate6"] {
            program(&mut ebpf, name)?.load().with_context(what)?;
        }
        let mut map = |name| ebpf.take_map(name).with_context(|| format!("no table {name}"));
        let ends = Array::try_from(map(rotation::ENDS)?)?;
        let turns = Array::try_from(map(rotation::ROTATION)?)?;
        let under_test = ProgramArray::try_from(map(rotation::UNDER_TEST)?)?;
        Ok(Self { ebpf, ends, rotation: turns, under_test })
    }

    /// Writes the packets of the next runs.
    pub(super) fn prepare(&mut self, packets: &Packets) -> anyhow::Result<()> {
        anyhow::ensure!(packets.ends.len() <= rotation::PACKETS as usize, "too many packets");
        for (at, ends) in (0..).zip(&packets.ends) {
            self.ends.set(at, ends, 0)?;
        }
        let count = u32::try_from(packets.ends.len())?;
        let port_step = packets.port_step;
        self.rotation.set(0, Rotation { count, port_step, ..Rotation::default() }, 0)?;
        Ok(())
    }

    /// Runs the program on the next `runs` packets. Returns this thread's CPU time, and what the
    /// program returned for the last packet.
    pub(super) fn run(
        &mut self,
        under_test: &ProgramFd,
        packets: &Packets,
        place: Place,
        runs: u32,
    ) -> anyhow::Result<(Duration, u32)> {
        self.under_test.set(0, under_test, 0)?;
        let halves = [place.mark & u64::from(u32::MAX), place.mark >> 32];
        let before = self.rotation.get(&0, 0)?;
        let [mark, index] = [u32::try_from(halves[0])?, u32::try_from(halves[1])?];
        self.rotation.set(0, Rotation { mark, index, ..before }, 0)?;
        let context = TestContext {
            ifindex: place.ifindex,
            ingress_ifindex: place.ingress_ifindex,
            ..TestContext::default()
        };
        let mut options = TestRunOptions::new();
        options.data_in = Some(&packets.frame);
        options.ctx_in = Some(bytemuck::bytes_of(&context));
        options.repeat = runs;
        let name = if is_v4(&packets.frame) { "rotate4" } else { "rotate6" };
        let program = program(&mut self.ebpf, name)?;
        let started_at = thread_time()?;
        let result = program.test_run(options)?;
        let took = thread_time()?.checked_sub(started_at).unwrap_or_default();
        Ok((took, result.return_value))
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> anyhow::Result<&'a mut SchedClassifier> {
    let program = ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
    Ok(program.try_into()?)
}

fn thread_time() -> anyhow::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}
