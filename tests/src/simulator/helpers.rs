//! The kernel's helpers, as far as the programs use them.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};
use enforcer_ebpf::contract::{parts, table};

use super::memory::Memory;
use super::tables::Tables;

/// The number of the helper that continues in another program.
pub(super) const TAIL_CALL: i32 = 12;

/// Marks the handle of a table; its number is below it. No address looks like this.
const HANDLE: u64 = 0xbf00_0000 << 32;

/// The helpers' side: tables and time, and a record of calls.
pub(super) struct Helpers<'a> {
    pub(super) tables: &'a mut Tables,
    jiffies: u64,
    /// Calls by name.
    pub(super) calls: BTreeMap<&'static str, u32>,
}

/// What a helper returns for "no such key" (-ENOENT).
const NO_ENTRY: u64 = (-2_i64).cast_unsigned();

impl<'a> Helpers<'a> {
    pub(super) const fn new(tables: &'a mut Tables, jiffies: u64) -> Self {
        Self { tables, jiffies, calls: BTreeMap::new() }
    }

    /// The program at a place of a table of programs; counts the call.
    pub(super) fn part(&mut self, handle: u64, place: u64) -> anyhow::Result<&'static str> {
        let table = self.tables.get(number(handle)?)?;
        ensure!(table.name == table::PARTS, "{} has no programs", table.name);
        *self.calls.entry("tail_call").or_default() += 1;
        let name = parts::NAMES.get(usize::try_from(place)?);
        name.copied().context("no such part")
    }

    /// The handle of a table.
    pub(super) fn handle(number: i32) -> u64 {
        HANDLE | u64::from(number.cast_unsigned())
    }

    /// Calls the helper with this number of the kernel's `enum bpf_func_id`.
    pub(super) fn call(
        &mut self,
        memory: &mut Memory,
        helper: i32,
        [one, two, three, four]: [u64; 4],
    ) -> anyhow::Result<u64> {
        let (name, result) = match helper {
            1 => {
                let table = number(one)?;
                let is_array = self.tables.get(table)?.is_array;
                let name = if is_array { ARRAY_LOOKUP } else { "map_lookup_elem of a hash" };
                (name, self.tables.look_up(memory, table, two)?)
            }
            2 => {
                self.tables.update(memory, number(one)?, [two, three])?;
                ("map_update_elem", 0)
            }
            3 => {
                let found = self.tables.remove(memory, number(one)?, two)?;
                ("map_delete_elem", if found { 0 } else { NO_ENTRY })
            }
            5 => ("ktime_get_ns", self.jiffies * 4_000_000),
            8 => ("get_smp_processor_id", 0),
            26 => ("skb_load_bytes", memory.load_packet([two, three, four])?),
            // The whole packet is in one piece already.
            39 => ("skb_pull_data", 0),
            118 => ("jiffies64", self.jiffies),
            131 => {
                let size = usize::try_from(two)?;
                ("ringbuf_reserve", self.tables.reserve(memory, number(one)?, size)?)
            }
            132 => ("ringbuf_submit", 0),
            133 => ("ringbuf_discard", 0),
            _ => bail!("the simulator does not know helper {helper}"),
        };
        *self.calls.entry(name).or_default() += 1;
        Ok(result)
    }
}

/// The kernel replaces this call by a handful of instructions.
pub(super) const ARRAY_LOOKUP: &str = "map_lookup_elem of an array";

fn number(handle: u64) -> anyhow::Result<usize> {
    match handle.checked_sub(HANDLE) {
        Some(number) => Ok(usize::try_from(number)?),
        None => bail!("no table: {handle:#x}"),
    }
}
