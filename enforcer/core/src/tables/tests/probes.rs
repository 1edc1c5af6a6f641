//! The questions to an image after each step, and the expected answers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer_ebpf::contract::entry::Cell;
use enforcer_ebpf::contract::lookup::{self, port_protocol};
use enforcer_ebpf::contract::verdict::Direction;
use ipnet::IpNet;

use super::expected::{self, Meaning, Port};
use crate::model::PodId;
use crate::policy::{Compiled, Verdict};
use crate::tables::Judgement;
use crate::tables::oracle::Image;
use crate::tables::{Desired, Interface, Owner, Plan, Step};

/// The questions after each step: every combination of these.
pub(super) struct Probes {
    addresses: Vec<IpAddr>,
    ports: Vec<Port>,
    interfaces: BTreeSet<u32>,
}

/// For each interface and direction, then for each address: the allowed ports, as bits. `None`:
/// the interface has no endpoint.
pub(super) type Answers = BTreeMap<(u32, Direction), Vec<Option<u64>>>;

/// Directions of interfaces.
pub(super) type Directions = BTreeSet<(u32, Direction)>;

/// The ports that each cell allows, as bits.
type Masks = BTreeMap<u32, u64>;

/// By address: the classes that a packet may have read since the last grace period.
pub(super) type Classes = Vec<BTreeSet<u32>>;

/// By interface and direction: everything that a packet may have read of its endpoint since the
/// last grace period. The packet may still have to look up its address.
pub(super) type Stale = BTreeMap<(u32, Direction), BTreeSet<Option<Judgement>>>;

impl Probes {
    pub(super) fn new(states: &[&Desired]) -> Self {
        let mut addresses =
            BTreeSet::from(["8.8.8.8".parse().unwrap(), "2600::1".parse().unwrap()]);
        let mut ports = BTreeSet::from([(1, 0), (6, 0), (17, 65_535), (132, 7)]);
        let mut interfaces = BTreeSet::new();
        for state in states {
            let Compiled { addresses: columns, service_addresses, .. } = &state.compiled;
            for net in columns.keys().chain(service_addresses) {
                addresses.extend(edges(net));
            }
            for verdict in state.compiled.rows.iter().flat_map(|row| &row.verdicts) {
                let Verdict::Ports(set) = verdict else { continue };
                for (protocol, ranges) in &set.ranges {
                    for range in ranges {
                        let (first, last) = (range.first, range.last);
                        let ends = [first.wrapping_sub(1), first, last, last.wrapping_add(1)];
                        ports.extend(ends.map(|port| (protocol.number(), port)));
                    }
                }
            }
            interfaces.extend(state.interfaces.keys());
        }
        let addresses = addresses.into_iter().collect();
        // As many as there are bits. Larger tests don't probe all their ports.
        Self { addresses, ports: ports.into_iter().take(64).collect(), interfaces }
    }

    fn mask(&self, allows: impl Fn(Port) -> bool) -> u64 {
        self.ports.iter().enumerate().map(|(bit, &port)| u64::from(allows(port)) << bit).sum()
    }

    pub(super) fn expected(&self, meaning: &Meaning) -> Answers {
        let desired = &meaning.desired;
        let columns: Vec<usize> =
            self.addresses.iter().map(|&address| desired.compiled.column(address)).collect();
        let mut answers = Answers::new();
        for &ifindex in &self.interfaces {
            for direction in Direction::ALL {
                let answer = |&column: &usize| {
                    let interface = meaning.interface(ifindex)?;
                    if has(&meaning.closed, interface, direction) {
                        return Some(0);
                    }
                    let verdict = expected::verdict(desired, ifindex, direction, column);
                    Some(self.mask(|port| expected::allows(verdict, port)))
                };
                let row = columns.iter().map(answer).collect();
                answers.insert((ifindex, direction), row);
            }
        }
        answers
    }

    /// The directions that may be closed for part of the way.
    pub(super) fn meanwhile(&self, plan: &Plan, meanings: &[&Meaning]) -> Directions {
        let mut closed = Directions::new();
        for meaning in meanings {
            for (&ifindex, interface) in &meaning.desired.interfaces {
                for direction in Direction::ALL {
                    if has(&plan.closed_meanwhile, interface, direction) {
                        closed.insert((ifindex, direction));
                    }
                }
            }
        }
        closed
    }

