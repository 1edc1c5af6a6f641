//! What a change of the cluster changes in the result.

use super::slab::Number;

/// The kinds of an address besides its class: a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Kind(pub u8);

impl Kind {
    /// One of this node's own addresses (semantics A2).
    pub const NODE: Self = Self(1);
    /// A Service's address (semantics N1).
    pub const SERVICE: Self = Self(2);
    /// A Service's address that a tenant chose (semantics A6).
    pub const EXTERNAL: Self = Self(4);

    /// Whether the set has all of the other's kinds.
    #[must_use]
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What holds for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Target {
    /// Its class.
    pub class: Number,
    /// Its kinds.
    pub kind: Kind,
}

/// Addresses for which something else holds than before, as left-aligned numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// The first address.
    pub first: u128,
    /// The last address.
    pub last: u128,
    /// What held before.
    pub old: Target,
    /// What holds now.
    pub new: Target,
}

/// The difference between two results of an [`super::Engine`].
#[derive(Debug, Default)]
pub struct Delta {
    /// The number of the result that this difference leads to. It begins at the one before.
    pub version: u64,
    /// The addresses that changed, of IPv4 and IPv6, sorted and disjoint.
    pub moves: [Vec<Move>; 2],
    /// Classes that are new.
    pub fresh_classes: Vec<Number>,
    /// Classes that no address has any more.
    pub gone_classes: Vec<Number>,
    /// Rows that are new.
    pub fresh_rows: Vec<Number>,
    /// Rows that judge no pod any more.
    pub gone_rows: Vec<Number>,
}

impl Delta {
    /// Whether nothing changed but perhaps which rows judge which pods.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { version: _, moves, fresh_classes, gone_classes, fresh_rows, gone_rows } = self;
        moves.iter().all(Vec::is_empty)
            && [fresh_classes, gone_classes, fresh_rows, gone_rows].iter().all(|it| it.is_empty())
    }
}
