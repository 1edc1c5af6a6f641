//! Masqueraded clients, and what is answered through translation (semantics N3, N4), one rule a test.

use std::net::IpAddr;
use std::sync::Mutex;

use enforcer::kernel::RunProgram;
use enforcer_ebpf::contract::verdict::Direction;
use enforcer_tests::frame::{Frame, Tcp, Transport};
use enforcer_tests::rig::{ELSEWHERE, Forwarded, Rig};

use crate::services::{Family, syn, tcp, with_rig};
use crate::support::{free, ip, subject};

const IN: Direction = Direction::Ingress;
const OUT: Direction = Direction::Egress;

/// A packet from outside to an address of the node, as the subject gets it.
fn from_outside(rig: &mut Rig, client: &str, arrives: &Family, translated: &[u8]) -> bool {
    let seen = rig.wire(RunProgram::FromWire, &syn(client, arrives.node, 30_080), 0).unwrap();
    assert!(seen.passes);
    rig.judge_from(&subject(), IN, translated, ELSEWHERE, seen.mark).unwrap().passes
}

#[test]
fn n3_a_masqueraded_client_outside_is_judged_by_its_own_address() {
    with_rig(|rig, it| {
        let masqueraded = tcp(it.node, 6000, it.subject, 80, Tcp::Syn);
        assert!(from_outside(rig, it.friend, it, &masqueraded));
        assert!(!from_outside(rig, it.stranger, it, &masqueraded));
        // Who it was is remembered for each packet that is under way.
        let mut marks = Vec::new();
        for client in [it.friend, it.stranger, it.friend] {
            let frame = syn(client, it.node, 30_080);
            marks.push(rig.wire(RunProgram::FromWire, &frame, 0).unwrap().mark);
        }
        let mut passes =
            |mark| rig.judge_from(&subject(), IN, &masqueraded, ELSEWHERE, mark).unwrap().passes;
        assert_eq!(marks.iter().map(|it| passes(*it)).collect::<Vec<_>>(), [true, false, true]);
    });
}

#[test]
fn n3_a_client_that_was_forgotten_is_nobody() {
    with_rig(|rig, it| {
        let masqueraded = tcp(it.node, 6000, it.subject, 80, Tcp::Syn);
        let frame = syn(it.friend, it.node, 30_080);
        let mark = rig.wire(RunProgram::FromWire, &frame, 0).unwrap().mark;
        for _ in 0..enforcer_ebpf::contract::client::CLIENTS {
            rig.wire(RunProgram::FromWire, &syn(it.stranger, it.node, 30_080), 0).unwrap();
        }
        assert!(!rig.judge_from(&subject(), IN, &masqueraded, ELSEWHERE, mark).unwrap().passes);
    });
}

#[test]
fn n3_a_masqueraded_pod_of_this_node_is_judged_as_itself() {
    with_rig(|rig, it| {
        let sent = syn(it.free, it.node, 30_080);
        let masqueraded = tcp(it.node, 6000, it.subject, 80, Tcp::Syn);
        let got = rig.forwarded(&free(), &sent, Some(&subject()), &masqueraded).unwrap();
        assert_eq!(got, Forwarded::Later, "the free pod is no friend");
    });
}

#[test]
fn n3_a_drop_tells_whom_the_nodes_address_stood_for() {
    let drops = Mutex::new(None);
    with_rig(|rig, it| {
        let mut drops = drops.lock().unwrap();
        let drops = drops.get_or_insert_with(|| rig.kernel.take_drops().unwrap());
        let masqueraded = tcp(it.node, 6000, it.subject, 80, Tcp::Syn);
        assert!(!from_outside(rig, it.stranger, it, &masqueraded));
        let event = drops.take().unwrap();
        assert_eq!(event.sender, numbers(it.stranger));
        assert_eq!(event.source, numbers(it.node));
        let sent = syn(it.free, it.node, 30_080);
        rig.forwarded(&free(), &sent, Some(&subject()), &masqueraded).unwrap();
        assert_eq!(drops.take().unwrap().sender, numbers(it.free));
        let plain = tcp(it.stranger, 6000, it.subject, 80, Tcp::Syn);
        assert!(!rig.judge(&subject(), IN, &plain).unwrap().passes);
        assert_eq!(drops.take().unwrap().sender, [0, 0]);
    });
}

/// An address as events have it.
fn numbers(address: &str) -> [u64; 2] {
    let bits = match ip(address) {
        IpAddr::V4(it) => it.to_ipv6_mapped().to_bits(),
        IpAddr::V6(it) => it.to_bits(),
    };
    [bits >> 64, bits & u128::from(u64::MAX)].map(|half| u64::try_from(half).unwrap())
}

