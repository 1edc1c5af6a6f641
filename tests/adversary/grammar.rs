//! The grammar: attacks of one to a few packets, composed at random. Each pattern sets what belongs
//! together (fragments of one packet, a flow and an error about it); then any field may change.

mod draw;
mod patterns;

use proptest::prelude::{Rng, RngExt as _};

use draw::{ATTACKERS, PORTS, body, one_in, pick, pieces, plain, source};
use patterns::{answers_to_all, arp, error, link_message, past_the_bridge, service, tunnel};

use crate::crafted::{Address, Attack, Body, Crafted, Lie, Mac, Piece, Role, Way};

/// One attack.
pub(crate) fn attack(rng: &mut impl Rng) -> Attack {
    let mut attack = match rng.random_range(0..13) {
        0 if one_in(rng, 8) => answers_to_all(rng),
        0 => link_message(rng),
        1 => arp(rng),
        2 => tunnel(rng),
        3 => error(rng),
        4 => long_headers(rng),
        5 => reassembled_by_conntrack(rng),
        6 | 7 => fragments(rng),
        8 => service(rng),
        9 => past_the_bridge(rng),
        10 => in_pages(rng),
        _ => vec![plain(rng)],
    };
    if one_in(rng, 3) {
        let at = rng.random_range(0..attack.len());
        change(&mut attack[at], rng);
    }
    for it in &mut attack {
        // Two of the lab's echo servers would talk for ever.
        if let Body::Udp(from, 53 | 5_353 | 30_053) = &mut it.body
            && matches!(from, 53 | 5_353)
        {
            *from = 5_000;
        }
    }
    attack
}

/// Changes one field.
fn change(it: &mut Crafted, rng: &mut impl Rng) {
    match rng.random_range(0..14) {
        0 => it.vlans = (0..rng.random_range(1..=3)).map(|_| pick(rng, &[0, 1, 5])).collect(),
        1 => it.options = rng.random_range(1..=10),
        2 => it.extensions = extensions(rng),
        3 => it.late = extensions(rng),
        4 => it.pieces = pieces(usize::from(it.length) + 40, rng),
        5 => it.lie = Some(lie(rng)),
        6 => it.cut = Some(rng.random_range(14..120)),
        7 => it.way = Way::Paged(pick(rng, &[1, 14, 18, 34, 54, 60, 100])),
        8 => {
            it.way = Way::Segments(pick(rng, &[64, 500, 1_400]));
            it.pieces.clear();
            it.body = if rng.random() {
                Body::Udp(5_000, pick(rng, &PORTS))
            } else {
                Body::Tcp(5_000, 80, 0x10)
            };
        }
        9 => it.source = source(it.by, rng),
        10 => it.hops = pick(rng, &[0, 1, 2, 64, 255]),
        11 if it.by != Role::Outside => {
            it.mac_to = pick(
                rng,
                &[
                    Mac::Router,
                    Mac::Broadcast,
                    Mac::Group,
                    Mac::Pod(Role::Victim),
                    Mac::Pod(Role::Friend),
                ],
            );
        }
        // A bridge would send others' frames to the owner of a stolen address; these have no ordinary
        // connections.
        12 if it.by != Role::Outside => {
            it.mac_from = pick(rng, &[Mac::Mark, Mac::Pod(Role::Evil), Mac::Pod(Role::Rogue)]);
        }
        _ => it.length = rng.random_range(8..1_400),
    }
}

/// A transport header of which the programs can read nothing at first.
fn in_pages(rng: &mut impl Rng) -> Attack {
    let mut it = if rng.random() { service(rng).remove(0) } else { plain(rng) };
    it.pieces.clear();
    if it.by == Role::Outside {
        it.by = pick(rng, &[Role::Evil, Role::Narrow, Role::Rogue]);
        it.source = source(it.by, rng);
    }
    while !matches!(it.body, Body::Udp(..) | Body::Tcp(..)) {
        it.body = body(rng);
    }
    it.way = Way::InPages(pick(rng, &[0, 1, 4, 8, 13]));
    vec![it]
}

