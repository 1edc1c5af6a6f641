//! Packets made to be misread (semantics P1): isolated pods never receive them.

use enforcer_ebpf::contract::verdict::Direction;
use enforcer_tests::frame::{Fragment, Frame, Tcp, Transport};
use enforcer_tests::rig::Rig;

use crate::support::{FAMILIES, Family, IN, OUT, frame, free, ip, subject, with_rig};

/// The shortest cut of a frame that the kernel test-runs: it rejects an incomplete IP header,
/// unless VLAN tags hide it.
fn shortest(frame: &Frame) -> usize {
    match (frame.vlans.is_empty(), frame.source.is_ipv4()) {
        (false, _) => 15,
        (true, true) => 14 + 20,
        (true, false) => 14 + 40,
    }
}

/// Frames that the subject's policies allow, in both directions: plain, and with all extra headers.
fn allowed() -> Vec<(Direction, Frame)> {
    let mut frames = Vec::new();
    for Family { subject: own, friend, block: server, .. } in FAMILIES {
        let to_pod = frame(friend, own, Transport::Tcp(6000, 80, Tcp::Syn));
        frames.push((IN, to_pod));
        for transport in [
            Transport::Tcp(6000, 443, Tcp::Syn),
            Transport::Udp(6000, 53),
            Transport::Sctp(6000, 9),
            Transport::echo(3, false),
        ] {
            frames.push((OUT, frame(own, server, transport)));
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
fn p1_cut_anywhere_in_its_headers_no_packet_passes() {
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
fn p1_a_pod_that_no_policy_isolates_receives_what_is_addressed_to_it() {
    with_rig(|rig| {
        let plain = frame("10.1.0.7", "10.1.0.6", Transport::Tcp(1, 2, Tcp::Syn));
        let frame = Frame { vlans: vec![3], ..plain };
        let built = frame.build();
        for length in shortest(&frame)..built.headers {
            let outcome = rig.judge(&free(), IN, &built.bytes[..length]);
            // The fixed header, behind the tag, has the destination (P4).
            let addressed = length >= 14 + 4 + 20;
            assert_eq!(outcome.unwrap().passes, addressed, "{length}");
        }
    });
}

/// The plain frame to the pod, of one family.
fn plain(v4: bool) -> Vec<u8> {
    let index = if v4 { 0 } else { 5 };
    allowed()[index].1.build().bytes
}

#[test]
fn p1_invalid_lengths_are_denied() {
    with_rig(|rig| {
        let mut judge = |v4: bool, change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = plain(v4);
            assert!(passes(rig, IN, &bytes));
            change(&mut bytes);
            passes(rig, IN, &bytes)
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
        // TCP: data offset within the header, or beyond the packet.
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
            assert_eq!(passes(rig, IN, &bytes), count <= 8, "{count}");
        }
        // A header of the greatest length.
        let extensions = vec![(60, 255)];
        let bytes = Frame { extensions, ..frame }.build().bytes;
        assert!(passes(rig, IN, &bytes));
    });
}

#[test]
fn p2_a_first_fragment_too_short_for_its_ports_does_not_pass() {
    with_rig(|rig| {
        for index in [0, 5] {
            let frame = Frame { fragment: Fragment::First, ..allowed()[index].1.clone() };
            let built = frame.build();
            assert!(passes(rig, IN, &built.bytes));
            assert!(!passes(rig, IN, &built.bytes[..built.headers - 1]));
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
            assert_eq!(passes(rig, IN, &tagged(&good)), tags <= 2, "{tags}");
            assert!(!passes(rig, IN, &tagged(&stranger)));
        }
    });
}
