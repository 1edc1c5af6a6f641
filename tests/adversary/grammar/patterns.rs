//! Patterns of packets that belong together, or to a certain protocol.

use proptest::prelude::{Rng, RngExt as _};

use super::draw::{
    ATTACKERS, PORTS, SERVICES, TARGETS, body, mac_towards, one_in, pick, pieces, plain, sent_by,
    source,
};
use crate::crafted::{
    Address, Attack, Body, Crafted, Link, Mac, Outer, Quote, Role, Service, Tail, Tunnel,
};

fn tail(rng: &mut impl Rng) -> Tail {
    pick(rng, &[Tail::Exact, Tail::Options, Tail::Marked])
}

/// Neighbour discovery and listener messages. Narrow needs its own to keep its connections.
pub(super) fn link_message(rng: &mut impl Rng) -> Attack {
    let by = pick(rng, &[Role::Evil, Role::Rogue, Role::Rogue, Role::Outside]);
    let mut it = sent_by(by, rng);
    it.v6 = true;
    let whose = pick(
        rng,
        &[
            Address::Own,
            Address::Pod(Role::Victim),
            Address::Pod(Role::Friend),
            Address::Gateway,
            Address::LinkLocal(Role::Victim),
            Address::Nobody,
        ],
    );
    let link = pick(
        rng,
        &[
            Link::Solicitation(whose),
            Link::Advertisement(whose),
            Link::RouterSolicitation,
            Link::RouterAdvertisement,
            Link::Redirect(whose),
            Link::Report,
            Link::Report2,
            Link::Query,
        ],
    );
    it.hops = if matches!(link, Link::Report | Link::Report2 | Link::Query) { 1 } else { 255 };
    if one_in(rng, 6) {
        it.hops = pick(rng, &[1, 64, 254, 255]);
    }
    if by == Role::Outside {
        // Nobody's address: the node's neighbour entries must stay right.
        it.source = Address::BehindTunnel;
    } else if !one_in(rng, 4) {
        it.source = pick(rng, &[Address::Own, Address::LinkLocal(by), Address::Unspecified]);
    }
    let tail = if by == Role::Outside { Tail::Marked } else { tail(rng) };
    it.body = Body::Link(link, tail);
    it.length = pick(rng, &[8, 24, 64, 900]);
    if matches!(link, Link::RouterSolicitation) && one_in(rng, 2) {
        it.destination = Address::AllRouters;
        it.mac_to = Mac::Group;
    }
    vec![it]
}

/// The node learns a group's hardware address for the sender, and then answers it.
pub(super) fn answers_to_all(rng: &mut impl Rng) -> Attack {
    let by = pick(rng, &[Role::Evil, Role::Rogue]);
    let base = Crafted { by, v6: true, mac_to: Mac::Router, ..Crafted::default() };
    let claim =
        pick(rng, &[Link::Advertisement(Address::Own), Link::Solicitation(Address::Gateway)]);
    let claim = Crafted {
        destination: Address::Gateway,
        hops: 255,
        body: Body::Link(claim, Tail::Group),
        ..base.clone()
    };
    let destination = pick(rng, &[Address::Gateway, Address::Node]);
    let body = if rng.random() { Body::Echo(false) } else { Body::Udp(5_000, 9) };
    vec![claim, Crafted { destination, body, ..base }]
}

pub(super) fn arp(rng: &mut impl Rng) -> Attack {
    let by = pick(rng, &[Role::Evil, Role::Rogue]);
    let address = |rng: &mut _| {
        pick(
            rng,
            &[
                Address::Own,
                Address::Own,
                Address::Pod(Role::Victim),
                Address::Pod(Role::Friend),
                Address::Gateway,
                Address::Unspecified,
            ],
        )
    };
    let (sender, target) = (address(rng), address(rng));
    let tail = pick(rng, &[Tail::Exact, Tail::Exact, Tail::Marked]);
    vec![Crafted {
        by,
        mac_to: pick(
            rng,
            &[Mac::Broadcast, Mac::Pod(Role::Victim), Mac::Pod(Role::Friend), Mac::Router],
        ),
        mac_from: Mac::Mark,
        body: Body::Arp(pick(rng, &[1, 2]), sender, target, tail),
        ..Crafted::default()
    }]
}

pub(super) fn tunnel(rng: &mut impl Rng) -> Attack {
    let by = pick(rng, &[Role::Evil, Role::Rogue, Role::Rogue, Role::Outside]);
    let mut it = sent_by(by, rng);
    while matches!(it.body, Body::Other(_)) {
        it.body = body(rng);
    }
    if by != Role::Outside {
        it.source = pick(
            rng,
            &[
                Address::Own,
                Address::Pod(Role::Friend),
                Address::Office,
                Address::Node,
                Address::Internet,
            ],
        );
    }
    it.mac_to = Mac::Router;
    let destination = match rng.random_range(0..6) {
        0 => Address::Pod(pick(rng, &TARGETS)),
        1 => Address::Gateway,
        2 => pick(rng, &[Address::Internet, Address::Tunnel]),
        _ => Address::Node,
    };
    it.outer = Some(Outer {
        kind: pick(
            rng,
            &[
                Tunnel::Vxlan,
                Tunnel::Vxlan,
                Tunnel::Gpe,
                Tunnel::Gpe,
                Tunnel::OldVxlan,
                Tunnel::Geneve,
                Tunnel::Ip,
                Tunnel::Gre,
            ],
        ),
        v6: one_in(rng, 3),
        source: if one_in(rng, 8) { source(by, rng) } else { Address::Own },
        destination,
    });
    vec![it]
}

