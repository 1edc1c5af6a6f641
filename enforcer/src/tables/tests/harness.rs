//! Carries out plans step by step and checks C1 after each of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer_ebpf::classify::{self, port_protocol};
use enforcer_ebpf::count::Direction;
use enforcer_ebpf::endpoint::flags;
use enforcer_ebpf::entry::{Cell, Entry};
use enforcer_ebpf::table::Limits;
use ipnet::IpNet;
use proptest::prelude::ProptestConfig;

use super::oracle::{self, Port};
use crate::model::PodId;
use crate::policy::Verdict;
use crate::tables::pieces6::halves;
use crate::tables::{Desired, Image, Plan, State, Step, Table};

/// Small tables that are large enough for the generated states.
pub(super) const SMALL: Limits = Limits {
    trie4_blocks: 330,
    trie6_nodes: 400,
    trie6_leaves: 200,
    port_sets: 60,
    verdict_blocks: 6,
    endpoints: 12,
    flows: 0,
};

/// So many cases, or as many as `PROPTEST_CASES` says. Failures become tests of their own, not
/// files beside the source.
pub(super) fn config(cases: u32) -> ProptestConfig {
    let default = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_some() {
        return default;
    }
    ProptestConfig { cases, ..default }
}

/// What is asked after each step.
pub(super) struct Probes {
    addresses: Vec<IpAddr>,
    ports: Vec<Port>,
    interfaces: BTreeSet<u32>,
}

/// For each interface and direction, then for each address: which ports are allowed, as bits.
/// `None`: the interface has no endpoint.
type Answers = BTreeMap<(u32, u32), Vec<Option<u64>>>;

/// What is expected of a state, limits considered.
#[derive(Clone, Default)]
pub(super) struct Meaning {
    pub(super) desired: Desired,
    pub(super) closed: BTreeSet<(PodId, Direction)>,
    pub(super) homeless: BTreeSet<u32>,
}

pub(super) struct Harness {
    pub(super) state: State,
    pub(super) image: Image,
    pub(super) meaning: Meaning,
    /// Whether the last plan had to forget the node's addresses.
    lost: bool,
}

impl Harness {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            state: State::new(limits),
            image: Image::checked(limits),
            meaning: Meaning::default(),
            lost: false,
        }
    }

    /// Plans, carries out, checks each step. Gives the plan.
    pub(super) fn go(&mut self, desired: &Desired) -> Result<Plan, String> {
        let plan = self.state.plan(desired);
        let after = self.meaning_of(desired, &plan);
        let before = std::mem::replace(&mut self.meaning, after.clone());
        let probes = Probes::new(&[&before.desired, desired]);
        let expected = (probes.expected(&before), probes.expected(&after));
        // Where nothing is left to be closed, even the node's addresses may be forgotten.
        let lost = plan.addresses_lost.is_some() || self.lost;
        self.lost = plan.addresses_lost.is_some();
        let strict = (!lost && plan.closed_meanwhile.is_empty(), !self.lost);
        probes.compare(&self.image, &expected.0, &expected.0, &Answers::new())?;
        let meanwhile = probes.meanwhile(&plan, &[&before, &after]);
        for (at, step) in plan.steps.iter().enumerate() {
            let error =
                |problem: String| format!("step {at} of {}: {step:?}: {problem}", plan.steps.len());
            self.image.apply(step).map_err(|problem| error(problem.to_string()))?;
            if probes.concerned(step) {
                probes
                    .compare(&self.image, &expected.0, &expected.1, &meanwhile)
                    .and_then(|()| probes.compare_addresses(&self.image, &before, &after, strict.0))
                    .map_err(error)?;
            }
        }
        let finally = |problem| format!("after all {} steps: {problem}", plan.steps.len());
        probes
            .compare(&self.image, &expected.1, &expected.1, &Answers::new())
            .and_then(|()| probes.compare_addresses(&self.image, &after, &after, strict.1))
            .and_then(|()| probes.judge_all(&self.image, &expected.1))
            .map_err(finally)?;
        Ok(plan)
    }

    fn meaning_of(&self, desired: &Desired, plan: &Plan) -> Meaning {
        let slotless = |table| matches!(table, Table::Endpoints | Table::Interfaces);
        let closed = plan.unrepresented.iter().filter(|item| !slotless(item.shortage.table));
        let reported: BTreeSet<&PodId> = plan
            .unrepresented
            .iter()
            .filter(|item| slotless(item.shortage.table))
            .map(|item| &item.pod)
            .collect();
        Meaning {
            desired: desired.clone(),
            closed: closed.map(|item| (item.pod.clone(), item.direction)).collect(),
            homeless: desired
                .interfaces
                .iter()
                .filter(|(ifindex, interface)| {
                    self.state.endpoints.get(**ifindex).is_none()
                        && reported.contains(&interface.pod)
                })
                .map(|(&ifindex, _)| ifindex)
                .collect(),
        }
    }
}

