//! Services, node ports and masquerade (semantics N1–N4, A1): packets as the node's address
//! translation leaves them at the second hook, one rule a test.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Mutex;

use enforcer::kernel::RunProgram;
use enforcer::model::{Cluster, Protocol, Service, ServiceId, ServicePort, TargetPort};
use enforcer_ebpf::count::{Direction, Reason};
use enforcer_tests::frame::{Fragment, Frame, Tcp, Transport};
use enforcer_tests::rig::{ELSEWHERE, Forwarded, Rig, stay_on_one_cpu, with_interfaces};

use crate::support::{cluster, free, ip, subject};

const IN: Direction = Direction::Ingress;
const OUT: Direction = Direction::Egress;

/// One family's addresses of [`cluster`] and of a Service.
struct Family {
    subject: &'static str,
    free: &'static str,
    node: &'static str,
    /// What the subject may reach and be reached by.
    friend: &'static str,
    /// All of it may be reached by the subject.
    block: &'static str,
    stranger: &'static str,
    service: &'static str,
}

const FAMILIES: [Family; 2] = [
    Family {
        subject: "10.1.0.5",
        free: "10.1.0.6",
        node: "10.1.0.1",
        friend: "10.1.0.7",
        block: "192.0.2.1",
        stranger: "203.0.113.9",
        service: "10.96.0.1",
    },
    Family {
        subject: "fd00::5",
        free: "fd00::6",
        node: "fd00::1",
        friend: "fd00::7",
        block: "2001:db8::1",
        stranger: "2600::9",
        service: "fd96::1",
    },
];

fn service() -> Service {
    let addresses: [IpAddr; 2] = FAMILIES.map(|it| ip(it.service));
    Service {
        id: ServiceId { namespace: "shop".to_owned(), name: "front".to_owned() },
        cluster_addresses: addresses.into(),
        ports: vec![ServicePort {
            name: String::new(),
            protocol: Protocol::Tcp,
            port: 80,
            target: TargetPort::Number(443),
            node_port: None,
        }],
        ..Service::default()
    }
}

fn with_service() -> Cluster {
    let mut cluster = cluster();
    cluster.services.insert(service().id, service());
    cluster
}

/// Runs a test with `subject` and `free` at interfaces, on one CPU, for each family.
fn with_rig(test: impl Fn(&mut Rig, &Family) + Send + Sync) {
    with_interfaces(2, |interfaces| {
        stay_on_one_cpu().unwrap();
        let mut rig = Rig::new().unwrap();
        for family in &FAMILIES {
            // Endpoints that come anew begin with counters and flows of their own.
            rig.program(&with_service(), BTreeMap::new()).unwrap();
            let pods = [subject(), free()].into_iter().zip(interfaces.clone()).collect();
            rig.program(&with_service(), pods).unwrap();
            test(&mut rig, family);
        }
    });
}

fn tcp(source: &str, from: u16, destination: &str, to: u16, kind: Tcp) -> Vec<u8> {
    Frame::new(ip(source), ip(destination), Transport::Tcp(from, to, kind)).build().bytes
}

fn syn(source: &str, destination: &str, port: u16) -> Vec<u8> {
    tcp(source, 5000, destination, port, Tcp::Syn)
}

/// A packet from outside to an address of the node, as the subject gets it.
fn from_outside(rig: &mut Rig, client: &str, arrives: &Family, translated: &[u8]) -> bool {
    let seen = rig.wire(RunProgram::FromWire, &syn(client, arrives.node, 30_080), 0).unwrap();
    assert!(seen.passes);
    rig.judge_from(&subject(), IN, translated, ELSEWHERE, seen.mark).unwrap().passes
}

#[test]
fn n1_egress_is_about_the_backend_that_was_chosen() {
    with_rig(|rig, it| {
        let sent = syn(it.subject, it.service, 80);
        let mut to = |backend: &str, port| {
            let translated = syn(it.subject, backend, port);
            rig.forwarded(&subject(), &sent, None, &translated).unwrap()
        };
        assert_eq!(to(it.friend, 443), Forwarded::Passed);
        assert_eq!(to(it.friend, 444), Forwarded::Later, "the backend's port counts");
        assert_eq!(to(it.block, 444), Forwarded::Passed);
        assert_eq!(to(it.stranger, 443), Forwarded::Later);
        // kube-proxy left it alone: the Service's address is like any other.
        assert_eq!(to(it.service, 80), Forwarded::Later);
        let denied = rig.count(&subject(), OUT, Reason::Denied).unwrap();
        assert_eq!(denied.packets, 3, "it is the sender's policy that drops");
        assert_eq!(rig.count(&subject(), OUT, Reason::Service).unwrap().packets, 5);
    });
}

#[test]
fn n1_also_when_the_backend_is_on_this_node() {
    with_rig(|rig, it| {
        let sent = syn(it.subject, it.service, 80);
        let translated = syn(it.subject, it.free, 443);
        let got = rig.forwarded(&subject(), &sent, Some(&free()), &translated).unwrap();
        assert_eq!(got, Forwarded::Later);
        assert_eq!(rig.count(&subject(), OUT, Reason::Denied).unwrap().packets, 1);
        assert_eq!(rig.count(&free(), IN, Reason::Denied).unwrap().packets, 0);
        // Nothing isolates the other way.
        let sent = syn(it.free, it.service, 80);
        let translated = syn(it.free, it.subject, 443);
        let got = rig.forwarded(&free(), &sent, Some(&subject()), &translated).unwrap();
        assert_eq!(got, Forwarded::Later, "the subject's ingress policy");
        assert_eq!(rig.count(&subject(), IN, Reason::Denied).unwrap().packets, 1);
    });
}

