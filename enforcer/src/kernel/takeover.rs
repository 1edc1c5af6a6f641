//! Taking over the state that an earlier agent left in the kernel (semantics C3).

use std::io;
use std::path::Path;

use aya::maps::{HashMap, MapData, MapError, PerCpuArray};
use enforcer_ebpf::contract::counters::Counters;
use enforcer_ebpf::contract::owner::{OwnerRecord, kind};
use enforcer_ebpf::contract::table::{self, Limits};

use super::error::ignoring;
use super::pins::{self, Pins};
use super::sys::BPF_NOEXIST;
use super::{Kernel, KernelError, table_shape};
use enforcer_core::model::PodId;
use enforcer_core::tables::{Inherited, Owner, Step};

impl Kernel {
    /// The owners of endpoint ids, as earlier agents recorded them.
    ///
    /// # Errors
    /// The table can't be read.
    pub fn inherited(&self) -> Result<Vec<Inherited>, KernelError> {
        let entries = self.owners.iter().map(|entry| entry.map(|(id, it)| inherited(id, &it)));
        entries.collect::<Result<_, _>>().map_err(KernelError::table(table::OWNERS))
    }

    /// Takes over the owners and counters of ids from tables of other layouts.
    pub(super) fn take_over_owners(&mut self, limits: &Limits) -> Result<(), KernelError> {
        let Some(pinned) = &self.pinned else { return Ok(()) };
        let [owners, .., counters, _] = table_shape::pinned(limits);
        for folder in pinned.others() {
            if !owners.is_same_table(folder, &pinned.folder) {
                let theirs: HashMap<MapData, u32, OwnerRecord> = open(folder, table::OWNERS)?;
                for entry in theirs.iter() {
                    let (id, record) = entry.map_err(KernelError::table(table::OWNERS))?;
                    if id < limits.endpoints {
                        let inserted = self.owners.insert(id, record, BPF_NOEXIST);
                        ignoring(io::ErrorKind::AlreadyExists, table::OWNERS, inserted)?;
                    }
                }
            }
            let is_other = !counters.is_same_table(folder, &pinned.folder);
            if is_other && counters.has_entries_in(folder) && !pinned.is_resumed {
                let theirs: PerCpuArray<MapData, Counters> = open(folder, table::COUNTERS)?;
                let failed = KernelError::table(table::COUNTERS);
                for id in 0..theirs.len().min(limits.endpoints) {
                    let values = theirs.get(&id, 0).map_err(failed)?;
                    self.counters.set(id, values, 0).map_err(failed)?;
                }
            }
        }
        Ok(())
    }

    /// Switches to the next set of programs, which [`super::Hooks::attach`] then attaches; `false`
    /// if there is none. Flows are taken over before the last set.
    ///
    /// # Errors
    /// Flows of tables of another layout can't be read or written.
    pub fn next_stage(&mut self) -> Result<bool, KernelError> {
        let Some(pinned) = &mut self.pinned else { return Ok(false) };
        let has_ended = pinned.end_stage();
        if pinned.stage().is_none() && !pinned.is_copied {
            pinned.is_copied = true;
            // No program writes to the old tables any more, and all attached ones read both, or the
            // last set has replaced those that can read only the old ones.
            self.apply(&Step::Grace)?;
            self.take_over_flows()?;
        }
        Ok(has_ended)
    }

    pub(super) fn take_over_flows(&self) -> Result<(), KernelError> {
        let Some(pinned) = &self.pinned else { return Ok(()) };
        for folder in pinned.others() {
            let taken = self.flows.take_over(folder, self.build.secrets.flows)?;
            tracing::info!(
                entries = taken.entries,
                lost = taken.lost,
                from = pins::name(folder),
                "flows taken over from tables of another layout"
            );
        }
        Ok(())
    }

    /// Forgets the parts of other sets of programs, which these need to the end: all hooks must have programs
    /// of the present set. `false`: it is not the last set yet.
    ///
    /// # Errors
    /// A pin can't be removed.
    pub fn drop_other_parts(&mut self) -> Result<bool, KernelError> {
        let Some(pinned) = &mut self.pinned else { return Ok(true) };
        if pinned.stage().is_some() {
            return Ok(false);
        }
        pinned.drop_other_parts().map(|()| true)
    }

    /// Removes the tables of other layouts. No program uses them any more.
    ///
    /// # Errors
    /// They can't be removed.
    pub fn drop_other_tables(&mut self, pins: &Pins) -> Result<(), KernelError> {
        let Some(pinned) = &mut self.pinned else { return Ok(()) };
        pinned.forget_others();
        for folder in pins.other_tables(&pinned.folder)? {
            pins::remove_tree(&folder)?;
        }
        Ok(())
    }
}

fn open<T>(folder: &Path, name: &'static str) -> Result<T, KernelError>
where
    T: TryFrom<aya::maps::Map, Error = MapError>,
{
    let failed = KernelError::table(name);
    let data = MapData::from_pin(folder.join(name)).map_err(failed)?;
    T::try_from(aya::maps::Map::from_map_data(data).map_err(failed)?).map_err(failed)
}

fn inherited(id: u32, record: &OwnerRecord) -> Inherited {
    let names = record.names();
    let pod = names.map(|[namespace, name, _]| PodId::new(namespace, name));
    let uid = names.map(|[_, _, uid]| uid.to_owned()).unwrap_or_default();
    let owner = match (record.kind, pod) {
        (kind::POD, Some(pod)) => Some(Owner::Pod(pod)),
        (kind::GONE, Some(pod)) => Some(Owner::Gone(pod)),
        // The present agent decides whether it is closed.
        (kind::UNKNOWN, _) => Some(Owner::Unknown { closed: false }),
        _ => None,
    };
    Inherited { id, ifindex: record.ifindex, owner, uid, identity: record.identity }
}

/// The record of an owner.
pub(super) fn owner_record(
    ifindex: u32,
    owner: Option<&Owner>,
    uid: &str,
    identity: u32,
) -> OwnerRecord {
    let named = |kind, pod: &PodId| {
        OwnerRecord::named(ifindex, kind, [&pod.namespace, &pod.name, uid])
            // Longer than any name in Kubernetes: the next agent reads an unknown owner.
            .unwrap_or(OwnerRecord::nameless(ifindex, kind::UNKNOWN))
    };
    let record = match owner {
        None => OwnerRecord::nameless(ifindex, kind::NOBODY),
        Some(Owner::Unknown { .. }) => OwnerRecord::nameless(ifindex, kind::UNKNOWN),
        Some(Owner::Pod(pod)) => named(kind::POD, pod),
        Some(Owner::Gone(pod)) => named(kind::GONE, pod),
    };
    OwnerRecord { identity, ..record }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_read_as_they_were_written() {
        let pod = PodId::new("default", "web-0");
        for owner in [
            None,
            Some(Owner::Unknown { closed: false }),
            Some(Owner::Pod(pod.clone())),
            Some(Owner::Gone(pod)),
        ] {
            let uid = if owner.as_ref().is_some_and(|it| it.pod().is_some()) { "1-2" } else { "" };
            let record = owner_record(7, owner.as_ref(), uid, 9);
            let uid = uid.to_owned();
            let expected = Inherited { id: 3, ifindex: 7, owner, uid, identity: 9 };
            assert_eq!(inherited(3, &record), expected);
        }
    }

    #[test]
    fn a_record_without_text_has_no_owner() {
        let mut record = owner_record(7, Some(&Owner::Pod(PodId::new("default", "web-0"))), "", 0);
        record.name[0] = 0xff;
        assert_eq!(inherited(3, &record).owner, None);
    }
}
