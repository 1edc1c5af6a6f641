//! Trial programs: a second set of the programs that reads the policy tables of the attached ones, and has
//! flows, counters and events of its own. So they can be run on packets that nobody sent
//! (`BPF_PROG_TEST_RUN`), and no flow, counter or event of the attached programs changes.
//!
//! They find no flow but those of the same trial: a packet passes only if policy allows it, never as a
//! reply. The reason is the counter that rises: their counters are a small hash, which has elements for the
//! ids that a trial is about.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData};
use aya::programs::SchedClassifier;
use enforcer_ebpf::contract::counters::{Counters, NOBODY};
use enforcer_ebpf::contract::flow_table::{Group4, Group6, groups_for};
use enforcer_ebpf::contract::parts;
use enforcer_ebpf::contract::table::{self, Limits};
use enforcer_ebpf::contract::verdict::{Direction, Reason};

use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

use super::error::ignoring;
use super::load::{Build, Settings, array, load_programs};
use super::mapped_array::MappedArray;
use super::pinned_tables::Groups;
use super::pins::{self, PinsError, TablePin};
use super::shared_tables::SharedTable;
use super::sys::{MapShape, create_map, pin};
use super::test_run::run;
use super::verification::program_of;
use super::{Kernel, KernelError, Run, RunInput, RunProgram};

/// The programs that trials run.
const PROGRAMS: [RunProgram; 4] =
    [RunProgram::FromPod, RunProgram::ToPod, RunProgram::FromWire, RunProgram::ToWire];

/// The flows of each family: those of one trial.
const FLOWS: u32 = 64;
/// The sizes of tables that are not limited by options.
const SIZES: [(&str, u32); 3] =
    [(table::FRAGMENTS4, 64), (table::FRAGMENTS6, 64), (table::EVENTS, 4096)];
/// The ids that a trial may be about, nobody's included.
const IDS: u32 = 16;
/// `BPF_MAP_TYPE_HASH` of `linux/bpf.h`.
const HASH: u32 = 1;

/// What the trial programs are loaded from, in any thread.
pub struct TrialSeed {
    build: Build,
    shared: Vec<SharedTable>,
    /// A folder in a BPF file system, which exists while they are loaded.
    folder: PathBuf,
}

/// The trial programs.
pub struct Trial {
    programs: Vec<(RunProgram, SchedClassifier)>,
    test_origin: bool,
    counters: HashMap<MapData, u32, Counters>,
    flows: [MappedArray; 4],
    /// The table of parts, which the kernel empties when nobody holds it.
    _parts: Map,
}

/// The result of a program, and the counters that rose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// The program's result.
    pub run: Run,
    /// By endpoint id; [`NOBODY`] is no endpoint.
    pub counted: Vec<(u32, Direction, Reason)>,
}

impl Kernel {
    /// Takes what trial programs are loaded from. `None`: there is no BPF file system to share tables by, or
    /// it was taken before.
    ///
    /// # Errors
    /// The kernel runs no program.
    pub fn take_trial_seed(&mut self) -> Result<Option<TrialSeed>, KernelError> {
        let test_origin = !self.accepts_origin()?;
        let Some(pinned) = &self.pinned else { return Ok(None) };
        let folder = pinned.folder.with_file_name(pins::TRIAL);
        remove_leftover(&folder)?;
        let shared = std::mem::take(&mut self.shared);
        if shared.is_empty() {
            return Ok(None);
        }
        let settings = &self.build.settings;
        let limits = Limits { flows: FLOWS, ..settings.limits };
        let settings = Settings { limits, test_origin, test_index: true, log: false, ..*settings };
        Ok(Some(TrialSeed { build: Build { settings, ..self.build }, shared, folder }))
    }
}

impl TrialSeed {
    /// Loads the programs; takes as long as loading those of the agent.
    ///
    /// # Errors
    /// The tables can't be pinned, or the kernel rejects the programs.
    pub fn load(&self) -> Result<Trial, KernelError> {
        let folder = Folder::new(&self.folder)?;
        let mut pins = Vec::new();
        for (name, table) in &self.shared {
            pins.push(folder.pin(name, table)?);
        }
        let value = u32::try_from(size_of::<Counters>()).unwrap_or(u32::MAX);
        let shape = MapShape { kind: HASH, key: 4, value, entries: IDS, flags: 0, inner: 0 };
        let counters =
            create_map(&shape).map_err(KernelError::table_call(table::COUNTERS, "create"))?;
        pins.push(folder.pin(table::COUNTERS, &counters)?);
        let groups = Groups { own: groups_for(FLOWS), other: None };
        let own = PROGRAMS.map(RunProgram::name);
        let names: Vec<&'static str> = parts::NAMES.into_iter().chain(own).collect();
        let mut ebpf = load_programs(&self.build, &pins, groups, &names, &SIZES)?;
        let counters = MapData::from_fd(counters).map_err(KernelError::table(table::COUNTERS))?;
        let counters = HashMap::try_from(Map::HashMap(counters));
        Ok(Trial {
            _parts: ebpf.take_map(table::PARTS).ok_or(KernelError::NoTable(table::PARTS))?,
            test_origin: self.build.settings.test_origin,
            counters: counters.map_err(KernelError::table(table::COUNTERS))?,
            flows: [
                array(&mut ebpf, table::FLOW_TAGS4, size_of::<u64>())?,
                array(&mut ebpf, table::FLOW_TAGS6, size_of::<u64>())?,
                array(&mut ebpf, table::FLOW_ENTRIES4, size_of::<Group4>())?,
                array(&mut ebpf, table::FLOW_ENTRIES6, size_of::<Group6>())?,
            ],
            programs: PROGRAMS
                .map(|it| Ok((it, folder.reopen(&mut ebpf, it.name())?)))
                .into_iter()
                .collect::<Result<_, KernelError>>()?,
        })
    }
}