#[test]
fn n1_a_node_port_of_the_own_node_hides_nobody() {
    with_rig(|rig, it| {
        let sent = syn(it.subject, it.node, 30_080);
        let mut to = |backend: &str| {
            // Masquerade: the source has become the node's.
            let translated = tcp(it.node, 6000, backend, 443, Tcp::Syn);
            rig.forwarded(&subject(), &sent, None, &translated).unwrap()
        };
        assert_eq!(to(it.friend), Forwarded::Passed);
        assert_eq!(to(it.stranger), Forwarded::Later);
    });
}

#[test]
fn n1_a_packet_is_judged_once() {
    with_rig(|rig, it| {
        let sent = syn(it.subject, it.service, 80);
        let mark = rig.judge(&subject(), OUT, &sent).unwrap().mark;
        let inner = syn(it.subject, it.friend, 443);
        let left = rig.wire(RunProgram::ToWire, &inner, mark).unwrap();
        assert!(left.passes);
        // Wrapped up by a tunnel, it leaves the node once more.
        let outer = Frame::new(ip(it.node), ip(it.stranger), Transport::Udp(1, 4789)).build();
        assert!(rig.wire(RunProgram::ToWire, &outer.bytes, left.mark).unwrap().passes);
        assert!(!rig.wire(RunProgram::ToWire, &outer.bytes, mark).unwrap().passes);
    });
}

#[test]
fn n1_what_cannot_be_read_any_more_is_not_let_through() {
    with_rig(|rig, it| {
        let sent = syn(it.subject, it.service, 80);
        let mark = rig.judge(&subject(), OUT, &sent).unwrap().mark;
        let whole = syn(it.subject, it.friend, 443);
        // In the midst of the TCP header.
        let cut = &whole[..if ip(it.subject).is_ipv4() { 44 } else { 64 }];
        assert!(!rig.wire(RunProgram::ToWire, cut, mark).unwrap().passes);
        assert!(!rig.judge_from(&free(), IN, cut, ELSEWHERE, mark).unwrap().passes);
        assert!(rig.judge_from(&free(), IN, cut, ELSEWHERE, 0).unwrap().passes);
    });
}

#[test]
fn n1_without_its_sender_nothing_pending_passes() {
    with_rig(|rig, it| {
        let sent = syn(it.subject, it.service, 80);
        let mark = rig.judge(&subject(), OUT, &sent).unwrap().mark;
        let translated = syn(it.subject, it.friend, 443);
        assert!(rig.wire(RunProgram::ToWire, &translated, mark).unwrap().passes);
        let others = [(free(), rig.interfaces[&free()])];
        rig.program(&with_service(), others.into()).unwrap();
        assert!(!rig.wire(RunProgram::ToWire, &translated, mark).unwrap().passes);
    });
}

#[test]
fn n1_later_fragments_follow_the_first_one_behind_the_service() {
    with_rig(|rig, it| {
        let piece = |destination: &str, fragment| {
            let transport = Transport::Tcp(5000, 443, Tcp::Ack);
            Frame { fragment, ..Frame::new(ip(it.subject), ip(destination), transport) }
                .build()
                .bytes
        };
        let pieces = [Fragment::First, Fragment::Later];
        let marks = pieces.map(|fragment| {
            let sent = rig.judge(&subject(), OUT, &piece(it.service, fragment)).unwrap();
            assert!(sent.passes);
            sent.mark
        });
        let mut leaves = |backend: &str, at: usize| {
            let frame = piece(backend, pieces[at]);
            rig.wire(RunProgram::ToWire, &frame, marks[at]).unwrap().passes
        };
        assert!(!leaves(it.friend, 1), "the first one was not seen");
        assert!(leaves(it.friend, 0) && leaves(it.friend, 1));
        assert!(!leaves(it.stranger, 0) && !leaves(it.stranger, 1));
    });
}

#[test]
fn a1_a_pod_reaches_itself_by_its_service() {
    with_rig(|rig, it| {
        let sent = syn(it.subject, it.service, 80);
        for source in [it.subject, it.node] {
            let back = tcp(source, 6000, it.subject, 443, Tcp::Syn);
            let got = rig.forwarded(&subject(), &sent, Some(&subject()), &back).unwrap();
            assert_eq!(got, Forwarded::Passed, "from {source}");
        }
        // And its answer, on its way back to itself.
        let answer = tcp(it.subject, 443, it.node, 6000, Tcp::SynAck);
        let back = tcp(it.service, 80, it.subject, 5000, Tcp::SynAck);
        let got = rig.forwarded(&subject(), &answer, Some(&subject()), &back).unwrap();
        assert_eq!(got, Forwarded::Passed);
    });
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
        for _ in 0..enforcer_ebpf::client::CLIENTS {
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
        let judge = |rig: &mut Rig, bytes: &[u8]| rig.judge(&subject(), IN, bytes).unwrap().passes;
        assert!(!judge(rig, &too_big), "nothing was sent yet");
        rig.forwarded(&subject(), &sent, None, &there).unwrap();
        // The translation has put the Service's address into what the error quotes.
        assert!(judge(rig, &too_big));
        assert!(!judge(rig, &error(&tcp(it.subject, 5001, it.service, 80, Tcp::Syn))));
    });
}

#[test]
fn a2_what_goes_to_the_node_itself_passes() {
    with_rig(|rig, it| {
        let sent = syn(it.subject, it.node, 53);
        assert!(rig.judge(&subject(), OUT, &sent).unwrap().passes);
        assert_eq!(rig.count(&subject(), OUT, Reason::Node).unwrap().packets, 1);
    });
}
