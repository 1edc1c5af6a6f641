//! The origin and the destination of a packet: the mark decides, never what its sender can choose
//! (semantics A2, N3, P1, P4). Each test names the attack that it withstands.

use std::collections::BTreeMap;
use std::net::IpAddr;

use enforcer::kernel::RunProgram;
use enforcer_core::model::{Block, Peer, PodId, Rule};
use enforcer_ebpf::contract::counters::NOBODY;
use enforcer_ebpf::contract::verdict::{Direction, Reason};
use enforcer_tests::frame::{Fragment, Frame, Tcp, Transport};
use enforcer_tests::rig::{ELSEWHERE, Forwarded, Rig, with_interfaces};

use crate::services::{syn, tcp, with_rig};
use crate::support::{FAMILIES, IN, OUT, cluster, free, ip, subject, with_loaded};

fn counted(rig: &Rig, direction: Direction, reason: Reason) -> u64 {
    let count = |pod| rig.count(&pod, direction, reason).unwrap().packets;
    count(subject()) + count(free())
}

/// A frame to the subject that the node fragmented again: the kernel has forgotten the
/// interface that it entered by, but not its mark.
fn refragmented(rig: &mut Rig, mark: u64, frame: &[u8]) -> bool {
    rig.judge_from(&subject(), IN, frame, 0, mark).unwrap().passes
}

#[test]
fn a2_a_packet_that_entered_through_a_hook_is_never_the_nodes() {
    with_rig(|rig, it| {
        // From outside, readable or not, and from a pod: IPv6 fragments that were reassembled.
        let denied = syn(it.stranger, it.subject, 80);
        let outside = rig.wire(RunProgram::FromWire, &denied, 0).unwrap().mark;
        let odd = Frame { extensions: vec![(60, 0); 9], ..frame(it.stranger, it.subject) };
        let unread = rig.wire(RunProgram::FromWire, &odd.build().bytes, 0).unwrap().mark;
        let pod = rig.judge(&free(), OUT, &syn(it.free, it.subject, 80)).unwrap().mark;
        let no_ip = rig.wire(RunProgram::FromWire, &[0; 60], 0).unwrap().mark;
        for mark in [outside, unread, no_ip] {
            assert_ne!(mark, 0);
            assert!(!refragmented(rig, mark, &denied));
        }
        assert_ne!(pod, 0);
        assert!(!refragmented(rig, pod, &syn(it.free, it.subject, 80)));
        assert!(refragmented(rig, 0, &denied), "the node itself");
    });
}

fn frame(source: &str, destination: &str) -> Frame {
    Frame::new(ip(source), ip(destination), Transport::Udp(5_000, 5_001))
}

#[test]
fn p4_the_source_of_a_packet_that_cannot_be_parsed_is_checked() {
    with_rig(|rig, it| {
        let odd = |source: &str| {
            // IPv4: a TCP header cut by a first fragment of 8 bytes; IPv6: nine extension headers.
            let plain = Frame::new(ip(source), ip(it.subject), Transport::Tcp(1, 80, Tcp::Syn));
            match plain.source.is_ipv4() {
                true => {
                    let first = Frame { fragment: Fragment::First, ..plain }.build().bytes;
                    let mut bytes = first[..14 + 20 + 8].to_vec();
                    bytes[16..18].copy_from_slice(&28_u16.to_be_bytes());
                    bytes
                }
                false => Frame { extensions: vec![(60, 0); 9], ..plain }.build().bytes,
            }
        };
        assert!(rig.judge(&free(), OUT, &odd(it.free)).unwrap().passes);
        assert!(!rig.judge(&free(), OUT, &odd(it.friend)).unwrap().passes);
        assert_eq!(counted(rig, OUT, Reason::SpoofedSource), 1);
    });
}

#[test]
fn p4_a_router_advertisement_behind_too_many_headers_is_dropped() {
    with_rig(|rig, it| {
        if ip(it.free).is_ipv4() {
            return;
        }
        let advertisement =
            Transport::Icmp { v4: 0, v6: 134, code: 0, identifier: 0, body: vec![] };
        let plain = Frame::new(ip(it.free), ip("ff02::1"), advertisement);
        let hidden = Frame { extensions: vec![(60, 0); 9], hop_limit: 255, ..plain };
        assert!(!rig.judge(&free(), OUT, &hidden.build().bytes).unwrap().passes);
        assert_eq!(counted(rig, OUT, Reason::SpoofedLink), 1);
    });
}

