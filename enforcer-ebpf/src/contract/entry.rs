//! The two kinds of word in the classifier's tables: trie entries and verdict cells.

/// A word of a trie: what is known of an address.
///
/// Either a *class* of peers (bits 0–23, with [`Entry::FLAGS`] for the kind of address), or a link
/// to a further block, node or leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Entry(pub u32);

impl Entry {
    /// The low bits hold the index of a further block (IPv4) or node (IPv6).
    pub const LINK: u32 = 1 << 31;
    /// The low bits hold the index of a leaf (IPv6 only).
    pub const LEAF: u32 = 1 << 30;
    /// The address belongs to this node (semantics A2).
    pub const NODE: u32 = 1 << 29;
    /// The address is a Service's, which kube-proxy translates (semantics N1).
    pub const SERVICE: u32 = 1 << 28;
    /// The address is a Service's external or load-balancer address, which may be a client's, too:
    /// tenants choose it (semantics A6). [`Self::SERVICE`] is set besides.
    pub const EXTERNAL: u32 = 1 << 27;
    /// The flags of an address besides its class.
    pub const FLAGS: u32 = Self::NODE | Self::SERVICE | Self::EXTERNAL;
    /// The bits of a class or of an index.
    pub const INDEX: u32 = (1 << 24) - 1;

    /// The entry of an address that no table names: class 0, no flags.
    pub const UNKNOWN: Self = Self(0);

    /// An entry that holds a peer class, with some of the [`Self::FLAGS`].
    #[must_use]
    pub const fn class(class: u32, flags: u32) -> Self {
        Self((class & Self::INDEX) | (flags & Self::FLAGS))
    }

    /// An entry that leads to block or node `index`.
    #[must_use]
    pub const fn link(index: u32) -> Self {
        Self(Self::LINK | (index & Self::INDEX))
    }

    /// The word of a shortcut to node `index`, whose byte is the one before the last `shift` bits: below
    /// 64, a multiple of 8. With it, the look-up need not wait for the node.
    #[must_use]
    pub const fn shortcut(index: u32, shift: u32) -> Self {
        Self(Self::link(index).0 | (shift & 56) << 21)
    }

    /// The `shift` of a shortcut.
    #[inline(always)]
    #[must_use]
    pub const fn shift(self) -> u32 {
        self.0 >> 21 & 56
    }

    /// An entry that leads to leaf `index`.
    #[must_use]
    pub const fn leaf(index: u32) -> Self {
        Self(Self::LEAF | (index & Self::INDEX))
    }

    /// The class or index.
    #[inline(always)]
    #[must_use]
    pub const fn index(self) -> u32 {
        self.0 & Self::INDEX
    }

    /// Whether it leads to a further block or node.
    #[inline(always)]
    #[must_use]
    pub const fn is_link(self) -> bool {
        self.0 & Self::LINK != 0
    }

    /// Whether it leads to a leaf.
    #[inline(always)]
    #[must_use]
    pub const fn is_leaf(self) -> bool {
        self.0 & Self::LEAF != 0
    }

    /// Whether the address is one of this node's own (semantics A2).
    #[inline(always)]
    #[must_use]
    pub const fn is_node(self) -> bool {
        self.0 & Self::NODE != 0
    }

    /// Whether the address is a Service's (semantics N1).
    #[inline(always)]
    #[must_use]
    pub const fn is_service(self) -> bool {
        self.0 & Self::SERVICE != 0
    }

    /// Whether the address is one that a tenant chose for a Service (semantics A6).
    #[inline(always)]
    #[must_use]
    pub const fn is_external(self) -> bool {
        self.0 & Self::EXTERNAL != 0
    }

    /// Whether address translation may hide the real end: packets to or from the address may belong
    /// to another (semantics N1, N3).
    #[inline(always)]
    #[must_use]
    pub const fn may_hide_another(self) -> bool {
        self.0 & Self::FLAGS != 0
    }

    /// The flags of a class entry.
    #[inline(always)]
    #[must_use]
    pub const fn flags(self) -> u32 {
        self.0 & Self::FLAGS
    }
}

/// A verdict cell: what one subject allows one peer class in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Cell(pub u32);

impl Cell {
    /// Nothing is allowed.
    pub const DENY: Self = Self(0);
    /// Everything is allowed, protocols without ports included (semantics R1).
    pub const ALLOW: Self = Self(1);
    /// The first id of a port set; larger cells name a set in [`crate::contract::table::PORT_SETS`].
    pub const FIRST_SET: u32 = 2;

    /// The cell that allows the ports of the set `id` (at least [`Self::FIRST_SET`]).
    #[must_use]
    pub const fn ports(id: u32) -> Self {
        Self(id)
    }
}
