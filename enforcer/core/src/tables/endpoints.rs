//! Endpoint records, ids and further addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use enforcer_ebpf::contract::endpoint::{
    CLOSED_ID, CLOSED_RECORD, Endpoint, ExtraAddress, Slot, flags,
};
use enforcer_ebpf::packet::Address6;

use super::alloc::Pool;
use super::desired::{Inherited, Interface, Owner};
use super::pieces6::halves;
use super::rows::{RowKey, Rows};
use super::shortage::{Full, Table};
use super::slots::Slots;
use super::step::Step;
use super::writer::Writer;

/// The number of elements that the tables must have beyond the number of interfaces: ids index the
/// counters and begin at 1, as do records, since the first is that of interfaces without a slot; and
/// one of each stays free so that an endpoint can be replaced by another pod's.
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

/// Both directions, ingress first.
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
    /// Whether a direction is judged by a row now, and by another one or none in `new`.
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
    /// The number of interfaces that fit.
    room: usize,
    ids: Pool,
    slots: Slots,
    /// The endpoint of each pod's address.
    addresses: BTreeMap<Address6, u32>,
    /// The epoch in which an endpoint last left a row.
    left: Option<u64>,
    /// Ids of an earlier agent that no interface has taken over yet, by interface.
    inherited: BTreeMap<u32, Vec<(u32, Owner)>>,
    /// Whether interfaces without a slot are closed.
    closes_others: bool,
}

impl Endpoints {
    /// No endpoint, in tables of `limit` records.
    pub(super) fn new(limit: u32) -> Self {
        Self {
            held: BTreeMap::new(),
            records: Pool::new(Table::Endpoints, CLOSED_RECORD + 1, limit),
            room: limit.saturating_sub(SPARE) as usize,
            // Counters have one element for each id, and the same size as the records.
            ids: Pool::new(Table::Endpoints, 1, limit.min(CLOSED_ID)),
            slots: Slots::new(),
            addresses: BTreeMap::new(),
            left: None,
            inherited: BTreeMap::new(),
            // Tables of tests may have no record at all.
            closes_others: limit == CLOSED_RECORD,
        }
    }

    /// No endpoint, but ids that an earlier agent has assigned to interfaces. Interfaces that still
    /// exist keep their ids, so flows, counters and marks of packets in flight stay valid (semantics
    /// C3).
    pub(super) fn resuming(limit: u32, inherited: &[Inherited]) -> Self {
        let mut new = Self::new(limit);
        let usable = || inherited.iter().filter(|it| (1..limit.min(CLOSED_ID)).contains(&it.id));
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

    /// As if the ids below `id` had never been available.
    #[cfg(test)]
    pub(super) fn start_ids_at(&mut self, id: u32) {
        self.ids = Pool::new(Table::Endpoints, id, CLOSED_ID + 1);
    }

    /// The number of interfaces that can have a record.
    pub(super) fn room(&self) -> usize {
        self.room
    }

    /// The number of interfaces that have a record.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.held.len()).unwrap_or(u32::MAX)
    }

    /// The records of all endpoints, each with the owner of its interface.
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

    /// The interfaces that each row judges.
    pub(super) fn users(&self) -> BTreeMap<RowKey, BTreeSet<u32>> {
        let mut users: BTreeMap<RowKey, BTreeSet<u32>> = BTreeMap::new();
        for (&ifindex, held) in &self.held {
            for judged in held.judged {
                if let Judged::Row(key) = judged {
                    users.entry(key).or_default().insert(ifindex);
                }
            }
        }
        users
    }

    /// Publishes whose addresses the pods' are, for packets that have lost their mark. An address of
    /// two interfaces is the first one's. The addresses of an interface whose pod is unknown are what
    /// that pod chose: they name nobody.
    pub(super) fn publish_addresses(&mut self, writer: &mut Writer) {
        let mut wanted = BTreeMap::new();
        let known = |held: &&Arc<Held>| matches!(held.interface.owner, Owner::Pod(_));
        for held in self.held.values().filter(known) {
            for &address in &held.interface.addresses {
                wanted.entry(numbers(address)).or_insert(held.id);
            }
        }
        for (&address, &id) in &wanted {
            if self.addresses.get(&address) != Some(&id) {
                writer.push(Step::PodAddress { address, id });
            }
        }
        for &address in self.addresses.keys().filter(|it| !wanted.contains_key(*it)) {
            writer.push(Step::PodAddress { address, id: 0 });
        }
        self.addresses = wanted;
    }