    /// Whether the step can change any answer. Most steps on roots and ports can't.
    pub(super) fn concerned(&self, step: &Step) -> bool {
        match step {
            Step::Trie4 { block, slot, .. } if *block < 256 => {
                let upper = (*block << 8) | u32::from(*slot);
                self.addresses.iter().any(|address| match address {
                    IpAddr::V4(address) => u32::from(*address) >> 16 == upper,
                    IpAddr::V6(_) => false,
                })
            }
            Step::PortClass { protocol, port, .. } => self.ports.iter().any(|probe| {
                port_protocol(probe.0) == Some(usize::from(*protocol)) && probe.1 == *port
            }),
            _ => true,
        }
    }

    /// Checks the answers to packets that read the tables now, and to those that have read their
    /// endpoint earlier and read their address now. Each answer is one of the two expected ones, or
    /// the other one if one of these is that there is no endpoint.
    pub(super) fn compare(
        &self,
        image: &Image,
        earlier: &Stale,
        (before, after): (&Answers, &Answers),
        meanwhile: &Directions,
    ) -> Result<(), String> {
        let classes = self.classes(image);
        let mut masks = Masks::new();
        for (key, before) in before {
            let after = &after[key];
            let now = image.judgement(key.0, key.1);
            let earlier = earlier.get(key).into_iter().flatten().filter(|&&it| it != now);
            for &judgement in earlier.chain([&now]) {
                for (at, &class) in classes.iter().enumerate() {
                    let (before, after) = (before[at], after[at]);
                    // An interface that is created or deleted has no packets in flight.
                    if judgement != now && (before.is_none() || after.is_none()) {
                        continue;
                    }
                    let answer = self.answer(image, judgement, class, &mut masks);
                    let closed = meanwhile.contains(key) && answer == Some(0);
                    if !closed && !is_one_of(answer, before, after) {
                        return Err(format!(
                            "interface and direction {key:?}, address {}: {answer:x?} by {judgement:?}, not {before:x?} or {after:x?}",
                            self.addresses[at]
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// The class of each address.
    fn classes(&self, image: &Image) -> Vec<u32> {
        self.addresses.iter().map(|&address| image.entry(address).unwrap().index()).collect()
    }

    /// Notes the class of each address.
    pub(super) fn note_classes(&self, image: &Image, noted: &mut Classes) {
        noted.resize(self.addresses.len(), BTreeSet::new());
        for (noted, class) in noted.iter_mut().zip(self.classes(image)) {
            noted.insert(class);
        }
    }

    /// Whether a packet that read its address earlier, and reads its endpoint now, may get a third
    /// answer.
    pub(super) fn fails_in_reverse(
        &self,
        image: &Image,
        earlier: &Classes,
        (before, after): (&Answers, &Answers),
    ) -> bool {
        let mut masks = Masks::new();
        let mut fails = |key: &(u32, Direction), at: usize, class: u32| {
            let answer = self.answer(image, image.judgement(key.0, key.1), class, &mut masks);
            !is_one_of(answer, before[key][at], after[key][at])
        };
        before.keys().any(|key| {
            let known = |at: &usize| before[key][*at].is_some() && after[key][*at].is_some();
            let places = (0..earlier.len()).filter(known);
            places.into_iter().any(|at| earlier[at].iter().any(|&class| fails(key, at, class)))
        })
    }

    fn answer(
        &self,
        image: &Image,
        judgement: Option<Judgement>,
        class: u32,
        masks: &mut Masks,
    ) -> Option<u64> {
        judgement.map(|judgement| match judgement {
            Judgement::Open => self.mask(|_| true),
            Judgement::Closed => 0,
            Judgement::Row(row) => {
                let cell = lookup::cell(image, row, class).unwrap();
                *masks.entry(cell.0).or_insert_with(|| {
                    self.mask(|(protocol, port)| lookup::cell_allows(image, cell, protocol, port))
                })
            }
        })
    }

    /// Notes how the endpoints are judged now.
    pub(super) fn note_endpoints(&self, image: &Image, stale: &mut Stale) {
        for &ifindex in &self.interfaces {
            for direction in Direction::ALL {
                let judgement = image.judgement(ifindex, direction);
                stale.entry((ifindex, direction)).or_default().insert(judgement);
            }
        }
    }

    /// Checks the addresses' flags and the source check of the interfaces.
    pub(super) fn compare_addresses(
        &self,
        image: &Image,
        before: &Meaning,
        after: &Meaning,
        strict: bool,
    ) -> Result<(), String> {
        let both = [before, after];
        for &address in &self.addresses {
            let flags = image.flags(address);
            let right = both.iter().any(|state| expected::flags(&state.desired, address) == flags);
            if !right && (strict || flags != 0) {
                return Err(format!("{address}: flags {flags:x}"));
            }
        }
        for &ifindex in &self.interfaces {
            let own = |state: &Meaning, address| {
                let interface = state.interface(ifindex)?;
                Some(!interface.check_source || interface.addresses.contains(&address))
            };
            let known = both.iter().filter_map(|state| state.desired.interfaces.get(&ifindex));
            let known: BTreeSet<IpAddr> =
                known.flat_map(|interface| interface.addresses.iter().copied()).collect();
            for &address in self.addresses.iter().take(3).chain(&known) {
                let may = image.may_use(ifindex, address);
                if both.iter().all(|state| own(state, address) != may) {
                    return Err(format!("interface {ifindex} may use {address}: {may:?}"));
                }
            }
        }
        Ok(())
    }

    /// Checks that [`Image::judge`] gives the same answers.
    pub(super) fn judge_all(&self, image: &Image, expected: &Answers) -> Result<(), String> {
        for (&(ifindex, direction), answers) in expected {
            for (&address, &answer) in self.addresses.iter().zip(answers) {
                for (bit, &(protocol, port)) in self.ports.iter().enumerate() {
                    let judged = image.judge(ifindex, direction, address, protocol, port);
                    if judged != answer.map(|mask| mask >> bit & 1 == 1) {
                        return Err(format!(
                            "{ifindex} {direction:?} {address} {protocol} {port}: {judged:?}"
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

fn has(
    directions: &BTreeSet<(PodId, Direction)>,
    interface: &Interface,
    direction: Direction,
) -> bool {
    let Owner::Pod(pod) = &interface.owner else { return false };
    directions.contains(&(pod.clone(), direction))
}

fn is_one_of(answer: Option<u64>, before: Option<u64>, after: Option<u64>) -> bool {
    match (answer, before, after) {
        (Some(answer), Some(before), Some(after)) => (answer ^ before) & (answer ^ after) == 0,
        (Some(answer), one, other) => one.or(other) == Some(answer),
        (None, before, after) => before.is_none() || after.is_none(),
    }
}

/// First and last address of the prefix, and their neighbours outside.
pub(super) fn edges(net: &IpNet) -> Vec<IpAddr> {
    match net {
        IpNet::V4(net) => {
            let (first, last) = (u32::from(net.network()), u32::from(net.broadcast()));
            [first.wrapping_sub(1), first, last, last.wrapping_add(1)]
                .map(|address| Ipv4Addr::from(address).into())
                .to_vec()
        }
        IpNet::V6(net) => {
            let (first, last) = (u128::from(net.network()), u128::from(net.broadcast()));
            [first.wrapping_sub(1), first, last, last.wrapping_add(1)]
                .map(|address| Ipv6Addr::from(address).into())
                .to_vec()
        }
    }
}

#[test]
fn the_harness_notices_a_third_verdict() {
    assert!(is_one_of(Some(0b01), Some(0b00), Some(0b11)));
    assert!(!is_one_of(Some(0b00), Some(0b01), Some(0b11)));
    assert!(!is_one_of(None, Some(0), Some(0)));
    assert!(is_one_of(None, Some(0), None));
    assert!(!is_one_of(Some(u64::from(Cell::ALLOW.0)), Some(0), None));
}
