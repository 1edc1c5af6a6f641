//! Loading the programs and their tables.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray};
use aya::programs::SchedClassifier;
use aya::{Ebpf, EbpfLoader};
use enforcer_ebpf::contract::counters::Counters;
use enforcer_ebpf::contract::endpoint::{Endpoint, ExtraAddress};
use enforcer_ebpf::contract::flow_table::groups_for;
use enforcer_ebpf::contract::fragment::{Fragment4, Fragment6, FragmentState};
use enforcer_ebpf::contract::owner::OwnerRecord;
use enforcer_ebpf::contract::starts::Starts;
use enforcer_ebpf::contract::table::{self, Leaf6, Limits, Node6, PortSetBits, SLOTS};
use enforcer_ebpf::packet::Address6;

use super::clock::{Clock, Lifetimes};
use super::counter_reader::CounterReader;
use super::flows::FlowTables;
use super::grace::Grace;
use super::mapped_array::MappedArray;
use super::origins::Origins;
use super::pinned_tables::{Groups, PinnedTables};
use super::pins::{Pins, TablePin};
use super::shared_tables::{SharedTable, shared_tables};
use super::verification::{load_each, program_of};
use super::{KernelError, parts};

/// The object with the programs: `cargo xtask build-ebpf` compiles it, the build script embeds it.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/enforcer-ebpf.o"));

/// The settings for loading the programs.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Sizes of the tables.
    pub limits: Limits,
    /// The 15 adjacent bits of `skb->mark` that carry the sending endpoint.
    pub mark_mask: u32,
    /// The idle timeouts of flows.
    pub lifetimes: Lifetimes,
    /// Whether the programs log packets that they could not read. Other packets cost nothing more.
    pub log: bool,
    /// Whether the programs are only for [`Kernel::run`], on a kernel where test runs can't set
    /// `ingress_ifindex` (Linux 5.10). Never for real packets: their senders could forge it.
    pub test_origin: bool,
    /// Whether the programs are only for [`Kernel::run`], where the packet's context can't set
    /// `tc_index`. Never for real packets.
    pub test_index: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::DEFAULT,
            mark_mask: 0xfffe_0000,
            lifetimes: Lifetimes::DEFAULT,
            log: false,
            test_origin: false,
            test_index: false,
        }
    }
}

/// The array tables that are mapped into memory.
#[derive(Debug)]
pub(super) struct Arrays {
    pub(super) trie4: MappedArray,
    pub(super) nodes6: MappedArray,
    pub(super) leaves6: MappedArray,
    pub(super) networks6: MappedArray,
    pub(super) ports: MappedArray,
    pub(super) port_sets: MappedArray,
    pub(super) verdicts: MappedArray,
    pub(super) interfaces: MappedArray,
    pub(super) endpoints: MappedArray,
    pub(super) senders: MappedArray,
}

/// The loaded programs and their tables. Dropping it detaches them.
pub struct Kernel {
    pub(super) ebpf: Ebpf,
    pub(super) arrays: Arrays,
    pub(super) extra_addresses: HashMap<MapData, ExtraAddress, u32>,
    pub(super) pod_addresses: HashMap<MapData, Address6, u32>,
    pub(super) flows: Arc<FlowTables>,
    pub(super) starts: Array<MapData, Starts>,
    pub(super) fragments4: HashMap<MapData, Fragment4, FragmentState>,
    pub(super) fragments6: HashMap<MapData, Fragment6, FragmentState>,
    pub(super) counters: PerCpuArray<MapData, Counters>,
    pub(super) counter_reader: Arc<CounterReader>,
    pub(super) owners: HashMap<MapData, u32, OwnerRecord>,
    pub(super) grace: Grace,
    pub(super) origins: Origins,
    /// The tables that outlive the agent, if there are pins.
    pub(super) pinned: Option<PinnedTables>,
    /// What further sets of programs are loaded with.
    pub(super) build: Build,
    /// The policy tables, for further sets of programs.
    pub(super) shared: Vec<SharedTable>,
}

/// The programs that hooks and tests use, and the parts of `to_pod`; the largest first.
pub(super) const PROGRAMS: [&str; 13] = [
    "from_pod",
    "to_pod_general",
    "to_pod_general6",
    "to_wire",
    "to_wire_ip",
    "to_pod_deferred",
    "to_pod_from_node",
    "to_pod",
    "from_wire",
    "from_wire_ip",
    "empty",
    "parse_only",
    "clock",
];

