//! What an earlier agent has left in the kernel, and taking it over (semantics C3).

use std::path::Path;

use aya::maps::{HashMap, MapData, MapError, PerCpuArray};
use enforcer_ebpf::contract::counters::Counters;
use enforcer_ebpf::contract::owner::{OwnerRecord, kind};
use enforcer_ebpf::contract::table::{self, Limits};

use super::pins::{self, Pins};
use super::{Kernel, KernelError, shape};
use enforcer_core::model::PodId;
use enforcer_core::tables::{Inherited, Owner, Step};

impl Kernel {
    /// What earlier agents noted of endpoint ids.
    ///
    /// # Errors
    /// The table can't be read.
    pub fn inherited(&self) -> Result<Vec<Inherited>, KernelError> {
        let failed = |source| KernelError::Table { name: table::OWNERS, source };
        let entries = self.owners.iter();
        entries.map(|entry| entry.map(|(id, it)| inherited(id, &it)).map_err(failed)).collect()
    }

    /// Takes over what ids mean and have counted in tables of other layouts.
    pub(super) fn take_over_owners(&mut self, limits: &Limits) -> Result<(), KernelError> {
        let Some(kept) = &self.kept else { return Ok(()) };
        let [owners, .., counters, _] = shape::kept(limits);
        for folder in kept.others() {
            if !owners.is_the_same_in(folder, &kept.folder) {
                let theirs: HashMap<MapData, u32, OwnerRecord> = open(folder, table::OWNERS)?;
                for entry in theirs.iter() {
                    let failed = |source| KernelError::Table { name: table::OWNERS, source };
                    let (id, record) = entry.map_err(failed)?;
                    if id < limits.endpoints {
                        enter(table::OWNERS, self.owners.insert(id, record, NO_EXIST))?;
                    }
                }
            }
            let counted_elsewhere = !counters.is_the_same_in(folder, &kept.folder);
            if counted_elsewhere && counters.is_held_in(folder) && !kept.is_resumed {
                let counted: PerCpuArray<MapData, Counters> = open(folder, table::COUNTERS)?;
                let failed = |source| KernelError::Table { name: table::COUNTERS, source };
                for id in 0..counted.len().min(limits.endpoints) {
                    let values = counted.get(&id, 0).map_err(failed)?;
                    self.counters.set(id, values, 0).map_err(failed)?;
                }
            }
        }
        Ok(())
    }

    /// Goes on to the next set of programs, which [`super::Hooks::attach`] puts in place of the
    /// last; `false` if there is none. Between the last two, flows are taken over.
    ///
    /// # Errors
    /// Flows of tables of another layout can't be read or written.
    pub fn next_stage(&mut self) -> Result<bool, KernelError> {
        let Some(kept) = &mut self.kept else { return Ok(false) };
        if !kept.end_stage() {
            return Ok(false);
        }
        if kept.stage().is_none() {
            // Whoever writes to the old tables has ended; all read both.
            self.apply(&Step::Grace)?;
            self.take_over_flows()?;
        }
        Ok(true)
    }

    fn take_over_flows(&self) -> Result<(), KernelError> {
        let Some(kept) = &self.kept else { return Ok(()) };
        for folder in kept.others() {
            let taken = self.flows.take_over(folder)?;
            tracing::info!(
                entries = taken.entries,
                lost = taken.lost,
                from = pins::name(folder),
                "flows taken over from tables of another layout"
            );
        }
        Ok(())
    }

    /// Removes the tables of other layouts, which no program uses any more.
    ///
    /// # Errors
    /// They can't be removed.
    pub fn drop_other_tables(&mut self, pins: &Pins) -> Result<(), KernelError> {
        let Some(kept) = &mut self.kept else { return Ok(()) };
        kept.forget_others();
        for folder in pins.other_tables(&kept.folder)? {
            pins::remove_tree(&folder)?;
        }
        Ok(())
    }
}

/// `BPF_NOEXIST`: what is there stays.
const NO_EXIST: u64 = 1;

fn enter(name: &'static str, result: Result<(), MapError>) -> Result<(), KernelError> {
    match result {
        Ok(()) => Ok(()),
        Err(MapError::SyscallError(error))
            if error.io_error.kind() == std::io::ErrorKind::AlreadyExists =>
        {
            Ok(())
        }
        Err(source) => Err(KernelError::Table { name, source }),
    }
}

fn open<T>(folder: &Path, name: &'static str) -> Result<T, KernelError>
where
    T: TryFrom<aya::maps::Map, Error = MapError>,
{
    let failed = |source| KernelError::Table { name, source };
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
        // Whether it is closed is the present agent's to say.
        (kind::UNKNOWN, _) => Some(Owner::Unknown { closed: false }),
        _ => None,
    };
    Inherited { id, ifindex: record.ifindex, owner, uid }
}

/// The record of an owner.
pub(super) fn owner_record(ifindex: u32, owner: Option<&Owner>, uid: &str) -> OwnerRecord {
    let named = |kind, pod: &PodId| {
        OwnerRecord::named(ifindex, kind, [&pod.namespace, &pod.name, uid])
            // Longer than any name in Kubernetes: whoever reads it finds somebody unknown.
            .unwrap_or(OwnerRecord::nameless(ifindex, kind::UNKNOWN))
    };
    match owner {
        None => OwnerRecord::nameless(ifindex, kind::NOBODY),
        Some(Owner::Unknown { .. }) => OwnerRecord::nameless(ifindex, kind::UNKNOWN),
        Some(Owner::Pod(pod)) => named(kind::POD, pod),
        Some(Owner::Gone(pod)) => named(kind::GONE, pod),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_come_back_as_they_were() {
        let pod = PodId::new("default", "web-0");
        for owner in [
            None,
            Some(Owner::Unknown { closed: false }),
            Some(Owner::Pod(pod.clone())),
            Some(Owner::Gone(pod)),
        ] {
            let uid = if owner.as_ref().is_some_and(|it| it.pod().is_some()) { "1-2" } else { "" };
            let record = owner_record(7, owner.as_ref(), uid);
            let expected = Inherited { id: 3, ifindex: 7, owner, uid: uid.to_owned() };
            assert_eq!(inherited(3, &record), expected);
        }
    }

    #[test]
    fn a_record_without_text_is_nobodys() {
        let mut record = owner_record(7, Some(&Owner::Pod(PodId::new("default", "web-0"))), "");
        record.name[0] = 0xff;
        assert_eq!(inherited(3, &record).owner, None);
    }
}