/// The inner packet of a tunnel keeps the mark of the pod that sent the outer one, and so does what
/// conntrack reassembled: whatever its source is, it is that pod's.
#[test]
fn p4_a_marked_packet_is_judged_as_the_pod_that_the_mark_names() {
    with_rig(|rig, it| {
        let mark = rig.judge(&free(), OUT, &syn(it.free, it.stranger, 80)).unwrap().mark;
        let judge = |rig: &mut Rig, source: &str| {
            let forged = syn(source, it.subject, 80);
            rig.judge_from(&subject(), IN, &forged, ELSEWHERE, mark).unwrap().passes
        };
        assert!(!judge(rig, it.friend), "the friend's address does not help");
        if ip(it.free).is_ipv6() {
            assert!(!judge(rig, "fe80::7"));
        }
        let outside = rig.wire(RunProgram::FromWire, &syn(it.friend, it.subject, 80), 0).unwrap();
        let real = syn(it.friend, it.subject, 80);
        assert!(rig.judge_from(&subject(), IN, &real, ELSEWHERE, outside.mark).unwrap().passes);
    });
}

/// A pod's link-local source is exempt from the source check. It is that pod's all the same, also if
/// the pod has no address of the family: no block holds it.
#[test]
fn p4_the_link_local_source_of_a_pod_without_an_address_of_the_family_is_in_no_block() {
    with_interfaces(2, |interfaces| {
        let mut cluster = cluster();
        let everyone = Peer::Block(Block { cidr: "::/0".parse().unwrap(), except: [].into() });
        for policy in cluster.policies.values_mut() {
            policy.ingress = Some(vec![Rule { peers: vec![everyone.clone()], ports: vec![] }]);
        }
        let pod = cluster.pods.get_mut(&free()).unwrap();
        pod.addresses = pod.addresses.iter().copied().filter(IpAddr::is_ipv4).collect();
        with_loaded(|rig| {
            let pods = [subject(), free()].into_iter().zip(interfaces);
            rig.program(&cluster, pods.collect()).unwrap();
            let sent = syn("fe80::7", "fd00::5", 80);
            let got = rig.forwarded(&free(), &sent, Some(&subject()), &sent).unwrap();
            assert_eq!(got, Forwarded::Later);
            assert_eq!(counted(rig, IN, Reason::Denied), 1);
            let other = syn("fd00::9", "fd00::5", 80);
            assert!(rig.judge(&subject(), IN, &other).unwrap().passes);
        });
    });
}

#[test]
fn p4_encapsulated_packets_to_the_own_node_are_dropped() {
    with_rig(|rig, it| {
        let mut sent = 0;
        let mut tunnels = vec![Transport::Other(4), Transport::Other(41), Transport::Other(47)];
        tunnels.extend([4789, 4790, 6081, 8472].map(|port| Transport::Udp(5_000, port)));
        for pod in [subject(), free()] {
            let own = if pod == free() { it.free } else { it.subject };
            for tunnel in &tunnels {
                let to_node = Frame::new(ip(own), ip(it.node), tunnel.clone()).build().bytes;
                assert!(!rig.judge(&pod, OUT, &to_node).unwrap().passes, "{tunnel:?}");
                sent += 1;
                // To other ends it is policy's business.
                let elsewhere = Frame::new(ip(own), ip(it.block), tunnel.clone()).build().bytes;
                assert!(rig.judge(&pod, OUT, &elsewhere).unwrap().passes, "{tunnel:?}");
            }
        }
        assert_eq!(counted(rig, OUT, Reason::Encapsulated), sent);
    });
}

