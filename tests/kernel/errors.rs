//! ICMP errors about active flows (semantics A3), mainly for path-MTU discovery (RFC 1191, RFC
//! 8201): an error that does not quote a packet of the flow is denied.

use enforcer_tests::frame::{Fragment, Frame, Tcp, Transport};
use enforcer_tests::rig::{ELSEWHERE, Rig};

use crate::support::{
    HANDSHAKE, IN, OUT, Pair, SERVERS, frame, free, ip, passes, subject, with_rig,
};

/// The subject and a server that it may reach, and a router between them that it may not reach.
const PAIRS: [(Pair, &str); 2] = [(SERVERS[0], "198.51.100.1"), (SERVERS[1], "2600::1")];

/// A packet of the flow, as the pod sent it.
fn sent(pair: &Pair) -> Frame {
    pair.frame(OUT, Transport::Tcp(5_000, 443, Tcp::Ack))
}

/// An error "fragmentation needed" or "packet too big" with the first `length` bytes of a packet.
fn too_big(pair: &Pair, router: &str, quoted: &[u8], length: usize) -> Frame {
    let body = quoted[..quoted.len().min(length)].to_vec();
    let kind = Transport::Icmp {
        v4: 3,
        v6: 2,
        code: if ip(pair.own).is_ipv4() { 4 } else { 0 },
        identifier: 0,
        body,
    };
    Frame::new(ip(router), ip(pair.own), kind)
}

/// Whether an error passes that quotes this packet.
fn about(rig: &mut Rig, pair: &Pair, router: &str, quoted: &Frame) -> bool {
    let bytes = quoted.build().bytes.split_off(14);
    passes(rig, IN, &too_big(pair, router, &bytes, bytes.len()))
}

fn connect(rig: &mut Rig, pair: &Pair) {
    for (direction, kind) in HANDSHAKE {
        assert!(pair.tcp(rig, direction, 5_000, 443, kind));
    }
    assert!(pair.passes(rig, OUT, Transport::Udp(5_000, 53)));
}

#[test]
fn a3_packet_too_big_reaches_the_sender_of_a_living_flow() {
    with_rig(|rig| {
        for (pair, router) in &PAIRS {
            assert!(!about(rig, pair, router, &sent(pair)), "nothing was sent yet");
            connect(rig, pair);
            assert!(about(rig, pair, router, &sent(pair)));
            assert!(about(rig, pair, router, &pair.frame(OUT, Transport::Udp(5_000, 53))));
            // It may come from the server itself, or from the node.
            assert!(about(rig, pair, pair.other, &sent(pair)));
        }
    });
}

#[test]
fn a3_an_error_that_quotes_another_packet_is_denied() {
    with_rig(|rig| {
        for (pair, router) in &PAIRS {
            connect(rig, pair);
            let (other_own, stranger) = match ip(pair.own).is_ipv4() {
                true => ("10.1.0.6", "203.0.113.9"),
                false => ("fd00::6", "2600::9"),
            };
            for wrong in [
                pair.frame(OUT, Transport::Tcp(5_001, 443, Tcp::Ack)),
                pair.frame(OUT, Transport::Tcp(5_000, 444, Tcp::Ack)),
                pair.frame(OUT, Transport::Tcp(443, 5_000, Tcp::Ack)),
                pair.frame(OUT, Transport::Udp(5_000, 443)),
                pair.frame(OUT, Transport::Sctp(5_000, 443)),
                pair.frame(OUT, Transport::Other(6 + 100)),
                Frame { source: ip(other_own), ..sent(pair) },
                Frame { destination: ip(stranger), ..sent(pair) },
                // A packet that the pod received, not one that it sent.
                pair.frame(IN, Transport::Tcp(443, 5_000, Tcp::Ack)),
                // A later fragment shows no ports.
                Frame { fragment: Fragment::Later, ..sent(pair) },
            ] {
                assert!(!about(rig, pair, router, &wrong), "{wrong:?}");
            }
            assert!(about(rig, pair, router, &sent(pair)));
        }
    });
}

#[test]
fn a3_the_quoted_packet_may_have_more_headers() {
    with_rig(|rig| {
        for (pair, router) in &PAIRS {
            connect(rig, pair);
            for kinds in [vec![0], vec![44], vec![60], vec![0, 43], vec![0, 60, 44], vec![51]] {
                let extensions = kinds.into_iter().map(|kind| (kind, 1)).collect();
                let dressed = Frame { options: 3, extensions, ..sent(pair) };
                assert!(about(rig, pair, router, &dressed), "{dressed:?}");
                let other =
                    Frame { transport: Transport::Tcp(5_000, 444, Tcp::Ack), ..dressed.clone() };
                assert!(!about(rig, pair, router, &other), "{other:?}");
                let later = Frame { fragment: Fragment::Later, ..dressed };
                assert!(!about(rig, pair, router, &later), "{later:?}");
            }
            let first = Frame { fragment: Fragment::First, ..sent(pair) };
            assert!(about(rig, pair, router, &first));
        }
    });
}

