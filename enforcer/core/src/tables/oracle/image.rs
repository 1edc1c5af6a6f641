//! A kernel made of vectors.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use enforcer_ebpf::contract::endpoint::{Endpoint, ExtraAddress, MAX_ID, Slot, flags};
use enforcer_ebpf::contract::entry::Entry;
use enforcer_ebpf::contract::lookup::{self, Tables};
use enforcer_ebpf::contract::networks::Places;
use enforcer_ebpf::contract::table::{
    Block, INTERFACE_SLOTS, InterfaceTable, Leaf6, Limits, NETWORK_PLACES, NetworkTable, Node6,
    PORT_PROTOCOLS, PORT_SET_WORDS, PortSetBits, PortTable, ROOTS4, SLOTS,
};
use enforcer_ebpf::contract::verdict::Direction;
use enforcer_ebpf::packet::Address6;

#[cfg(test)]
use crate::tables::answer::Judgement;
use crate::tables::answer::{self, answer};
use crate::tables::pieces6::halves;
use crate::tables::step::Step;

/// The error of a step that an image rejects.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// The step writes past the end of a table.
    #[error("the step writes past the end of its table")]
    Outside,
    /// The step writes what a packet may be reading.
    #[error("the step writes what a packet may be reading: {0}")]
    InUse(String),
}

/// Tables in memory. An image takes the steps that the kernel takes, and answers look-ups with the
/// code that the programs run.
#[derive(Debug, Clone)]
pub struct Image {
    trie4: Vec<Block>,
    nodes: Vec<Node6>,
    leaves: Vec<Leaf6>,
    networks: Vec<u32>,
    places: Places,
    ports: Vec<u16>,
    sets: Vec<PortSetBits>,
    verdicts: Vec<Block>,
    interfaces: Vec<u64>,
    endpoints: Vec<Endpoint>,
    senders: Vec<u64>,
    extra: BTreeSet<ExtraAddress>,
    pod_addresses: BTreeMap<Address6, u32>,
}

