//! The policy tables as the kernel has them, for look-ups of the agent.
//!
//! References into mapped memory would need that nobody writes there. So the elements that a look-up
//! touches are copied first, word by word: it is tried again until it misses none.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use enforcer_ebpf::contract::endpoint::{Endpoint, Slot};
use enforcer_ebpf::contract::lookup::Tables;
use enforcer_ebpf::contract::networks::Places;
use enforcer_ebpf::contract::table::{
    Block, InterfaceTable, Leaf6, NetworkTable, Node6, PortSetBits, PortTable,
};

use super::load::Arrays;
use super::mapped_array::MappedArray;
use super::{Kernel, KernelError};

/// A table of [`Arrays`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Trie4,
    Nodes6,
    Leaves6,
    Networks6,
    Ports,
    PortSets,
    Verdicts,
    Interfaces,
    Endpoints,
    Senders,
}

impl Part {
    /// The table, and the bytes of an element.
    fn of(self, arrays: &Arrays) -> (&MappedArray, usize) {
        match self {
            Self::Trie4 => (&arrays.trie4, size_of::<Block>()),
            Self::Nodes6 => (&arrays.nodes6, size_of::<Node6>()),
            Self::Leaves6 => (&arrays.leaves6, size_of::<Leaf6>()),
            Self::Networks6 => (&arrays.networks6, size_of::<NetworkTable>()),
            Self::Ports => (&arrays.ports, size_of::<PortTable>()),
            Self::PortSets => (&arrays.port_sets, size_of::<PortSetBits>()),
            Self::Verdicts => (&arrays.verdicts, size_of::<Block>()),
            Self::Interfaces => (&arrays.interfaces, size_of::<InterfaceTable>()),
            Self::Endpoints => (&arrays.endpoints, size_of::<Endpoint>()),
            Self::Senders => (&arrays.senders, size_of::<Slot>()),
        }
    }
}

type Place = (Part, u32);

/// Copies of the elements that look-ups have touched so far. Drop it to see later writes.
pub struct LiveTables<'k> {
    arrays: &'k Arrays,
    places: Places,
    /// The words of each element; `None`: it is outside of the table.
    elements: BTreeMap<Place, Option<Vec<u64>>>,
    missing: RefCell<Vec<Place>>,
}

impl Kernel {
    /// The policy tables as they are now.
    #[must_use]
    pub fn live_tables(&self) -> LiveTables<'_> {
        LiveTables::new(&self.arrays, Places { secrets: self.network_secrets() })
    }
}

impl<'k> LiveTables<'k> {
    pub(super) fn new(arrays: &'k Arrays, places: Places) -> Self {
        Self { arrays, places, elements: BTreeMap::new(), missing: RefCell::default() }
    }

    /// The result of a look-up.
    ///
    /// # Errors
    /// A table can't be mapped.
    pub fn ask<T>(&mut self, question: impl Fn(&Self) -> T) -> Result<T, KernelError> {
        loop {
            let answer = question(self);
            let missing = self.missing.take();
            if missing.is_empty() {
                return Ok(answer);
            }
            for place in missing {
                let words = self.copy(place)?;
                self.elements.insert(place, words);
            }
        }
    }

    fn copy(&self, (part, index): Place) -> Result<Option<Vec<u64>>, KernelError> {
        let (array, bytes) = part.of(self.arrays);
        let words = bytes / size_of::<u64>();
        let start = index as usize * words;
        let load = |at| array.u64(at).map(|word| word.load(Ordering::Acquire));
        match (start..start + words).map(load).collect() {
            Ok(words) => Ok(Some(words)),
            Err(KernelError::Outside { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The bytes of an element.
    fn element(&self, part: Part, index: u32) -> Option<&[u8]> {
        match self.elements.get(&(part, index)) {
            Some(words) => Some(bytemuck::cast_slice(words.as_deref()?)),
            None => {
                self.missing.borrow_mut().push((part, index));
                None
            }
        }
    }

    /// An element of this type.
    fn value<T: bytemuck::AnyBitPattern>(&self, part: Part, index: u32) -> Option<&T> {
        bytemuck::try_from_bytes(self.element(part, index)?).ok()
    }

    /// The words of an element.
    fn words<W: bytemuck::AnyBitPattern>(&self, part: Part, index: u32) -> Option<&[W]> {
        bytemuck::try_cast_slice(self.element(part, index)?).ok()
    }
}

impl Tables for LiveTables<'_> {
    fn trie4(&self, block: u32) -> Option<&Block> {
        self.words(Part::Trie4, block)?.try_into().ok()
    }

    fn node6(&self, node: u32) -> Option<&Node6> {
        self.value(Part::Nodes6, node)
    }

    fn leaf6(&self, leaf: u32) -> Option<&Leaf6> {
        self.value(Part::Leaves6, leaf)
    }

    fn networks6(&self) -> Option<&NetworkTable> {
        self.words(Part::Networks6, 0)?.try_into().ok()
    }

    fn network_places(&self) -> Places {
        self.places
    }

    fn ports(&self) -> Option<&PortTable> {
        self.words(Part::Ports, 0)?.try_into().ok()
    }

    fn port_set(&self, set: u32) -> Option<&PortSetBits> {
        self.words(Part::PortSets, set)?.try_into().ok()
    }

    fn verdicts(&self, block: u32) -> Option<&Block> {
        self.words(Part::Verdicts, block)?.try_into().ok()
    }

    fn interfaces(&self) -> Option<&InterfaceTable> {
        self.words(Part::Interfaces, 0)?.try_into().ok()
    }

    fn sender(&self, id: u32) -> Option<Slot> {
        self.words(Part::Senders, id)?.first().copied().map(Slot)
    }

    fn endpoint(&self, record: u32) -> Option<&Endpoint> {
        self.value(Part::Endpoints, record)
    }
}
