//! Link messages (semantics A4): ARP, neighbour and router discovery, listener reports. From a pod
//! they carry nothing but what the link needs, and claim only what is the pod's.

use std::net::Ipv6Addr;

use enforcer_ebpf::contract::verdict::{Direction, Reason};
use enforcer_tests::frame::{Frame, Transport};
use enforcer_tests::rig::{Forwarded, Rig};

use crate::support::{IN, OUT, free, ip, subject, with_rig};

/// The hardware address that frames of the tests come from.
const SOURCE: [u8; 6] = [0x02, 0, 0, 0, 0, 2];

/// An ARP message (RFC 826): operation, sender, target.
fn arp(operation: u8, hardware: [u8; 6], sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![0xff; 6];
    bytes.extend(SOURCE);
    bytes.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, operation]);
    bytes.extend(hardware);
    bytes.extend(sender);
    bytes.extend([0; 6]);
    bytes.extend(target);
    bytes
}

fn passes(rig: &mut Rig, direction: Direction, bytes: &[u8]) -> bool {
    rig.judge(&subject(), direction, bytes).unwrap().passes
}

#[test]
fn a4_arp_from_a_pod_has_its_own_address_and_no_more() {
    const OWN: [u8; 4] = [10, 1, 0, 5];
    const OTHER: [u8; 4] = [10, 1, 0, 7];
    with_rig(|rig| {
        for pod in [subject(), free()] {
            let own = if pod == free() { [10, 1, 0, 6] } else { OWN };
            let mut sends = |bytes: &[u8]| rig.judge(&pod, OUT, bytes).unwrap().passes;
            for operation in [1, 2] {
                assert!(sends(&arp(operation, SOURCE, own, OTHER)));
                assert!(!sends(&arp(operation, SOURCE, OTHER, own)), "another's address");
                assert!(!sends(&arp(operation, [6; 6], own, OTHER)), "another's hardware address");
                let long = [arp(operation, SOURCE, own, OTHER), vec![0x55; 1_200]].concat();
                assert!(!sends(&long), "a message with a body");
                let mut strange = arp(operation, SOURCE, own, OTHER);
                strange[15] = 6;
                assert!(!sends(&strange), "not Ethernet");
            }
            assert!(!sends(&arp(3, SOURCE, own, OTHER)), "RARP");
            assert!(sends(&arp(1, SOURCE, [0; 4], own)), "a probe for its own address");
            assert!(!sends(&arp(1, SOURCE, [0; 4], OTHER)), "a probe for another's");
        }
        // To a pod: a neighbour's interface may have padded it.
        let padded = [arp(1, SOURCE, OTHER, OWN), vec![0; 18]].concat();
        assert!(passes(rig, IN, &padded));
        let long = [arp(1, SOURCE, OTHER, OWN), vec![0x55; 1_200]].concat();
        assert!(!passes(rig, IN, &long));
    });
}

/// A message of neighbour discovery or multicast listener discovery.
struct Message {
    source: &'static str,
    destination: &'static str,
    kind: u8,
    /// Bytes 4 to 7.
    word: [u8; 4],
    body: Vec<u8>,
    hop_limit: u8,
}

impl Message {
    fn new(source: &'static str, destination: &'static str, kind: u8, body: Vec<u8>) -> Self {
        let hop_limit = if kind < 133 || kind == 143 { 1 } else { 255 };
        Self { source, destination, kind, word: [0; 4], body, hop_limit }
    }

    fn bytes(&self) -> Vec<u8> {
        let transport =
            Transport::Icmp { v4: 0, v6: self.kind, code: 0, identifier: 0, body: vec![] };
        let frame = Frame::new(ip(self.source), ip(self.destination), transport);
        let mut bytes = Frame { hop_limit: self.hop_limit, ..frame }.build().bytes;
        // The frame builder adds a payload of its own.
        bytes.truncate(14 + 40);
        bytes.extend([self.kind, 0, 0, 0]);
        bytes.extend(self.word);
        bytes.extend(&self.body);
        let payload = u16::try_from(8 + self.body.len()).unwrap();
        bytes[18..20].copy_from_slice(&payload.to_be_bytes());
        bytes
    }
}

