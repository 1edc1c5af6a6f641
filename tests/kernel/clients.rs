//! Masqueraded clients, and replies through translation (semantics N3, N4), one rule per test.

use std::net::IpAddr;

use enforcer::kernel::RunProgram;
use enforcer_core::model::{Rule, Service, ServiceId};
use enforcer_ebpf::contract::client::CLIENTS;
use enforcer_tests::frame::{Tcp, Transport};
use enforcer_tests::rig::{ELSEWHERE, Forwarded, Rig, with_interfaces};

use crate::services::{program, syn, tcp, with_rig};
use crate::support::{
    self, FAMILIES, Family, IN, OUT, cluster, frame, free, ip, subject, with_loaded,
};

/// A packet from outside to an address of the node; whether it passes to the subject.
fn from_outside(rig: &mut Rig, client: &str, arrives: &Family, translated: &[u8]) -> bool {
    let seen = rig.wire(RunProgram::FromWire, &syn(client, arrives.node, 30_080), 0).unwrap();
    assert!(seen.passes);
    rig.judge_from(&subject(), IN, translated, ELSEWHERE, seen.mark).unwrap().passes
}

#[test]
fn n3_the_address_of_a_masqueraded_client_outside_decides() {
    with_rig(|rig, it| {
        let masqueraded = tcp(it.node, 6000, it.subject, 80, Tcp::Syn);
        assert!(from_outside(rig, it.friend, it, &masqueraded));
        assert!(!from_outside(rig, it.stranger, it, &masqueraded));
        // The client is recorded for each packet in flight.
        let mut marks = Vec::new();
        for client in [it.friend, it.stranger, it.friend] {
            let seen = syn(client, it.node, 30_080);
            marks.push(rig.wire(RunProgram::FromWire, &seen, 0).unwrap().mark);
        }
        let mut passes =
            |mark| rig.judge_from(&subject(), IN, &masqueraded, ELSEWHERE, mark).unwrap().passes;
        assert_eq!(marks.iter().map(|it| passes(*it)).collect::<Vec<_>>(), [true, false, true]);
    });
}

#[test]
fn n3_a_client_whose_slot_was_overwritten_is_unknown() {
    with_rig(|rig, it| {
        let masqueraded = tcp(it.node, 6000, it.subject, 80, Tcp::Syn);
        let seen = syn(it.friend, it.node, 30_080);
        let mark = rig.wire(RunProgram::FromWire, &seen, 0).unwrap().mark;
        for _ in 0..CLIENTS {
            rig.wire(RunProgram::FromWire, &syn(it.stranger, it.node, 30_080), 0).unwrap();
        }
        assert!(!rig.judge_from(&subject(), IN, &masqueraded, ELSEWHERE, mark).unwrap().passes);
    });
}

/// A fragment can wait in the reassembly queue for a minute: a client must not become another one
/// meanwhile, however many packets come in.
#[test]
fn n3_a_client_never_becomes_another_one() {
    with_rig(|rig, it| {
        let masqueraded = tcp(it.node, 6000, it.subject, 80, Tcp::Syn);
        let seen = syn(it.stranger, it.node, 30_080);
        let mark = rig.wire(RunProgram::FromWire, &seen, 0).unwrap().mark;
        // The mark alone has 14 bits of a client's number: as many packets again, some of them lost
        // to the number of unknown clients, then one more lap of the ring.
        let allowed = syn(it.friend, it.node, 30_080);
        for _ in 0..(1 << 14) - CLIENTS / 2 {
            rig.wire(RunProgram::FromWire, &allowed, 0).unwrap();
        }
        for _ in 0..CLIENTS {
            rig.wire(RunProgram::FromWire, &allowed, 0).unwrap();
            let got = rig.judge_from(&subject(), IN, &masqueraded, ELSEWHERE, mark).unwrap();
            assert!(!got.passes);
        }
    });
}

#[test]
fn n3_an_unknown_client_is_allowed_what_every_peer_is() {
    with_interfaces(2, |interfaces| {
        let mut cluster = cluster();
        for policy in cluster.policies.values_mut() {
            policy.ingress = Some(vec![Rule { peers: vec![], ports: vec![support::tcp(80)] }]);
        }
        for it in &FAMILIES {
            with_loaded(|rig| {
                let pods = [subject(), free()].into_iter().zip(interfaces.iter().copied());
                rig.program(&cluster, pods.collect()).unwrap();
                for (port, passes) in [(80, true), (81, false)] {
                    let masqueraded = tcp(it.node, 6000, it.subject, port, Tcp::Syn);
                    let got = rig.judge_from(&subject(), IN, &masqueraded, ELSEWHERE, 0).unwrap();
                    assert_eq!(got.passes, passes);
                }
            });
        }
    });
}

#[test]
fn n3_a_masqueraded_pod_of_this_node_keeps_its_identity() {
    with_rig(|rig, it| {
        let sent = syn(it.free, it.node, 30_080);
        let masqueraded = tcp(it.node, 6000, it.subject, 80, Tcp::Syn);
        let got = rig.forwarded(&free(), &sent, Some(&subject()), &masqueraded).unwrap();
        assert_eq!(got, Forwarded::Later, "the free pod is no friend");
    });
}

