//! Endpoints: colliding slots, reused ids, further addresses.

use std::collections::BTreeMap;

use enforcer_ebpf::contract::endpoint::{MAX_ID, Slot, slots_of};
use enforcer_ebpf::contract::table::{INTERFACE_SLOTS, Limits};

use super::fixtures;
use super::harness::{Harness, SMALL};
use crate::model::PodId;
use crate::tables::slots::Slots;
use crate::tables::writer::Writer;
use crate::tables::{Desired, Inherited, Interface, Owner, State, Step, Table, sizes};

fn interface(pod: &str, addresses: &[&str]) -> Interface {
    Interface {
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        check_source: true,
        ..fixtures::interface(Owner::Pod(PodId::new("default", pod)))
    }
}

fn desired(interfaces: &[(u32, Interface)]) -> Desired {
    let interfaces: BTreeMap<u32, Interface> = interfaces.iter().cloned().collect();
    Desired { interfaces, ..Desired::default() }
}

/// The record that the kernel finds for an interface.
fn find(words: &[u64], ifindex: u32) -> Option<u32> {
    let (first, second) = slots_of(ifindex);
    [first, second]
        .into_iter()
        .map(|slot| Slot(words[slot]))
        .find(|slot| slot.ifindex() == ifindex)
        .map(Slot::record)
}

/// For each of several first slots, as many interfaces as fit: entries must move, and each is found
/// after every single store.
#[test]
fn colliding_interfaces_are_found_after_every_store() {
    let mut slots = Slots::new();
    let mut words = vec![0u64; INTERFACE_SLOTS];
    let mut known: Vec<u32> = Vec::new();
    let mut moves = 0;
    let step = sizes::INTERFACE_SLOTS;
    let candidates = (1..40u32).flat_map(|at| (0..60).map(move |multiple| at + multiple * step));
    for ifindex in candidates {
        let mut writer = Writer::new(0);
        if !slots.put(ifindex, ifindex, &mut writer) {
            assert!(writer.steps.is_empty());
            continue;
        }
        moves += writer.steps.len() - 1;
        for step in &writer.steps {
            let Step::Interface { slot, value } = step else { continue };
            words[*slot as usize] = value.0;
            for &ifindex in &known {
                assert_eq!(find(&words, ifindex), Some(ifindex));
            }
        }
        known.push(ifindex);
        assert_eq!(find(&words, ifindex), Some(ifindex));
    }
    assert!(moves > 0 && known.len() > 1_500, "{moves} moves, {} known", known.len());
    for ifindex in known.drain(..) {
        slots.clear(ifindex, &mut Writer::new(0));
    }
    let mut writer = Writer::new(0);
    assert!(slots.put(1, 1, &mut writer));
    assert_eq!(writer.steps.len(), 1, "no entry is left that would have to move");
}

/// A packet that has looked into the first slot before an entry was copied there looks into the
/// second slot afterwards. So there must be a grace period before the second slot is overwritten.
#[test]
fn an_entry_that_moves_to_its_first_slot_stays_in_the_second_for_a_grace_period() {
    let mut slots = Slots::new();
    let steps = |slots: &mut Slots, ifindex: u32| {
        let mut writer = Writer::new(0);
        assert!(slots.put(ifindex, ifindex, &mut writer));
        writer.steps
    };
    let sharing = |slot: usize| {
        let slot = u32::try_from(slot).unwrap();
        (0..).map(move |at| slot + at * sizes::INTERFACE_SLOTS)
    };
    // `a` and `b` have the same first slot, so `b` is in its second. Then `a` is removed.
    let (a, b) = (1, sharing(1).nth(1).unwrap());
    steps(&mut slots, a);
    steps(&mut slots, b);
    slots.clear(a, &mut Writer::new(0));
    // `b`'s second slot is `c`'s first, and `c`'s second is `d`'s first.
    let c = sharing(slots_of(b).1).nth(3).unwrap();
    let d = sharing(slots_of(c).1).nth(5).unwrap();
    steps(&mut slots, d);
    let store = |slot: usize, ifindex: u32| Step::Interface {
        slot: u32::try_from(slot).unwrap(),
        value: Slot::new(ifindex, ifindex),
    };
    let (first, second) = slots_of(b);
    assert_eq!(steps(&mut slots, c), [store(first, b), Step::Grace, store(second, c)]);
}

/// Of three interfaces with the same two slots, the third finds no slot and is reported.
#[test]
fn an_interface_without_a_slot_is_reported() {
    let slots = slots_of(1);
    let same: Vec<u32> = (1..u32::MAX)
        .step_by(INTERFACE_SLOTS)
        .filter(|&at| slots_of(at) == slots)
        .take(3)
        .collect();
    let all: Vec<(u32, Interface)> = same.iter().map(|&at| (at, interface("a", &[]))).collect();
    let mut harness = Harness::new(SMALL);
    let plan = harness.go(&desired(&all)).unwrap();
    assert_eq!(plan.unrepresented.len(), 2);
    assert_eq!(plan.unrepresented[0].shortage.table, Table::Interfaces);
    let plan = harness.go(&desired(&all[1..])).unwrap();
    assert!(plan.unrepresented.is_empty());
}