impl Kernel {
    /// Loads the programs with empty tables, and attaches none.
    ///
    /// # Errors
    /// The kernel rejects them, or the agent was built without them.
    pub fn load(settings: &Settings) -> Result<Self, KernelError> {
        let build = Build::new(settings, None);
        let groups = Groups { own: groups_for(settings.limits.flows), other: None };
        let ebpf = load_all(&build, &[], groups)?;
        let mut kernel = Self::with_tables(ebpf, build, None)?;
        kernel.begin_learning()?;
        Ok(kernel)
    }

    /// Loads the programs beside those of an earlier agent, if there was one. The tables with
    /// policy are new; no packet uses them before the attached programs are replaced. Flows,
    /// counters and owners are the earlier agent's (semantics C3).
    ///
    /// # Errors
    /// As [`Self::load`], or the tables can't be pinned.
    pub fn load_pinned(settings: &Settings, pins: &Pins) -> Result<Self, KernelError> {
        let mut pinned = PinnedTables::prepare(pins, &settings.limits)?;
        let build = Build::new(settings, pinned.secret()?);
        let groups = Groups { own: groups_for(settings.limits.flows), other: None };
        let pins = pinned.pins(&settings.limits);
        let mut ebpf = load_all(&build, &pins, groups)?;
        set_secret(&mut ebpf, build.secrets.flows)?;
        pinned.hold(&settings.limits, &ebpf)?;
        pinned.load_stages(&settings.limits, |pins, groups| load_all(&build, pins, groups))?;
        let mut kernel = Self::with_tables(ebpf, build, Some(pinned))?;
        kernel.take_over_owners(&settings.limits)?;
        kernel.begin_learning()?;
        if kernel.pinned.as_mut().is_some_and(|it| it.stage().is_none()) {
            // No programs look into both. Copied again when the last program is replaced.
            kernel.take_over_flows()?;
        }
        Ok(kernel)
    }

    fn with_tables(
        mut ebpf: Ebpf,
        build: Build,
        pinned: Option<PinnedTables>,
    ) -> Result<Self, KernelError> {
        let shared = shared_tables(&ebpf)?;
        let arrays = Arrays {
            trie4: array(&mut ebpf, table::TRIE4, size_of::<[u32; SLOTS]>())?,
            nodes6: array(&mut ebpf, table::TRIE6_NODES, size_of::<Node6>())?,
            leaves6: array(&mut ebpf, table::TRIE6_LEAVES, size_of::<Leaf6>())?,
            networks6: array(&mut ebpf, table::NETWORKS6, size_of::<table::NetworkTable>())?,
            ports: array(&mut ebpf, table::PORTS, size_of::<table::PortTable>())?,
            port_sets: array(&mut ebpf, table::PORT_SETS, size_of::<PortSetBits>())?,
            verdicts: array(&mut ebpf, table::VERDICTS, size_of::<[u32; SLOTS]>())?,
            interfaces: array(&mut ebpf, table::INTERFACES, size_of::<table::InterfaceTable>())?,
            endpoints: array(&mut ebpf, table::ENDPOINTS, size_of::<Endpoint>())?,
            senders: array(&mut ebpf, table::SENDERS, size_of::<u64>())?,
        };
        let counter_reader = Arc::new(CounterReader::open(&ebpf)?);
        Ok(Self {
            arrays,
            counter_reader,
            extra_addresses: typed(&mut ebpf, table::EXTRA_ADDRESSES)?,
            pod_addresses: typed(&mut ebpf, table::POD_ADDRESSES)?,
            flows: Arc::new(FlowTables::take(&mut ebpf, build.clock, build.secrets.flows)?),
            starts: typed(&mut ebpf, table::STARTS)?,
            fragments4: typed(&mut ebpf, table::FRAGMENTS4)?,
            fragments6: typed(&mut ebpf, table::FRAGMENTS6)?,
            counters: typed(&mut ebpf, table::COUNTERS)?,
            owners: typed(&mut ebpf, table::OWNERS)?,
            grace: Grace::new()?,
            origins: Origins::new(typed(&mut ebpf, table::ORIGINS)?),
            pinned,
            build,
            shared,
            ebpf,
        })
    }

