//! Frames of which only the first bytes are readable, as in a packet whose rest is in pages. The
//! packet path makes more readable if it can't read the headers; what it then decides by must be
//! what it reads of the whole frame (semantics P1).

use crate::compare::{Path, packet_path};

/// How the readable bytes turn what is read of the frame into something else, if they do.
pub(crate) fn difference(frame: &[u8], readable: usize) -> Option<String> {
    let whole = packet_path(frame, frame.len());
    let part = packet_path(frame.get(..readable)?, frame.len());
    let is_same = match (&whole, &part) {
        // More is made readable, or the packet is dropped.
        (_, Path::Malformed) => true,
        // An error whose quote can't be read answers no flow.
        (Path::Ip(whole), Path::Ip(part)) => whole == part || whole.without_quote() == *part,
        (whole, part) => whole == part,
    };
    (!is_same).then(|| format!("{readable} readable bytes: {part}\nthe whole frame: {whole}"))
}