/// A bridge delivers by hardware address: an isolated pod's packet "to itself" or "to the node" may
/// be on its way to a neighbour.
#[test]
fn p4_a_pod_receives_only_what_is_addressed_to_it() {
    with_rig(|rig, it| {
        let free_from = |rig: &mut Rig, to: &str| {
            let sent = syn(it.subject, to, 80);
            rig.forwarded(&subject(), &sent, Some(&free()), &sent).unwrap()
        };
        for to in [it.subject, it.node, it.friend] {
            assert_ne!(free_from(rig, to), Forwarded::Passed, "{to}");
        }
        // Nor what others send: the traffic of a pod that ARP or neighbour messages diverted.
        let diverted = syn(it.stranger, it.friend, 80);
        assert!(!rig.judge(&free(), IN, &diverted).unwrap().passes);
        assert!(rig.judge(&free(), IN, &syn(it.stranger, it.free, 80)).unwrap().passes);
        // Nor its own packets to others, which a bridge sends back.
        let own = syn(it.free, it.stranger, 80);
        assert_eq!(rig.forwarded(&free(), &own, Some(&free()), &own).unwrap(), Forwarded::Later);
        // Not even if it can't be parsed.
        let odd =
            Frame { options: 3, extensions: vec![(60, 0); 9], ..frame(it.stranger, it.friend) };
        if ip(it.free).is_ipv6() {
            assert!(!rig.judge(&free(), IN, &odd.build().bytes).unwrap().passes);
        }
        assert!(counted(rig, IN, Reason::WrongDestination) >= 2);
        for group in ["224.0.0.251", "255.255.255.255", "ff02::fb"] {
            if ip(group).is_ipv4() == ip(it.free).is_ipv4() {
                let sent = Frame::new(ip(it.stranger), ip(group), Transport::Udp(5_353, 5_353));
                assert!(rig.judge(&free(), IN, &sent.build().bytes).unwrap().passes, "{group}");
            }
        }
    });
}

#[test]
fn p4_a_subnets_broadcast_is_delivered_and_nothing_else_in_a_broadcast_frame() {
    with_rig(|rig, it| {
        let broadcast = |source: &str, to: &str| {
            let mut bytes = syn(source, to, 80);
            bytes[..6].fill(0xff);
            bytes
        };
        let to_subnet = if ip(it.free).is_ipv4() { "10.1.0.255" } else { "fd00::99" };
        if ip(it.free).is_ipv6() {
            // IPv6 has no broadcast (RFC 4291, section 2).
            let sent = broadcast(it.node, to_subnet);
            assert!(!rig.judge(&free(), IN, &broadcast(it.stranger, to_subnet)).unwrap().passes);
            assert!(!rig.judge_from(&free(), IN, &sent, 0, 0).unwrap().passes);
            return;
        }
        let sent = broadcast(it.stranger, to_subnet);
        assert!(rig.judge(&free(), IN, &sent).unwrap().passes);
        assert!(!rig.judge(&free(), IN, &broadcast(it.stranger, it.node)).unwrap().passes);
        let own = broadcast(it.subject, it.subject);
        let got = rig.forwarded(&subject(), &own, Some(&free()), &own).unwrap();
        assert_eq!(got, Forwarded::Later);
    });
}

/// A link-local address is not one that policy knows: both ends are judged as the pods they are.
#[test]
fn p4_link_local_addresses_lead_past_no_policy() {
    with_rig(|rig, it| {
        if ip(it.free).is_ipv4() {
            return;
        }
        let sent = tcp("fe80::5", 5_000, "fe80::6", 443, Tcp::Syn);
        let got = rig.forwarded(&subject(), &sent, Some(&free()), &sent).unwrap();
        assert_eq!(got, Forwarded::Later, "the subject's egress allows no such pod");
        let sent = tcp("fe80::6", 5_000, "fe80::5", 80, Tcp::Syn);
        let got = rig.forwarded(&free(), &sent, Some(&subject()), &sent).unwrap();
        assert_eq!(got, Forwarded::Later, "the subject's ingress allows no such pod");
    });
}

/// A rule that sets marks without a mask, such as `CONNMARK --restore-mark`.
#[test]
fn n3_without_its_mark_an_address_of_the_node_stands_for_nobody() {
    with_rig(|rig, it| {
        let mut rig_counts = 0;
        for source in [it.node, it.service] {
            let masqueraded = tcp(source, 6_000, it.subject, 80, Tcp::Syn);
            assert!(!rig.judge_from(&subject(), IN, &masqueraded, ELSEWHERE, 0).unwrap().passes);
            rig_counts += 1;
            assert_eq!(counted(rig, IN, Reason::MarkLost), rig_counts);
        }
        // A source that stands for itself needs none.
        let friend = syn(it.friend, it.subject, 80);
        assert!(rig.judge_from(&subject(), IN, &friend, ELSEWHERE, 0).unwrap().passes);
    });
}

