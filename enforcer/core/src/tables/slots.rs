//! The interface table: each interface in one of two slots.

use std::collections::VecDeque;
use std::sync::Arc;

use enforcer_ebpf::contract::endpoint::{Slot, slots_of};
use enforcer_ebpf::contract::table::{INTERFACE_SLOTS, InterfaceTable};

use super::step::Step;
use super::writer::Writer;

/// What the kernel's interface table holds.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    words: Arc<InterfaceTable>,
}

impl Slots {
    /// A zeroed table.
    pub(super) fn new() -> Self {
        Self { words: Arc::new([0; INTERFACE_SLOTS]) }
    }

    /// Sets the record of an interface. Returns `false`, without any step, if there is no slot for
    /// it.
    pub(super) fn put(&mut self, ifindex: u32, record: u32, writer: &mut Writer) -> bool {
        let value = Slot::new(ifindex, record);
        if let Some(slot) = self.find(ifindex) {
            self.store(slot, value, writer);
            return true;
        }
        let Some(path) = self.path(ifindex) else { return false };
        // From the empty end: each entry is in its new slot before its old one is overwritten.
        for pair in path.windows(2).rev() {
            let (from, to) = (pair[0], pair[1]);
            let moved = Slot(self.words[from]);
            self.store(to, moved, writer);
            if to == slots_of(moved.ifindex()).0 {
                // A packet looks in the first slot first. One that did so before this store must
                // still find the entry in the second slot.
                writer.grace();
            }
        }
        if let Some(&slot) = path.first() {
            self.store(slot, value, writer);
        }
        true
    }

    /// Removes the record of an interface.
    pub(super) fn clear(&mut self, ifindex: u32, writer: &mut Writer) {
        if let Some(slot) = self.find(ifindex) {
            self.store(slot, Slot(0), writer);
        }
    }

    fn find(&self, ifindex: u32) -> Option<usize> {
        let (first, second) = slots_of(ifindex);
        [first, second].into_iter().find(|&slot| Slot(self.words[slot]).ifindex() == ifindex)
    }

    /// Slots from one of the interface's own to an empty one, where each but the last holds an
    /// entry whose other slot is the next.
    fn path(&self, ifindex: u32) -> Option<Vec<usize>> {
        let (first, second) = slots_of(ifindex);
        if let Some(free) = [first, second].into_iter().find(|&slot| self.words[slot] == 0) {
            return Some(vec![free]);
        }
        // By slot: the previous one on the path, itself at the beginning.
        let mut before: Vec<Option<usize>> = vec![None; INTERFACE_SLOTS];
        let mut queue = VecDeque::new();
        for slot in [first, second] {
            before[slot] = Some(slot);
            queue.push_back(slot);
        }
        while let Some(slot) = queue.pop_front() {
            if self.words[slot] == 0 {
                return Some(path_to(slot, &before));
            }
            let (first, second) = slots_of(Slot(self.words[slot]).ifindex());
            let other = if slot == first { second } else { first };
            if before[other].is_none() {
                before[other] = Some(slot);
                queue.push_back(other);
            }
        }
        None
    }

    fn store(&mut self, slot: usize, value: Slot, writer: &mut Writer) {
        Arc::make_mut(&mut self.words)[slot] = value.0;
        #[expect(clippy::cast_possible_truncation, reason = "an index of the table")]
        writer.push(Step::Interface { slot: slot as u32, value });
    }
}

/// The path to `slot`, from its beginning.
fn path_to(mut slot: usize, before: &[Option<usize>]) -> Vec<usize> {
    let mut path = vec![slot];
    while let Some(previous) = before[slot].filter(|&previous| previous != slot) {
        path.push(previous);
        slot = previous;
    }
    path.reverse();
    path
}
