//! The payload of IP, and the packet quoted in an ICMP error.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::headers::{Bytes, Fault, chain};

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP6: u8 = 58;
const SCTP: u8 = 132;

/// The transport header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Carried {
    /// TCP. `opens`: the first packet of a connection; otherwise it may end its sender's half
    /// (`ends`, FIN) or all of it (`resets`, RST). `accepts`: the answer to a first packet.
    Tcp { ports: [u16; 2], opens: bool, accepts: bool, ends: bool, resets: bool },
    /// UDP or SCTP, of which any packet may be the first.
    Ports([u16; 2]),
    /// ICMP of the packet's own family.
    Icmp { kind: u8, code: u8, means: Icmp },
    /// Anything else.
    Other,
}

/// The meaning of an ICMP message for a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Icmp {
    /// A query or its answer: the query's type, and their common identifier.
    Query { query: u8, identifier: u16, answer: bool },
    /// An error, and the packet that it quotes, if readable.
    Error(Option<Quote>),
    /// Neither.
    Neither,
}

/// The packet that an error is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Quote {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    pub ports: [u16; 2],
}

impl Carried {
    /// Distinguishes paths through a reader.
    pub(crate) fn kind(&self) -> u8 {
        match self {
            Self::Other => 1,
            Self::Ports(_) => 2,
            Self::Tcp { opens, .. } => 3 + u8::from(*opens),
            Self::Icmp { means: Icmp::Neither, .. } => 5,
            Self::Icmp { means: Icmp::Query { answer, .. }, .. } => 6 + u8::from(*answer),
            Self::Icmp { means: Icmp::Error(quote), .. } => match quote {
                None => 8,
                Some(it) if it.ports == [0, 0] => 9,
                Some(_) => 10,
            },
        }
    }
}

pub(super) fn carried(
    v4: bool,
    protocol: u8,
    payload: Bytes<'_>,
    room: Option<usize>,
) -> Result<Carried, Fault> {
    let needs = |count: usize| {
        let enough = room.is_none_or(|room| room >= count);
        if enough { Ok(()) } else { Err(Fault::TransportLength) }
    };
    let cut = Fault::TransportCut;
    match protocol {
        TCP => {
            let header = payload.clone().take::<20>(cut)?;
            let length = usize::from(header[12] / 16) * 4;
            needs(20)?;
            needs(length)?;
            if length < 20 {
                return Err(Fault::TransportLength);
            }
            let (syn, ack) = (header[13] & 2 != 0, header[13] & 16 != 0);
            let (fin, rst) = (header[13] & 1 != 0, header[13] & 4 != 0);
            let (opens, accepts) = (syn && !ack, syn && ack);
            let [ends, resets] = [fin, rst].map(|flag| flag && !opens);
            Ok(Carried::Tcp { ports: ports(&header), opens, accepts, ends, resets })
        }
        UDP => {
            let header = payload.clone().take::<8>(cut)?;
            needs(8)?;
            // Jumbograms have length 0 (RFC 2675).
            match u16::from_be_bytes([header[4], header[5]]) {
                1..8 => Err(Fault::TransportLength),
                _ => Ok(Carried::Ports(ports(&header))),
            }
        }
        SCTP => {
            let header = payload.clone().take::<12>(cut)?;
            needs(12)?;
            Ok(Carried::Ports(ports(&header)))
        }
        ICMP | ICMP6 if v4 == (protocol == ICMP) => {
            let header = payload.clone().take::<8>(cut)?;
            needs(8)?;
            let means = icmp(v4, header, payload.after(8));
            Ok(Carried::Icmp { kind: header[0], code: header[1], means })
        }
        _ => Ok(Carried::Other),
    }
}

fn ports(header: &[u8]) -> [u16; 2] {
    [u16::from_be_bytes([header[0], header[1]]), u16::from_be_bytes([header[2], header[3]])]
}

/// RFC 792 and RFC 950, RFC 4443.
fn icmp(v4: bool, header: [u8; 8], body: Bytes<'_>) -> Icmp {
    let errors: &[u8] = if v4 { &[3, 11, 12] } else { &[1, 2, 3, 4] };
    if errors.contains(&header[0]) {
        return Icmp::Error(quote(v4, body));
    }
    match query(v4, header[0]) {
        Some((query, answer)) => {
            let identifier = u16::from_be_bytes([header[4], header[5]]);
            Icmp::Query { query, identifier, answer }
        }
        None => Icmp::Neither,
    }
}

/// The query that a type belongs to, and whether it is the answer.
fn query(v4: bool, kind: u8) -> Option<(u8, bool)> {
    // Echo, timestamp, information, address mask; in IPv6 only echo.
    let pairs: &[[u8; 2]] =
        if v4 { &[[8, 0], [13, 14], [15, 16], [17, 18]] } else { &[[128, 129]] };
    let [query, answer] = pairs.iter().find(|pair| pair.contains(&kind))?;
    Some((*query, kind == *answer))
}

/// Reads the quoted packet. It may have extension headers; a later fragment shows no ports.
fn quote(v4: bool, body: Bytes<'_>) -> Option<Quote> {
    let fault = Fault::TransportCut;
    let (source, destination, protocol, rest) = if v4 {
        let header = body.clone().take::<20>(fault).ok()?;
        let words = usize::from(header[0] % 16);
        let later = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
        if header[0] / 16 != 4 || words < 5 || later {
            return None;
        }
        let address = |at: usize| Some(Ipv4Addr::from(*header[at..].first_chunk::<4>()?).into());
        (address(12)?, address(16)?, header[9], body.after(4 * words))
    } else {
        let header = body.clone().take::<40>(fault).ok()?;
        if header[0] / 16 != 6 {
            return None;
        }
        let address = |at: usize| Some(Ipv6Addr::from(*header[at..].first_chunk::<16>()?).into());
        let behind = chain(header[6], body.after(40)).ok()?;
        if behind.offset != 0 {
            return None;
        }
        (address(8)?, address(24)?, behind.protocol, behind.rest)
    };
    // At least this much of the payload is quoted (RFC 792).
    let header = rest.clone().take::<8>(fault).ok()?;
    let ports = match protocol {
        TCP | UDP | SCTP => ports(&header),
        ICMP | ICMP6 if v4 == (protocol == ICMP) => {
            let (query, _) = query(v4, header[0])?;
            [u16::from_be_bytes([header[4], header[5]]), u16::from(query)]
        }
        _ => [0, 0],
    };
    Some(Quote { source, destination, protocol, ports })
}
