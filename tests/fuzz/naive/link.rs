//! The messages that an IPv6 link needs (semantics A4), after RFC 4861, RFC 7527, RFC 2710 and
//! RFC 3810.

use std::net::{IpAddr, Ipv6Addr};

use super::Read;
use super::headers::Piece;

/// The part of a packet in keeping its link working, in words. `before`: bytes between the fixed
/// header and the message. `message`: from its ICMPv6 header to the end of the frame.
pub(super) fn part(read: &Read, before: usize, message: &[u8]) -> String {
    known(read, before, message).unwrap_or_else(|| "none".to_owned())
}

fn known(read: &Read, before: usize, message: &[u8]) -> Option<String> {
    let (IpAddr::V6(source), IpAddr::V6(destination)) = (read.source, read.destination) else {
        return None;
    };
    let (head, body) = message.split_first_chunk::<8>()?;
    if read.protocol != 58 || read.piece != Piece::Whole || head[1] != 0 {
        return None;
    }
    let local = source.segments()[0] & 0xffc0 == 0xfe80;
    let unspecified = source == Ipv6Addr::UNSPECIFIED;
    let solicited = destination.segments()[..7]
        == [0xff02, 0, 0, 0, 0, 1, destination.segments()[6]]
        && destination.octets()[12] == 0xff;
    let host = || Some("host".to_owned());
    if read.hop_limit == 255 && before == 0 {
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
    if read.hop_limit == 1 && before <= 8 && (local || unspecified) {
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
    while let [kind, length, _, _, _, _, _, _, rest @ ..] = bytes {
        if ![address, 14].contains(kind) || *length != 1 {
            return false;
        }
        bytes = rest;
    }
    bytes.is_empty()
}
