//! The programs' instructions, executed one by one in this process, on tables in memory.
//!
//! A virtual machine seldom has hardware counters, and a test run of the kernel returns only a
//! verdict and a time. Here the same object runs in an interpreter that counts: instructions, calls of
//! helpers, and the bytes of tables that were read or written. These depend on the program and the
//! packet, not on the machine or its load. `tests/cost` compares verdicts, marks and counters with
//! those of the loaded programs.
//!
//! What belongs here: the object, its memory, the instructions, the helpers that the programs use. What
//! does not: which packets are run, and what they may cost (`bench`).

mod field;
mod helpers;
mod memory;
mod object;
mod processor;
mod tables;

use std::collections::BTreeMap;

use anyhow::Context as _;
use enforcer_core::model::{Cluster, PodId};
use enforcer_core::policy::compile;
use enforcer_core::tables::{Desired, Interface, Owner, State};
use enforcer_ebpf::contract::counters::Counters;
use enforcer_ebpf::contract::event::Budget;
use enforcer_ebpf::contract::starts::Starts;
use enforcer_ebpf::contract::table::{self, Limits};

use memory::Memory;
use tables::Tables;

pub use memory::Touched;

/// The return value for a packet that may proceed (TC_ACT_UNSPEC).
const NEXT: u32 = u32::MAX;

/// The programs and their tables in memory.
pub struct Simulator {
    code: processor::Programs,
    memory: Memory,
    tables: Tables,
    state: State,
    interfaces: BTreeMap<PodId, u32>,
    /// What `bpf_jiffies64` returns.
    jiffies: u64,
}

/// A packet in front of a program.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// The program's name in the object.
    pub program: &'a str,
    /// The frame with its link-layer header.
    pub frame: &'a [u8],
    /// The interface of the hook.
    pub ifindex: u32,
    /// The interface that the packet entered by; 0: the node itself sent it.
    pub ingress_ifindex: u32,
    /// `skb->mark`
    pub mark: u32,
    /// `skb->tc_index`
    pub index: u32,
}

/// What a program did with a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// Whether the packet may proceed.
    pub passes: bool,
    /// `skb->mark` afterwards.
    pub mark: u32,
    /// `skb->tc_index` afterwards.
    pub index: u32,
    /// Executed instructions.
    pub instructions: u32,
    /// Calls of helpers, by name.
    pub calls: BTreeMap<&'static str, u32>,
    /// What was read or written of each table.
    pub touched: BTreeMap<String, Touched>,
}

impl Trace {
    /// What the packet carries to the next program: `skb->mark`, and `skb->tc_index` above it.
    #[must_use]
    pub fn both(&self) -> u64 {
        u64::from(self.index) << 32 | u64::from(self.mark)
    }

    /// Look-ups in arrays, which the kernel replaces by a handful of instructions.
    #[must_use]
    pub fn array_lookups(&self) -> u32 {
        self.calls.get(helpers::ARRAY_LOOKUP).copied().unwrap_or_default()
    }
}

impl Simulator {
    /// The programs of the object in this program's target folder, with empty tables.
    ///
    /// # Errors
    /// There is no object, or it has parts that the simulator does not know.
    pub fn new(limits: Limits) -> anyhow::Result<Self> {
        let loaded = object::load(&limits)?;
        let mut memory = Memory::new();
        let tables = Tables::new(&mut memory, loaded.tables);
        let code = loaded.code;
        Ok(Self {
            code,
            memory,
            tables,
            state: State::new(limits),
            interfaces: BTreeMap::new(),
            // Late enough that nothing looks as if it had just begun.
            jiffies: 1 << 34,
        })
    }

    /// Programs the tables for pods at these interfaces.
    ///
    /// # Errors
    /// Something does not fit the tables.
    pub fn program(
        &mut self,
        cluster: &Cluster,
        interfaces: BTreeMap<PodId, u32>,
    ) -> anyhow::Result<()> {
        let compiled = compile(cluster, &interfaces.keys().cloned().collect());
        let of = |(pod, ifindex): (&PodId, &u32)| {
            let addresses = cluster.pods.get(pod).map(|it| it.addresses.clone());
            let interface = Interface {
                owner: Owner::Pod(pod.clone()),
                identity: 0,
                uid: String::new(),
                addresses: addresses.map(|it| it.to_set()).unwrap_or_default(),
                check_source: true,
            };
            (*ifindex, interface)
        };
        let desired = Desired { compiled, interfaces: interfaces.iter().map(of).collect() };
        let plan = self.state.plan(&desired);
        anyhow::ensure!(plan.unrepresented.is_empty(), "{:?}", plan.unrepresented);
        self.interfaces = interfaces;
        plan.steps.iter().try_for_each(|step| self.tables.apply(&mut self.memory, step))
    }