/// A rule of the node that sets or restores marks without a mask: what from_pod deferred is lost, but
/// the source tells whose policy it is (semantics N1).
#[test]
fn n1_without_its_mark_a_pods_packet_is_judged_by_its_source() {
    with_rig(|rig, it| {
        let to_pod = |rig: &mut Rig, frame: &[u8], pod: PodId| {
            rig.judge_from(&pod, IN, frame, ELSEWHERE, 0).unwrap().passes
        };
        let to_wire =
            |rig: &mut Rig, frame: &[u8]| rig.wire(RunProgram::ToWire, frame, 0).unwrap().passes;
        assert!(!to_pod(rig, &syn(it.subject, it.free, 443), free()), "the denied backend");
        assert!(!to_wire(rig, &syn(it.subject, it.stranger, 443)));
        assert_eq!(counted(rig, OUT, Reason::MarkLost), 2);
        assert!(to_wire(rig, &syn(it.subject, it.friend, 443)), "the allowed one");
        assert!(to_wire(rig, &syn(it.free, it.stranger, 443)), "the pod is not isolated");
        assert!(to_pod(rig, &syn(it.stranger, it.free, 443), free()), "no pod of this node");
        // Replies pass as far as the flow table knows what they answer.
        let [answer, other] =
            [6_000, 6_001].map(|port| tcp(it.subject, 80, it.friend, port, Tcp::SynAck));
        assert!(
            rig.judge(&subject(), IN, &tcp(it.friend, 6_000, it.subject, 80, Tcp::Syn))
                .unwrap()
                .passes
        );
        assert!(to_wire(rig, &answer));
        assert!(!to_wire(rig, &other));
        // A source says nothing in its pod's favour.
        assert!(!to_pod(rig, &syn(it.subject, it.subject, 81), subject()), "not itself");
    });
}

/// Masquerading has replaced the source, too: the interface that the packet entered by names the pod.
#[test]
fn n1_without_its_mark_and_its_source_a_pods_packet_is_judged_by_its_interface() {
    with_rig(|rig, it| {
        let [own, other] = [subject(), free()].map(|pod| rig.interface(&pod).unwrap());
        let to_wire = |rig: &mut Rig, frame: &[u8], from| {
            rig.wire_from(RunProgram::ToWire, frame, from, 0).unwrap().passes
        };
        let [denied, allowed] = [it.stranger, it.friend].map(|to| syn(it.node, to, 443));
        assert!(!to_wire(rig, &denied, own));
        assert!(to_wire(rig, &allowed, own));
        assert!(to_wire(rig, &denied, other), "that pod is not isolated");
        let to_pod = |rig: &mut Rig, from| {
            rig.judge_from(&free(), IN, &syn(it.node, it.free, 443), from, 0).unwrap().passes
        };
        assert!(!to_pod(rig, own), "the receiver is open, the sender's egress is not");
        assert!(to_pod(rig, ELSEWHERE), "from no pod of this node");
        assert_eq!(counted(rig, OUT, Reason::MarkLost), 2);
        // The source of another pod does not help.
        assert!(!to_wire(rig, &syn(it.free, it.stranger, 443), own));
    });
}

/// A bridge floods the node's packets, so an unreadable one may be for another pod.
#[test]
fn p4_an_unreadable_packet_of_the_node_reaches_no_pod() {
    with_rig(|rig, it| {
        // Tagged, since test runs refuse an IP header that is cut.
        let mut whole = syn(it.node, it.subject, 80);
        whole.splice(12..12, [0x81, 0, 0, 5]);
        let header = if ip(it.node).is_ipv4() { 20 } else { 40 };
        let passes = |rig: &mut Rig, length: usize| {
            rig.judge_from(&subject(), IN, &whole[..length], 0, 0).unwrap().passes
        };
        for length in 18..18 + header {
            assert!(!passes(rig, length), "{length} bytes");
        }
        assert!(passes(rig, whole.len()));
    });
}