#[test]
fn n3_a_drop_reports_the_masqueraded_client() {
    with_interfaces(2, |interfaces| {
        // Programs of its own: drops can be taken once.
        let rig = &mut Rig::new().unwrap();
        let mut drops = rig.kernel.take_drops().unwrap();
        program(rig, &interfaces);
        for it in &FAMILIES {
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
        }
    });
}

/// An address in the format of events.
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
        // externalTrafficPolicy: Local, or a pod of another node: the source is the client's own
        // address. The mark counts only for packets from an address of the node.
        for mark in [0, rig.wire(RunProgram::FromWire, &[0; 60], 0).unwrap().mark] {
            let own = tcp(it.friend, 6000, it.subject, 80, Tcp::Syn);
            assert!(rig.judge_from(&subject(), IN, &own, ELSEWHERE, mark).unwrap().passes);
            let other = tcp(it.stranger, 6000, it.subject, 80, Tcp::Syn);
            assert!(!rig.judge_from(&subject(), IN, &other, ELSEWHERE, mark).unwrap().passes);
        }
    });
}

#[test]
fn a_pods_mark_is_kept_at_further_interfaces() {
    with_rig(|rig, it| {
        let sent = syn(it.subject, it.service, 80);
        let mark = rig.judge(&subject(), OUT, &sent).unwrap().mark;
        assert_eq!(rig.wire(RunProgram::FromWire, &sent, mark).unwrap().mark, mark);
        let outside = rig.wire(RunProgram::FromWire, &sent, 0xc000).unwrap().mark;
        assert_eq!(outside & 0x1_ffff, 0xc000, "foreign bits stay");
    });
}

#[test]
fn n4_the_replies_of_a_service_pass_while_the_backend_is_allowed() {
    with_rig(|rig, it| {
        let sent = syn(it.subject, it.service, 80);
        let there = syn(it.subject, it.friend, 443);
        assert_eq!(rig.forwarded(&subject(), &sent, None, &there).unwrap(), Forwarded::Passed);
        // The backend's reply comes in by the uplink; translation gives it the Service's address.
        let answer = |rig: &mut Rig, backend: &str, port| {
            let raw = tcp(backend, port, it.subject, 5000, Tcp::SynAck);
            let mark = rig.wire(RunProgram::FromWire, &raw, 0).unwrap().mark;
            let translated = tcp(it.service, 80, it.subject, 5000, Tcp::SynAck);
            rig.judge_from(&subject(), IN, &translated, ELSEWHERE, mark).unwrap().passes
        };
        assert!(answer(rig, it.friend, 443));
        // Policy denies the packets that another backend replies to (C2).
        assert!(!answer(rig, it.friend, 444));
        assert!(!answer(rig, it.stranger, 443));
        // Only translation makes the Service's address the source of a reply.
        let forged = tcp(it.service, 80, it.subject, 5000, Tcp::SynAck);
        let mark = rig.wire(RunProgram::FromWire, &forged, 0).unwrap().mark;
        assert!(!rig.judge_from(&subject(), IN, &forged, ELSEWHERE, mark).unwrap().passes);
    });
}

#[test]
fn n4_a_masqueraded_client_gets_replies_while_it_is_allowed() {
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
        assert_eq!(to(it.stranger), Forwarded::Later, "ingress policy does not allow this client");
    });
}

/// A tenant may choose any external address for a Service: a client's, say, or another node's load
/// balancer's. Between other parties nothing changes.
#[test]
fn a6_a_services_external_address_changes_no_verdict_of_others() {
    with_interfaces(2, |interfaces| {
        for it in &FAMILIES {
            with_loaded(|rig| {
                let mut cluster = cluster();
                let id = ServiceId::new("tenant", "odd");
                let external_addresses = [ip(it.friend), ip(it.stranger), ip(it.block)].into();
                let service = Service { id: id.clone(), external_addresses, ..Service::default() };
                cluster.services.insert(id, service);
                let pods = [subject(), free()].into_iter().zip(interfaces.iter().copied());
                rig.program(&cluster, pods.collect()).unwrap();
                let request = syn(it.friend, it.subject, 80);
                assert!(rig.judge(&subject(), IN, &request).unwrap().passes);
                let reply = tcp(it.subject, 80, it.friend, 5000, Tcp::SynAck);
                let sent = |rig: &mut Rig, frame: &[u8]| {
                    rig.forwarded(&subject(), frame, None, frame).unwrap()
                };
                assert_eq!(sent(rig, &reply), Forwarded::Passed);
                let denied = syn(it.stranger, it.subject, 80);
                assert!(!rig.judge(&subject(), IN, &denied).unwrap().passes);
                let no_reply = tcp(it.subject, 80, it.stranger, 5000, Tcp::SynAck);
                assert_eq!(sent(rig, &no_reply), Forwarded::Later);
                let own = syn(it.subject, it.block, 7);
                assert_eq!(sent(rig, &own), Forwarded::Passed);
                let answer = tcp(it.block, 7, it.subject, 5000, Tcp::SynAck);
                assert!(rig.judge(&subject(), IN, &answer).unwrap().passes);
            });
        }
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
            frame(it.stranger, it.subject, transport).build().bytes
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
        // Translation puts the Service's address into the quoted packet.
        assert!(judge(rig, &too_big));
        assert!(!judge(rig, &error(&tcp(it.subject, 5001, it.service, 80, Tcp::Syn))));
        // No router outside has seen a packet to a Service's address (A3).
        assert!(!rig.judge(&subject(), IN, &too_big).unwrap().passes);
    });
}
