//! Packets that are always allowed, and their valid sources (semantics A1–A4, P3, P4), one rule per
//! test.

use std::collections::BTreeMap;
use std::net::IpAddr;

use enforcer::kernel::Settings;
use enforcer_core::model::Cluster;
use enforcer_ebpf::contract::event::EVENTS_ASSURED;
use enforcer_ebpf::contract::verdict::{Direction, Reason};
use enforcer_ebpf::packet::role;
use enforcer_tests::frame::{Frame, Tcp, Transport};
use enforcer_tests::rig::{ELSEWHERE, Rig, with_interfaces};

use crate::support::{
    FAMILIES, Family, IN, OUT, cluster, frame, free, ip, passes, subject, with_loaded, with_rig,
    with_rig_of,
};

#[test]
fn a1_a_pod_reaches_itself_by_its_service() {
    with_rig(|rig| {
        let hairpin = frame("10.96.0.1", "10.1.0.5", Transport::Tcp(999, 8080, Tcp::Syn));
        let bytes = hairpin.build().bytes;
        assert!(!rig.judge(&subject(), IN, &bytes).unwrap().passes);
        // The mark of the from-pod program identifies the sender, also after translation.
        let out = frame("10.1.0.5", "192.0.2.1", Transport::Tcp(999, 80, Tcp::Syn));
        let mark = rig.judge(&subject(), OUT, &out.build().bytes).unwrap().mark;
        assert_ne!(mark, 0);
        assert!(rig.judge_from(&subject(), IN, &bytes, ELSEWHERE, mark).unwrap().passes);
        let other = rig.judge(
            &free(),
            OUT,
            &frame("10.1.0.6", "10.1.0.5", Transport::Other(47)).build().bytes,
        );
        let other = other.unwrap().mark;
        assert!(!rig.judge_from(&subject(), IN, &bytes, ELSEWHERE, other).unwrap().passes);
    });
}

#[test]
fn kube_proxys_bits_of_the_mark_stay() {
    with_rig(|rig| {
        let out = frame("10.1.0.5", "192.0.2.1", Transport::Other(47)).build().bytes;
        let mark = rig.judge_from(&subject(), OUT, &out, ELSEWHERE, 0xc000).unwrap().mark;
        assert_eq!(mark & 0x1_ffff, 0xc000);
        assert_eq!(mark >> 17, u64::from(rig.id(&subject()).unwrap()));
    });
}

#[test]
fn a2_the_node_itself_is_allowed_but_its_address_is_not_enough() {
    with_rig(|rig| {
        for Family { subject: own, node, .. } in FAMILIES {
            let probe = frame(node, own, Transport::Tcp(40_000, 8080, Tcp::Syn)).build().bytes;
            assert!(rig.judge_from(&subject(), IN, &probe, 0, 0).unwrap().passes);
            // Masqueraded to the node's address on its way through (semantics N3).
            assert!(!rig.judge(&subject(), IN, &probe).unwrap().passes);
            let to_node = frame(own, node, Transport::Udp(999, 53));
            assert!(passes(rig, OUT, &to_node));
        }
    });
}

#[test]
fn a3_replies_pass_in_both_directions_and_only_replies() {
    with_rig(|rig| {
        for Family { subject: own, block: server, friend, .. } in FAMILIES {
            let answer = frame(server, own, Transport::Tcp(443, 5000, Tcp::SynAck));
            assert!(!passes(rig, IN, &answer), "no request yet");
            assert!(passes(rig, OUT, &frame(own, server, Transport::Tcp(5000, 443, Tcp::Syn))));
            assert!(passes(rig, IN, &answer));
            let other_port = frame(server, own, Transport::Tcp(443, 5001, Tcp::SynAck));
            assert!(!passes(rig, IN, &other_port));
            // A reply never opens a connection of its own.
            let opening = frame(server, own, Transport::Tcp(443, 5000, Tcp::Syn));
            assert!(!passes(rig, IN, &opening));

            assert!(passes(rig, IN, &frame(friend, own, Transport::Tcp(6000, 80, Tcp::Syn))));
            assert!(passes(rig, OUT, &frame(own, friend, Transport::Tcp(80, 6000, Tcp::SynAck))));
            assert!(!passes(rig, OUT, &frame(own, friend, Transport::Tcp(80, 6001, Tcp::SynAck))));
        }
    });
}