fn id(harness: &Harness, ifindex: u32) -> u32 {
    harness.image.endpoint_of(ifindex).unwrap().id
}

#[test]
fn an_id_stays_with_a_pod_and_its_interface() {
    let mut harness = Harness::new(SMALL);
    harness.go(&desired(&[(5, interface("a", &["10.0.0.1"]))])).unwrap();
    let first = id(&harness, 5);
    harness.go(&desired(&[(5, interface("a", &["10.0.0.2"]))])).unwrap();
    assert_eq!(id(&harness, 5), first, "another address");
    harness.go(&desired(&[(5, interface("b", &["10.0.0.2"]))])).unwrap();
    assert_ne!(id(&harness, 5), first, "another pod");
    harness.go(&desired(&[(6, interface("a", &["10.0.0.1"]))])).unwrap();
    assert_ne!(id(&harness, 6), first, "another interface");
}

/// Semantics A3: a pod also opened the connections that it opened before it was known.
#[test]
fn an_id_stays_when_the_pod_becomes_known() {
    let mut harness = Harness::new(SMALL);
    let owned = |owner| Interface { owner, ..interface("", &["10.0.0.1"]) };
    let pod = |name| PodId::new("default", name);
    harness.go(&desired(&[(5, owned(Owner::Unknown { closed: false }))])).unwrap();
    let first = id(&harness, 5);
    harness.go(&desired(&[(5, owned(Owner::Pod(pod("a"))))])).unwrap();
    assert_eq!(id(&harness, 5), first);
    harness.go(&desired(&[(5, owned(Owner::Gone(pod("a"))))])).unwrap();
    assert_eq!(id(&harness, 5), first);
    harness.go(&desired(&[(5, owned(Owner::Pod(pod("b"))))])).unwrap();
    assert_ne!(id(&harness, 5), first, "semantics C5");
}

/// Semantics C3, C5: flows and marks of an earlier agent belong to the same pods.
#[test]
fn c3_ids_are_inherited_by_the_same_pods() {
    let pod = |name| Owner::Pod(PodId::new("default", name));
    let noted =
        |id, ifindex, owner| Inherited { id, ifindex, owner, uid: String::new(), identity: 0 };
    let inherited = [
        noted(2, 5, Some(pod("stays"))),
        noted(3, 6, Some(pod("replaced"))),
        noted(5, 7, Some(Owner::Unknown { closed: false })),
        noted(6, 8, Some(pod("left"))),
        noted(7, 9, None),
    ];
    let mut harness = Harness::new(SMALL);
    harness.state = State::resuming(SMALL, &inherited);
    let all = [(5, "stays"), (6, "other"), (7, "known"), (10, "new")];
    let all = all.map(|(ifindex, name)| (ifindex, interface(name, &[])));
    let plan = harness.go(&desired(&all)).unwrap();
    assert_eq!([5, 7].map(|it| id(&harness, it)), [2, 5]);
    // New pods get ids that no pod has had.
    assert_eq!([6, 10].map(|it| id(&harness, it)), [8, 9]);
    let freed = plan.steps.iter().filter_map(|step| match step {
        Step::Owner { id, owner: None, .. } => Some(*id),
        _ => None,
    });
    assert_eq!(freed.collect::<Vec<_>>(), [3, 6], "no interface has taken them over");
    // Once no fresh id is left, ids of other pods are reused, and forgotten before.
    let mut used = Vec::new();
    for at in 0..4 {
        let plan = harness.go(&desired(&[(20 + at, interface("later", &[]))])).unwrap();
        let forgotten = plan.steps.iter().find_map(|step| match step {
            Step::ForgetEndpoint { id } => Some(*id),
            _ => None,
        });
        used.push((id(&harness, 20 + at), forgotten));
    }
    assert_eq!(used[..2], [(10, None), (11, None)]);
    assert!(used[2..].iter().all(|(id, forgotten)| *forgotten == Some(*id)), "{used:?}");
}

/// Semantics C5.
#[test]
fn an_id_is_forgotten_before_another_pod_gets_it() {
    let mut harness = Harness::new(SMALL);
    harness.state.endpoints.start_ids_at(MAX_ID - 1);
    let mut forgotten = Vec::new();
    for pod in 0..5 {
        let plan = harness.go(&desired(&[(7, interface(&format!("{pod}"), &[]))])).unwrap();
        let at = plan.steps.iter().position(|step| matches!(step, Step::ForgetEndpoint { .. }));
        if let Some(at) = at {
            let flip = plan.steps.iter().position(|step| matches!(step, Step::Interface { .. }));
            assert!(Some(at) < flip);
            forgotten.push(id(&harness, 7));
            assert_eq!(plan.steps[at], Step::ForgetEndpoint { id: id(&harness, 7) });
        }
    }
    assert_eq!(forgotten.len(), 3, "the first two ids were new");
}