    /// The index of a pod's interface.
    #[must_use]
    pub fn interface(&self, pod: &PodId) -> Option<u32> {
        self.interfaces.get(pod).copied()
    }

    /// As if the programs had been loaded long ago, and no connection had just begun.
    ///
    /// # Errors
    /// There is no such table.
    pub fn end_learning(&mut self) -> anyhow::Result<()> {
        let now = u32::try_from(self.jiffies >> object::CLOCK_SHIFT)?;
        let past = now.wrapping_sub(u32::MAX / 4);
        let starts = Starts { answered: past, missed: past };
        self.tables.fill(&mut self.memory, table::STARTS, bytemuck::bytes_of(&starts))
    }

    /// As if a new window of time had begun: dropped packets may send events.
    ///
    /// # Errors
    /// There is no such table.
    pub fn renew_budget(&mut self) -> anyhow::Result<()> {
        self.tables.fill(&mut self.memory, table::BUDGET, &[0; size_of::<Budget>()])
    }

    /// The counters of a pod.
    ///
    /// # Errors
    /// It has no endpoint.
    pub fn counters(&self, pod: &PodId) -> anyhow::Result<Counters> {
        let mut endpoints = self.state.endpoints();
        let found = endpoints.find(|(owner, _)| owner.pod() == Some(pod));
        let (_, record) = found.with_context(|| format!("{pod} has no endpoint"))?;
        let bytes = self.tables.element(&self.memory, table::COUNTERS, record.id)?;
        Ok(bytemuck::pod_read_unaligned(bytes))
    }

    /// The instructions of each program, with the functions that it calls.
    pub fn sizes(&self) -> impl Iterator<Item = (&str, usize)> {
        self.code.iter().map(|(name, code)| (name.as_str(), object::size(code)))
    }

    /// The programs that call others last, each with the number of functions that it calls.
    pub fn callers_of_programs(&self) -> impl Iterator<Item = (&str, usize)> {
        let calls = |code: &[object::Instruction], is_function: bool| {
            let of_kind = |it: &&object::Instruction| match is_function {
                true => it.source != 0,
                false => it.source == 0 && it.immediate == helpers::TAIL_CALL,
            };
            code.iter().filter(|it| it.code == processor::CALL).filter(of_kind).count()
        };
        let callers = self.code.iter().filter(move |(_, code)| calls(code, false) > 0);
        callers.map(move |(name, code)| (name.as_str(), calls(code, true)))
    }

    /// Runs a program on a packet.
    ///
    /// # Errors
    /// There is no such program, or it did what the verifier would have rejected.
    pub fn run(&mut self, arrival: &Arrival<'_>) -> anyhow::Result<Trace> {
        let program = arrival.program;
        self.memory.begin(arrival.frame, &context(arrival)?)?;
        let mut helpers = helpers::Helpers::new(&mut self.tables, self.jiffies);
        let (returned, instructions) =
            processor::run(&self.code, program, &mut self.memory, &mut helpers)
                .with_context(|| format!("program {program}"))?;
        let calls = helpers.calls;
        let word = |at| self.memory.context_word(at);
        #[expect(clippy::cast_possible_truncation, reason = "the programs return 32 bits")]
        let passes = returned as u32 == NEXT;
        Ok(Trace {
            passes,
            mark: word(field::MARK)?,
            index: word(field::TC_INDEX)?,
            instructions,
            calls,
            touched: self.memory.touched(),
        })
    }
}

/// The packet's context, but for its pointers.
fn context(arrival: &Arrival<'_>) -> anyhow::Result<[u8; field::SIZE]> {
    let mut context = [0; field::SIZE];
    let kind = arrival.frame.get(12..14).context("a frame without link-layer header")?;
    let protocol = u32::from(u16::from_le_bytes([kind[0], kind[1]]));
    for (at, value) in [
        (field::LEN, u32::try_from(arrival.frame.len())?),
        (field::MARK, arrival.mark),
        (field::PROTOCOL, protocol),
        (field::INGRESS_IFINDEX, arrival.ingress_ifindex),
        (field::IFINDEX, arrival.ifindex),
        (field::TC_INDEX, arrival.index),
    ] {
        context[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    Ok(context)
}
