//! The messages that an IPv6 link needs (semantics A4), after RFC 4861, RFC 7527, RFC 2710 and
//! RFC 3810.

use std::net::Ipv6Addr;

/// An unfragmented ICMPv6 message.
pub(super) struct Message<'a> {
    pub(super) source: Ipv6Addr,
    pub(super) destination: Ipv6Addr,
    pub(super) hop_limit: u8,
    /// The bytes between the fixed header and the message.
    pub(super) before: usize,
    /// From its header to the end of the frame.
    pub(super) bytes: &'a [u8],
}

/// The part of a message in keeping its link working, in words.
pub(super) fn part(message: &Message<'_>) -> String {
    known(message).unwrap_or_else(|| "none".to_owned())
}

fn known(message: &Message<'_>) -> Option<String> {
    let Message { source, destination, hop_limit, before, bytes } = *message;
    let (head, body) = bytes.split_first_chunk::<8>()?;
    if head[1] != 0 {
        return None;
    }
    let local = source.segments()[0] & 0xffc0 == 0xfe80;
    let unspecified = source == Ipv6Addr::UNSPECIFIED;
    let solicited = destination.segments()[..7]
        == [0xff02, 0, 0, 0, 0, 1, destination.segments()[6]]
        && destination.octets()[12] == 0xff;
    let host = || Some("host".to_owned());
    if hop_limit == 255 && before == 0 {
        return match head[0] {
            133 if destination == "ff02::2".parse::<Ipv6Addr>().ok()? && options(body, 1) => host(),
            134 | 137 if local => Some("router".to_owned()),
            135 if (!unspecified || solicited) && options(body.get(16..)?, 1) => host(),
            136 if !unspecified && options(body.get(16..)?, 2) => {
                let target: [u8; 16] = body.get(..16)?.try_into().ok()?;
                Some(format!("advertisement of {}", Ipv6Addr::from(target)))
            }
            _ => None,
        };
    }
    if hop_limit == 1 && before <= 8 && (local || unspecified) {
        let all_routers: Ipv6Addr = "ff02::16".parse().ok()?;
        let records = usize::from(u16::from_be_bytes([head[6], head[7]]));
        return match head[0] {
            130 => Some("router".to_owned()),
            131 | 132 if body.len() == 16 && destination.is_multicast() => host(),
            143 if destination == all_routers && records <= 16 && body.len() == 20 * records => {
                host()
            }
            _ => None,
        };
    }
    None
}

/// Whether these are at most two options of eight bytes: a link-layer address or a nonce.
fn options(mut bytes: &[u8], address: u8) -> bool {
    if bytes.len() > 16 {
        return false;
    }
    while let [kind, length, first, _, _, _, _, _, rest @ ..] = bytes {
        let is_group = *kind == address && first & 1 == 1;
        if ![address, 14].contains(kind) || *length != 1 || is_group {
            return false;
        }
        bytes = rest;
    }
    bytes.is_empty()
}