/// An interface that several pods claim has no address: it gets nothing of what the node sends, and
/// sends nothing.
#[test]
fn s6_p4_a_closed_interface_gets_nothing_and_sends_nothing() {
    with_interfaces(2, |interfaces| {
        with_loaded(|rig| {
            let pods: BTreeMap<_, _> = [subject(), free()].into_iter().zip(interfaces).collect();
            rig.closed.insert(subject());
            rig.program(&cluster(), pods).unwrap();
            for it in &FAMILIES {
                for to in [it.subject, it.free, it.stranger] {
                    let flooded = syn(it.node, to, 80);
                    assert!(!rig.judge_from(&subject(), IN, &flooded, 0, 0).unwrap().passes);
                }
                for source in [it.subject, it.free, it.node] {
                    let sent = syn(source, it.node, 80);
                    assert!(!rig.judge(&subject(), OUT, &sent).unwrap().passes, "{source}");
                }
            }
            // For the tests that share the programs.
            rig.closed.clear();
        });
    });
}

/// Devices such as tun and WireGuard carry IP packets without Ethernet headers.
#[test]
fn n1_n3_uplinks_without_ethernet_headers_are_read_as_such() {
    with_rig(|rig, it| {
        let to_service = syn(it.subject, it.service, 80);
        let mark = rig.judge(&subject(), OUT, &to_service).unwrap().mark;
        let bare = |frame: Vec<u8>| frame[14..].to_vec();
        for (backend, passes) in [(it.friend, true), (it.stranger, false)] {
            let translated = bare(syn(it.subject, backend, 443));
            assert_eq!(rig.wire(RunProgram::ToWireIp, &translated, mark).unwrap().passes, passes);
        }
        let masqueraded = tcp(it.node, 6_000, it.subject, 80, Tcp::Syn);
        for (client, passes) in [(it.friend, true), (it.stranger, false)] {
            let came = bare(syn(client, it.node, 30_080));
            let mark = rig.wire(RunProgram::FromWireIp, &came, 0).unwrap().mark;
            let got = rig.judge_from(&subject(), IN, &masqueraded, ELSEWHERE, mark).unwrap();
            assert_eq!(got.passes, passes, "{client}");
        }
    });
}

/// A pod that started while no agent ran has no programs: others recognise what it sends. The mark
/// alone is no proof: another program of the node may have cleared it.
#[test]
fn c6_a_packet_from_an_interface_without_programs_is_dropped_on_demand() {
    with_rig(|rig, it| {
        let allowed = syn(it.stranger, it.free, 80);
        let outwards = syn(it.stranger, it.block, 80);
        let unmarked = |rig: &mut Rig, origin| {
            let inward = rig.judge_from(&free(), IN, &allowed, origin, 0).unwrap();
            inward.passes
        };
        let nobodys = |rig: &Rig| rig.count_of(NOBODY, OUT, Reason::Unguarded).unwrap().packets;
        let (elsewhere, before) = (ELSEWHERE, nobodys(rig));
        assert!(unmarked(rig, elsewhere));
        assert!(rig.wire(RunProgram::ToWire, &outwards, 0).unwrap().passes);
        rig.deny_unguarded(Some(&[])).unwrap();
        assert!(!unmarked(rig, elsewhere));
        assert!(!rig.wire(RunProgram::ToWire, &outwards, 0).unwrap().passes);
        assert_eq!(counted(rig, IN, Reason::Unguarded), 1);
        assert_eq!(nobodys(rig) - before, 1);
        // The node's own, and what a hook has marked.
        assert!(unmarked(rig, 0));
        let mark = rig.wire(RunProgram::FromWire, &allowed, 0).unwrap().mark;
        assert!(rig.judge_from(&free(), IN, &allowed, elsewhere, mark).unwrap().passes);
        assert!(rig.wire(RunProgram::ToWire, &outwards, mark).unwrap().passes);
        // Marks that were cleared: from an uplink, and from a pod's interface.
        rig.deny_unguarded(Some(&[elsewhere])).unwrap();
        assert!(unmarked(rig, elsewhere));
        assert!(rig.wire(RunProgram::ToWire, &outwards, 0).unwrap().passes);
        rig.deny_unguarded(Some(&[])).unwrap();
        let guarded = rig.interface(&subject()).unwrap();
        assert!(rig.wire_from(RunProgram::ToWire, &outwards, guarded, 0).unwrap().passes);
        // For the tests that share the programs.
        rig.deny_unguarded(None).unwrap();
    });
}
