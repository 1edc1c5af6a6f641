//! Endpoint records, ids and further addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use enforcer_ebpf::contract::endpoint::{Endpoint, ExtraAddress, MAX_ID, Slot, flags};
use enforcer_ebpf::contract::verdict::Direction;
use enforcer_ebpf::packet::Address6;

use super::alloc::{Pool, Writer};
use super::pieces6::halves;
use super::rows::{RowKey, Rows};
use super::shortage::{Full, Table};
use super::slots::Slots;
use super::{Inherited, Interface, Owner, Step};

/// How many more elements the tables must have than there are interfaces: ids index the counters
/// and begin at 1, and one is kept back, so that each endpoint can be replaced by another pod's.
pub(super) const SPARE: u32 = 2;

/// How a direction of an endpoint is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judged {
    /// Not isolated.
    Open,
    /// Closed (semantics R9).
    Closed,
    /// By a row.
    Row(RowKey),
}

/// Both directions, by [`Direction`].
pub(super) type Both = [Judged; 2];

/// An endpoint in the kernel.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) judged: Both,
    interface: Interface,
    id: u32,
    record: u32,
    value: Endpoint,
    extra: BTreeSet<Address6>,
}

impl Held {
    /// Whether some direction is judged by a row now that is not the same in `new`.
    fn leaves_a_row_for(&self, new: &Endpoint) -> bool {
        let [ingress, egress] = self.judged.map(|judged| matches!(judged, Judged::Row(_)));
        let closed = (self.value.flags ^ new.flags)
            & (flags::INGRESS_ISOLATED
                | flags::INGRESS_CLOSED
                | flags::EGRESS_ISOLATED
                | flags::EGRESS_CLOSED);
        (ingress || egress) && closed != 0
            || ingress && self.value.ingress_row != new.ingress_row
            || egress && self.value.egress_row != new.egress_row
    }
}

/// What the kernel's endpoint tables hold.
#[derive(Debug, Clone)]
pub(super) struct Endpoints {
    held: BTreeMap<u32, Arc<Held>>,
    records: Pool,
    /// How many interfaces there is room for.
    room: usize,
    ids: Pool,
    slots: Slots,
    /// The epoch in which an endpoint was last led away from a row.
    left: Option<u64>,
    /// Ids of an earlier agent that no interface has claimed yet, by interface.
    inherited: BTreeMap<u32, Vec<(u32, Owner)>>,
}

impl Endpoints {
    /// No endpoint, in tables of `limit` records.
    pub(super) fn new(limit: u32) -> Self {
        Self {
            held: BTreeMap::new(),
            records: Pool::new(Table::Endpoints, 0, limit),
            room: limit.saturating_sub(SPARE) as usize,
            // Counters have one element for each id, and as many elements as there are records.
            ids: Pool::new(Table::Endpoints, 1, limit.min(MAX_ID + 1)),
            slots: Slots::new(),
            left: None,
            inherited: BTreeMap::new(),
        }
    }

    /// No endpoint, but ids that an earlier agent has given to interfaces: those that are still
    /// there keep theirs, so that flows, counters and marks under way stay true (semantics C3).
    pub(super) fn resuming(limit: u32, inherited: &[Inherited]) -> Self {
        let mut new = Self::new(limit);
        let usable = || inherited.iter().filter(|it| (1..limit.min(MAX_ID + 1)).contains(&it.id));
        for it in usable() {
            if let Some(owner) = &it.owner {
                new.inherited.entry(it.ifindex).or_default().push((it.id, owner.clone()));
            }
        }
        let used: BTreeSet<u32> =
            usable().filter(|it| it.owner.is_some()).map(|it| it.id).collect();
        let fresh = usable().map(|it| it.id + 1).max().unwrap_or(1);
        new.ids = new.ids.resumed(fresh, |id| used.contains(&id));
        new
    }

    /// As if the ids below `id` had been given to other pods, and taken back.
    #[cfg(test)]
    pub(super) fn start_ids_at(&mut self, id: u32) {
        self.ids = Pool::new(Table::Endpoints, id, MAX_ID + 1);
    }

    /// How many interfaces can have a record.
    pub(super) fn room(&self) -> usize {
        self.room
    }