fn extensions(rng: &mut impl Rng) -> Vec<(u8, u8)> {
    let one = |rng: &mut _| (pick(rng, &[0, 60, 60, 43, 51, 135]), pick(rng, &[0, 0, 1, 4, 31]));
    (0..pick(rng, &[1, 1, 2, 8, 9])).map(|_| one(rng)).collect()
}

fn lie(rng: &mut impl Rng) -> Lie {
    match rng.random_range(0..6) {
        0 => Lie::Version(pick(rng, &[0, 4, 5, 6, 15])),
        1 => Lie::Words(rng.random_range(0..16)),
        2 => Lie::Total(pick(rng, &[0, 1, 20, 28, 40, 48, 1_500, 0xffff])),
        3 => Lie::Protocol(pick(rng, &[0, 1, 6, 17, 44, 58, 59, 60, 255])),
        4 => Lie::Transport(pick(rng, &[0, 7, 8, 9, 0x1000, 0xf000, 0xffff])),
        _ => Lie::Checksum,
    }
}

fn fragments(rng: &mut impl Rng) -> Attack {
    let mut first = plain(rng);
    while matches!(first.body, Body::Other(_)) {
        first.body = body(rng);
    }
    if one_in(rng, 2) {
        // Too short for its ports.
        let units = first.length.div_ceil(8) + 3;
        first.pieces = vec![
            Piece { start: 0, length: 1, more: true },
            Piece { start: 1, length: units, more: false },
        ];
    } else {
        first.pieces = pieces(usize::from(first.length) + 20, rng);
    }
    if one_in(rng, 3) {
        first.late = extensions(rng);
    }
    if !one_in(rng, 3) {
        return vec![first];
    }
    // Another sender's fragments of the same identification, before or behind.
    let mut second = Crafted { by: pick(rng, &ATTACKERS), ..first.clone() };
    second.source = if one_in(rng, 2) { Address::Pod(first.by) } else { first.source };
    if second.by == Role::Outside || second.source == Address::Pod(Role::Outside) {
        second.source = source(second.by, rng);
        if second.by == Role::Outside {
            second.mac_to = Mac::Router;
        }
    }
    if rng.random() { vec![first, second] } else { vec![second, first] }
}

/// A first fragment with a header so long that the node, which puts the packet together and cuts it
/// again, needs new buffers.
fn reassembled_by_conntrack(rng: &mut impl Rng) -> Attack {
    let base = Crafted { v6: true, hops: 64, length: 1_500, ..plain(rng) };
    let body = match base.body {
        Body::Other(_) | Body::Protocol(_) => Body::Udp(5_000, pick(rng, &PORTS)),
        ref other => other.clone(),
    };
    let base = Crafted { body, ..base };
    let half = rng.random_range(20..120);
    let first = Piece { start: 0, length: half, more: true };
    let last = Piece { start: half, length: 400, more: false };
    let header = pick(rng, &[(60, 31), (60, 31), (43, 0), (0, 20)]);
    let first = Crafted { extensions: vec![header], pieces: vec![first], ..base.clone() };
    let last = Crafted { pieces: vec![last], ..base };
    if one_in(rng, 4) { vec![last, first] } else { vec![first, last] }
}

/// More headers than a reader follows, or than are linear.
fn long_headers(rng: &mut impl Rng) -> Attack {
    let mut it = plain(rng);
    it.v6 = !one_in(rng, 4);
    it.options = 10;
    it.extensions = match rng.random_range(0..3) {
        0 => vec![(60, 0); 8],
        1 => vec![(60, 0); 9],
        _ => vec![(60, pick(rng, &[20, 31, 40, 100]))],
    };
    if one_in(rng, 2) {
        it.pieces = pieces(usize::from(it.length), rng);
    }
    if one_in(rng, 2) {
        it.way = Way::Paged(pick(rng, &[1, 14, 18, 60]));
    }
    vec![it]
}
