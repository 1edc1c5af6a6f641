//! The comparison of the packet path's reader and the naive one.

use std::fmt;
use std::net::IpAddr;

use enforcer_ebpf::packet::{
    self, LinkMessage, Packet, Quoted, datagram4, datagram6, ethernet, ethertype, has_link_type,
    link_message, quoted4, quoted6, role, segment4, segment6,
};

use crate::naive::{self, Carried, Icmp, Piece, Quote, Read, Seen};

/// The difference of the two on a frame, if any. A panic counts as one.
pub(crate) fn disagreement(frame: &[u8]) -> Option<String> {
    let theirs = std::panic::catch_unwind(|| packet_path(frame, frame.len()).to_string());
    let theirs = theirs.unwrap_or_else(|_| "it panics".to_owned());
    let naive = expected(&naive::read(frame));
    (theirs != naive).then(|| format!("the packet path reads {theirs}\nthe naive reader {naive}"))
}

/// A common form of both readers' results.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Facts {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    ports: [u16; 2],
    hop_limit: u8,
    icmp: [u8; 2],
    roles: Vec<&'static str>,
    identification: Option<u32>,
    link: String,
    quoted: Option<Quote>,
}

impl Facts {
    /// The same about a frame whose quoted packet can't be read.
    pub(crate) fn without_quote(&self) -> Self {
        Self { quoted: None, ..self.clone() }
    }
}

const MALFORMED: &str = "Malformed";

/// What the packet path reads of a frame.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Path {
    Malformed,
    Other(u16),
    Ip(Facts),
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str(MALFORMED),
            Self::Other(kind) => write!(f, "ether type {kind:#x}"),
            Self::Ip(facts) => write!(f, "{facts:?}"),
        }
    }
}

/// Reads a frame of this length, of which these bytes are readable.
pub(crate) fn packet_path(frame: &[u8], length: usize) -> Path {
    let Ok((kind, start)) = ethernet(frame) else { return Path::Malformed };
    if start == 14 {
        short_ways_agree(frame, kind);
    }
    let facts = match kind {
        // The programs make all of a possible link message readable first.
        ethertype::IPV6
            if frame.len() < length
                && packet::ipv6(frame, start).is_ok_and(|it| has_link_type(&it)) =>
        {
            return Path::Malformed;
        }
        ethertype::IPV4 => packet::ipv4(frame, start).map(|it| {
            let quoted = (it.role & role::ERROR != 0).then(|| quoted4(frame, &it)).flatten();
            facts(&it, |address| IpAddr::V4(address.into()), "none".to_owned(), quoted)
        }),
        ethertype::IPV6 => packet::ipv6(frame, start).map(|it| {
            let quoted = (it.role & role::ERROR != 0).then(|| quoted6(frame, &it)).flatten();
            let address = |[high, low]: [u64; 2]| {
                IpAddr::V6((u128::from(high) << 64 | u128::from(low)).into())
            };
            let (message, target) = link_message(frame, &it, start, length);
            let link = match message {
                LinkMessage::No => "none".to_owned(),
                LinkMessage::Host => "host".to_owned(),
                LinkMessage::Advertisement => format!("advertisement of {}", address(target)),
                LinkMessage::Router => "router".to_owned(),
            };
            facts(&it, address, link, quoted)
        }),
        other => return Path::Other(other),
    };
    facts.map_or(Path::Malformed, Path::Ip)
}

/// What the short ways read of a frame without tags, the general one reads as well.
fn short_ways_agree(frame: &[u8], kind: u16) {
    match kind {
        ethertype::IPV4 => {
            let general = packet::ipv4(frame, 14);
            assert!(segment4(frame).is_none_or(|short| general == Ok(short)));
            assert!(datagram4(frame).is_none_or(|short| general == Ok(short)));
        }
        ethertype::IPV6 => {
            let general = packet::ipv6(frame, 14);
            assert!(segment6(frame).is_none_or(|short| general == Ok(short)));
            assert!(datagram6(frame).is_none_or(|short| general == Ok(short)));
        }
        _ => {}
    }
}

fn facts<A: Copy>(
    it: &Packet<A>,
    address: impl Fn(A) -> IpAddr,
    link: String,
    quoted: Option<Quoted<A>>,
) -> Facts {
    let names = [
        (role::BEGINS, "begins"),
        (role::ANSWERS, "answers"),
        (role::ACCEPTS, "accepts"),
        (role::ERROR, "error"),
        (role::FRAGMENT, "fragment"),
        (role::FIRST_FRAGMENT, "first fragment"),
        (role::ENDS, "ends"),
        (role::RESETS, "resets"),
    ];
    let piece = it.role & (role::FRAGMENT | role::FIRST_FRAGMENT) != 0;
    Facts {
        source: address(it.source),
        destination: address(it.destination),
        protocol: it.protocol,
        ports: [it.source_port, it.destination_port],
        hop_limit: it.hop_limit,
        icmp: [it.icmp_type, it.icmp_code],
        roles: names.iter().filter(|(bit, _)| it.role & bit != 0).map(|(_, name)| *name).collect(),
        identification: piece.then_some(it.identification),
        link,
        quoted: quoted.map(|quoted| Quote {
            source: address(quoted.source),
            destination: address(quoted.destination),
            protocol: quoted.protocol,
            ports: [quoted.source_port, quoted.destination_port],
        }),
    }
}

/// The names of the conditions that hold.
fn named(all: &[(&'static str, bool)]) -> Vec<&'static str> {
    all.iter().filter(|(_, holds)| *holds).map(|(name, _)| *name).collect()
}

fn expected(seen: &Seen) -> String {
    match seen {
        Seen::Malformed(_) => MALFORMED.to_owned(),
        Seen::Other(kind) => format!("ether type {kind:#x}"),
        Seen::Ip(read) => format!("{:?}", expected_facts(read)),
    }
}

fn expected_facts(read: &Read) -> Facts {
    let (mut ports, mut icmp, mut quoted) = ([0, 0], [0, 0], None);
    let mut roles = match &read.carried {
        None => vec![],
        Some(Carried::Tcp { ports: those, opens, accepts, ends, resets }) => {
            ports = *those;
            named(&[
                ("begins", *opens),
                ("answers", !opens),
                ("accepts", *accepts),
                ("ends", *ends),
                ("resets", *resets),
            ])
        }
        Some(Carried::Ports(those)) => {
            ports = *those;
            vec!["begins", "answers"]
        }
        Some(Carried::Other) => vec!["begins", "answers"],
        Some(Carried::Icmp { kind, code, means }) => {
            icmp = [*kind, *code];
            match means {
                Icmp::Query { query, identifier, answer } => {
                    ports = [*identifier, u16::from(*query)];
                    if *answer { vec!["answers"] } else { vec!["begins"] }
                }
                Icmp::Error(quote) => {
                    quoted.clone_from(quote);
                    vec!["error"]
                }
                Icmp::Neither => vec![],
            }
        }
    };
    let identification = match read.piece {
        Piece::Whole => None,
        Piece::First { identification } => {
            roles.push("first fragment");
            Some(identification)
        }
        Piece::Later { identification } => {
            roles.push("fragment");
            Some(identification)
        }
    };
    Facts {
        source: read.source,
        destination: read.destination,
        protocol: read.protocol,
        ports,
        hop_limit: read.hop_limit,
        icmp,
        roles,
        identification,
        link: read.link.clone(),
        quoted,
    }
}