    /// How many interfaces have a record.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.held.len()).unwrap_or(u32::MAX)
    }

    /// The records that interfaces have, with who is behind each.
    pub(super) fn records(&self) -> impl Iterator<Item = (&Owner, &Endpoint)> {
        self.held.values().map(|held| (&held.interface.owner, &held.value))
    }

    pub(super) fn get(&self, ifindex: u32) -> Option<&Held> {
        self.held.get(&ifindex).map(Arc::as_ref)
    }

    /// The interfaces that have an endpoint.
    pub(super) fn interfaces(&self) -> Vec<u32> {
        self.held.keys().copied().collect()
    }

    /// Which interfaces use each row, and in which direction.
    pub(super) fn users(&self) -> BTreeMap<RowKey, Vec<(u32, Direction)>> {
        let mut users: BTreeMap<RowKey, Vec<(u32, Direction)>> = BTreeMap::new();
        for (&ifindex, held) in &self.held {
            for (direction, judged) in Direction::ALL.into_iter().zip(held.judged) {
                if let Judged::Row(key) = judged {
                    users.entry(key).or_default().push((ifindex, direction));
                }
            }
        }
        users
    }

    /// Waits until no packet is judged by a row that its endpoint has left. Only then may an
    /// address get an id that means something else there.
    pub(super) fn rest(&self, writer: &mut Writer) {
        if self.left.is_some_and(|left| left >= writer.epoch) {
            writer.grace();
        }
    }

    /// Takes back the inherited ids that no interface has claimed.
    pub(super) fn end_inheritance(&mut self, writer: &mut Writer) {
        for (ifindex, unclaimed) in std::mem::take(&mut self.inherited) {
            for (id, _) in unclaimed {
                writer.push(nobody(id, ifindex));
                self.ids.give(id, writer);
            }
        }
    }

    /// The id that the interface had under an earlier agent, if somebody else is not behind it now.
    fn inherit(&mut self, ifindex: u32, owner: &Owner) -> Option<u32> {
        let ids = self.inherited.get_mut(&ifindex)?;
        let at = ids.iter().position(|(_, before)| owner.continues(before))?;
        Some(ids.swap_remove(at).0)
    }

    /// The endpoint is gone.
    pub(super) fn remove(&mut self, ifindex: u32, writer: &mut Writer) {
        let Some(held) = self.held.remove(&ifindex) else { return };
        self.slots.clear(ifindex, writer);
        writer.push(Step::Sender { id: held.id, value: Slot(0) });
        self.records.give(held.record, writer);
        self.release_id(ifindex, &held, &BTreeSet::new(), true, writer);
    }

    /// Judges an endpoint otherwise, or after its rows have moved.
    pub(super) fn judge(
        &mut self,
        ifindex: u32,
        judged: Both,
        rows: &Rows,
        writer: &mut Writer,
    ) -> Result<(), Full> {
        if let Some(held) = self.held.get(&ifindex) {
            let interface = held.interface.clone();
            self.put(ifindex, &interface, judged, rows, writer)?;
        }
        Ok(())
    }

    /// Makes the endpoint what it shall be. `false`: it is new, and no slot was found for it.
    pub(super) fn put(
        &mut self,
        ifindex: u32,
        interface: &Interface,
        judged: Both,
        rows: &Rows,
        writer: &mut Writer,
    ) -> Result<bool, Full> {
        let old = self.held.get(&ifindex).cloned();
        let same_pod =
            old.as_ref().is_some_and(|old| interface.owner.continues(&old.interface.owner));
        let id = match &old {
            Some(old) if same_pod => old.id,
            _ => match self.inherit(ifindex, &interface.owner) {
                Some(id) => id,
                None => self.take_id(writer)?,
            },
        };
        let noted = old.as_ref().filter(|_| same_pod).map(|old| &old.interface);
        if noted.is_none_or(|it| (&it.owner, &it.uid) != (&interface.owner, &interface.uid)) {
            let (owner, uid) = (Some(interface.owner.clone()), interface.uid.clone());
            writer.push(Step::Owner { id, ifindex, owner, uid });
        }
        let (value, extra) = record(ifindex, id, interface, judged, rows);
        if let Some(old) = &old
            && old.value == value
            && old.extra == extra
        {
            let held = Held { judged, interface: interface.clone(), ..Held::clone(old) };
            self.held.insert(ifindex, Arc::new(held));
            return Ok(true);
        }
        let known = old.as_ref().filter(|_| same_pod).map(|old| old.extra.clone());
        for &address in extra.difference(&known.unwrap_or_default()) {
            writer.push(Step::AddExtraAddress(ExtraAddress { address, id, padding: 0 }));
        }
        let new = self.records.take(writer)?;
        writer.push(Step::Endpoint { record: new, value });
        if !self.slots.put(ifindex, new, writer) {
            self.records.give(new, writer);
            writer.push(nobody(id, ifindex));
            self.ids.give(id, writer);
            remove_extra(&extra, id, writer);
            return Ok(false);
        }
        writer.push(Step::Sender { id, value: Slot::new(ifindex, new) });
        if let Some(old) = old {
            if !same_pod {
                writer.push(Step::Sender { id: old.id, value: Slot(0) });
            }
            if old.leaves_a_row_for(&value) {
                self.left = Some(writer.epoch);
            }
            self.records.give(old.record, writer);
            self.release_id(ifindex, &old, &extra, !same_pod, writer);
        }
        let interface = interface.clone();
        self.held
            .insert(ifindex, Arc::new(Held { judged, interface, id, record: new, value, extra }));
        Ok(true)
    }

    /// Takes away the further addresses that are not in `keep`, and the id if it is `done` with.
    fn release_id(
        &mut self,
        ifindex: u32,
        old: &Held,
        keep: &BTreeSet<Address6>,
        done: bool,
        writer: &mut Writer,
    ) {
        if done {
            remove_extra(&old.extra, old.id, writer);
            writer.push(nobody(old.id, ifindex));
            self.ids.give(old.id, writer);
        } else {
            remove_extra(&old.extra.difference(keep).copied().collect(), old.id, writer);
        }
    }

    /// An id that no living flow or counter knows (semantics C5).
    fn take_id(&mut self, writer: &mut Writer) -> Result<u32, Full> {
        let known = self.ids.high_water();
        let id = self.ids.take_rested(writer)?;
        if id < known {
            writer.push(Step::ForgetEndpoint { id });
        }
        Ok(id)
    }
}

