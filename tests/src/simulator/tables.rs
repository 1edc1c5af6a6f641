//! The tables: look-ups by helpers, and the agent's writes.

use std::collections::HashMap;

use anyhow::{Context as _, bail};
use bytemuck::Pod;
use enforcer_core::tables::Step;
use enforcer_ebpf::contract::table::{self, Node6, PORT_SET_WORDS, SLOTS};

use super::memory::Memory;
use super::object::Declared;

/// Kinds of tables, as in the kernel's `enum bpf_map_type`.
mod kind {
    pub(super) const HASH: u32 = 1;
    pub(super) const ARRAY: u32 = 2;
    pub(super) const PERCPU_ARRAY: u32 = 6;
    pub(super) const LRU_HASH: u32 = 9;
    pub(super) const RING: u32 = 27;
}

/// A table.
pub(super) struct Table {
    pub(super) name: String,
    pub(super) is_array: bool,
    region: usize,
    key_size: usize,
    value_size: usize,
    elements: usize,
    /// Hashes: the place of each key's value.
    places: HashMap<Vec<u8>, usize>,
}

/// All tables, by number.
pub(super) struct Tables {
    all: Vec<Table>,
}

impl Table {
    /// The bytes from one value to the next.
    fn stride(&self) -> usize {
        self.value_size.next_multiple_of(8)
    }
}

impl Tables {
    pub(super) fn new(memory: &mut Memory, declared: Vec<Declared>) -> Self {
        let table = |it: Declared| {
            let is_array = matches!(it.kind, kind::ARRAY | kind::PERCPU_ARRAY);
            let stride = it.value_size.next_multiple_of(8);
            let mut data = it.data;
            if is_array {
                data.resize(data.len().max(stride * it.elements), 0);
            } else if !matches!(it.kind, kind::HASH | kind::LRU_HASH | kind::RING) {
                // Of no program that is run: aya-log's.
                data.clear();
            }
            let region = memory.add(&it.name, data);
            let (key_size, value_size, elements) = (it.key_size, it.value_size, it.elements);
            let places = HashMap::new();
            Table { name: it.name, is_array, region, key_size, value_size, elements, places }
        };
        Self { all: declared.into_iter().map(table).collect() }
    }

    pub(super) fn get(&self, number: usize) -> anyhow::Result<&Table> {
        self.all.get(number).context("no such table")
    }

    fn named(&mut self, name: &str) -> anyhow::Result<&mut Table> {
        let found = self.all.iter_mut().find(|it| it.name == name);
        found.with_context(|| format!("no table {name}"))
    }

    /// The address of the first byte of a table.
    pub(super) fn start(&self, number: usize) -> anyhow::Result<u64> {
        Ok(Memory::address(self.get(number)?.region, 0))
    }

    /// The address of a key's value; 0: there is none.
    pub(super) fn look_up(&self, memory: &Memory, number: usize, key: u64) -> anyhow::Result<u64> {
        let table = self.get(number)?;
        let key = memory.peek(key, table.key_size)?;
        let offset = if table.is_array {
            let index = bytemuck::pod_read_unaligned::<u32>(key) as usize;
            (index < table.elements).then_some(index * table.stride())
        } else {
            table.places.get(key).copied()
        };
        Ok(offset.map_or(0, |offset| Memory::address(table.region, offset)))
    }

    /// Writes a key's value.
    pub(super) fn update(
        &mut self,
        memory: &mut Memory,
        number: usize,
        [key, value]: [u64; 2],
    ) -> anyhow::Result<()> {
        let table = self.all.get_mut(number).context("no such table")?;
        anyhow::ensure!(!table.is_array, "{}: an array is updated by a helper", table.name);
        let key = memory.peek(key, table.key_size)?.to_vec();
        let value = memory.peek(value, table.value_size)?.to_vec();
        table.insert(memory, key, &value)
    }

    /// Removes a key.
    pub(super) fn remove(
        &mut self,
        memory: &Memory,
        number: usize,
        key: u64,
    ) -> anyhow::Result<bool> {
        let table = self.all.get_mut(number).context("no such table")?;
        let key = memory.peek(key, table.key_size)?;
        Ok(table.places.remove(key).is_some())
    }

    /// The address of a new record of a ring buffer.
    pub(super) fn reserve(
        &mut self,
        memory: &mut Memory,
        number: usize,
        size: usize,
    ) -> anyhow::Result<u64> {
        let region = self.get(number)?.region;
        // The programs never read what is in the ring: each record begins at its start.
        let data = memory.bytes_mut(region)?;
        data.resize(data.len().max(size), 0);
        Ok(Memory::address(region, 0))
    }

