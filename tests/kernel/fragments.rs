//! Pieces of packets (semantics P2); generated.rs has those of forward packets.

use enforcer_ebpf::contract::verdict::{Direction, Reason};
use enforcer_tests::frame::{Fragment, Frame, Transport};
use enforcer_tests::rig::Rig;

use crate::support::{free, ip, subject, with_rig};

/// The subject, a server that it may reach, and a stranger, in both families.
const PARTIES: [(&str, &str, &str); 2] =
    [("10.1.0.5", "192.0.2.1", "203.0.113.9"), ("fd00::5", "2001:db8::1", "2600::9")];

fn piece(source: &str, destination: &str, transport: Transport, fragment: Fragment) -> Frame {
    Frame { fragment, ..Frame::new(ip(source), ip(destination), transport) }
}

fn passes(rig: &mut Rig, direction: Direction, frame: &Frame) -> bool {
    rig.judge(&subject(), direction, &frame.build().bytes).unwrap().passes
}

#[test]
fn p2_the_pieces_of_a_reply_follow_it() {
    with_rig(|rig| {
        for (own, server, _) in PARTIES {
            let answer = |fragment| piece(server, own, Transport::Udp(53, 5_000), fragment);
            assert!(!passes(rig, Direction::Ingress, &answer(Fragment::First)));
            assert!(!passes(rig, Direction::Ingress, &answer(Fragment::Later)));
            let question = Frame::new(ip(own), ip(server), Transport::Udp(5_000, 53));
            assert!(passes(rig, Direction::Egress, &question));
            assert!(!passes(rig, Direction::Ingress, &answer(Fragment::Later)), "out of order");
            assert!(passes(rig, Direction::Ingress, &answer(Fragment::First)));
            assert!(passes(rig, Direction::Ingress, &answer(Fragment::Later)));
        }
        let count = |reason| rig.count(&subject(), Direction::Ingress, reason).unwrap().packets;
        assert_eq!(count(Reason::Reply), 4);
        assert_eq!(count(Reason::Fragment), 4);
        assert_eq!(count(Reason::Denied), 2);
    });
}

#[test]
fn p2_what_is_remembered_serves_that_packet_only() {
    with_rig(|rig| {
        for (own, server, stranger) in PARTIES {
            let out = |to, fragment| piece(own, to, Transport::Udp(5_000, 53), fragment);
            assert!(passes(rig, Direction::Egress, &out(server, Fragment::First)));
            assert!(passes(rig, Direction::Egress, &out(server, Fragment::Later)));
            assert!(!passes(rig, Direction::Egress, &out(stranger, Fragment::Later)));
            // The same numbers the other way round, and at another endpoint.
            let back = piece(server, own, Transport::Udp(53, 5_000), Fragment::Later);
            assert!(!passes(rig, Direction::Ingress, &back));
            let spoofed = out(server, Fragment::Later).build().bytes;
            assert!(!rig.judge(&free(), Direction::Egress, &spoofed).unwrap().passes);
        }
    });
}

#[test]
fn a4_a_fragmented_link_message_is_none() {
    with_rig(|rig| {
        // RFC 4861: a neighbour solicitation.
        let solicitation =
            Transport::Icmp { v4: 0, v6: 135, code: 0, identifier: 0, body: vec![0; 16] };
        let plain = Frame::new(ip("fe80::1"), ip("fd00::5"), solicitation);
        let whole = Frame { hop_limit: 255, ..plain };
        // The frame builder adds 24 bytes, which no such message has.
        let judge = |rig: &mut Rig, frame: &Frame| {
            let mut bytes = frame.build().bytes;
            bytes.truncate(bytes.len() - 24);
            rig.judge(&subject(), Direction::Ingress, &bytes).unwrap().passes
        };
        assert!(judge(rig, &whole));
        assert!(!judge(rig, &Frame { fragment: Fragment::First, ..whole }));
    });
}
