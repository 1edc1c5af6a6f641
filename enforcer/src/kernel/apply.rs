//! Executing the steps of a plan.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::Ordering;

use aya::maps::{HashMap, MapData, PerCpuValues};
use bytemuck::Pod;
use enforcer_ebpf::contract::counters::Counters;
use enforcer_ebpf::contract::endpoint::Endpoint;
use enforcer_ebpf::contract::table::{self, Leaf6, Node6, PORT_SET_WORDS, SLOTS};

use super::error::ignoring;
use super::mapped_array::MappedArray;
use super::takeover::owner_record;
use super::{Kernel, KernelError};
use enforcer_core::tables::Step;

/// The number of 32-bit words of a node before its slots.
const NODE_HEAD: usize = size_of::<Node6>() / 4 - SLOTS;

impl Kernel {
    /// Sets the interfaces that lead out of the node, and whether the programs drop packets that entered
    /// by one that neither is among these nor has an endpoint.
    ///
    /// # Errors
    /// The table can't be written.
    pub fn set_origins(
        &mut self,
        uplinks: &BTreeSet<u32>,
        deny_others: bool,
    ) -> Result<(), KernelError> {
        self.origins.set(uplinks, deny_others)
    }

    /// Executes one step. Words become visible to packets in the order of the steps.
    ///
    /// # Errors
    /// The step lies outside of a table, or a system call failed.
    pub fn apply(&mut self, step: &Step) -> Result<(), KernelError> {
        let arrays = &self.arrays;
        match step {
            Step::Trie4 { block, slot, entry } => {
                store32(&arrays.trie4, *block as usize * SLOTS + usize::from(*slot), entry.0)
            }
            Step::Block4 { block, entries } => {
                let start = *block as usize * SLOTS;
                for (slot, entry) in entries.iter().enumerate() {
                    store32(&arrays.trie4, start + slot, entry.0)?;
                }
                Ok(())
            }
            Step::Trie6 { node, slot, entry } => {
                let start = *node as usize * (size_of::<Node6>() / 4) + NODE_HEAD;
                store32(&arrays.nodes6, start + usize::from(*slot), entry.0)
            }
            Step::Node6 { node, value } => store_value(&arrays.nodes6, *node, &**value),
            Step::Leaf6 { leaf, value } => store_value::<Leaf6>(&arrays.leaves6, *leaf, value),
            Step::Network6 { place, entry } => store32(&arrays.networks6, *place as usize, entry.0),
            Step::PortClass { protocol, port, class } => {
                let index = (usize::from(*protocol) << 16) | usize::from(*port);
                arrays.ports.u16(index)?.store(*class, Ordering::Release);
                Ok(())
            }
            Step::PortSetWord { set, word, bits } => {
                store64(&arrays.port_sets, *set as usize * PORT_SET_WORDS + *word as usize, *bits)
            }
            Step::Verdict { index, cell } => store32(&arrays.verdicts, *index as usize, cell.0),
            Step::Verdicts { index, cells } => {
                for (offset, cell) in cells.iter().enumerate() {
                    store32(&arrays.verdicts, *index as usize + offset, cell.0)?;
                }
                Ok(())
            }
            Step::Endpoint { record, value } => {
                store_value::<Endpoint>(&arrays.endpoints, *record, value)
            }
            Step::Interface { slot, value } => store64(&arrays.interfaces, *slot as usize, value.0),
            Step::Sender { id, value } => store64(&arrays.senders, *id as usize, value.0),
            Step::Owner { id, ifindex, owner, uid, identity } => self
                .owners
                .insert(id, owner_record(*ifindex, owner.as_ref(), uid, *identity), 0)
                .map_err(KernelError::table(table::OWNERS)),
            Step::AddExtraAddress(address) => self
                .extra_addresses
                .insert(address, 1, 0)
                .map_err(KernelError::table(table::EXTRA_ADDRESSES)),
            Step::RemoveExtraAddress(address) => {
                let removed = self.extra_addresses.remove(address);
                ignoring(io::ErrorKind::NotFound, table::EXTRA_ADDRESSES, removed)
            }
            Step::PodAddress { address, id: 0 } => {
                let removed = self.pod_addresses.remove(address);
                ignoring(io::ErrorKind::NotFound, table::POD_ADDRESSES, removed)
            }
            Step::PodAddress { address, id } => self
                .pod_addresses
                .insert(address, id, 0)
                .map_err(KernelError::table(table::POD_ADDRESSES)),
            Step::ForgetEndpoint { id } => self.forget_endpoints(&BTreeSet::from([*id])),
            Step::Grace => self.grace.wait(),
        }
    }

    /// Sets the counters of ids to zero and removes the flows and fragments of their last endpoints
    /// (semantics C5), in one pass over each table.
    ///
    /// # Errors
    /// A table can't be read or written.
    pub fn forget_endpoints(&mut self, ids: &BTreeSet<u32>) -> Result<(), KernelError> {
        if ids.is_empty() {
            return Ok(());
        }
        let failed = |call| KernelError::table_call(table::COUNTERS, call);
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| failed("nr_cpus")(error))?;
        for id in ids {
            let zero = vec![Counters::default(); cpus];
            let zero = PerCpuValues::try_from(zero).map_err(failed("per-cpu values"))?;
            self.counters.set(*id, zero, 0).map_err(KernelError::table(table::COUNTERS))?;
        }
        self.flows.forget(ids)?;
        forget_in(table::FRAGMENTS4, &mut self.fragments4, |packet| packet.tail.endpoint, ids)?;
        forget_in(table::FRAGMENTS6, &mut self.fragments6, |packet| packet.tail.endpoint, ids)
    }
}

fn forget_in<K: aya::Pod, V: aya::Pod>(
    name: &'static str,
    entries: &mut HashMap<MapData, K, V>,
    endpoint: impl Fn(&K) -> u16,
    ids: &BTreeSet<u32>,
) -> Result<(), KernelError> {
    // An error during the walk means that entries were added or removed meanwhile. The unread ones
    // are not these endpoints', which send nothing any more.
    let theirs: Vec<K> =
        entries.keys().flatten().filter(|key| ids.contains(&endpoint(key).into())).collect();
    for key in &theirs {
        ignoring(io::ErrorKind::NotFound, name, entries.remove(key))?;
    }
    Ok(())
}

fn store32(table: &MappedArray, index: usize, value: u32) -> Result<(), KernelError> {
    table.u32(index)?.store(value, Ordering::Release);
    Ok(())
}

fn store64(table: &MappedArray, index: usize, value: u64) -> Result<(), KernelError> {
    table.u64(index)?.store(value, Ordering::Release);
    Ok(())
}

/// Writes an element word by word. No packet can reach it yet.
fn store_value<T: Pod>(table: &MappedArray, index: u32, value: &T) -> Result<(), KernelError> {
    let start = index as usize * (size_of::<T>() / 8);
    let words: &[u64] = bytemuck::cast_slice(std::slice::from_ref(value));
    (start..).zip(words).try_for_each(|(index, word)| store64(table, index, *word))
}
