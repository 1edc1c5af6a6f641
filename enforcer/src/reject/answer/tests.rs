use enforcer_ebpf::packet::{Address6, role};
use proptest::prelude::*;

use super::*;

fn bits(text: &str) -> Address6 {
    let address = match text.parse().unwrap() {
        IpAddr::V4(it) => it.to_ipv6_mapped(),
        IpAddr::V6(it) => it,
    };
    let [high, low] = [address.to_bits() >> 64, address.to_bits() & u128::from(u64::MAX)];
    [high.try_into().unwrap(), low.try_into().unwrap()]
}

/// The report of a denied packet from port 5000 of the first address to port 80 of the second.
fn denied(ends: (&str, &str), protocol: u8, role: u8) -> Event {
    Event {
        source: bits(ends.0),
        destination: bits(ends.1),
        source_port: 5_000,
        destination_port: 80,
        protocol,
        reason: Reason::Denied as u8,
        version: if ends.0.contains(':') { 6 } else { 4 },
        tcp_number: 1_000,
        role: role.into(),
        ..Event::default()
    }
}

const V4: (&str, &str) = ("10.1.0.4", "10.2.0.5");
const V6: (&str, &str) = ("fd00:1::4", "fd00:2::5");
const SYN: u8 = role::BEGINS;
const SEGMENT: u8 = role::ANSWERS;
const BOTH: u8 = role::BEGINS | role::ANSWERS;

/// The payload of a packet between these ends, whose headers are as RFC 791 and RFC 8200 say.
fn payload<'a>(packet: &'a [u8], ends: (&str, &str), protocol: u8) -> &'a [u8] {
    let address = |text: &str| match text.parse().unwrap() {
        IpAddr::V4(it) => it.octets().to_vec(),
        IpAddr::V6(it) => it.octets().to_vec(),
    };
    let (source, destination) = (address(ends.0), address(ends.1));
    let length = u16::from_be_bytes([packet[2], packet[3]]);
    if source.len() == 4 {
        assert_eq!((packet[0], usize::from(length)), (0x45, packet.len()));
        assert_eq!((packet[9], sum(&packet[..20])), (protocol, 0xffff));
        assert_eq!((&packet[12..16], &packet[16..20]), (&*source, &*destination));
        return &packet[20..];
    }
    let length = u16::from_be_bytes([packet[4], packet[5]]);
    assert_eq!((packet[0] >> 4, usize::from(length)), (6, packet.len() - 40));
    assert_eq!(packet[6], protocol);
    assert_eq!((&packet[8..24], &packet[24..40]), (&*source, &*destination));
    &packet[40..]
}

/// The sum of RFC 1071; 0xffff over a part that contains its own checksum.
fn sum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|it| u32::from(it[0]) << 8 | u32::from(*it.get(1).unwrap_or(&0)));
    let sum: u32 = words.sum();
    let sum = (sum >> 16) + (sum & 0xffff);
    u16::try_from((sum >> 16) + (sum & 0xffff)).unwrap()
}

/// The sum over the payload and its pseudo header (RFC 9293, RFC 8200).
fn pseudo_sum(ends: (&str, &str), protocol: u8, payload: &[u8]) -> u16 {
    let mut all = Vec::new();
    for end in [ends.0, ends.1] {
        match end.parse().unwrap() {
            IpAddr::V4(it) => all.extend(it.octets()),
            IpAddr::V6(it) => all.extend(it.octets()),
        }
    }
    all.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
    all.extend([0, 0, 0, protocol]);
    all.extend(payload);
    sum(&all)
}

fn tcp(ends: (&str, &str), role: u8) -> (u32, u32, u8) {
    let Answer { to, packet } = answer(&denied(ends, 6, role)).unwrap();
    assert_eq!(to, ends.0.parse::<IpAddr>().unwrap());
    let back = (ends.1, ends.0);
    let tcp = payload(&packet, back, 6);
    assert_eq!(pseudo_sum(back, 6, tcp), 0xffff);
    let number = |at: usize| u32::from_be_bytes(tcp[at..at + 4].try_into().unwrap());
    assert_eq!(number(0), 80 << 16 | 5_000);
    (number(4), number(8), tcp[13])
}

