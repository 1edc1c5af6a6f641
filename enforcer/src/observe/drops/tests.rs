use super::*;

fn bits(address: &str) -> Address6 {
    let bits = match address.parse().unwrap() {
        IpAddr::V4(it) => it.to_ipv6_mapped().to_bits(),
        IpAddr::V6(it) => it.to_bits(),
    };
    [u64::try_from(bits >> 64).unwrap(), u64::try_from(bits & u128::from(u64::MAX)).unwrap()]
}

fn event(source: &str, destination: &str, protocol: u8, ports: (u16, u16)) -> Event {
    Event {
        source: bits(source),
        destination: bits(destination),
        sender: [0, 0],
        endpoint: 2,
        ifindex: 14,
        length: 74,
        source_port: ports.0,
        destination_port: ports.1,
        protocol,
        direction: 0,
        reason: Reason::Denied as u8,
        version: if source.contains(':') { 6 } else { 4 },
        tcp_number: 0,
        role: 0,
    }
}

struct TwoPods;

impl Names for TwoPods {
    fn pod_at(&self, address: &IpAddr) -> Option<String> {
        match address.to_string().as_str() {
            "10.1.0.4" | "fd00::4" => self.pod_of(1),
            "10.1.0.5" | "fd00::5" => self.pod_of(2),
            _ => None,
        }
    }

    fn pod_of(&self, endpoint: u32) -> Option<String> {
        matches!(endpoint, 1 | 2).then(|| format!("hello/pod{endpoint}"))
    }
}

fn record(event: &Event) -> DropRecord {
    DropRecord::new(event, &TwoPods)
}

/// People and scripts rely on this form.
#[test]
fn a_line_has_ends_protocol_place_and_reason() {
    let line = record(&event("10.1.0.4", "10.1.0.5", 6, (43512, 80))).to_string();
    let expected = "hello/pod1 10.1.0.4:43512 → hello/pod2 10.1.0.5:80 TCP denied at ingress";
    assert_eq!(line, expected);
}

#[test]
fn lines() {
    let tcp = event("10.1.0.4", "10.1.0.5", 6, (43512, 80));
    let echo = u16::from_be_bytes([8, 0]);
    let events = [
        tcp,
        event("fd00::4", "fd00::5", 17, (5353, 53)),
        event("192.0.2.9", "10.1.0.5", 1, (77, echo)),
        event("fd00::4", "fd00::5", 58, (77, u16::from_be_bytes([128, 0]))),
        event("2001:db8::1", "fd00::5", 132, (1, 2)),
        event("10.1.0.4", "10.1.0.5", 47, (0, 0)),
        event("10.1.0.4", "10.1.0.5", 200, (0, 0)),
        // ICMP's number in IPv6 is not ICMP.
        event("fd00::4", "fd00::5", 1, (0, echo)),
        Event { endpoint: 1, direction: 1, reason: Reason::SpoofedSource as u8, ..tcp },
        Event {
            endpoint: 99,
            reason: Reason::Malformed as u8,
            source_port: 0,
            destination_port: 0,
            ..tcp
        },
        Event {
            reason: Reason::Fragment as u8,
            protocol: 17,
            source_port: 0,
            destination_port: 0,
            ..tcp
        },
        Event {
            endpoint: 1,
            direction: 1,
            reason: Reason::NotIp as u8,
            version: 0,
            ..Event::default()
        },
        Event { reason: Reason::Unrepresented as u8, ..tcp },
        Event { reason: 200, direction: 9, ..tcp },
    ];
    let lines: Vec<String> = events.iter().map(|it| record(it).to_string()).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn the_sender_behind_an_address_is_shown() {
    let masqueraded =
        Event { sender: bits("203.0.113.9"), ..event("10.1.0.1", "10.1.0.5", 6, (43512, 80)) };
    assert!(
        record(&masqueraded).to_string().starts_with(
            "10.1.0.1:43512 (sent by 203.0.113.9) → hello/pod2 10.1.0.5:80 TCP denied"
        )
    );
    let pod = Event { sender: bits("10.1.0.4"), ..masqueraded };
    assert!(record(&pod).to_string().contains("(sent by hello/pod1 10.1.0.4) →"));
}

#[test]
fn records_are_json_that_can_be_read_back() {
    let echo = event("192.0.2.9", "10.1.0.5", 1, (77, u16::from_be_bytes([8, 0])));
    for it in [event("fd00::4", "fd00::5", 6, (43512, 80)), echo, Event::default()] {
        let record = record(&it);
        let json = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<DropRecord>(&json).unwrap(), record, "{json}");
    }
    insta::assert_snapshot!(serde_json::to_string_pretty(&record(&echo)).unwrap());
}

#[test]
fn events_are_read_from_bytes_at_any_alignment() {
    let event = event("10.1.0.4", "10.1.0.5", 6, (43512, 80));
    let bytes = [&[0], bytemuck::bytes_of(&event), &[1, 2, 3]].concat();
    assert_eq!(read_event(&bytes[1..]), Ok(event));
    let short = &bytes[1..size_of::<Event>()];
    assert_eq!(read_event(short), Err(TruncatedEvent { found: short.len() }));
}