#[test]
fn a3_a_quotation_may_be_cut_anywhere() {
    with_rig(|rig| {
        for (pair, router) in &PAIRS {
            connect(rig, pair);
            let (options, extensions) = (2, vec![(0, 0), (60, 0)]);
            let dressed = Frame { options, extensions, ..sent(pair) }.build();
            let bytes = &dressed.bytes[14..];
            // Eight bytes of the transport header are always quoted (RFC 792).
            let needed = dressed.headers - 14 - 20 + 8;
            for length in 0..bytes.len() {
                // Without the frame builder's trailing bytes.
                let mut frame = too_big(pair, router, bytes, length).build().bytes;
                frame.truncate(frame.len() - 24);
                let outcome = rig.judge(&subject(), IN, &frame).unwrap();
                assert_eq!(outcome.passes, length >= needed, "{length} of {needed}");
            }
        }
    });
}

#[test]
fn a3_an_error_goes_to_the_sender_of_what_it_quotes_and_is_short() {
    with_rig(|rig| {
        for (pair, router) in &PAIRS {
            connect(rig, pair);
            let quoted = sent(pair).build().bytes.split_off(14);
            let (header, limit) = if ip(pair.own).is_ipv4() { (28, 576) } else { (48, 1280) };
            // The frame builder adds 24 bytes.
            let long = |length: usize| {
                let mut body = quoted.clone();
                body.resize(length - header - 24, 0x55);
                too_big(pair, router, &body, body.len())
            };
            assert!(passes(rig, IN, &long(limit)));
            assert!(!passes(rig, IN, &long(limit + 1)), "{limit} bytes are the most");
            // The pod reports a packet to its sender only.
            let friend = if ip(pair.own).is_ipv4() { "10.1.0.7" } else { "fd00::7" };
            let asked = Pair { own: pair.own, other: friend };
            assert!(asked.tcp(rig, IN, 80, 6_000, Tcp::Syn));
            let syn = asked.frame(IN, Transport::Tcp(6_000, 80, Tcp::Syn)).build().bytes;
            let body = syn[14..].to_vec();
            let unreachable = Transport::Icmp { v4: 3, v6: 1, code: 4, identifier: 0, body };
            let to = |to: &str| frame(pair.own, to, unreachable.clone());
            assert!(passes(rig, OUT, &to(friend)));
            assert!(!passes(rig, OUT, &to(router)));
        }
    });
}

/// There is no router between pods of a node: a pod reports only packets that were sent to it.
#[test]
fn a3_a_pod_is_no_router_on_the_way_to_another() {
    with_rig(|rig| {
        for (pair, _) in &PAIRS {
            connect(rig, pair);
            let other = if ip(pair.own).is_ipv4() { "10.1.0.6" } else { "fd00::6" };
            let bytes = sent(pair).build().bytes.split_off(14);
            let error = too_big(pair, other, &bytes, bytes.len()).build().bytes;
            let plain = frame(other, pair.own, Transport::Udp(1, 2)).build().bytes;
            let mark = rig.judge(&free(), OUT, &plain).unwrap().mark;
            assert!(!rig.judge_from(&subject(), IN, &error, ELSEWHERE, mark).unwrap().passes);
        }
    });
}

/// Packets between a pod and its node never leave the node: no router outside can report them.
#[test]
fn a3_flows_with_the_node_are_reported_by_no_router() {
    with_rig(|rig| {
        for (pair, router) in &PAIRS {
            let node = if ip(pair.own).is_ipv4() { "10.1.0.1" } else { "fd00::1" };
            let flow = Pair { own: pair.own, other: node };
            assert!(flow.passes(rig, OUT, Transport::Udp(5_000, 5_001)));
            let quoted = flow.frame(OUT, Transport::Udp(5_000, 5_001));
            assert!(!about(rig, pair, router, &quoted));
            // Nor does the pod report such a packet to another end.
            let body = flow.frame(IN, Transport::Udp(5_001, 5_000)).build().bytes[14..].to_vec();
            let error = Transport::Icmp { v4: 3, v6: 1, code: 3, identifier: 0, body };
            assert!(!passes(rig, OUT, &frame(pair.own, router, error)));
        }
    });
}
