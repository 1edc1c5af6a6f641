//! The grammar: attacks of one to a few packets, composed at random. Each pattern sets what belongs
//! together (fragments of one packet, a flow and an error about it); then any field may change.

mod patterns;

use proptest::prelude::{Rng, RngExt as _};

use patterns::{arp, error, link_message, past_the_bridge, service, tunnel};

use crate::crafted::{Address, Attack, Body, Crafted, Lie, Mac, Piece, Role, Service, Way};

const ATTACKERS: [Role; 4] = [Role::Evil, Role::Narrow, Role::Rogue, Role::Outside];
const TARGETS: [Role; 4] = [Role::Victim, Role::Friend, Role::Ally, Role::Victim];
const SERVICES: [Service; 3] = [Service::Web, Service::Vault, Service::Open];
/// Ports that a policy, a Service or a protocol knows, and others.
const PORTS: [u16; 16] = [
    80,
    8_080,
    53,
    5_353,
    5_354,
    30_080,
    30_081,
    30_082,
    30_053,
    30_054,
    67,
    68,
    546,
    547,
    5_001,
    crate::cast::LIVING,
];
/// Few, so that fragments of different packets meet.
const IDENTIFICATIONS: u32 = 12;

fn pick<T: Copy>(rng: &mut impl Rng, all: &[T]) -> T {
    all[rng.random_range(0..all.len())]
}

fn one_in(rng: &mut impl Rng, n: u32) -> bool {
    rng.random_ratio(1, n)
}

/// One attack.
pub(crate) fn attack(rng: &mut impl Rng) -> Attack {
    let mut attack = match rng.random_range(0..12) {
        0 => link_message(rng),
        1 => arp(rng),
        2 => tunnel(rng),
        3 => error(rng),
        4 => long_headers(rng),
        5 => reassembled_by_conntrack(rng),
        6 | 7 => fragments(rng),
        8 => service(rng),
        9 => past_the_bridge(rng),
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

/// A source that the sender may have reasons to claim.
fn source(by: Role, rng: &mut impl Rng) -> Address {
    if by == Role::Outside {
        // No gateway's: the outside host itself would be cut off.
        return pick(
            rng,
            &[
                Address::Internet,
                Address::Internet,
                Address::Internet,
                Address::Office,
                Address::Pod(Role::Friend),
                Address::Pod(Role::Victim),
                Address::Pod(Role::Evil),
                Address::Node,
                Address::Gateway,
                Address::Cluster(Service::Open),
                Address::BehindTunnel,
            ],
        );
    }
    match rng.random_range(0..8) {
        0 => Address::Pod(Role::Friend),
        1 => pick(rng, &[Address::Node, Address::Gateway, Address::Office, Address::Unspecified]),
        2 => Address::LinkLocal(pick(rng, &[by, Role::Friend, Role::Victim])),
        _ => Address::Own,
    }
}

fn destination(rng: &mut impl Rng) -> Address {
    match rng.random_range(0..16) {
        0..=4 => Address::Pod(pick(rng, &TARGETS)),
        5 => Address::Cluster(pick(rng, &SERVICES)),
        6 => Address::External(pick(rng, &SERVICES)),
        7 => pick(rng, &[Address::Node, Address::Gateway, Address::Tunnel]),
        8 => Address::Office,
        9 => Address::Internet,
        10 => Address::BehindTunnel,
        11 => Address::BehindBare,
        12 => Address::LinkLocal(pick(rng, &TARGETS)),
        13 => pick(rng, &[Address::AllHosts, Address::AllRouters, Address::Broadcast]),
        14 => pick(
            rng,
            &[Address::SubnetBroadcast, Address::Nobody, Address::Solicited(Role::Victim)],
        ),
        _ => Address::Own,
    }
}

/// A hardware address that leads there.
fn mac_towards(destination: Address, rng: &mut impl Rng) -> Mac {
    match destination {
        Address::Pod(role) | Address::LinkLocal(role) if !one_in(rng, 3) => Mac::Pod(role),
        Address::AllHosts
        | Address::AllRouters
        | Address::Solicited(_)
        | Address::Broadcast
        | Address::SubnetBroadcast => pick(rng, &[Mac::Group, Mac::Broadcast]),
        _ => Mac::Router,
    }
}

fn body(rng: &mut impl Rng) -> Body {
    let ports = (pick(rng, &PORTS), pick(rng, &PORTS));
    match rng.random_range(0..10) {
        0..=3 => Body::Udp(ports.0, ports.1),
        4..=6 => {
            Body::Tcp(ports.0, ports.1, pick(rng, &[0x02, 0x12, 0x10, 0x18, 0x11, 0x04, 0x00]))
        }
        7 => Body::Echo(rng.random()),
        8 => Body::Protocol(pick(rng, &[2, 4, 41, 47, 50, 51, 59, 89, 103, 132, 253])),
        _ => Body::Other(pick(rng, &[0x88b5, 0x8864, 0x8847, 0x22f0, 0x8100, 0x0600])),
    }
}

fn sent_by(by: Role, rng: &mut impl Rng) -> Crafted {
    let destination = destination(rng);
    let mac_to = if by == Role::Outside { Mac::Router } else { mac_towards(destination, rng) };
    Crafted {
        by,
        v6: rng.random(),
        mac_to,
        source: source(by, rng),
        destination,
        hops: pick(rng, &[64, 64, 64, 255, 2, 1]),
        identification: rng.random_range(0..IDENTIFICATIONS),
        body: body(rng),
        length: pick(rng, &[16, 64, 200, 1_200]),
        ..Crafted::default()
    }
}

fn plain(rng: &mut impl Rng) -> Crafted {
    let by = pick(rng, &ATTACKERS);
    sent_by(by, rng)
}

/// Changes one field.
fn change(it: &mut Crafted, rng: &mut impl Rng) {
    match rng.random_range(0..13) {
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
        _ => it.length = rng.random_range(8..1_400),
    }
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

/// Cuts a payload of this length, with overlaps, gaps and repetitions, in any order.
fn pieces(length: usize, rng: &mut impl Rng) -> Vec<Piece> {
    let units = u16::try_from(length.div_ceil(8)).unwrap_or(200).max(2);
    let mut pieces = Vec::new();
    let mut start = 0;
    while start < units && pieces.len() < 6 {
        let rest = units - start;
        let length = pick(rng, &[1, 1, 2, 5, rest.div_ceil(2), rest]).min(rest);
        pieces.push(Piece { start, length, more: start + length < units });
        start += length;
    }
    match rng.random_range(0..6) {
        0 => pieces.reverse(),
        1 => pieces.rotate_left(1),
        2 => {
            pieces.remove(rng.random_range(0..pieces.len()));
        }
        3 => pieces.push(pieces[0]),
        4 => {
            let last = pieces.len() - 1;
            let piece = &mut pieces[rng.random_range(0..=last)];
            piece.start = piece.start.saturating_sub(1);
            piece.length += 1;
        }
        _ => {}
    }
    pieces
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
