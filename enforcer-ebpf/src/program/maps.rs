//! The tables as the programs see them. The agent may choose other sizes when it loads them.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf};
use enforcer_ebpf::contract::client::Clients;
use enforcer_ebpf::contract::counters::{Counters, FlowCounts};
use enforcer_ebpf::contract::endpoint::{Endpoint, ExtraAddress, MAX_ID, Slot};
use enforcer_ebpf::contract::event::Budget;
use enforcer_ebpf::contract::flow_table::{Group4, Group6, groups_for};
use enforcer_ebpf::contract::fragment::{Fragment4, Fragment6, FragmentState};
use enforcer_ebpf::contract::lookup::Tables;
use enforcer_ebpf::contract::networks::Places;
use enforcer_ebpf::contract::owner::OwnerRecord;
use enforcer_ebpf::contract::parts;
use enforcer_ebpf::contract::starts::Starts;
use enforcer_ebpf::contract::table::{
    Block, FRAGMENTS, InterfaceTable, Leaf6, Limits, NetworkTable, Node6, ORIGINS_SIZE,
    PortSetBits, PortTable,
};
use enforcer_ebpf::packet::Address6;

use crate::program::config;

const LIMITS: Limits = Limits::DEFAULT;
const GROUPS: u32 = groups_for(LIMITS.flows);

#[map]
static TRIE4: Array<Block> = Array::with_max_entries(LIMITS.trie4_blocks, BPF_F_MMAPABLE);
#[map]
static TRIE6_NODES: Array<Node6> = Array::with_max_entries(LIMITS.trie6_nodes, BPF_F_MMAPABLE);
#[map]
static TRIE6_LEAVES: Array<Leaf6> = Array::with_max_entries(LIMITS.trie6_leaves, BPF_F_MMAPABLE);
#[map]
static NETWORKS6: Array<NetworkTable> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static PORTS: Array<PortTable> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static PORT_SETS: Array<PortSetBits> = Array::with_max_entries(LIMITS.port_sets, BPF_F_MMAPABLE);
#[map]
static VERDICTS: Array<Block> = Array::with_max_entries(LIMITS.verdict_blocks, BPF_F_MMAPABLE);
#[map]
static INTERFACES: Array<InterfaceTable> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static ENDPOINTS: Array<Endpoint> = Array::with_max_entries(LIMITS.endpoints, BPF_F_MMAPABLE);
#[map]
static SENDERS: Array<u64> = Array::with_max_entries(LIMITS.endpoints, BPF_F_MMAPABLE);
#[map]
pub(crate) static ORIGINS: HashMap<u32, u32> =
    HashMap::with_max_entries(ORIGINS_SIZE, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static CLIENTS: PerCpuArray<Clients> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub(crate) static EXTRA_ADDRESSES: HashMap<ExtraAddress, u32> =
    HashMap::with_max_entries(LIMITS.endpoints * 4, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static POD_ADDRESSES: HashMap<Address6, u32> =
    HashMap::with_max_entries(LIMITS.endpoints * 8, BPF_F_NO_PREALLOC);
#[map]
static OWNERS: HashMap<u32, OwnerRecord> =
    HashMap::with_max_entries(LIMITS.endpoints, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static FLOW_TAGS4: Array<u64> = Array::with_max_entries(GROUPS, BPF_F_MMAPABLE);
#[map]
pub(crate) static FLOW_TAGS6: Array<u64> = Array::with_max_entries(GROUPS, BPF_F_MMAPABLE);
#[map]
pub(crate) static FLOW_ENTRIES4: Array<Group4> = Array::with_max_entries(GROUPS, BPF_F_MMAPABLE);
#[map]
pub(crate) static FLOW_ENTRIES6: Array<Group6> = Array::with_max_entries(GROUPS, BPF_F_MMAPABLE);
// Tables of another size, while flows are being moved: see `config::is_moving`.
#[map]
pub(crate) static OTHER_FLOW_TAGS4: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub(crate) static OTHER_FLOW_TAGS6: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub(crate) static OTHER_FLOW_ENTRIES4: Array<Group4> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub(crate) static OTHER_FLOW_ENTRIES6: Array<Group6> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static FLOW_SECRET: Array<u64> = Array::with_max_entries(1, 0);
#[map]
pub(crate) static OVER_SHARE: Array<u32> = Array::with_max_entries(LIMITS.endpoints, 0);
#[map]
pub(crate) static STARTS: Array<Starts> = Array::with_max_entries(LIMITS.endpoints, 0);
#[map]
pub(crate) static FLOW_COUNTS: PerCpuArray<FlowCounts> = PerCpuArray::with_max_entries(2, 0);
#[map]
pub(crate) static FRAGMENTS4: LruHashMap<Fragment4, FragmentState> =
    LruHashMap::with_max_entries(FRAGMENTS, 0);
#[map]
pub(crate) static FRAGMENTS6: LruHashMap<Fragment6, FragmentState> =
    LruHashMap::with_max_entries(FRAGMENTS, 0);
#[map]
pub(crate) static COUNTERS: PerCpuArray<Counters> =
    PerCpuArray::with_max_entries(LIMITS.endpoints, 0);
#[map]
pub(crate) static BUDGET: PerCpuArray<Budget> = PerCpuArray::with_max_entries(LIMITS.endpoints, 0);
#[map]
pub(crate) static PARTS: ProgramArray = ProgramArray::with_max_entries(parts::COUNT, 0);
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 18, 0);

/// The classifier's tables in the kernel.
pub(crate) struct KernelTables;

impl Tables for KernelTables {
    #[inline(always)]
    fn trie4(&self, block: u32) -> Option<&Block> {
        TRIE4.get(block)
    }

    #[inline(always)]
    fn node6(&self, node: u32) -> Option<&Node6> {
        TRIE6_NODES.get(node)
    }

    #[inline(always)]
    fn leaf6(&self, leaf: u32) -> Option<&Leaf6> {
        TRIE6_LEAVES.get(leaf)
    }

    #[inline(always)]
    fn networks6(&self) -> Option<&NetworkTable> {
        NETWORKS6.get(0)
    }

    #[inline(always)]
    fn network_places(&self) -> Places {
        config::network_places()
    }

    #[inline(always)]
    fn ports(&self) -> Option<&PortTable> {
        PORTS.get(0)
    }

    #[inline(always)]
    fn port_set(&self, set: u32) -> Option<&PortSetBits> {
        PORT_SETS.get(set)
    }

    #[inline(always)]
    fn verdicts(&self, block: u32) -> Option<&Block> {
        VERDICTS.get(block)
    }

    #[inline(always)]
    fn interfaces(&self) -> Option<&InterfaceTable> {
        INTERFACES.get(0)
    }

    #[inline(always)]
    fn sender(&self, id: u32) -> Option<Slot> {
        SENDERS.get(id).map(|word| Slot(*word))
    }

    #[inline(always)]
    fn endpoint(&self, record: u32) -> Option<&Endpoint> {
        ENDPOINTS.get(record)
    }
}

const _: () = assert!(LIMITS.endpoints <= MAX_ID);