    /// The secrets of the IPv6 networks' places, for the state of the tables.
    #[must_use]
    pub fn network_secrets(&self) -> [u64; 2] {
        self.build.secrets.networks
    }

    /// Whether there were tables of an earlier agent.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.pinned.as_ref().is_some_and(|it| it.is_resumed || !it.others().is_empty())
    }

    /// From now on, until a handshake would have timed out, every segment to a pod is recorded: the
    /// programs have not seen how its connection began.
    fn begin_learning(&mut self) -> Result<(), KernelError> {
        let now = self.now()?;
        self.set_starts(Starts { answered: now, missed: now })
    }

    /// For tests and measurements: as if the programs had been loaded long ago.
    ///
    /// # Errors
    /// A table can't be written.
    pub fn end_learning(&mut self) -> Result<(), KernelError> {
        let past = self.now()?.wrapping_sub(u32::MAX / 4);
        self.set_starts(Starts { answered: past, missed: past })
    }

    fn set_starts(&mut self, starts: Starts) -> Result<(), KernelError> {
        let failed = KernelError::table(table::STARTS);
        (0..self.starts.len()).try_for_each(|id| self.starts.set(id, starts, 0).map_err(failed))
    }

    /// Pins the tables again whose pins are gone; returns whether there were any.
    ///
    /// # Errors
    /// They can't be pinned.
    pub fn restore_pins(&self) -> Result<bool, KernelError> {
        self.pinned.as_ref().map_or(Ok(false), PinnedTables::restore)
    }

    /// A program of the present set.
    pub(super) fn program(
        &mut self,
        name: &'static str,
    ) -> Result<&mut SchedClassifier, KernelError> {
        let stage = self.pinned.as_mut().and_then(PinnedTables::stage);
        program_of(stage.unwrap_or(&mut self.ebpf), name)
    }

    /// The number of instructions that the verifier processed for each program; `None` if the
    /// kernel does not report it.
    pub fn verified_instructions(&self) -> Vec<(&'static str, Option<u32>)> {
        let verified = PROGRAMS.map(|name| {
            let program = self.ebpf.program(name).and_then(|it| it.info().ok());
            (name, program.and_then(|info| info.verified_instruction_count()))
        });
        verified.into()
    }
}

/// The secrets of hashes: nobody can choose a place in a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Secrets {
    /// Of the flows' hash; the next agent has the same.
    pub(super) flows: u64,
    /// Of the IPv6 networks' places.
    networks: [u64; 2],
}

impl Secrets {
    /// New secrets; `flows`: unless they have one already.
    fn new(flows: Option<u64>) -> Self {
        let flows = flows.unwrap_or_else(new_secret);
        Self { flows, networks: [new_secret(), new_secret()] }
    }
}

/// An odd number that nobody can know.
fn new_secret() -> u64 {
    // The standard library seeds it from the operating system's random numbers.
    RandomState::new().hash_one(0_u8) | 1
}

/// Keeps the secret for the next agent.
fn set_secret(ebpf: &mut Ebpf, secret: u64) -> Result<(), KernelError> {
    let mut map: Array<_, u64> = typed(ebpf, table::FLOW_SECRET)?;
    map.set(0, secret, 0).map_err(KernelError::table(table::FLOW_SECRET))
}

/// What every set of programs is loaded with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Build {
    pub(super) settings: Settings,
    pub(super) clock: Clock,
    pub(super) secrets: Secrets,
}

impl Build {
    /// `secret`: of the flows' hash, if they have one already.
    fn new(settings: &Settings, secret: Option<u64>) -> Self {
        let clock = Clock::of_this_kernel(&settings.lifetimes);
        Self { settings: *settings, clock, secrets: Secrets::new(secret) }
    }
}

/// Loads all programs; pinned tables are reused. `groups`: of the flow tables, of two sizes during a migration.
fn load_all(build: &Build, pins: &[TablePin], groups: Groups) -> Result<Ebpf, KernelError> {
    load_programs(build, pins, groups, &PROGRAMS, &[])
}