fn nobody(id: u32, ifindex: u32) -> Step {
    Step::Owner { id, ifindex, owner: None, uid: String::new() }
}

fn remove_extra(addresses: &BTreeSet<Address6>, id: u32, writer: &mut Writer) {
    for &address in addresses {
        writer.push(Step::RemoveExtraAddress(ExtraAddress { address, id, padding: 0 }));
    }
}

/// An endpoint's record, and the addresses that it has no room for.
fn record(
    ifindex: u32,
    id: u32,
    interface: &Interface,
    judged: Both,
    rows: &Rows,
) -> (Endpoint, BTreeSet<Address6>) {
    let v4 = interface.addresses.iter().find_map(|address| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    });
    let v6 = interface.addresses.iter().find_map(|address| match address {
        IpAddr::V6(address) => Some(*address),
        IpAddr::V4(_) => None,
    });
    let extra: BTreeSet<Address6> = interface
        .addresses
        .iter()
        .filter(|&&address| {
            Some(address) != v4.map(IpAddr::V4) && Some(address) != v6.map(IpAddr::V6)
        })
        .map(|&address| numbers(address))
        .collect();
    let base = |judged: Judged| match judged {
        Judged::Row(key) => rows.get(key).map_or(0, |row| row.base),
        Judged::Open | Judged::Closed => 0,
    };
    let [ingress, egress] = judged;
    let value = Endpoint {
        address6: v6.map_or([0; 2], |address| halves(address.into())),
        address4: v4.map_or(0, Ipv4Addr::into),
        id,
        ingress_row: base(ingress),
        egress_row: base(egress),
        flags: judged_flags(ingress, flags::INGRESS_ISOLATED, flags::INGRESS_CLOSED)
            | judged_flags(egress, flags::EGRESS_ISOLATED, flags::EGRESS_CLOSED)
            | if interface.check_source { flags::CHECK_SOURCE } else { 0 }
            | if matches!(interface.owner, Owner::Pod(_)) { 0 } else { flags::NO_POD }
            | if extra.is_empty() { 0 } else { flags::EXTRA_ADDRESSES },
        ifindex,
    };
    (value, extra)
}

/// A closed direction is an isolated one, too: whoever asks only for isolation must not take it
/// for an open one.
fn judged_flags(judged: Judged, isolated: u32, closed: u32) -> u32 {
    match judged {
        Judged::Open => 0,
        Judged::Closed => isolated | closed,
        Judged::Row(_) => isolated,
    }
}

/// An address as [`ExtraAddress`] has it.
fn numbers(address: IpAddr) -> Address6 {
    let address: Ipv6Addr = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    halves(address.into())
}
