//! The checked image rejects the steps that a plan must never have.

use enforcer_ebpf::contract::endpoint::{Endpoint, Slot, flags};
use enforcer_ebpf::contract::entry::{Cell, Entry};

use super::harness::SMALL;
use crate::tables::Step;
use crate::tables::oracle::{CheckedImage, Image, ImageError};

fn block(entry: Entry) -> Step {
    Step::Block4 { block: 300, entries: Box::new([entry; 256]) }
}

fn root(entry: Entry) -> Step {
    Step::Trie4 { block: 10, slot: 1, entry }
}

fn record(row: u32) -> Step {
    let value =
        Endpoint { id: 1, ingress_row: row, flags: flags::INGRESS_ISOLATED, ..Endpoint::default() };
    Step::Endpoint { record: 3, value }
}

fn slot(value: Slot) -> Step {
    Step::Interface { slot: 7, value }
}

fn cell(index: u32, cell: Cell) -> Step {
    Step::Verdict { index, cell }
}

/// Whether the image rejects the last step; it must take the others.
fn rejects(steps: &[Step]) -> bool {
    let mut image = CheckedImage::new(SMALL);
    let (last, first) = steps.split_last().unwrap();
    for step in first {
        image.apply(step).unwrap();
    }
    matches!(image.apply(last), Err(ImageError::InUse(_)))
}

#[test]
fn a_block_is_in_use_until_a_grace_period_after_it_was_unlinked() {
    let (link, gone) = (root(Entry::link(300)), root(Entry::UNKNOWN));
    let fill = || block(Entry::class(1, 0));
    assert!(!rejects(&[fill(), fill()]));
    assert!(rejects(&[fill(), link.clone(), fill()]));
    assert!(rejects(&[fill(), link.clone(), gone.clone(), fill()]));
    assert!(rejects(&[fill(), link.clone(), Step::Grace, gone.clone(), fill()]));
    assert!(!rejects(&[fill(), link, gone, Step::Grace, fill()]));
}

#[test]
fn a_node_is_in_use_while_a_shortcut_leads_to_it() {
    let node = Step::Node6 { node: 5, value: Box::new(bytemuck::Zeroable::zeroed()) };
    let word = |entry| Step::Network6 { place: 9, entry };
    let (link, gone) = (word(Entry::link(5)), word(Entry::UNKNOWN));
    assert!(!rejects(&[node.clone(), node.clone()]));
    assert!(rejects(&[node.clone(), link.clone(), node.clone()]));
    assert!(rejects(&[node.clone(), link.clone(), gone.clone(), node.clone()]));
    assert!(!rejects(&[node.clone(), link, gone, Step::Grace, node]));
}

#[test]
fn a_record_is_in_use_while_a_slot_names_it() {
    let (flip, clear) = (slot(Slot::new(7, 3)), slot(Slot(0)));
    assert!(rejects(&[record(0), flip.clone(), record(0)]));
    assert!(rejects(&[record(0), flip.clone(), clear.clone(), record(0)]));
    assert!(!rejects(&[record(0), flip, clear, Step::Grace, record(0)]));
}

#[test]
fn a_cell_is_in_use_when_its_row_and_its_class_are() {
    let flip = slot(Slot::new(7, 3));
    let class = root(Entry::class(5, 0));
    assert!(rejects(&[record(20), flip.clone(), cell(20, Cell::ALLOW)]), "class 0");
    assert!(!rejects(&[record(20), flip.clone(), cell(25, Cell::ALLOW)]));
    assert!(rejects(&[record(20), flip.clone(), class.clone(), cell(25, Cell::ALLOW)]));
    let gone = root(Entry::UNKNOWN);
    // A packet that has seen the class before it went had another endpoint then.
    let before = [class.clone(), gone.clone(), record(20), flip.clone(), cell(25, Cell::ALLOW)];
    assert!(!rejects(&before));
    let during = [record(20), flip, class, gone, cell(25, Cell::ALLOW)];
    assert!(rejects(&during));
}

#[test]
fn a_bit_is_in_use_when_its_set_and_its_port_class_are() {
    let sets = [cell(20, Cell::ports(4)), record(20), slot(Slot::new(7, 3))];
    let bit = |bit: u32| Step::PortSetWord { set: 4, word: 0, bits: 1 << bit };
    let with = |step: Step| [&sets[..], &[step]].concat();
    assert!(rejects(&with(bit(0))), "all ports have class 0");
    assert!(!rejects(&with(bit(6))));
    let port = Step::PortClass { protocol: 0, port: 80, class: 6 };
    assert!(rejects(&[&sets[..], &[port, bit(6)]].concat()));
}

#[test]
fn an_id_is_not_forgotten_while_an_endpoint_has_it() {
    let forget = Step::ForgetEndpoint { id: 1 };
    assert!(rejects(&[record(0), slot(Slot::new(7, 3)), forget.clone()]));
    assert!(!rejects(&[record(0), forget]));
}

#[test]
fn a_step_outside_of_its_table_is_an_error() {
    let mut image = Image::new(SMALL);
    let outside = Step::Block4 { block: 5_000, entries: Box::new([Entry::UNKNOWN; 256]) };
    assert_eq!(image.apply(&outside), Err(ImageError::Outside));
    assert_eq!(image.apply(&cell(u32::MAX, Cell::ALLOW)), Err(ImageError::Outside));
}
