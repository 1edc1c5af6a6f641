//! The interfaces that packets from outside enter by, for the programs (semantics C6).

use std::collections::BTreeSet;

use aya::maps::{HashMap, MapData};
use enforcer_ebpf::contract::table::{self, DENY_UNGUARDED, ORIGINS_SIZE};

use super::KernelError;

/// The table, and what it holds.
#[derive(Debug)]
pub(super) struct Origins {
    table: HashMap<MapData, u32, u32>,
    held: BTreeSet<u32>,
}

impl Origins {
    pub(super) fn new(table: HashMap<MapData, u32, u32>) -> Self {
        Self { table, held: BTreeSet::new() }
    }

    /// Sets the interfaces that lead out of the node, and whether packets by others are dropped.
    pub(super) fn set(
        &mut self,
        uplinks: &BTreeSet<u32>,
        deny_others: bool,
    ) -> Result<(), KernelError> {
        let failed = KernelError::table(table::ORIGINS);
        // With more interfaces than fit, packets by the others could not be told apart.
        let fits = uplinks.len() < ORIGINS_SIZE as usize;
        let flag = (deny_others && fits).then_some(DENY_UNGUARDED);
        let wanted: BTreeSet<u32> = match fits {
            true => uplinks.iter().copied().chain(flag).collect(),
            false => BTreeSet::new(),
        };
        // The flag is the smallest: removed first, and inserted last.
        for key in self.held.difference(&wanted).copied().collect::<Vec<_>>() {
            self.table.remove(&key).map_err(failed)?;
            self.held.remove(&key);
        }
        for key in wanted.difference(&self.held).copied().collect::<Vec<_>>().into_iter().rev() {
            self.table.insert(key, 1, 0).map_err(failed)?;
            self.held.insert(key);
        }
        Ok(())
    }
}
