//! Classes of addresses, and the addresses that change theirs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use super::blocks::{Changed, Place, Regions, last_of, place};
use super::delta::{Kind, Move, Target};
use super::peers::Peers;
use super::slab::{Collected, Number, Slab};

/// The pods with an address. Nearly always one.
#[derive(Debug, Default)]
enum Owners {
    #[default]
    None,
    One(Number),
    /// Boxed twice: there is one of these for each address.
    Many(Box<Box<[Number]>>),
}

impl Owners {
    fn as_slice(&self) -> &[Number] {
        match self {
            Self::None => &[],
            Self::One(owner) => std::slice::from_ref(owner),
            Self::Many(owners) => owners,
        }
    }

    fn set(&mut self, pod: Number, is_there: bool) {
        let mut owners = self.as_slice().to_vec();
        owners.retain(|it| *it != pod);
        if is_there {
            owners.push(pod);
        }
        *self = match owners[..] {
            [] => Self::None,
            [owner] => Self::One(owner),
            _ => Self::Many(Box::new(owners.into())),
        };
    }
}

/// An address of a pod, a Service or the node.
#[derive(Debug, Default)]
struct Host {
    owners: Owners,
    /// What was last reported; `None`: that of the region around it.
    target: Option<Target>,
}

/// What all rules know of an address: the list of the sets of blocks that it is in, and the
/// signatures of the pods that have it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Class {
    pub(super) list: Number,
    pub(super) signatures: Vec<Number>,
}

/// The addresses and their classes.
#[derive(Debug)]
pub(super) struct Hosts {
    classes: Slab<Class>,
    hosts: [BTreeMap<u128, Host>; 2],
    /// The number of times that an address is of each kind.
    kinds: HashMap<IpAddr, [u32; 3]>,
    /// The class of each list of sets of blocks, without a pod.
    of_list: BTreeMap<Number, Number>,
    dirty: BTreeSet<Place>,
}

impl Default for Hosts {
    fn default() -> Self {
        let mut classes = Slab::default();
        let class = classes.take(Class::default());
        Self {
            classes,
            hosts: [BTreeMap::new(), BTreeMap::new()],
            kinds: HashMap::new(),
            of_list: BTreeMap::from([(0, class)]),
            dirty: BTreeSet::new(),
        }
    }
}

impl Hosts {
    /// Notes that the pod has the address or not.
    pub(super) fn own(&mut self, address: IpAddr, pod: Number, is_there: bool) {
        let (family, at) = place(address);
        self.hosts[family].entry(at).or_default().owners.set(pod, is_there);
        self.dirty.insert((family, at));
    }

    /// Notes that what is known of an address's pods may have changed.
    pub(super) fn touch(&mut self, address: IpAddr) {
        self.dirty.insert(place(address));
    }

    /// Notes that the address is of a kind once more, or once less.
    pub(super) fn count(&mut self, address: IpAddr, kind: Kind, more: bool) {
        let counts = self.kinds.entry(address).or_default();
        for (bit, count) in counts.iter_mut().enumerate() {
            if kind.0 >> bit & 1 == 1 {
                *count = if more { *count + 1 } else { count.saturating_sub(1) };
            }
        }
        if *counts == [0; 3] {
            self.kinds.remove(&address);
        }
        let (family, at) = place(address);
        self.hosts[family].entry(at).or_default();
        self.dirty.insert((family, at));
    }

    /// The addresses that change their class or kind. `changed`: the regions that did.
    pub(super) fn flush(
        &mut self,
        peers: &Peers,
        regions: &mut Regions,
        changed: &[Vec<Changed>; 2],
    ) -> [Vec<Move>; 2] {
        let lists = regions.collect();
        for list in lists.fresh {
            let class = self.classes.take(Class { list, signatures: Vec::new() });
            self.of_list.insert(list, class);
        }
        let dirty = std::mem::take(&mut self.dirty);
        let moves = [0, 1].map(|family| {
            let mut places: BTreeSet<u128> =
                dirty.iter().filter(|it| it.0 == family).map(|it| it.1).collect();
            let mut moves = Vec::new();
            for range in &changed[family] {
                self.move_range(family, *range, &mut places, &mut moves);
            }
            for at in places {
                self.move_host((family, at), peers, regions, &changed[family], &mut moves);
            }
            moves.sort_unstable_by_key(|it| it.first);
            moves
        });
        for (list, _) in lists.gone {
            if let Some(class) = self.of_list.remove(&list) {
                self.classes.release(class);
            }
        }
        moves
    }

