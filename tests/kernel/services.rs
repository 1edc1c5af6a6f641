//! Egress through Services and node ports (semantics N1, A1, A2): packets at the second hook, after
//! the node's address translation, one rule per test. Ingress and replies: clients.rs.

use std::net::IpAddr;

use enforcer::kernel::RunProgram;
use enforcer_core::model::{Cluster, Protocol, Service, ServiceId, ServicePort, TargetPort};
use enforcer_ebpf::contract::verdict::Reason;
use enforcer_tests::frame::{Fragment, Frame, Tcp, Transport};
use enforcer_tests::rig::{ELSEWHERE, Forwarded, Rig, with_interfaces};

use crate::support::{FAMILIES, Family, IN, OUT, cluster, frame, free, ip, subject, with_loaded};

fn service() -> Service {
    let addresses: [IpAddr; 2] = FAMILIES.map(|it| ip(it.service));
    Service {
        id: ServiceId::new("shop", "front"),
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

/// Programs the cluster and its Service, with `subject` and `free` at these interfaces.
pub(crate) fn program(rig: &mut Rig, interfaces: &[u32]) {
    let pods = [subject(), free()].into_iter().zip(interfaces.iter().copied()).collect();
    rig.program(&with_service(), pods).unwrap();
}

/// Runs a test with `subject` and `free` at interfaces, on one CPU, for each family.
pub(crate) fn with_rig(test: impl Fn(&mut Rig, &Family) + Send + Sync) {
    with_interfaces(2, |interfaces| {
        for family in &FAMILIES {
            with_loaded(|rig| {
                program(rig, &interfaces);
                test(rig, family);
            });
        }
    });
}

pub(crate) fn tcp(source: &str, from: u16, destination: &str, to: u16, kind: Tcp) -> Vec<u8> {
    frame(source, destination, Transport::Tcp(from, to, kind)).build().bytes
}

pub(crate) fn syn(source: &str, destination: &str, port: u16) -> Vec<u8> {
    tcp(source, 5000, destination, port, Tcp::Syn)
}

#[test]
fn n1_the_chosen_backend_decides() {
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
        // Untranslated: the Service's address is like any other.
        assert_eq!(to(it.service, 80), Forwarded::Later);
        let denied = rig.count(&subject(), OUT, Reason::Denied).unwrap();
        assert_eq!(denied.packets, 3, "the sender's policy drops");
        assert_eq!(rig.count(&subject(), OUT, Reason::Service).unwrap().packets, 5);
    });
}

#[test]
fn n1_the_chosen_backend_on_this_node_decides() {
    with_rig(|rig, it| {
        let sent = syn(it.subject, it.service, 80);
        let translated = syn(it.subject, it.free, 443);
        let got = rig.forwarded(&subject(), &sent, Some(&free()), &translated).unwrap();
        assert_eq!(got, Forwarded::Later);
        assert_eq!(rig.count(&subject(), OUT, Reason::Denied).unwrap().packets, 1);
        assert_eq!(rig.count(&free(), IN, Reason::Denied).unwrap().packets, 0);
        // The other direction.
        let sent = syn(it.free, it.service, 80);
        let translated = syn(it.free, it.subject, 443);
        let got = rig.forwarded(&free(), &sent, Some(&subject()), &translated).unwrap();
        assert_eq!(got, Forwarded::Later, "the subject's ingress policy");
        assert_eq!(rig.count(&subject(), IN, Reason::Denied).unwrap().packets, 1);
    });
}

#[test]
fn n1_a_node_port_of_the_own_node_hides_no_backend() {
    with_rig(|rig, it| {
        let sent = syn(it.subject, it.node, 30_080);
        let mut to = |backend: &str| {
            // Masqueraded: the source is the node's address.
            let translated = tcp(it.node, 6000, backend, 443, Tcp::Syn);
            rig.forwarded(&subject(), &sent, None, &translated).unwrap()
        };
        assert_eq!(to(it.friend), Forwarded::Passed);
        assert_eq!(to(it.stranger), Forwarded::Later);
    });
}

#[test]
fn n1_a_packet_is_checked_once() {
    with_rig(|rig, it| {
        let sent = syn(it.subject, it.service, 80);
        let mark = rig.judge(&subject(), OUT, &sent).unwrap().mark;
        let inner = syn(it.subject, it.friend, 443);
        let left = rig.wire(RunProgram::ToWire, &inner, mark).unwrap();
        assert!(left.passes);
        // Encapsulated by a tunnel, it leaves the node again.
        let outer = frame(it.node, it.stranger, Transport::Udp(1, 4789)).build();
        assert!(rig.wire(RunProgram::ToWire, &outer.bytes, left.mark).unwrap().passes);
        assert!(!rig.wire(RunProgram::ToWire, &outer.bytes, mark).unwrap().passes);
    });
}

#[test]
fn n1_a_packet_that_became_unreadable_is_dropped() {
    with_rig(|rig, it| {
        let sent = syn(it.subject, it.service, 80);
        let mark = rig.judge(&subject(), OUT, &sent).unwrap().mark;
        let whole = syn(it.subject, it.friend, 443);
        // In the middle of the TCP header.
        let cut = &whole[..if ip(it.subject).is_ipv4() { 44 } else { 64 }];
        assert!(!rig.wire(RunProgram::ToWire, cut, mark).unwrap().passes);
        assert!(!rig.judge_from(&free(), IN, cut, ELSEWHERE, mark).unwrap().passes);
        let own = syn(it.friend, it.free, 443);
        let cut = &own[..cut.len()];
        assert!(rig.judge_from(&free(), IN, cut, ELSEWHERE, 0).unwrap().passes);
    });
}

#[test]
fn n1_without_its_sender_no_deferred_packet_passes() {
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
            Frame { fragment, ..frame(it.subject, destination, transport) }.build().bytes
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
        // And its reply to itself.
        let answer = tcp(it.subject, 443, it.node, 6000, Tcp::SynAck);
        let back = tcp(it.service, 80, it.subject, 5000, Tcp::SynAck);
        let got = rig.forwarded(&subject(), &answer, Some(&subject()), &back).unwrap();
        assert_eq!(got, Forwarded::Passed);
    });
}

#[test]
fn a2_packets_to_the_node_itself_pass() {
    with_rig(|rig, it| {
        let sent = syn(it.subject, it.node, 53);
        assert!(rig.judge(&subject(), OUT, &sent).unwrap().passes);
        assert_eq!(rig.count(&subject(), OUT, Reason::Node).unwrap().packets, 1);
    });
}