fn address(text: &str) -> Vec<u8> {
    text.parse::<Ipv6Addr>().unwrap().octets().to_vec()
}

/// An option of 8 bytes.
fn option(kind: u8) -> Vec<u8> {
    vec![kind, 1, 2, 0, 0, 0, 0, 2]
}

/// Solicitations and reports that a pod with the address fd00::5 may send.
fn good() -> Vec<Message> {
    let solicit = |source, destination, options: Vec<u8>| {
        Message::new(source, destination, 135, [address("fd00::1"), options].concat())
    };
    let advertise = |source, options: Vec<u8>| {
        Message::new(source, "ff02::1", 136, [address("fd00::5"), options].concat())
    };
    let report = |records: u8| {
        let body = [vec![4, 0, 0, 0], address("ff02::fb")].concat().repeat(records.into());
        Message { word: [0, 0, 0, records], ..Message::new("fe80::5", "ff02::16", 143, body) }
    };
    vec![
        solicit("fd00::5", "ff02::1:ff00:1", option(1)),
        solicit("fd00::5", "fd00::7", vec![]),
        solicit("fe80::5", "ff02::1:ff00:1", [option(1), option(14)].concat()),
        solicit("::", "ff02::1:ff00:5", option(14)),
        advertise("fd00::5", option(2)),
        advertise("fe80::5", vec![]),
        Message::new("fe80::5", "ff02::2", 133, option(1)),
        Message::new("::", "ff02::2", 133, vec![]),
        Message::new("fe80::5", "ff02::fb", 131, address("ff02::fb")),
        Message::new("::", "ff02::1:ff00:5", 131, address("ff02::1:ff00:5")),
        report(1),
        report(3),
    ]
}

#[test]
fn a4_what_a_link_needs_passes_in_both_directions() {
    with_rig(|rig| {
        for message in good() {
            let bytes = message.bytes();
            let what = (message.kind, message.source, message.body.len());
            assert!(passes(rig, OUT, &bytes), "{what:?}");
            assert!(passes(rig, IN, &bytes), "{what:?}");
        }
        let count = rig.count(&subject(), OUT, Reason::Link).unwrap();
        assert_eq!(count.packets, good().len() as u64);
    });
}

#[test]
fn a4_link_messages_carry_nothing_else() {
    with_rig(|rig| {
        for message in good() {
            for change in [
                |it: &mut Message| it.body.extend(b"x".repeat(900)),
                |it: &mut Message| it.body.extend([200, 1, 0, 0, 0, 0, 0, 0]),
                |it: &mut Message| it.body.extend([1, 2, 0, 0, 0, 0, 0, 0]),
                |it: &mut Message| it.body.push(0),
                |it: &mut Message| it.hop_limit = it.hop_limit.wrapping_sub(2),
            ] {
                let mut changed = Message { body: message.body.clone(), ..message };
                change(&mut changed);
                let what = (changed.kind, changed.source, changed.body.len(), changed.hop_limit);
                // From the unspecified address, it is a forged source besides.
                assert!(!passes(rig, OUT, &changed.bytes()), "{what:?}");
                assert!(!passes(rig, IN, &changed.bytes()), "{what:?}");
            }
        }
    });
}

