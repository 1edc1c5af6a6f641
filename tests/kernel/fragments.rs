//! Fragments (semantics P2); those of forward packets are in generated.rs.

use enforcer_ebpf::contract::verdict::Reason;
use enforcer_tests::frame::{Fragment, Frame, Transport};
use enforcer_tests::rig::Rig;

use crate::support::{FAMILIES, Family, IN, OUT, frame, free, passes, subject, with_rig};

fn piece(source: &str, destination: &str, transport: Transport, fragment: Fragment) -> Frame {
    Frame { fragment, ..frame(source, destination, transport) }
}

#[test]
fn p2_the_fragments_of_a_reply_follow_its_verdict() {
    with_rig(|rig| {
        for Family { subject: own, block: server, .. } in FAMILIES {
            let answer = |fragment| piece(server, own, Transport::Udp(53, 5_000), fragment);
            assert!(!passes(rig, IN, &answer(Fragment::First)));
            assert!(!passes(rig, IN, &answer(Fragment::Later)));
            let question = frame(own, server, Transport::Udp(5_000, 53));
            assert!(passes(rig, OUT, &question));
            assert!(!passes(rig, IN, &answer(Fragment::Later)), "out of order");
            assert!(passes(rig, IN, &answer(Fragment::First)));
            assert!(passes(rig, IN, &answer(Fragment::Later)));
        }
        let count = |reason| rig.count(&subject(), IN, reason).unwrap().packets;
        assert_eq!(count(Reason::Reply), 4);
        assert_eq!(count(Reason::Fragment), 4);
        assert_eq!(count(Reason::Denied), 2);
    });
}

#[test]
fn p2_a_fragments_verdict_covers_its_own_packet_only() {
    with_rig(|rig| {
        for Family { subject: own, block: server, stranger, .. } in FAMILIES {
            let out = |to, fragment| piece(own, to, Transport::Udp(5_000, 53), fragment);
            assert!(passes(rig, OUT, &out(server, Fragment::First)));
            assert!(passes(rig, OUT, &out(server, Fragment::Later)));
            assert!(!passes(rig, OUT, &out(stranger, Fragment::Later)));
            // The same numbers in the other direction, and at another endpoint.
            let back = piece(server, own, Transport::Udp(53, 5_000), Fragment::Later);
            assert!(!passes(rig, IN, &back));
            let spoofed = out(server, Fragment::Later).build().bytes;
            assert!(!rig.judge(&free(), OUT, &spoofed).unwrap().passes);
        }
    });
}

#[test]
fn a4_a_fragmented_link_message_is_not_exempt() {
    with_rig(|rig| {
        // RFC 4861: a neighbour solicitation.
        let solicitation =
            Transport::Icmp { v4: 0, v6: 135, code: 0, identifier: 0, body: vec![0; 16] };
        let whole = Frame { hop_limit: 255, ..frame("fe80::1", "fd00::5", solicitation) };
        // The frame builder adds 24 bytes, which no such message has.
        let judge = |rig: &mut Rig, frame: &Frame| {
            let mut bytes = frame.build().bytes;
            bytes.truncate(bytes.len() - 24);
            rig.judge(&subject(), IN, &bytes).unwrap().passes
        };
        assert!(judge(rig, &whole));
        assert!(!judge(rig, &Frame { fragment: Fragment::First, ..whole }));
    });
}
