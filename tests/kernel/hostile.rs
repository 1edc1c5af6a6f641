//! Packets made to be misread (semantics P1): whoever is isolated never gets them.

use enforcer_ebpf::contract::verdict::Direction;
use enforcer_tests::frame::{Fragment, Frame, Tcp, Transport};
use enforcer_tests::rig::Rig;

use crate::support::{free, ip, subject, with_rig};

/// The shortest cut of a frame that the kernel test-runs: it refuses an IP header that is not
/// whole, unless VLAN tags hide from it that there is one.
fn shortest(frame: &Frame) -> usize {
    match (frame.vlans.is_empty(), frame.source.is_ipv4()) {
        (false, _) => 15,
        (true, true) => 14 + 20,
        (true, false) => 14 + 40,
    }
}

/// Frames that the subject's policies allow, to it and from it, in every dress.
fn allowed() -> Vec<(Direction, Frame)> {
    let mut frames = Vec::new();
    for (own, friend, server) in
        [("10.1.0.5", "10.1.0.7", "192.0.2.1"), ("fd00::5", "fd00::7", "2001:db8::1")]
    {
        let to_pod = Frame::new(ip(friend), ip(own), Transport::Tcp(6000, 80, Tcp::Syn));
        frames.push((Direction::Ingress, to_pod));
        for transport in [
            Transport::Tcp(6000, 443, Tcp::Syn),
            Transport::Udp(6000, 53),
            Transport::Sctp(6000, 9),
            Transport::echo(3, false),
        ] {
            frames.push((Direction::Egress, Frame::new(ip(own), ip(server), transport)));
        }
    }
    let dressed: Vec<_> = frames
        .iter()
        .map(|(direction, frame)| {
            let extensions = vec![(0, 0), (60, 2), (43, 1), (51, 4), (135, 0)];
            (*direction, Frame { options: 7, extensions, vlans: vec![3], ..frame.clone() })
        })
        .collect();
    frames.extend(dressed);
    frames
}

fn passes(rig: &mut Rig, direction: Direction, bytes: &[u8]) -> bool {
    rig.judge(&subject(), direction, bytes).unwrap().passes
}

#[test]
fn p1_cut_off_anywhere_in_its_headers_nothing_passes() {
    with_rig(|rig| {
        for (direction, frame) in allowed() {
            let built = frame.build();
            for length in shortest(&frame)..=built.bytes.len() {
                let whole = length >= built.headers;
                let got = passes(rig, direction, &built.bytes[..length]);
                assert_eq!(got, whole, "{length} of {} bytes: {frame:?}", built.bytes.len());
            }
        }
    });
}

#[test]
fn p1_a_pod_that_nothing_isolates_gets_what_it_is_sent() {
    with_rig(|rig| {
        let plain = Frame::new(ip("10.1.0.7"), ip("10.1.0.6"), Transport::Tcp(1, 2, Tcp::Syn));
        let frame = Frame { vlans: vec![3], ..plain };
        let built = frame.build();
        for length in shortest(&frame)..built.headers {
            let outcome = rig.judge(&free(), Direction::Ingress, &built.bytes[..length]);
            // The fixed header says for whom it is (P4).
            let addressed = length >= 14 + 4 + 20;
            assert_eq!(outcome.unwrap().passes, addressed, "{length}");
        }
    });
}

/// The frame to the pod of one family, and where its IP header begins.
fn plain(v4: bool) -> Vec<u8> {
    let index = if v4 { 0 } else { 5 };
    allowed()[index].1.build().bytes
}

#[test]
fn p1_absurd_lengths_are_not_believed() {
    with_rig(|rig| {
        let mut judge = |v4: bool, change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = plain(v4);
            assert!(passes(rig, Direction::Ingress, &bytes));
            change(&mut bytes);
            passes(rig, Direction::Ingress, &bytes)
        };
        // IPv4: version, header length, total length.
        for version in (0..16).filter(|version| *version != 4) {
            assert!(!judge(true, &|it| it[14] = version << 4 | 5));
        }
        for words in 0..5 {
            assert!(!judge(true, &|it| it[14] = 0x40 | words));
        }
        for total in 1..40_u16 {
            assert!(!judge(true, &|it| it[16..18].copy_from_slice(&total.to_be_bytes())));
        }
        // IPv6: version, payload length.
        for version in (0..16).filter(|version| *version != 6) {
            assert!(!judge(false, &|it| it[14] = version << 4));
        }
        for payload in 1..20_u16 {
            assert!(!judge(false, &|it| it[18..20].copy_from_slice(&payload.to_be_bytes())));
        }
        // TCP: data offset below the header, or beyond the packet.
        for (v4, transport) in [(true, 34), (false, 54)] {
            for words in 0..5 {
                assert!(!judge(v4, &|it| it[transport + 12] = words << 4));
            }
            assert!(!judge(v4, &|it| it[transport + 12] = 0xf0));
        }
    });
}

#[test]
fn p1_up_to_eight_extension_headers_are_read() {
    with_rig(|rig| {
        let frame = allowed()[5].1.clone();
        for count in 0..=12 {
            let extensions = vec![(60, 1); count];
            let bytes = Frame { extensions, ..frame.clone() }.build().bytes;
            assert_eq!(passes(rig, Direction::Ingress, &bytes), count <= 8, "{count}");
        }
        // A header of the greatest length.
        let extensions = vec![(60, 255)];
        let bytes = Frame { extensions, ..frame }.build().bytes;
        assert!(passes(rig, Direction::Ingress, &bytes));
    });
}

#[test]
fn p2_a_first_fragment_too_short_for_its_ports_does_not_pass() {
    with_rig(|rig| {
        for index in [0, 5] {
            let frame = Frame { fragment: Fragment::First, ..allowed()[index].1.clone() };
            let built = frame.build();
            assert!(passes(rig, Direction::Ingress, &built.bytes));
            assert!(!passes(rig, Direction::Ingress, &built.bytes[..built.headers - 1]));
        }
    });
}

#[test]
fn p6_tags_do_not_hide_a_packet() {
    with_rig(|rig| {
        let good = allowed()[0].1.clone();
        let stranger = Frame { source: ip("203.0.113.9"), ..good.clone() };
        for tags in 0..=4 {
            let tagged = |frame: &Frame| {
                let vlans = vec![5; tags];
                Frame { vlans, ..frame.clone() }.build().bytes
            };
            assert_eq!(passes(rig, Direction::Ingress, &tagged(&good)), tags <= 2, "{tags}");
            assert!(!passes(rig, Direction::Ingress, &tagged(&stranger)));
        }
    });
}