/// A flow with the node, which is always allowed, or one that lives anyway, and an error that
/// quotes it.
pub(super) fn error(rng: &mut impl Rng) -> Attack {
    let by = pick(rng, &ATTACKERS);
    let base = Crafted { hops: 64, ..sent_by(by, rng) };
    let source = pick(rng, &[Address::Pod(Role::Victim), Address::Pod(Role::Evil), Address::Own]);
    let office = Quote {
        source: Address::Pod(Role::Victim),
        destination: Address::Office,
        tcp: false,
        ports: (crate::cast::LIVING, 53),
    };
    let (flow, quote) = match rng.random_range(0..4) {
        0 => (None, office),
        1 => {
            let quote = Quote {
                source,
                destination: base.source,
                tcp: rng.random(),
                ports: (80, pick(rng, &PORTS)),
            };
            (None, quote)
        }
        _ => {
            // Of a pod with its node: who quotes it may be another.
            let pod = if by == Role::Outside { Role::Evil } else { by };
            let port = rng.random_range(2_000..2_400);
            let open = Crafted {
                by: pod,
                v6: base.v6,
                destination: Address::Node,
                body: Body::Udp(port, 5_001),
                ..Crafted::default()
            };
            let there = Quote {
                source: Address::Pod(pod),
                destination: Address::Node,
                tcp: false,
                ports: (port, 5_001),
            };
            let back = Quote {
                source: Address::Node,
                destination: Address::Pod(pod),
                tcp: false,
                ports: (5_001, port),
            };
            (Some(open), if rng.random() { there } else { back })
        }
    };
    let (kind, code) = match base.v6 {
        true => pick(rng, &[(1, 4), (2, 0), (3, 0), (4, 1)]),
        false => pick(rng, &[(3, 3), (3, 4), (11, 0), (12, 0)]),
    };
    let destination = if one_in(rng, 2) { quote.source } else { base.destination };
    let mac_to = if by == Role::Outside { Mac::Router } else { mac_towards(destination, rng) };
    let error = Crafted {
        destination,
        mac_to,
        body: Body::Error(kind, code, quote),
        length: pick(rng, &[16, 400, 1_100]),
        ..base
    };
    flow.into_iter().chain([error]).collect()
}

/// A Service's or a node port's packets, whole or in fragments.
pub(super) fn service(rng: &mut impl Rng) -> Attack {
    let mut it = plain(rng);
    let (destination, tcp, udp) = match rng.random_range(0..3) {
        0 => (Address::Cluster(pick(rng, &SERVICES)), 80, 53),
        1 => (Address::External(pick(rng, &SERVICES)), 80, 53),
        _ => (Address::Node, pick(rng, &[30_080, 30_081, 30_082]), pick(rng, &[30_053, 30_054])),
    };
    it.destination = destination;
    it.mac_to = Mac::Router;
    let port = rng.random_range(1_024..60_000);
    it.body = if rng.random() { Body::Tcp(port, tcp, 0x02) } else { Body::Udp(port, udp) };
    if it.by == Role::Outside {
        it.source = Address::Internet;
    }
    if one_in(rng, 3) {
        it.pieces = pieces(usize::from(it.length) + 20, rng);
    }
    vec![it]
}

/// A neighbour's hardware address with somebody else's IP address.
pub(super) fn past_the_bridge(rng: &mut impl Rng) -> Attack {
    let by = pick(rng, &[Role::Evil, Role::Narrow, Role::Rogue]);
    let mut it = sent_by(by, rng);
    it.source = if one_in(rng, 4) { Address::LinkLocal(by) } else { Address::Own };
    it.destination = pick(
        rng,
        &[
            Address::Own,
            Address::Node,
            Address::Gateway,
            Address::Cluster(Service::Vault),
            Address::Internet,
            Address::Nobody,
            Address::LinkLocal(Role::Victim),
            Address::AllHosts,
        ],
    );
    it.mac_to = pick(
        rng,
        &[Mac::Pod(Role::Victim), Mac::Pod(Role::Friend), Mac::Pod(Role::Ally), Mac::Broadcast],
    );
    if one_in(rng, 4) {
        // What narrow may send, to others as well.
        it.by = Role::Narrow;
        it.source = Address::Own;
        it.destination = Address::Pod(Role::Ally);
        it.body = Body::Tcp(rng.random_range(1_024..60_000), 8_080, 0x02);
    }
    vec![it]
}