/// Loads these programs, as [`load_all`]. `sizes`: of further tables.
pub(super) fn load_programs(
    build: &Build,
    pins: &[TablePin],
    groups: Groups,
    programs: &[&'static str],
    sizes: &[(&'static str, u32)],
) -> Result<Ebpf, KernelError> {
    if OBJECT.is_empty() {
        return Err(KernelError::NoObject);
    }
    let Build { settings, clock, secrets } = build;
    let Settings { limits, mark_mask, log, test_origin, test_index, .. } = *settings;
    let level = if log { aya_log::Level::Debug as u8 } else { 0 };
    let [origin_in_cb, index_in_cb] = [test_origin, test_index].map(u32::from);
    let cpu_bits = cpu_bits()?;
    let is_moving = u32::from(groups.other.is_some());
    let new_groups = groups_for(limits.flows);
    let mut loader = EbpfLoader::new();
    for (name, path) in pins {
        loader.map_pin_path(name, path);
    }
    for (name, entries) in sizes {
        loader.map_max_entries(name, *entries);
    }
    let mut ebpf = loader
        .override_global(aya_log::LEVEL, &level, true)
        .override_global("MARK_MASK", &mark_mask, true)
        .override_global("MARK_SHIFT", &mark_mask.trailing_zeros(), true)
        .override_global("ORIGIN_IN_CB", &origin_in_cb, true)
        .override_global("INDEX_IN_CB", &index_in_cb, true)
        .override_global("CPU_BITS", &cpu_bits, true)
        .override_global("IS_MOVING", &is_moving, true)
        .override_global("FLOW_GROUPS", &groups.own, true)
        .override_global("OTHER_FLOW_GROUPS", &groups.other.unwrap_or(1), true)
        .override_global("FLOW_HASH_SECRET", &secrets.flows, true)
        .override_global("NETWORK_SECRETS", &secrets.networks, true)
        .override_global("CLOCK_SHIFT", &clock.shift, true)
        .override_global("FLOW_LIFETIMES", &clock.lifetimes, true)
        .map_max_entries(table::TRIE4, limits.trie4_blocks)
        .map_max_entries(table::TRIE6_NODES, limits.trie6_nodes)
        .map_max_entries(table::TRIE6_LEAVES, limits.trie6_leaves)
        .map_max_entries(table::PORT_SETS, limits.port_sets)
        .map_max_entries(table::VERDICTS, limits.verdict_blocks)
        .map_max_entries(table::ENDPOINTS, limits.endpoints)
        .map_max_entries(table::SENDERS, limits.endpoints)
        .map_max_entries(table::COUNTERS, limits.endpoints)
        .map_max_entries(table::BUDGET, limits.endpoints)
        .map_max_entries(table::OWNERS, limits.endpoints)
        .map_max_entries(table::STARTS, limits.endpoints)
        .map_max_entries(table::OVER_SHARE, limits.endpoints)
        .map_max_entries(table::FLOW_TAGS4, new_groups)
        .map_max_entries(table::FLOW_TAGS6, new_groups)
        .map_max_entries(table::FLOW_ENTRIES4, new_groups)
        .map_max_entries(table::FLOW_ENTRIES6, new_groups)
        .load(OBJECT)?;
    load_each(&mut ebpf, programs)?;
    parts::fill(&mut ebpf)?;
    Ok(ebpf)
}

/// The bits of the highest number of a CPU that is online: a virtual machine may have many more
/// possible ones. The programs number no clients on CPUs that come later.
fn cpu_bits() -> Result<u32, KernelError> {
    let failed = KernelError::table_call(table::CLIENTS, "online CPUs");
    let cpus = aya::util::online_cpus().map_err(|(_, error)| failed(error))?;
    let highest = cpus.into_iter().max().unwrap_or_default();
    Ok(u32::BITS - highest.leading_zeros())
}

pub(super) fn array(
    ebpf: &mut Ebpf,
    name: &'static str,
    size: usize,
) -> Result<MappedArray, KernelError> {
    match ebpf.take_map(name) {
        Some(Map::Array(data)) => MappedArray::new(name, data, size),
        _ => Err(KernelError::NoTable(name)),
    }
}

fn typed<T: TryFrom<Map>>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, KernelError> {
    ebpf.take_map(name).and_then(|map| T::try_from(map).ok()).ok_or(KernelError::NoTable(name))
}
