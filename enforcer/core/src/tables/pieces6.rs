//! Regions of the IPv6 trie as lists of pieces, and the trie words that represent such a list.

use enforcer_ebpf::contract::entry::Entry;
use enforcer_ebpf::contract::table::Leaf6;
use enforcer_ebpf::packet::Address6;

use super::change::Change;

/// The content of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// One entry.
    Uniform(u32),
    /// An existing node; the piece is the prefix that the node checks.
    Node(u32),
}

/// A piece of a region. Lists of them are sorted and without holes; equal neighbours are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) first: u128,
    pub(super) last: u128,
    pub(super) content: Content,
}

/// A list of pieces under construction.
#[derive(Debug, Default)]
pub(super) struct Pieces(pub(super) Vec<Piece>);

impl Pieces {
    /// Appends `first..=last`; nothing if `first` is past `last`.
    pub(super) fn push(&mut self, first: u128, last: u128, content: Content) {
        if first > last {
            return;
        }
        match self.0.last_mut() {
            Some(piece) if piece.content == content && matches!(content, Content::Uniform(_)) => {
                piece.last = last;
            }
            _ => self.0.push(Piece { first, last, content }),
        }
    }

    /// Appends `first..=last`, which is `inside` within `inner` and `outside` elsewhere.
    pub(super) fn push_around(
        &mut self,
        (first, last): (u128, u128),
        inner: (u128, u128),
        inside: Content,
        outside: Content,
    ) {
        if inner.0 > first {
            self.push(first, inner.0 - 1, outside);
        }
        self.push(inner.0, inner.1, inside);
        if inner.1 < last {
            self.push(inner.1 + 1, last, outside);
        }
    }
}

/// The pieces with the changes written over them; no change overlaps a node's piece.
pub(super) fn overlay(pieces: &[Piece], changes: &[Change]) -> Vec<Piece> {
    let mut result = Pieces::default();
    let mut at = 0;
    for piece in pieces {
        let mut next = Some(piece.first);
        while let (Some(first), Some(change)) = (next, changes.get(at))
            && change.first <= piece.last
        {
            let (from, to) = (change.first.max(first), change.last.min(piece.last));
            if from <= to {
                if from > first {
                    result.push(first, from - 1, piece.content);
                }
                result.push(from, to, Content::Uniform(change.entry));
                next = to.checked_add(1).filter(|&next| next <= piece.last);
            }
            if change.last > piece.last {
                break;
            }
            at += 1;
        }
        if let Some(first) = next {
            result.push(first, piece.last, piece.content);
        }
    }
    result.0
}

/// The content of a region that needs no new branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One entry.
    Uniform(u32),
    /// One prefix, the rest uniform.
    Leaf { first: u128, last: u128, inside: u32, outside: u32 },
    /// An existing node, and the entry around it if it does not fill the region.
    Node { node: u32, outside: Option<u32> },
}

/// The simplest form of the pieces; `None`: they need a branch.
pub(super) fn form(pieces: &[Piece]) -> Option<Form> {
    use Content::{Node, Uniform};
    let content = |piece: &Piece| piece.content;
    match pieces {
        [only] => Some(match only.content {
            Uniform(entry) => Form::Uniform(entry),
            Node(node) => Form::Node { node, outside: None },
        }),
        [a, b] => match (content(a), content(b)) {
            (Node(node), Uniform(outside)) | (Uniform(outside), Node(node)) => {
                Some(Form::Node { node, outside: Some(outside) })
            }
            (Uniform(inside), Uniform(outside)) if is_prefix(a) => {
                Some(Form::Leaf { first: a.first, last: a.last, inside, outside })
            }
            (Uniform(outside), Uniform(inside)) if is_prefix(b) => {
                Some(Form::Leaf { first: b.first, last: b.last, inside, outside })
            }
            _ => None,
        },
        [a, b, c] => match (content(a), content(b), content(c)) {
            (Uniform(outside), Node(node), Uniform(after)) if outside == after => {
                Some(Form::Node { node, outside: Some(outside) })
            }
            (Uniform(outside), Uniform(inside), Uniform(after))
                if outside == after && is_prefix(b) =>
            {
                Some(Form::Leaf { first: b.first, last: b.last, inside, outside })
            }
            _ => None,
        },
        _ => None,
    }
}

/// The place of a branch: the first address of the region in which the pieces differ, its length in
/// bytes (at least `bytes`), and the entry around it.
pub(super) fn branch(pieces: &[Piece], bytes: u32) -> (u128, u32, u32) {
    let mut best = (pieces.first().map_or(0, |piece| piece.first), bytes, Entry::UNKNOWN.0);
    let ends = [pieces.first(), pieces.last()];
    let mut found = false;
    for content in ends.into_iter().flatten().map(|piece| piece.content) {
        let Content::Uniform(outside) = content else { continue };
        let differs = |piece: &&Piece| piece.content != content;
        let (Some(low), Some(high)) =
            (pieces.iter().find(differs), pieces.iter().rev().find(differs))
        else {
            continue;
        };
        let common = (low.first ^ high.last).leading_zeros() / 8;
        if !found || common > best.1 {
            best = (low.first & prefix_mask(common), common, outside);
            found = true;
        }
    }
    best
}

/// The last address of the region of `bytes` bytes that begins at `first`.
pub(super) fn region_last(first: u128, bytes: u32) -> u128 {
    first | !prefix_mask(bytes)
}

/// The mask of the first `bytes` bytes.
pub(super) fn prefix_mask(bytes: u32) -> u128 {
    !u128::MAX.checked_shr(bytes * 8).unwrap_or(0)
}

/// A 128-bit number in the form of the tables.
pub(super) fn halves(number: u128) -> Address6 {
    #[expect(clippy::cast_possible_truncation, reason = "the halves are what is meant")]
    [(number >> 64) as u64, number as u64]
}

/// The 128-bit number of an address in the tables.
pub(super) fn whole(halves: Address6) -> u128 {
    (u128::from(halves[0]) << 64) | u128::from(halves[1])
}

/// The range of addresses that agree with `value` in the leading ones of `mask`.
pub(super) fn masked_range(value: Address6, mask: Address6) -> (u128, u128) {
    let (value, mask) = (whole(value), whole(mask));
    (value, value | !mask)
}

/// The leaf of a prefix.
pub(super) fn leaf(first: u128, last: u128, inside: u32, outside: u32) -> Leaf6 {
    Leaf6 { value: halves(first), mask: halves(!(first ^ last)), inside, outside }
}

fn is_prefix(piece: &Piece) -> bool {
    let differ = piece.first ^ piece.last;
    differ & differ.wrapping_add(1) == 0 && piece.first & differ == 0
}