#[test]
fn addresses_beyond_the_record_are_added_first_and_removed_last() {
    let mut harness = Harness::new(SMALL);
    let many = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1", "fd00::2"];
    let plan = harness.go(&desired(&[(5, interface("a", &many))])).unwrap();
    let kinds: Vec<char> = plan
        .steps
        .iter()
        .map(|step| match step {
            Step::Owner { .. } => 'o',
            Step::AddExtraAddress(_) => '+',
            Step::Endpoint { .. } => 'e',
            Step::Interface { .. } => 'i',
            Step::Sender { .. } => 's',
            Step::RemoveExtraAddress(_) => '-',
            Step::PodAddress { .. } => 'p',
            _ => '?',
        })
        .collect();
    assert_eq!(kinds, ['o', '+', '+', '+', 'e', 'i', 's', 'p', 'p', 'p', 'p', 'p']);
    let plan = harness.go(&desired(&[(5, interface("a", &many[1..3]))])).unwrap();
    let removed = plan.steps.iter().filter(|step| matches!(step, Step::RemoveExtraAddress(_)));
    assert_eq!(removed.count(), 2, "10.0.0.2 is in the record now, 10.0.0.3 stays");
    harness.go(&desired(&[])).unwrap();
}

/// Semantics N1, N3: a packet's mark has the id of its sender.
#[test]
fn a_sender_is_found_by_its_id_while_it_exists() {
    let mut harness = Harness::new(SMALL);
    harness.go(&desired(&[(5, interface("a", &["10.0.0.1"]))])).unwrap();
    let first = id(&harness, 5);
    assert_eq!(harness.image.sender_of(first), harness.image.endpoint_of(5));
    harness.go(&desired(&[(5, interface("a", &["10.0.0.2"]))])).unwrap();
    assert_eq!(harness.image.sender_of(first), harness.image.endpoint_of(5));
    harness.go(&desired(&[(5, interface("b", &["10.0.0.2"]))])).unwrap();
    assert_eq!(harness.image.sender_of(first), None);
    let second = id(&harness, 5);
    assert_eq!(harness.image.sender_of(second), harness.image.endpoint_of(5));
    harness.go(&desired(&[])).unwrap();
    assert_eq!(harness.image.sender_of(second), None);
}

/// Semantics P4, for packets whose mark another program cleared.
#[test]
fn a_pod_is_found_by_any_of_its_addresses_while_it_has_them() {
    let mut harness = Harness::new(SMALL);
    let [first, second, third] = ["10.0.0.1", "10.0.0.2", "fd00::1"];
    let ip = |text: &str| text.parse().unwrap();
    harness.go(&desired(&[(5, interface("a", &[first, second, third]))])).unwrap();
    for address in [first, second, third] {
        assert_eq!(harness.image.pod_at(ip(address)), harness.image.endpoint_of(5));
    }
    // The address moves to another pod; then both claim it.
    let steps = [(5, interface("a", &[first])), (6, interface("b", &[second]))];
    harness.go(&desired(&steps)).unwrap();
    assert_eq!(harness.image.pod_at(ip(second)), harness.image.endpoint_of(6));
    assert_eq!(harness.image.pod_at(ip(third)), None);
    let both = [(5, interface("a", &[second])), (6, interface("b", &[second]))];
    harness.go(&desired(&both)).unwrap();
    assert_eq!(harness.image.pod_at(ip(second)), harness.image.endpoint_of(5));
    harness.go(&desired(&[(6, interface("b", &[second]))])).unwrap();
    assert_eq!(harness.image.pod_at(ip(second)), harness.image.endpoint_of(6));
    // What an unknown pod has configured is nobody's, also where a pod has it.
    let unknown =
        Interface { owner: Owner::Unknown { closed: true }, ..interface("", &[second, third]) };
    harness.go(&desired(&[(5, unknown), (6, interface("b", &[second]))])).unwrap();
    assert_eq!(harness.image.pod_at(ip(second)), harness.image.endpoint_of(6));
    assert_eq!(harness.image.pod_at(ip(third)), None);
    harness.go(&desired(&[])).unwrap();
    assert_eq!(harness.image.pod_at(ip(second)), None);
}

#[test]
fn three_records_are_enough_for_an_interface_whose_pod_changes() {
    let mut harness = Harness::new(Limits { endpoints: 3, ..SMALL });
    for pod in 0..6 {
        let plan = harness.go(&desired(&[(7, interface(&format!("{pod}"), &[]))])).unwrap();
        assert!(plan.unrepresented.is_empty());
    }
}
