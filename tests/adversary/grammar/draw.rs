//! What attacks are made of, drawn at random.

use proptest::prelude::{Rng, RngExt as _};

use crate::crafted::{Address, Body, Crafted, Mac, Piece, Role, Service};

pub(super) const ATTACKERS: [Role; 4] = [Role::Evil, Role::Narrow, Role::Rogue, Role::Outside];

pub(super) const TARGETS: [Role; 4] = [Role::Victim, Role::Friend, Role::Ally, Role::Victim];

pub(super) const SERVICES: [Service; 3] = [Service::Web, Service::Vault, Service::Open];

/// Ports that a policy, a Service or a protocol knows, and others.
pub(super) const PORTS: [u16; 16] = [
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
pub(super) const IDENTIFICATIONS: u32 = 12;

pub(super) fn pick<T: Copy>(rng: &mut impl Rng, all: &[T]) -> T {
    all[rng.random_range(0..all.len())]
}

pub(super) fn one_in(rng: &mut impl Rng, n: u32) -> bool {
    rng.random_ratio(1, n)
}

/// A source that the sender may have reasons to claim.
pub(super) fn source(by: Role, rng: &mut impl Rng) -> Address {
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

pub(super) fn destination(rng: &mut impl Rng) -> Address {
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
pub(super) fn mac_towards(destination: Address, rng: &mut impl Rng) -> Mac {
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

pub(super) fn body(rng: &mut impl Rng) -> Body {
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

pub(super) fn sent_by(by: Role, rng: &mut impl Rng) -> Crafted {
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

pub(super) fn plain(rng: &mut impl Rng) -> Crafted {
    let by = pick(rng, &ATTACKERS);
    sent_by(by, rng)
}

/// Cuts a payload of this length, with overlaps, gaps and repetitions, in any order.
pub(super) fn pieces(length: usize, rng: &mut impl Rng) -> Vec<Piece> {
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