    /// Waits until no packet is judged by a row that its endpoint has left. Only after that may an
    /// address get an id with another meaning in the row.
    pub(super) fn wait_for_readers(&self, writer: &mut Writer) {
        if self.left.is_some_and(|left| left >= writer.epoch) {
            writer.grace();
        }
    }

    /// Frees the inherited ids that no interface has taken over.
    pub(super) fn end_inheritance(&mut self, writer: &mut Writer) {
        for (ifindex, ids) in std::mem::take(&mut self.inherited) {
            for (id, _) in ids {
                writer.push(unassigned(id, ifindex));
                self.ids.free(id, writer);
            }
        }
    }

    /// The id that the interface had under an earlier agent, unless it has another owner now.
    fn inherit(&mut self, ifindex: u32, owner: &Owner) -> Option<u32> {
        let ids = self.inherited.get_mut(&ifindex)?;
        let at = ids.iter().position(|(_, before)| owner.continues(before))?;
        Some(ids.swap_remove(at).0)
    }

    /// Closes the interfaces that have no slot (semantics R9).
    pub(super) fn close_others(&mut self, writer: &mut Writer) {
        if !std::mem::replace(&mut self.closes_others, true) {
            writer.push(Step::Endpoint { record: CLOSED_RECORD, value: Endpoint::CLOSED });
        }
    }

    /// Removes the endpoint of an interface that no longer exists.
    pub(super) fn remove(&mut self, ifindex: u32, writer: &mut Writer) {
        let Some(held) = self.held.remove(&ifindex) else { return };
        self.slots.clear(ifindex, writer);
        writer.push(Step::Sender { id: held.id, value: Slot(0) });
        self.records.free(held.record, writer);
        self.release_id(ifindex, &held, &BTreeSet::new(), true, writer);
    }

    /// Changes how an endpoint is judged, or where its rows are.
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

    /// Creates or changes the endpoint of an interface. Returns `false` if it is new and has no slot.
    pub(super) fn put(
        &mut self,
        ifindex: u32,
        interface: &Interface,
        judged: Both,
        rows: &Rows,
        writer: &mut Writer,
    ) -> Result<bool, Full> {
        let old = self.held.get(&ifindex).cloned();
        let same_pod = old.as_deref().filter(|old| interface.owner.continues(&old.interface.owner));
        let id = match same_pod {
            Some(old) => old.id,
            None => self.new_id(ifindex, &interface.owner, writer)?,
        };
        let key = |it: &Interface| (it.owner.clone(), it.uid.clone(), it.identity);
        let recorded = same_pod.map(|old| key(&old.interface));
        let (owner, uid, identity) = key(interface);
        if recorded.as_ref() != Some(&(owner.clone(), uid.clone(), identity)) {
            writer.push(Step::Owner { id, ifindex, owner: Some(owner), uid, identity });
        }
        let (value, extra) = record(ifindex, id, interface, judged, rows);
        let interface = interface.clone();
        if let Some(old) = old.as_deref().filter(|old| old.value == value && old.extra == extra) {
            let held = Held { judged, interface, ..old.clone() };
            self.held.insert(ifindex, Arc::new(held));
            return Ok(true);
        }
        let known = same_pod.map(|old| old.extra.clone()).unwrap_or_default();
        for &address in extra.difference(&known) {
            writer.push(Step::AddExtraAddress(ExtraAddress { address, id, padding: 0 }));
        }
        let record = self.records.take(writer)?;
        writer.push(Step::Endpoint { record, value });
        if !self.slots.put(ifindex, record, writer) {
            self.records.free(record, writer);
            writer.push(unassigned(id, ifindex));
            self.ids.free(id, writer);
            remove_extra(&extra, id, writer);
            return Ok(false);
        }
        writer.push(Step::Sender { id, value: Slot::new(ifindex, record) });
        if let Some(old) = &old {
            self.replaced(ifindex, old, &value, &extra, writer);
        }
        let held = Held { judged, interface, id, record, value, extra };
        self.held.insert(ifindex, Arc::new(held));
        Ok(true)
    }

