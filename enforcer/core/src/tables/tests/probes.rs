//! What is asked of an image after each step, and what the answers must be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer_ebpf::contract::endpoint::flags;
use enforcer_ebpf::contract::entry::{Cell, Entry};
use enforcer_ebpf::contract::lookup::{self, port_protocol};
use enforcer_ebpf::contract::verdict::Direction;
use ipnet::IpNet;

use super::oracle::{self, Port};
use crate::model::PodId;
use crate::policy::{Compiled, Verdict};
use crate::tables::oracle::Image;
use crate::tables::pieces6::halves;
use crate::tables::{Desired, Interface, Owner, Plan, Step};

/// What is asked after each step.
pub(super) struct Probes {
    addresses: Vec<IpAddr>,
    ports: Vec<Port>,
    interfaces: BTreeSet<u32>,
}

/// For each interface and direction, then for each address: which ports are allowed, as bits.
/// `None`: the interface has no endpoint.
pub(super) type Answers = BTreeMap<(u32, u32), Vec<Option<u64>>>;

/// How an interface's direction is judged: by a row, or alike for all; `None`: no endpoint.
pub(super) type Judged = Option<Result<u32, bool>>;

/// What cells allow, as bits.
pub(super) type Masks = BTreeMap<u32, u64>;

/// By interface and direction: what a packet may have read of its endpoint since the last grace
/// period, and may still look an address up for.
pub(super) type Stale = BTreeMap<(u32, u32), BTreeSet<Judged>>;