impl Trial {
    /// Runs several programs of one packet's way, on one CPU: some hand things on to the next in its memory.
    /// What they remember is forgotten first.
    ///
    /// # Errors
    /// Those of `run`, or a table can't be mapped.
    pub fn attempt<T>(
        &mut self,
        run: impl FnOnce(&mut Self) -> Result<T, KernelError>,
    ) -> Result<T, KernelError> {
        self.forget()?;
        let usual = stay_on_one_cpu();
        let result = run(self);
        if let Ok(usual) = usual {
            // As before, it ran on CPUs that exist.
            let _ = sched_setaffinity(Pid::from_raw(0), &usual);
        }
        result
    }

    /// Runs a program on a packet once. `ids`: the endpoints whose counters may rise, at most 15.
    ///
    /// # Errors
    /// The kernel rejects the packet, or the interface is gone.
    pub fn run(
        &mut self,
        program: RunProgram,
        input: &RunInput<'_>,
        ids: &[u32],
    ) -> Result<Tried, KernelError> {
        let failed = KernelError::table(table::COUNTERS);
        let ids = || ids.iter().copied().chain([NOBODY]);
        for id in ids() {
            self.counters.insert(id, Counters::default(), 0).map_err(failed)?;
        }
        let loaded = self.programs.iter_mut().find(|(it, _)| *it == program);
        let (_, loaded) = loaded.ok_or(KernelError::NoProgram(program.name()))?;
        let run = run(loaded, program, self.test_origin, &RunInput { repeat: 1, ..*input });
        let mut counted = Vec::new();
        for id in ids() {
            let counters = self.counters.get(&id, 0).map_err(failed)?;
            let reasons = Direction::ALL.into_iter().zip(counters.counts);
            counted.extend(reasons.flat_map(|(direction, counts)| {
                let risen = Reason::ALL.into_iter().zip(counts).filter(|(_, it)| it.packets > 0);
                risen.map(move |(reason, _)| (id, direction, reason))
            }));
            ignoring(std::io::ErrorKind::NotFound, table::COUNTERS, self.counters.remove(&id))?;
        }
        counted.dedup();
        Ok(Tried { run: run?, counted })
    }

    /// Removes the flows of the last trial, so that the next one finds none.
    ///
    /// # Errors
    /// A table can't be mapped.
    pub fn forget(&mut self) -> Result<(), KernelError> {
        for table in &self.flows {
            for word in 0..table.words() {
                table.u64(word)?.store(0, Ordering::Release);
            }
        }
        Ok(())
    }
}

/// Keeps the calling thread on the CPU that it runs on; returns the CPUs that it may use otherwise.
fn stay_on_one_cpu() -> nix::Result<CpuSet> {
    let thread = Pid::from_raw(0);
    let usual = sched_getaffinity(thread)?;
    let mut one = CpuSet::new();
    one.set(sched_getcpu()?)?;
    sched_setaffinity(thread, &one)?;
    Ok(usual)
}

/// The folder with pins of shared tables; removed on drop.
struct Folder<'a>(&'a Path);

impl<'a> Folder<'a> {
    fn new(path: &'a Path) -> Result<Self, PinsError> {
        remove_leftover(path)?;
        pins::make(path)?;
        Ok(Self(path))
    }

    fn pin(&self, name: &'static str, table: &OwnedFd) -> Result<TablePin, KernelError> {
        let path = self.0.join(name);
        pin(table.as_fd(), &path).map_err(KernelError::read_pin(&path))?;
        Ok((name, path))
    }

    /// The program alone: what it was loaded from takes two megabytes.
    fn reopen(&self, ebpf: &mut Ebpf, name: &'static str) -> Result<SchedClassifier, KernelError> {
        let path = self.0.join(name);
        let pinned = program_of(ebpf, name)?.pin(&path);
        pinned.map_err(|source| KernelError::Pin { path: path.clone(), source })?;
        SchedClassifier::from_pin(&path).map_err(|source| KernelError::Program { name, source })
    }
}

/// Removes what an agent left that was killed meanwhile: it would keep old tables.
fn remove_leftover(path: &Path) -> Result<(), PinsError> {
    if path.exists() { pins::remove_tree(path) } else { Ok(()) }
}

impl Drop for Folder<'_> {
    fn drop(&mut self) {
        if let Err(error) = pins::remove_tree(self.0) {
            tracing::warn!("cannot remove {}: {error}", self.0.display());
        }
    }
}