    /// The endpoint `old` has been replaced by the record `new` with the further addresses `extra`.
    fn replaced(
        &mut self,
        ifindex: u32,
        old: &Held,
        new: &Endpoint,
        extra: &BTreeSet<Address6>,
        writer: &mut Writer,
    ) {
        let other_pod = old.id != new.id;
        if other_pod {
            writer.push(Step::Sender { id: old.id, value: Slot(0) });
        }
        if old.leaves_a_row_for(new) {
            self.left = Some(writer.epoch);
        }
        self.records.free(old.record, writer);
        self.release_id(ifindex, old, extra, other_pod, writer);
    }

    /// The inherited id of the interface, or one that no flow or counter has.
    fn new_id(&mut self, ifindex: u32, owner: &Owner, writer: &mut Writer) -> Result<u32, Full> {
        match self.inherit(ifindex, owner) {
            Some(id) => Ok(id),
            None => self.take_id(writer),
        }
    }

    /// Removes the further addresses that are not in `keep`, and frees the id if it is `done`.
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
            writer.push(unassigned(old.id, ifindex));
            self.ids.free(old.id, writer);
        } else {
            remove_extra(&old.extra.difference(keep).copied().collect(), old.id, writer);
        }
    }

    /// Allocates an id that no flow or counter has (semantics C5).
    fn take_id(&mut self, writer: &mut Writer) -> Result<u32, Full> {
        let known = self.ids.high_water();
        let id = self.ids.take_longest_unused(writer)?;
        if id < known {
            writer.push(Step::ForgetEndpoint { id });
        }
        Ok(id)
    }
}

/// The step that records that an id is not assigned.
fn unassigned(id: u32, ifindex: u32) -> Step {
    Step::Owner { id, ifindex, owner: None, uid: String::new(), identity: 0 }
}

fn remove_extra(addresses: &BTreeSet<Address6>, id: u32, writer: &mut Writer) {
    for &address in addresses {
        writer.push(Step::RemoveExtraAddress(ExtraAddress { address, id, padding: 0 }));
    }
}

/// An endpoint's record, and the addresses that do not fit into it.
fn record(
    ifindex: u32,
    id: u32,
    interface: &Interface,
    judged: Both,
    rows: &Rows,
) -> (Endpoint, BTreeSet<Address6>) {
    let all = || interface.addresses.iter().copied();
    let (v4, v6) = (all().find(IpAddr::is_ipv4), all().find(IpAddr::is_ipv6));
    let extra: BTreeSet<Address6> =
        all().filter(|&it| Some(it) != v4 && Some(it) != v6).map(numbers).collect();
    let base = |judged: Judged| match judged {
        Judged::Row(key) => rows.get(key).map_or(0, |row| row.base),
        Judged::Open | Judged::Closed => 0,
    };
    let [ingress, egress] = judged;
    let value = Endpoint {
        address6: v6.map_or([0; 2], numbers),
        address4: if let Some(IpAddr::V4(address)) = v4 { address.into() } else { 0 },
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

/// The flags of a direction. A closed direction is also isolated, so code that only tests for
/// isolation does not treat it as open.
fn judged_flags(judged: Judged, isolated: u32, closed: u32) -> u32 {
    match judged {
        Judged::Open => 0,
        Judged::Closed => isolated | closed,
        Judged::Row(_) => isolated,
    }
}

/// An address in the form of [`ExtraAddress`].
fn numbers(address: IpAddr) -> Address6 {
    let address: Ipv6Addr = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    halves(address.into())
}