#[test]
fn a4_a_pod_claims_no_address_of_another() {
    with_rig(|rig| {
        let mut sent = 0;
        for pod in [subject(), free()] {
            for (source, target) in [("fd00::7", "fd00::7"), ("fe80::5", "fd00::7")] {
                let advertisement =
                    Message::new(source, "ff02::1", 136, [address(target), option(2)].concat());
                assert!(!rig.judge(&pod, OUT, &advertisement.bytes()).unwrap().passes);
                sent += 1;
            }
            let solicitation = Message::new("fd00::7", "ff02::1:ff00:1", 135, address("fd00::1"));
            assert!(!rig.judge(&pod, OUT, &solicitation.bytes()).unwrap().passes);
            sent += 1;
            // What only routers and servers of the link send, in whatever form.
            for kind in [130, 134, 137] {
                for hop_limit in [1, 64, 255] {
                    let message = Message::new("fe80::5", "ff02::1", kind, vec![0; 24]);
                    let bytes = Message { hop_limit, ..message }.bytes();
                    assert!(!rig.judge(&pod, OUT, &bytes).unwrap().passes, "{kind} {hop_limit}");
                    sent += 1;
                }
            }
            let (v4, v6) =
                if pod == free() { ("10.1.0.6", "fd00::6") } else { ("10.1.0.5", "fd00::5") };
            for (own, to, ports) in [(v4, "255.255.255.255", (67, 68)), (v6, "ff02::1", (547, 546))]
            {
                let offer = Frame::new(ip(own), ip(to), Transport::Udp(ports.0, ports.1));
                assert!(!rig.judge(&pod, OUT, &offer.build().bytes).unwrap().passes);
                sent += 1;
            }
        }
        let counted = [subject(), free()]
            .map(|pod| rig.count(&pod, OUT, Reason::SpoofedLink).unwrap().packets);
        assert_eq!(counted.iter().sum::<u64>(), sent);
    });
}

/// A receiver skips options that it does not know, so a longer message claims as much as an exact one. A
/// group's hardware address would bring the pod's traffic to all interfaces of the link.
#[test]
fn a4_a_pod_claims_nothing_by_messages_of_another_form() {
    with_rig(|rig| {
        for (pod, own) in [(subject(), "fd00::5"), (free(), "fd00::6")] {
            let mut passes = |kind, body: &[Vec<u8>]| {
                let message = Message::new(own, "ff02::1", kind, body.concat());
                rig.judge(&pod, OUT, &message.bytes()).unwrap().passes
            };
            let others = address("fd00::7");
            for more in [vec![200, 1, 0, 0, 0, 0, 0, 0], vec![0x55; 904], vec![0]] {
                assert!(!passes(136, &[others.clone(), option(2), more.clone()]), "{pod}");
                assert!(!passes(135, &[others.clone(), option(1), more.clone()]), "{pod}");
                assert!(!passes(136, &[others.clone(), more, option(2)]), "{pod}");
            }
            for (kind, address_option) in [(135, 1), (136, 2)] {
                let mut group = option(address_option);
                group[2] = 0x33;
                assert!(!passes(kind, &[address(own), group]), "{pod}, {kind}");
                let mut nonce = option(14);
                nonce[2] = 0x33;
                assert!(passes(kind, &[address(own), nonce]), "{pod}, {kind}");
            }
        }
    });
}

#[test]
fn a4_a_router_of_the_link_may_advertise_itself() {
    with_rig(|rig| {
        for kind in [130, 134, 137] {
            let message = Message::new("fe80::1", "ff02::1", kind, vec![0; 40]);
            assert!(passes(rig, IN, &message.bytes()), "{kind}");
        }
    });
}

/// A neighbour message to an address behind the node is routed: then it is none any more.
#[test]
fn a4_a_link_message_that_leaves_the_link_is_judged() {
    with_rig(|rig| {
        let far = Message::new("fd00::5", "2600::9", 135, address("2600::9"));
        let routed = Message { hop_limit: 254, body: far.body.clone(), ..far };
        let out = |rig: &mut Rig, last: &[u8]| {
            rig.forwarded(&subject(), &far.bytes(), None, last).unwrap()
        };
        assert_eq!(out(rig, &routed.bytes()), Forwarded::Later);
        assert_eq!(out(rig, &far.bytes()), Forwarded::Passed, "on a link that the node bridges");
    });
}