#[test]
fn n3_a_clients_own_address_needs_no_mark() {
    with_rig(|rig, it| {
        // externalTrafficPolicy: Local, or a pod of another node: the source is the client's. Of
        // the mark only that matters which an address of the node asks for.
        for mark in [0, rig.wire(RunProgram::FromWire, &[0; 60], 0).unwrap().mark] {
            let own = tcp(it.friend, 6000, it.subject, 80, Tcp::Syn);
            assert!(rig.judge_from(&subject(), IN, &own, ELSEWHERE, mark).unwrap().passes);
            let other = tcp(it.stranger, 6000, it.subject, 80, Tcp::Syn);
            assert!(!rig.judge_from(&subject(), IN, &other, ELSEWHERE, mark).unwrap().passes);
        }
    });
}

#[test]
fn a_pods_mark_is_kept_where_its_packet_passes_another_interface() {
    with_rig(|rig, it| {
        let sent = syn(it.subject, it.service, 80);
        let mark = rig.judge(&subject(), OUT, &sent).unwrap().mark;
        assert_eq!(rig.wire(RunProgram::FromWire, &sent, mark).unwrap().mark, mark);
        let outside = rig.wire(RunProgram::FromWire, &sent, 0xc000).unwrap().mark;
        assert_eq!(outside & 0x1_ffff, 0xc000, "the bits of others stay");
    });
}

#[test]
fn n4_the_answers_of_a_service_pass_and_end_with_the_permission() {
    with_rig(|rig, it| {
        let sent = syn(it.subject, it.service, 80);
        let there = syn(it.subject, it.friend, 443);
        assert_eq!(rig.forwarded(&subject(), &sent, None, &there).unwrap(), Forwarded::Passed);
        // The backend's answer comes in by the wire, and has the Service's address when it arrives.
        let answer = |rig: &mut Rig, backend: &str, port| {
            let raw = tcp(backend, port, it.subject, 5000, Tcp::SynAck);
            let mark = rig.wire(RunProgram::FromWire, &raw, 0).unwrap().mark;
            let translated = tcp(it.service, 80, it.subject, 5000, Tcp::SynAck);
            rig.judge_from(&subject(), IN, &translated, ELSEWHERE, mark).unwrap().passes
        };
        assert!(answer(rig, it.friend, 443));
        // Had the backend been another, policy would not allow what it answers to (C2).
        assert!(!answer(rig, it.friend, 444));
        assert!(!answer(rig, it.stranger, 443));
        // Nobody but the translation makes the Service's address an answer's source.
        let forged = tcp(it.service, 80, it.subject, 5000, Tcp::SynAck);
        let mark = rig.wire(RunProgram::FromWire, &forged, 0).unwrap().mark;
        assert!(!rig.judge_from(&subject(), IN, &forged, ELSEWHERE, mark).unwrap().passes);
    });
}

#[test]
fn n4_a_masqueraded_client_gets_its_answers_while_it_is_allowed() {
    with_rig(|rig, it| {
        let masqueraded = tcp(it.node, 6000, it.subject, 80, Tcp::Syn);
        assert!(from_outside(rig, it.friend, it, &masqueraded));
        let ack = tcp(it.node, 6000, it.subject, 80, Tcp::Ack);
        assert!(from_outside(rig, it.friend, it, &ack));
        let answer = tcp(it.subject, 80, it.node, 6000, Tcp::SynAck);
        let mut to = |client: &str| {
            let translated = tcp(it.node, 30_080, client, 5000, Tcp::SynAck);
            rig.forwarded(&subject(), &answer, None, &translated).unwrap()
        };
        assert_eq!(to(it.friend), Forwarded::Passed);
        assert_eq!(to(it.stranger), Forwarded::Later, "the ingress policy knows no such client");
    });
}

#[test]
fn n4_errors_about_translated_flows_pass() {
    with_rig(|rig, it| {
        let sent = syn(it.subject, it.service, 80);
        let there = syn(it.subject, it.friend, 443);
        let error = |about: &[u8]| {
            let body = about[14..].iter().copied().take(64).collect();
            let transport = Transport::Icmp { v4: 3, v6: 2, code: 4, identifier: 0, body };
            Frame::new(ip(it.stranger), ip(it.subject), transport).build().bytes
        };
        let too_big = error(&sent);
        // It came in by the wire, where the backend's address is still there.
        let raw = error(&there);
        let judge = |rig: &mut Rig, bytes: &[u8]| {
            let mark = rig.wire(RunProgram::FromWire, &raw, 0).unwrap().mark;
            rig.judge_from(&subject(), IN, bytes, ELSEWHERE, mark).unwrap().passes
        };
        assert!(!judge(rig, &too_big), "nothing was sent yet");
        rig.forwarded(&subject(), &sent, None, &there).unwrap();
        // The translation has put the Service's address into what the error quotes.
        assert!(judge(rig, &too_big));
        assert!(!judge(rig, &error(&tcp(it.subject, 5001, it.service, 80, Tcp::Syn))));
        // No router outside has seen a packet to a Service's address (A3).
        assert!(!rig.judge(&subject(), IN, &too_big).unwrap().passes);
    });
}