impl Image {
    /// Zeroed tables.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            trie4: vec![[0; SLOTS]; limits.trie4_blocks.max(ROOTS4) as usize],
            nodes: vec![bytemuck::Zeroable::zeroed(); limits.trie6_nodes.max(1) as usize],
            leaves: vec![bytemuck::Zeroable::zeroed(); limits.trie6_leaves as usize],
            networks: vec![0; NETWORK_PLACES],
            places: Places::KNOWN,
            ports: vec![0; PORT_PROTOCOLS << 16],
            sets: vec![[0; PORT_SET_WORDS]; limits.port_sets as usize],
            verdicts: vec![[0; SLOTS]; limits.verdict_blocks as usize],
            interfaces: vec![0; INTERFACE_SLOTS],
            endpoints: vec![Endpoint::default(); limits.endpoints as usize],
            // One for each possible id: a test may begin with late ones.
            senders: vec![0; MAX_ID as usize + 1],
            extra: BTreeSet::new(),
            pod_addresses: BTreeMap::new(),
        }
    }

    /// The same tables, with other secrets of the IPv6 networks' places.
    #[must_use]
    pub fn with_secrets(self, secrets: [u64; 2]) -> Self {
        Self { places: Places { secrets }, ..self }
    }

    /// Takes a step.
    ///
    /// # Errors
    /// The step writes past the end of its table.
    pub fn apply(&mut self, step: &Step) -> Result<(), ImageError> {
        self.write(step).ok_or(ImageError::Outside)
    }

    fn write(&mut self, step: &Step) -> Option<()> {
        match step {
            Step::Trie4 { block, slot, entry } => {
                self.trie4.get_mut(*block as usize)?[usize::from(*slot)] = entry.0;
            }
            Step::Block4 { block, entries } => {
                *self.trie4.get_mut(*block as usize)? = entries.map(|entry| entry.0);
            }
            Step::Trie6 { node, slot, entry } => {
                self.nodes.get_mut(*node as usize)?.slots[usize::from(*slot)] = entry.0;
            }
            Step::Node6 { node, value } => *self.nodes.get_mut(*node as usize)? = **value,
            Step::Leaf6 { leaf, value } => *self.leaves.get_mut(*leaf as usize)? = *value,
            Step::Network6 { place, entry } => {
                *self.networks.get_mut(*place as usize)? = entry.0;
            }
            Step::PortClass { protocol, port, class } => {
                let index = (usize::from(*protocol) << 16) | usize::from(*port);
                *self.ports.get_mut(index)? = *class;
            }
            Step::PortSetWord { set, word, bits } => {
                *self.sets.get_mut(*set as usize)?.get_mut(*word as usize)? = *bits;
            }
            Step::Verdict { index, cell } => self.write_cell(*index, cell.0)?,
            Step::Verdicts { index, cells } => {
                for (index, cell) in (*index..).zip(cells) {
                    self.write_cell(index, cell.0)?;
                }
            }
            Step::Endpoint { record, value } => {
                *self.endpoints.get_mut(*record as usize)? = *value;
            }
            Step::AddExtraAddress(address) => {
                self.extra.insert(*address);
            }
            Step::RemoveExtraAddress(address) => {
                self.extra.remove(address);
            }
            Step::PodAddress { address, id: 0 } => {
                self.pod_addresses.remove(address);
            }
            Step::PodAddress { address, id } => {
                self.pod_addresses.insert(*address, *id);
            }
            Step::Interface { slot, value } => {
                *self.interfaces.get_mut(*slot as usize)? = value.0;
            }
            Step::Sender { id, value } => *self.senders.get_mut(*id as usize)? = value.0,
            // The programs never read owners.
            Step::Owner { .. } | Step::ForgetEndpoint { .. } | Step::Grace => {}
        }
        Some(())
    }

    fn write_cell(&mut self, index: u32, cell: u32) -> Option<()> {
        let block = self.verdicts.get_mut(index as usize / SLOTS)?;
        block[index as usize % SLOTS] = cell;
        Some(())
    }

    /// Whether policy allows a packet of IP protocol `protocol` between `peer` and the pod behind
    /// the interface; semantics A1 to A4 are not considered. `port` is the receiver's and matters
    /// only for protocols with ports. `None`: the interface has no endpoint.
    #[must_use]
    pub fn judge(
        &self,
        ifindex: u32,
        direction: Direction,
        peer: IpAddr,
        protocol: u8,
        port: u16,
    ) -> Option<bool> {
        Some(answer(self, ifindex, direction, peer, protocol, port)?.allowed)
    }

    /// How packets of one direction of an interface are judged. `None`: the interface has no
    /// endpoint.
    #[cfg(test)]
    pub(crate) fn judgement(&self, ifindex: u32, direction: Direction) -> Option<Judgement> {
        Some(Judgement::of(lookup::endpoint(self, ifindex)?, direction))
    }

    /// The flags of the address's entry, some of [`Entry::FLAGS`].
    #[must_use]
    pub fn flags(&self, address: IpAddr) -> u32 {
        self.entry(address).map_or(0, Entry::flags)
    }

    /// Whether the pod behind the interface may use `address` as its source (semantics P4).
    /// `None`: the interface has no endpoint.
    #[must_use]
    pub fn may_use(&self, ifindex: u32, address: IpAddr) -> Option<bool> {
        let endpoint = lookup::endpoint(self, ifindex)?;
        if endpoint.flags & flags::CHECK_SOURCE == 0 {
            return Some(true);
        }
        let (own, numbers) = match address {
            IpAddr::V4(v4) => (
                endpoint.address4 != 0 && endpoint.address4 == u32::from(v4),
                halves(v4.to_ipv6_mapped().into()),
            ),
            IpAddr::V6(v6) => {
                let numbers = halves(v6.into());
                (endpoint.address6 != [0; 2] && endpoint.address6 == numbers, numbers)
            }
        };
        Some(own || (endpoint.flags & flags::EXTRA_ADDRESSES != 0 && self.extra(endpoint, numbers)))
    }

    /// The record of the endpoint behind an interface.
    #[must_use]
    pub fn endpoint_of(&self, ifindex: u32) -> Option<&Endpoint> {
        lookup::endpoint(self, ifindex)
    }

    /// The record of the endpoint with this id.
    #[must_use]
    pub fn sender_of(&self, id: u32) -> Option<&Endpoint> {
        lookup::sender(self, id)
    }

    /// The record of the endpoint that has an address, for a packet without a mark.
    #[must_use]
    pub fn pod_at(&self, address: IpAddr) -> Option<&Endpoint> {
        let numbers = match address {
            IpAddr::V4(v4) => halves(v4.to_ipv6_mapped().into()),
            IpAddr::V6(v6) => halves(v6.into()),
        };
        self.sender_of(*self.pod_addresses.get(&numbers)?)
    }

    fn extra(&self, endpoint: &Endpoint, address: Address6) -> bool {
        self.extra.contains(&ExtraAddress { address, id: endpoint.id, padding: 0 })
    }

    /// The address's entry in the tries.
    pub(crate) fn entry(&self, address: IpAddr) -> Option<Entry> {
        answer::entry(self, address)
    }
}

impl Tables for Image {
    fn trie4(&self, block: u32) -> Option<&Block> {
        self.trie4.get(block as usize)
    }

    fn node6(&self, node: u32) -> Option<&Node6> {
        self.nodes.get(node as usize)
    }

    fn leaf6(&self, leaf: u32) -> Option<&Leaf6> {
        self.leaves.get(leaf as usize)
    }

    fn networks6(&self) -> Option<&NetworkTable> {
        self.networks.as_slice().try_into().ok()
    }

    fn network_places(&self) -> Places {
        self.places
    }

    fn ports(&self) -> Option<&PortTable> {
        self.ports.as_slice().try_into().ok()
    }

    fn port_set(&self, set: u32) -> Option<&PortSetBits> {
        self.sets.get(set as usize)
    }

    fn verdicts(&self, block: u32) -> Option<&Block> {
        self.verdicts.get(block as usize)
    }

    fn interfaces(&self) -> Option<&InterfaceTable> {
        self.interfaces.as_slice().try_into().ok()
    }

    fn sender(&self, id: u32) -> Option<Slot> {
        self.senders.get(id as usize).copied().map(Slot)
    }

    fn endpoint(&self, record: u32) -> Option<&Endpoint> {
        self.endpoints.get(record as usize)
    }
}