    /// An element of an array.
    pub(super) fn element<'a>(
        &self,
        memory: &'a Memory,
        name: &str,
        index: u32,
    ) -> anyhow::Result<&'a [u8]> {
        let table = self.all.iter().find(|it| it.name == name);
        let table = table.with_context(|| format!("no table {name}"))?;
        let start = index as usize * table.stride();
        let bytes = memory.bytes(table.region)?.get(start..start + table.value_size);
        bytes.context("past the table's end")
    }

    /// Writes all elements of an array.
    pub(super) fn fill(
        &mut self,
        memory: &mut Memory,
        name: &str,
        element: &[u8],
    ) -> anyhow::Result<()> {
        let region = self.named(name)?.region;
        memory
            .bytes_mut(region)?
            .chunks_mut(element.len())
            .for_each(|it| it.copy_from_slice(element));
        Ok(())
    }

    /// Takes a step of the agent, as the kernel does.
    pub(super) fn apply(&mut self, memory: &mut Memory, step: &Step) -> anyhow::Result<()> {
        let node = size_of::<Node6>();
        let mut put = |name, offset: usize, bytes: &[u8]| {
            let table = self.named(name)?;
            let place = memory.bytes_mut(table.region)?.get_mut(offset..offset + bytes.len());
            place.context("past the table's end")?.copy_from_slice(bytes);
            anyhow::Ok(())
        };
        match step {
            Step::Trie4 { block, slot, entry } => {
                let word = *block as usize * SLOTS + usize::from(*slot);
                put(table::TRIE4, word * 4, bytes_of(&entry.0))
            }
            Step::Block4 { block, entries } => {
                let words = entries.map(|entry| entry.0);
                put(table::TRIE4, *block as usize * SLOTS * 4, bytes_of(&words))
            }
            Step::Trie6 { node: at, slot, entry } => {
                let word = *at as usize * node + node - SLOTS * 4 + usize::from(*slot) * 4;
                put(table::TRIE6_NODES, word, bytes_of(&entry.0))
            }
            Step::Node6 { node: at, value } => {
                put(table::TRIE6_NODES, *at as usize * node, bytes_of(&**value))
            }
            Step::Leaf6 { leaf, value } => {
                put(table::TRIE6_LEAVES, *leaf as usize * size_of_val(value), bytes_of(value))
            }
            Step::Network6 { place, entry } => {
                put(table::NETWORKS6, *place as usize * 4, bytes_of(&entry.0))
            }
            Step::PortClass { protocol, port, class } => {
                let index = (usize::from(*protocol) << 16) | usize::from(*port);
                put(table::PORTS, index * 2, bytes_of(class))
            }
            Step::PortSetWord { set, word, bits } => {
                let word = *set as usize * PORT_SET_WORDS + *word as usize;
                put(table::PORT_SETS, word * 8, bytes_of(bits))
            }
            Step::Verdict { index, cell } => {
                put(table::VERDICTS, *index as usize * 4, bytes_of(&cell.0))
            }
            Step::Verdicts { index, cells } => {
                let words: Vec<u32> = cells.iter().map(|cell| cell.0).collect();
                put(table::VERDICTS, *index as usize * 4, bytemuck::cast_slice(&words))
            }
            Step::Endpoint { record, value } => {
                put(table::ENDPOINTS, *record as usize * size_of_val(value), bytes_of(value))
            }
            Step::Interface { slot, value } => {
                put(table::INTERFACES, *slot as usize * 8, bytes_of(&value.0))
            }
            Step::Sender { id, value } => put(table::SENDERS, *id as usize * 8, bytes_of(&value.0)),
            Step::AddExtraAddress(address) => {
                let table = self.named(table::EXTRA_ADDRESSES)?;
                table.insert(memory, bytes_of(address).to_vec(), bytes_of(&1_u32))
            }
            Step::PodAddress { address, id } if *id != 0 => {
                let table = self.named(table::POD_ADDRESSES)?;
                table.insert(memory, bytes_of(address).to_vec(), bytes_of(id))
            }
            Step::RemoveExtraAddress(_) | Step::PodAddress { .. } => {
                bail!("the simulator's tables are programmed once")
            }
            Step::Owner { .. } | Step::ForgetEndpoint { .. } | Step::Grace => Ok(()),
        }
    }
}

impl Table {
    fn insert(&mut self, memory: &mut Memory, key: Vec<u8>, value: &[u8]) -> anyhow::Result<()> {
        anyhow::ensure!(self.places.len() < self.elements, "{} is full", self.name);
        let stride = self.stride();
        let data = memory.bytes_mut(self.region)?;
        let offset = *self.places.entry(key).or_insert_with(|| {
            data.resize(data.len() + stride, 0);
            data.len() - stride
        });
        data.get_mut(offset..offset + value.len()).context("place")?.copy_from_slice(value);
        Ok(())
    }
}

fn bytes_of<T: Pod>(value: &T) -> &[u8] {
    bytemuck::bytes_of(value)
}