#[test]
fn a3_echo_replies_pass_and_open_nothing() {
    with_rig(|rig| {
        for Family { subject: own, block: server, .. } in FAMILIES {
            let answer = frame(server, own, Transport::echo(7, true));
            assert!(!passes(rig, IN, &answer));
            assert!(passes(rig, OUT, &frame(own, server, Transport::echo(7, false))));
            assert!(passes(rig, IN, &answer));
            assert!(!passes(rig, IN, &frame(server, own, Transport::echo(8, true))));
            assert!(!passes(rig, IN, &frame(server, own, Transport::echo(7, false))));
        }
    });
}

/// An ICMP error from a router about a packet.
fn error(router: &str, to: &str, about: &Frame) -> Frame {
    let quoted = about.build().bytes.split_off(14);
    let body = quoted[..quoted.len().min(64)].to_vec();
    // Destination unreachable; packet too big.
    let transport = Transport::Icmp { v4: 3, v6: 2, code: 4, identifier: 0, body };
    frame(router, to, transport)
}

#[test]
fn a3_errors_about_living_flows_pass_and_others_do_not() {
    with_rig(|rig| {
        for (own, server, friend, router) in [
            ("10.1.0.5", "192.0.2.1", "10.1.0.7", "198.51.100.1"),
            ("fd00::5", "2001:db8::1", "fd00::7", "2600::1"),
        ] {
            let sent = frame(own, server, Transport::Tcp(5000, 443, Tcp::Syn));
            let too_big = error(router, own, &sent);
            assert!(!passes(rig, IN, &too_big), "nothing was sent yet");
            assert!(passes(rig, OUT, &sent));
            assert!(passes(rig, IN, &too_big));
            let never_sent = frame(own, server, Transport::Tcp(5001, 443, Tcp::Ack));
            assert!(!passes(rig, IN, &error(router, own, &never_sent)));
            let not_ours = frame("10.1.0.6", "192.0.2.1", Transport::Tcp(5000, 443, Tcp::Syn));
            assert!(!passes(rig, IN, &error("198.51.100.1", "10.1.0.5", &not_ours)));
            // About a reply of the pod's: path-MTU discovery for what it serves.
            assert!(passes(rig, IN, &frame(friend, own, Transport::Tcp(6000, 80, Tcp::Syn))));
            let reply = frame(own, friend, Transport::Tcp(80, 6000, Tcp::Ack));
            assert!(passes(rig, IN, &error(router, own, &reply)));
            // And from the pod, about a packet that it received.
            let asked = frame(friend, own, Transport::Tcp(6000, 80, Tcp::Syn));
            assert!(passes(rig, OUT, &error(own, friend, &asked)));
        }
    });
}