    /// The range's addresses that are no hosts. The hosts in it are added to `places`.
    fn move_range(
        &self,
        family: usize,
        range: Changed,
        places: &mut BTreeSet<u128>,
        moves: &mut Vec<Move>,
    ) {
        let [old, new] = [range.old, range.new].map(|list| self.around(list));
        let mut push = |first: u128, last: u128| moves.push(Move { first, last, old, new });
        let mut first = range.first;
        for (&at, _) in self.hosts[family].range(range.first..=range.last) {
            places.insert(at);
            if first < at {
                push(first, at - 1);
            }
            match last_of((family, at)).checked_add(1) {
                Some(next) => first = next,
                None => return,
            }
        }
        if first <= range.last {
            push(first, range.last);
        }
    }

    fn move_host(
        &mut self,
        place: Place,
        peers: &Peers,
        regions: &Regions,
        changed: &[Changed],
        moves: &mut Vec<Move>,
    ) {
        let (family, at) = place;
        let list = regions.list(place);
        let Some(host) = self.hosts[family].get(&at) else { return };
        let kind = self.kind(place);
        let owners = host.owners.as_slice();
        let target = if owners.is_empty() && kind == Kind::default() {
            None
        } else {
            let class = Class { list, signatures: peers.signatures(owners) };
            Some(Target { class: self.classes.take(class), kind })
        };
        let after = changed.partition_point(|it| it.first <= at);
        let before = changed.get(after.wrapping_sub(1)).filter(|it| at <= it.last);
        let list_before = before.map_or(list, |it| it.old);
        let held = host.target;
        let old = held.unwrap_or_else(|| self.around(list_before));
        let new = target.unwrap_or_else(|| self.around(list));
        if let Some(held) = held {
            self.classes.release(held.class);
        }
        if old != new {
            moves.push(Move { first: at, last: last_of(place), old, new });
        }
        match (target, self.hosts[family].get_mut(&at)) {
            (Some(_), Some(host)) => host.target = target,
            _ => drop(self.hosts[family].remove(&at)),
        }
    }

    /// What holds for the addresses in these sets of blocks that are no hosts.
    fn around(&self, list: Number) -> Target {
        Target { class: self.of_list.get(&list).copied().unwrap_or(0), kind: Kind::default() }
    }

    fn kind(&self, (family, at): Place) -> Kind {
        let address = address((family, at));
        let counts = self.kinds.get(&address).copied().unwrap_or_default();
        let bits = counts.iter().enumerate().filter(|(_, count)| **count > 0);
        Kind(bits.fold(0, |kind, (bit, _)| kind | 1 << bit))
    }

    /// The classes that are new or gone.
    pub(super) fn collect(&mut self) -> Collected<Class> {
        self.classes.collect()
    }

    pub(super) fn class(&self, class: Number) -> Option<&Class> {
        self.classes.get(class).map(|it| &**it)
    }

    /// The classes of addresses.
    pub(super) fn classes(&self) -> impl Iterator<Item = (Number, &Class)> {
        self.classes.iter().map(|(number, class)| (number, &**class))
    }

    /// The number of classes.
    pub(super) fn len(&self) -> usize {
        self.classes.len()
    }

    /// The class of the addresses of a list that are no hosts.
    pub(super) fn class_of_list(&self, list: Number) -> Number {
        self.around(list).class
    }

    /// What was last reported for a host.
    pub(super) fn target(&self, (family, at): Place) -> Option<Target> {
        self.hosts[family].get(&at)?.target
    }

    /// The hosts of one family with their targets, in order.
    pub(super) fn of(&self, family: usize) -> impl Iterator<Item = (u128, Target)> {
        self.hosts[family].iter().filter_map(|(at, host)| Some((*at, host.target?)))
    }
}

/// The address of a place.
pub(super) fn address((family, at): Place) -> IpAddr {
    if family == 0 { IpAddr::V4(((at >> 96) as u32).into()) } else { IpAddr::V6(at.into()) }
}