#[test]
fn a_segment_is_reset_with_the_numbers_that_its_sender_accepts() {
    for ends in [V4, V6] {
        // RST and ACK, which acknowledges the SYN.
        assert_eq!(tcp(ends, SYN), (0, 1_001, 0x14));
        // RST with the number that the segment acknowledges.
        assert_eq!(tcp(ends, SEGMENT), (1_000, 0, 0x04));
        assert_eq!(tcp(ends, SEGMENT | role::ACCEPTS), (1_000, 0, 0x04));
    }
}

#[test]
fn a_datagram_and_an_echo_request_get_an_error_that_quotes_them() {
    for (ends, icmp, error, request) in [(V4, 1, [3, 13], 8), (V6, 58, [1, 1], 128)] {
        let echo = Event { destination_port: request << 8, ..denied(ends, icmp, SYN) };
        for (event, start) in [
            (denied(ends, 17, BOTH), [5_000_u16.to_be_bytes(), 80_u16.to_be_bytes()].concat()),
            (echo, [request.to_be_bytes()[1], 0].to_vec()),
        ] {
            let Answer { packet, .. } = answer(&event).unwrap();
            let back = (ends.1, ends.0);
            let message = payload(&packet, back, icmp);
            let checked = if icmp == 1 { sum(message) } else { pseudo_sum(back, icmp, message) };
            assert_eq!((&message[..2], checked), (&error[..], 0xffff));
            let quoted = payload(&message[8..], ends, event.protocol);
            assert_eq!(&quoted[..start.len()], start);
            assert_eq!(quoted.len(), 8);
            let id = [quoted[4], quoted[5]];
            assert!(event.protocol == 17 || id == 5_000_u16.to_be_bytes());
        }
    }
}

#[test]
fn what_must_not_be_answered_is_not() {
    let none = |event: Event| assert_eq!(answer(&event), None, "{event:?}");
    for ends in [V4, V6] {
        none(denied(ends, 6, SEGMENT | role::RESETS));
        none(denied(ends, 17, role::FRAGMENT));
        none(denied(ends, if ends == V4 { 1 } else { 58 }, role::ERROR));
        for protocol in [0, 2, 47, 50, 132] {
            none(denied(ends, protocol, BOTH));
        }
        for reason in Reason::ALL.into_iter().filter(|it| *it != Reason::Denied) {
            none(Event { reason: reason as u8, ..denied(ends, 6, SYN) });
        }
    }
    // Echo replies, and neighbour discovery.
    none(Event { destination_port: 0, ..denied(V4, 1, SEGMENT) });
    none(Event { destination_port: 135 << 8, ..denied(V6, 58, 0) });
    for other in ["0.0.0.0", "127.0.0.1", "169.254.0.7", "224.0.0.251", "255.255.255.255"] {
        none(denied((other, V4.1), 6, SYN));
        none(denied((V4.0, other), 6, SYN));
    }
    for other in ["::", "::1", "fe80::1", "ff02::fb"] {
        none(denied((other, V6.1), 6, SYN));
        none(denied((V6.0, other), 6, SYN));
    }
    none(Event { version: 0, ..denied(V4, 6, SYN) });
    // A pod that may send from any address chooses who would get the answer.
    let direction = Direction::Egress as u8;
    none(Event { direction, sender: bits("10.1.0.9"), ..denied(V4, 6, SYN) });
}

proptest! {
    /// Whatever the kernel reports: no panic, and an answer goes to the source of a denied packet and is
    /// small (RFC 4443: 1,280 bytes; no answer is larger than the smallest packet that could be denied).
    #[test]
    fn any_report_gets_at_most_one_small_answer(
        words in prop::array::uniform4(any::<u64>()),
        ports in any::<(u16, u16)>(),
        numbers in any::<(u8, u8, u64, u32)>(),
        version in prop::sample::select(vec![0, 4, 6, 9]),
    ) {
        let mapped = |low: u64| [0, 0xffff << 32 | low & 0xffff_ffff];
        let [a, b, c, d] = words;
        let (source, destination) =
            if version == 4 { (mapped(a), mapped(b)) } else { ([a, b], [c, d]) };
        let (protocol, reason, role, tcp_number) = numbers;
        let (source_port, destination_port) = ports;
        let event = Event {
            source, destination, source_port, destination_port, protocol, reason, version, tcp_number,
            role, ..Event::default()
        };
        if let Some(Answer { to, packet }) = answer(&event) {
            prop_assert_eq!(Some(to), address(&source, version));
            prop_assert_eq!(reason, Reason::Denied as u8);
            prop_assert!(packet.len() <= 96);
        }
    }
}