#[test]
fn a4_arp_passes_and_other_link_protocols_do_not() {
    with_rig(|rig| {
        // A request of the subject's (RFC 826).
        let mut bytes = vec![0xff; 6];
        bytes.extend([0x02, 0, 0, 0, 0, 1, 0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
        bytes.extend([0x02, 0, 0, 0, 0, 1, 10, 1, 0, 5, 0, 0, 0, 0, 0, 0, 10, 1, 0, 1]);
        for direction in Direction::ALL {
            assert!(rig.judge(&subject(), direction, &bytes).unwrap().passes);
        }
        // MPLS (RFC 3032): its contents are not read.
        (bytes[12], bytes[13]) = (0x88, 0x47);
        for direction in Direction::ALL {
            assert!(!rig.judge(&subject(), direction, &bytes).unwrap().passes);
            assert!(rig.judge(&free(), direction, &bytes).unwrap().passes);
        }
    });
}

#[test]
fn p4_a_pod_sends_from_its_own_addresses_only() {
    with_rig(|rig| {
        let judge = |rig: &mut Rig, source: &str, destination: &str, transport: Transport| {
            let bytes = frame(source, destination, transport).build().bytes;
            // Also for a pod that no policy isolates.
            rig.judge(&free(), OUT, &bytes).unwrap().passes
        };
        let udp = || Transport::Udp(68, 67);
        assert!(judge(rig, "10.1.0.6", "203.0.113.9", udp()));
        assert!(judge(rig, "fd00::6", "2600::9", udp()));
        for (source, destination) in
            [("10.1.0.5", "203.0.113.9"), ("10.1.0.1", "203.0.113.9"), ("fd00::5", "2600::9")]
        {
            assert!(!judge(rig, source, destination, udp()), "{source}");
        }
        // DHCP, link-local addresses.
        assert!(judge(rig, "0.0.0.0", "255.255.255.255", udp()));
        assert!(!judge(rig, "0.0.0.0", "255.255.255.255", Transport::Udp(67, 68)));
        assert!(judge(rig, "fe80::1234", "ff02::1", udp()));
        assert!(!judge(rig, "::", "2600::9", udp()));
        let count = rig.count(&free(), OUT, Reason::SpoofedSource).unwrap();
        // A DHCP server's message is none of a pod's for another reason (A4).
        assert_eq!(count.packets, 4);
    });
}

#[test]
fn p3_without_a_flow_no_packet_passes_for_lack_of_a_syn() {
    with_rig(|rig| {
        for Family { subject: own, stranger, .. } in FAMILIES {
            for kind in [Tcp::Syn, Tcp::SynAck, Tcp::Ack] {
                assert!(!passes(rig, IN, &frame(stranger, own, Transport::Tcp(80, 80, kind))));
                assert!(!passes(rig, OUT, &frame(own, stranger, Transport::Tcp(80, 80, kind))));
            }
        }
    });
}

#[test]
fn every_packet_is_counted_once_and_drops_are_reported() {
    // Programs of its own: drops can be taken once.
    with_rig_of(&Settings::default(), |rig| {
        let mut drops = rig.kernel.take_drops().unwrap();
        let denied = frame("203.0.113.9", "10.1.0.5", Transport::Tcp(1234, 80, Tcp::Syn)).build();
        let allowed = frame("10.1.0.7", "10.1.0.5", Transport::Tcp(1234, 80, Tcp::Syn)).build();
        for _ in 0..3 {
            rig.judge(&subject(), IN, &denied.bytes).unwrap();
        }
        rig.judge(&subject(), IN, &allowed.bytes).unwrap();
        let count = rig.count(&subject(), IN, Reason::Denied).unwrap();
        assert_eq!((count.packets, count.bytes), (3, 3 * denied.bytes.len() as u64));
        assert_eq!(rig.count(&subject(), IN, Reason::Policy).unwrap().packets, 1);
        assert_eq!(rig.count(&free(), IN, Reason::Denied).unwrap().packets, 0);
        let event = drops.take().unwrap();
        assert_eq!(event.endpoint, rig.id(&subject()).unwrap());
        assert_eq!((event.source_port, event.destination_port, event.protocol), (1234, 80, 6));
        assert_eq!(event.reason, Reason::Denied as u8);
        let IpAddr::V4(source) = ip("203.0.113.9") else { panic!() };
        assert_eq!(event.source, [0, 0xffff_0000_0000 | u64::from(u32::from(source))]);
        assert_eq!(std::iter::from_fn(|| drops.take()).count(), 2);
    });
}

/// A flood of drops at one pod spends that pod's budget of events, not the one of others.
#[test]
fn r9_a_flood_of_drops_leaves_others_their_first_reports() {
    with_rig_of(&Settings::default(), |rig| {
        let mut drops = rig.kernel.take_drops().unwrap();
        let flood = frame("203.0.113.9", "10.1.0.5", Transport::Tcp(1234, 80, Tcp::Syn)).build();
        for _ in 0..2_000 {
            rig.judge(&subject(), IN, &flood.bytes).unwrap();
        }
        let reported = std::iter::from_fn(|| drops.take()).count();
        // Two CPUs, and a window may end in between.
        assert!((1..=4 * 64).contains(&reported), "{reported}");
        let lost = rig.lost_events(&subject()).unwrap();
        assert_eq!(lost + reported as u64, 2_000, "reported or counted as lost");

        let forged = frame("10.1.0.99", "192.0.2.1", Transport::Udp(999, 53)).build();
        for _ in 0..EVENTS_ASSURED {
            assert!(!rig.judge(&free(), OUT, &forged.bytes).unwrap().passes);
        }
        let events: Vec<u32> = std::iter::from_fn(|| drops.take()).map(|it| it.endpoint).collect();
        assert_eq!(events, vec![rig.id(&free()).unwrap(); EVENTS_ASSURED as usize]);
        assert_eq!(rig.lost_events(&free()).unwrap(), 0);
    });
}

#[test]
fn drops_of_icmp_are_reported_with_type_and_code() {
    with_rig_of(&Settings::default(), |rig| {
        let mut drops = rig.kernel.take_drops().unwrap();
        for Family { subject: own, stranger, .. } in FAMILIES {
            // A query, a reply, an error that quotes nothing, and another message.
            for (v4, v6, code) in [(8, 128, 0), (0, 129, 0), (3, 1, 13), (40, 200, 7)] {
                let message = Transport::Icmp { v4, v6, code, identifier: 77, body: vec![0; 48] };
                assert!(!passes(rig, IN, &frame(stranger, own, message)));
                let event = drops.take().unwrap();
                let kind = if event.version == 4 { v4 } else { v6 };
                assert_eq!(event.destination_port.to_be_bytes(), [kind, code]);
            }
        }
    });
}

/// The sequence number of a SYN, the acknowledgement number of other segments: the frames have 1 and 2.
#[test]
fn a_report_has_the_number_that_a_reset_needs() {
    with_rig_of(&Settings::default(), |rig| {
        let mut drops = rig.kernel.take_drops().unwrap();
        for Family { subject: own, stranger, .. } in FAMILIES {
            for (transport, number, role) in [
                (Transport::Tcp(1234, 80, Tcp::Syn), 1, role::BEGINS),
                (Transport::Tcp(1234, 80, Tcp::SynAck), 2, role::ANSWERS | role::ACCEPTS),
                (Transport::Tcp(1234, 80, Tcp::Ack), 2, role::ANSWERS),
                (Transport::Tcp(1234, 80, Tcp::Rst), 2, role::ANSWERS | role::RESETS),
                (Transport::Udp(1234, 80), 0, role::BEGINS | role::ANSWERS),
            ] {
                for (direction, from, to) in [(IN, stranger, own), (OUT, own, stranger)] {
                    assert!(!passes(rig, direction, &frame(from, to, transport.clone())));
                    let event = drops.take().unwrap();
                    assert_eq!((event.tcp_number, event.role), (number, role.into()));
                }
            }
        }
    });
}

/// A policy may become active between a SYN and its reply.
#[test]
fn a3_a_handshake_continues_when_a_policy_isolates_the_pod_in_the_middle() {
    let isolated = cluster();
    let open = Cluster { policies: BTreeMap::new(), ..isolated.clone() };
    with_interfaces(1, |interfaces| {
        let pods = BTreeMap::from([(subject(), interfaces[0])]);
        with_loaded(|rig| {
            for Family { subject: own, friend, block: server, .. } in FAMILIES {
                let tcp = |from, to, ports: [u16; 2], kind| {
                    frame(from, to, Transport::Tcp(ports[0], ports[1], kind))
                };
                rig.program(&open, pods.clone()).unwrap();
                assert!(passes(rig, IN, &tcp(friend, own, [6000, 80], Tcp::Syn)));
                assert!(passes(rig, OUT, &tcp(own, server, [6000, 443], Tcp::Syn)));
                rig.program(&isolated, pods.clone()).unwrap();
                assert!(passes(rig, OUT, &tcp(own, friend, [80, 6000], Tcp::SynAck)));
                assert!(passes(rig, IN, &tcp(server, own, [443, 6000], Tcp::SynAck)));
                assert!(!passes(rig, OUT, &tcp(own, friend, [80, 6001], Tcp::SynAck)));
            }
        });
    });
}
