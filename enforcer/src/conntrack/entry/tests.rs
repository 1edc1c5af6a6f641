use netlink_packet_netfilter::conntrack::TCPFlags;

use super::*;

const ASSURED: Status = Status::Assured.union(Status::SeenReply).union(Status::Confirmed);

fn end(from: &str, to: &str, number: u8) -> Vec<Part> {
    let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
    vec![
        Part::Ip(vec![IPTuple::SourceAddress(from.ip()), IPTuple::DestinationAddress(to.ip())]),
        Part::Proto(vec![
            ProtoTuple::Protocol(number.into()),
            ProtoTuple::SourcePort(from.port()),
            ProtoTuple::DestinationPort(to.port()),
        ]),
    ]
}

/// A pod's connection to a Service.
fn attributes(number: u8, status: Status) -> Vec<Attribute> {
    vec![
        Attribute::CtaTupleOrig(end("10.1.0.2:40000", "10.0.0.1:80", number)),
        Attribute::CtaTupleReply(end("10.1.0.3:8080", "10.1.0.2:40000", number)),
        Attribute::CtaStatus(status),
        Attribute::CtaTimeout(60),
    ]
}

fn tcp(status: Status, state: u8, flags: [u8; 2]) -> Result<Entry, Doubt> {
    let [original, reply] = flags.map(|flags| TCPFlags::parse(&[flags, 0]).unwrap());
    let info = ProtoInfo::TCP(vec![
        ProtoInfoTCP::State(state),
        ProtoInfoTCP::OriginalFlags(original),
        ProtoInfoTCP::ReplyFlags(reply),
    ]);
    let mut all = attributes(protocol::TCP, status);
    all.push(Attribute::CtaProtoInfo(vec![info]));
    Entry::of(&all)
}

#[test]
fn c8_a_living_tcp_connection_is_read() {
    let entry = tcp(ASSURED, ESTABLISHED, [3, 3]).unwrap();
    assert_eq!(entry.original.source, "10.1.0.2:40000".parse().unwrap());
    assert_eq!(entry.original.destination, "10.0.0.1:80".parse().unwrap());
    assert_eq!(entry.reply.source, "10.1.0.3:8080".parse().unwrap());
    assert_eq!((entry.protocol, entry.progress), (protocol::TCP, Progress::Established));
    assert_eq!(entry.remaining, Duration::from_secs(60));
    // One end may have finished, and still receive.
    for state in [FIN_WAIT, CLOSE_WAIT] {
        assert!(tcp(ASSURED, state, [3, 3]).is_ok());
    }
}

#[test]
fn c8_what_has_not_begun_or_has_ended_is_not_living() {
    const SYN_SENT: u8 = 1;
    const SYN_RECV: u8 = 2;
    const LAST_ACK: u8 = 6;
    const TIME_WAIT: u8 = 7;
    const CLOSE: u8 = 8;
    for state in [0, SYN_SENT, SYN_RECV, LAST_ACK, TIME_WAIT, CLOSE, 9] {
        assert_eq!(tcp(ASSURED, state, [3, 3]), Err(Doubt::NotLiving), "{state}");
    }
    let unassured = Status::SeenReply | Status::Confirmed;
    assert_eq!(tcp(unassured, ESTABLISHED, [3, 3]), Err(Doubt::NotLiving));
    assert_eq!(tcp(ASSURED | Status::Dying, ESTABLISHED, [3, 3]), Err(Doubt::NotLiving));
}

#[test]
fn c8_a_connection_that_conntrack_found_in_progress_has_no_known_initiator() {
    for flags in [[0x0a, 0x0a], [0x08, 0], [0, 0x08]] {
        assert_eq!(tcp(ASSURED, ESTABLISHED, flags), Err(Doubt::PickedUp), "{flags:?}");
    }
    // Without the flags there is no evidence that it was not.
    let all = attributes(protocol::TCP, ASSURED);
    assert_eq!(Entry::of(&all), Err(Doubt::Unreadable));
}

#[test]
fn c8_datagrams_have_stages() {
    for (status, progress) in [
        (Status::Confirmed, Progress::Unanswered),
        (Status::SeenReply, Progress::Answered),
        (ASSURED, Progress::Established),
    ] {
        for number in [protocol::UDP, protocol::SCTP] {
            let entry = Entry::of(&attributes(number, status)).unwrap();
            assert_eq!((entry.protocol, entry.progress), (number, progress));
        }
    }
}

#[test]
fn c8_entries_of_other_kinds_are_not_used() {
    const GRE: u8 = 47;
    let zone = |kind| netlink_packet_core::DefaultNla::new(kind, vec![0, 1]);
    assert_eq!(Entry::of(&attributes(GRE, ASSURED)), Err(Doubt::Unreadable));
    let mut zoned = attributes(protocol::UDP, ASSURED);
    zoned.push(Attribute::Other(zone(ZONE)));
    assert_eq!(Entry::of(&zoned), Err(Doubt::Unreadable));
    for missing in 0..4 {
        let mut all = attributes(protocol::UDP, ASSURED);
        all.remove(missing);
        assert_eq!(Entry::of(&all), Err(Doubt::Unreadable), "{missing}");
    }
    let mut tuple = end("10.1.0.2:1", "10.1.0.3:2", protocol::UDP);
    tuple.push(Part::Other(zone(TUPLE_ZONE)));
    let mut all = attributes(protocol::UDP, ASSURED);
    all[0] = Attribute::CtaTupleOrig(tuple);
    assert_eq!(Entry::of(&all), Err(Doubt::Unreadable));
    let mut all = attributes(protocol::UDP, ASSURED);
    all[1] = Attribute::CtaTupleReply(end("10.1.0.3:8080", "10.1.0.2:40000", protocol::TCP));
    assert_eq!(Entry::of(&all), Err(Doubt::Unreadable));
}