impl Probes {
    fn new(states: &[&Desired]) -> Self {
        let mut addresses =
            BTreeSet::from(["8.8.8.8".parse().unwrap(), "2600::1".parse().unwrap()]);
        let mut ports = BTreeSet::from([(1, 0), (6, 0), (17, 65_535), (132, 7)]);
        let mut interfaces = BTreeSet::new();
        for state in states {
            for net in state.compiled.addresses.keys() {
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

    fn expected(&self, meaning: &Meaning) -> Answers {
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
                    if meaning.closed.contains(&(interface.pod.clone(), direction)) {
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
    fn meanwhile(&self, plan: &Plan, meanings: &[&Meaning]) -> Answers {
        let mut answers = Answers::new();
        for meaning in meanings {
            for (&ifindex, interface) in &meaning.desired.interfaces {
                for direction in Direction::ALL {
                    if plan.closed_meanwhile.contains(&(interface.pod.clone(), direction)) {
                        answers.insert((ifindex, direction as u32), Vec::new());
                    }
                }
            }
        }
        answers
    }

    /// Whether the step can change any answer: roots and ports come in thousands.
    fn concerned(&self, step: &Step) -> bool {
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
    fn compare(
        &self,
        image: &Image,
        before: &Answers,
        after: &Answers,
        meanwhile: &Answers,
    ) -> Result<(), String> {
        let classes: Vec<u32> =
            self.addresses.iter().map(|&address| entry(image, address).index()).collect();
        let mut masks: BTreeMap<u32, u64> = BTreeMap::new();
        for (&(ifindex, direction), before) in before {
            let after = &after[&(ifindex, direction)];
            let judged = row_of(image, ifindex, direction);
            for (at, &class) in classes.iter().enumerate() {
                let answer = judged.map(|judged| match judged {
                    Err(all) => {
                        if all {
                            self.mask(|_| true)
                        } else {
                            0
                        }
                    }
                    Ok(row) => {
                        let cell = classify::cell(image, row, class).unwrap();
                        *masks.entry(cell.0).or_insert_with(|| {
                            self.mask(|(protocol, port)| {
                                classify::cell_allows(image, cell, protocol, port)
                            })
                        })
                    }
                });
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

    /// The node's addresses and the interfaces' own.
    fn compare_addresses(
        &self,
        image: &Image,
        before: &Meaning,
        after: &Meaning,
        strict: bool,
    ) -> Result<(), String> {
        let both = [before, after];
        for &address in &self.addresses {
            let node = image.is_node(address);
            let right = both.iter().any(|state| oracle::is_node(&state.desired, address) == node);
            if !right && (strict || node) {
                return Err(format!("{address}: node {node}"));
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
    fn judge_all(&self, image: &Image, expected: &Answers) -> Result<(), String> {
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

fn is_one_of(answer: Option<u64>, before: Option<u64>, after: Option<u64>) -> bool {
    match (answer, before, after) {
        (Some(answer), Some(before), Some(after)) => (answer ^ before) & (answer ^ after) == 0,
        (Some(answer), one, other) => one.or(other) == Some(answer),
        (None, before, after) => before.is_none() || after.is_none(),
    }
}

/// The row of an endpoint's direction, or what holds without one.
fn row_of(image: &Image, ifindex: u32, direction: u32) -> Option<Result<u32, bool>> {
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
        IpAddr::V4(address) => classify::address4(image, address.into()).unwrap(),
        IpAddr::V6(address) => classify::address6(image, &halves(address.into())).unwrap(),
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