/// What is expected of a state, limits considered.
#[derive(Clone, Default)]
pub(super) struct Meaning {
    pub(super) desired: Desired,
    pub(super) closed: BTreeSet<(PodId, Direction)>,
    pub(super) homeless: BTreeSet<u32>,
}

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
        // As many as there are bits; larger tests don't look at all.
        Self { addresses, ports: ports.into_iter().take(64).collect(), interfaces }
    }

    fn mask(&self, allows: impl Fn(Port) -> bool) -> u64 {
        self.ports.iter().enumerate().map(|(bit, &port)| u64::from(allows(port)) << bit).sum()
    }

    pub(super) fn expected(&self, meaning: &Meaning) -> Answers {
        let desired = &meaning.desired;
        let columns: Vec<usize> =
            self.addresses.iter().map(|&address| oracle::column(desired, address)).collect();
        let mut answers = Answers::new();
        for &ifindex in &self.interfaces {
            for direction in Direction::ALL {
                let answer = |&column: &usize| {
                    let interface = desired.interfaces.get(&ifindex)?;
                    if meaning.homeless.contains(&ifindex) {
                        return None;
                    }
                    if has(&meaning.closed, interface, direction) {
                        return Some(0);
                    }
                    let verdict = oracle::verdict(desired, ifindex, direction, column);
                    Some(self.mask(|port| oracle::allows(verdict, port)))
                };
                let row = columns.iter().map(answer).collect();
                answers.insert((ifindex, direction as u32), row);
            }
        }
        answers
    }

    /// The directions that may be closed for part of the way.
    pub(super) fn meanwhile(&self, plan: &Plan, meanings: &[&Meaning]) -> Answers {
        let mut answers = Answers::new();
        for meaning in meanings {
            for (&ifindex, interface) in &meaning.desired.interfaces {
                for direction in Direction::ALL {
                    if has(&plan.closed_meanwhile, interface, direction) {
                        answers.insert((ifindex, direction as u32), Vec::new());
                    }
                }
            }
        }
        answers
    }

    /// Whether the step can change any answer: roots and ports come in thousands.
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

    /// Each answer is one of two, or one of them where the other is that there is no endpoint.
    pub(super) fn compare(
        &self,
        image: &Image,
        before: &Answers,
        after: &Answers,
        meanwhile: &Answers,
    ) -> Result<(), String> {
        let classes: Vec<u32> =
            self.addresses.iter().map(|&address| entry(image, address).index()).collect();
        let mut masks = Masks::new();
        for (&(ifindex, direction), before) in before {
            let after = &after[&(ifindex, direction)];
            let judged = row_of(image, ifindex, direction);
            for (at, &class) in classes.iter().enumerate() {
                let answer = self.answer(image, judged, class, &mut masks);
                let closed = meanwhile.contains_key(&(ifindex, direction)) && answer == Some(0);
                if !closed && !is_one_of(answer, before[at], after[at]) {
                    return Err(format!(
                        "interface {ifindex} direction {direction} address {}: {answer:x?}, not {:x?} or {:x?}",
                        self.addresses[at], before[at], after[at]
                    ));
                }
            }
        }
        Ok(())
    }

    fn answer(&self, image: &Image, judged: Judged, class: u32, masks: &mut Masks) -> Option<u64> {
        judged.map(|judged| match judged {
            Err(true) => self.mask(|_| true),
            Err(false) => 0,
            Ok(row) => {
                let cell = lookup::cell(image, row, class).unwrap();
                *masks.entry(cell.0).or_insert_with(|| {
                    self.mask(|(protocol, port)| lookup::cell_allows(image, cell, protocol, port))
                })
            }
        })
    }

    pub(super) fn note_endpoints(&self, image: &Image, stale: &mut Stale) {
        for &ifindex in &self.interfaces {
            for direction in Direction::ALL.map(|direction| direction as u32) {
                let judged = row_of(image, ifindex, direction);
                stale.entry((ifindex, direction)).or_default().insert(judged);
            }
        }
    }

    /// What a packet gets that has read its endpoint some steps ago and reads its address now.
    pub(super) fn compare_stale(
        &self,
        image: &Image,
        stale: &Stale,
        (before, after): (&Answers, &Answers),
        meanwhile: &Answers,
    ) -> Result<(), String> {
        let entries = self.addresses.iter().map(|&address| entry(image, address).index());
        let classes: Vec<u32> = entries.collect();
        let mut masks = Masks::new();
        for (key, judged) in stale {
            let (before, after) = (&before[key], &after[key]);
            for (&judged, (at, &class)) in judged
                .iter()
                .flat_map(|judged| classes.iter().enumerate().map(move |it| (judged, it)))
            {
                let answer = self.answer(image, judged, class, &mut masks);
                let closed = meanwhile.contains_key(key) && answer == Some(0);
                // Of an interface that comes or goes no packet is under way.
                let stays = before[at].is_some() && after[at].is_some();
                if stays && !closed && !is_one_of(answer, before[at], after[at]) {
                    return Err(format!(
                        "interface and direction {key:?}, address {}: {answer:x?} by an endpoint read earlier ({judged:?}), not {:x?} or {:x?}",
                        self.addresses[at], before[at], after[at]
                    ));
                }
            }
        }
        Ok(())
    }

    /// The node's addresses and the interfaces' own.
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
            let right = both.iter().any(|state| oracle::flags(&state.desired, address) == flags);
            if !right && (strict || flags != 0) {
                return Err(format!("{address}: flags {flags:x}"));
            }
        }
        for &ifindex in &self.interfaces {
            let own = |state: &Meaning, address| {
                let interface = state.desired.interfaces.get(&ifindex)?;
                let homeless = state.homeless.contains(&ifindex);
                (!homeless)
                    .then(|| !interface.check_source || interface.addresses.contains(&address))
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

    /// The public question gives the same answers.
    pub(super) fn judge_all(&self, image: &Image, expected: &Answers) -> Result<(), String> {
        for (&(ifindex, direction), answers) in expected {
            let direction = Direction::ALL[direction as usize];
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

/// The row of an endpoint's direction, or what holds without one.
fn row_of(image: &Image, ifindex: u32, direction: u32) -> Judged {
    let endpoint = image.endpoint_of(ifindex)?;
    let (isolated, closed, row) = match Direction::ALL[direction as usize] {
        Direction::Ingress => {
            (flags::INGRESS_ISOLATED, flags::INGRESS_CLOSED, endpoint.ingress_row)
        }
        Direction::Egress => (flags::EGRESS_ISOLATED, flags::EGRESS_CLOSED, endpoint.egress_row),
    };
    Some(if endpoint.flags & closed != 0 {
        Err(false)
    } else if endpoint.flags & isolated == 0 {
        Err(true)
    } else {
        Ok(row)
    })
}

pub(super) fn entry(image: &Image, address: IpAddr) -> Entry {
    match address {
        IpAddr::V4(address) => lookup::address4(image, address.into()).unwrap(),
        IpAddr::V6(address) => lookup::address6(image, &halves(address.into())).unwrap(),
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

/// A cell that allows nothing, as a check of the harness itself.
#[test]
fn the_harness_notices_a_third_verdict() {
    assert!(is_one_of(Some(0b01), Some(0b00), Some(0b11)));
    assert!(!is_one_of(Some(0b00), Some(0b01), Some(0b11)));
    assert!(!is_one_of(None, Some(0), Some(0)));
    assert!(is_one_of(None, Some(0), None));
    assert!(!is_one_of(Some(u64::from(Cell::ALLOW.0)), Some(0), None));
}
