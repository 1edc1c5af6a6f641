//! The size of generated clusters.

/// The size of generated clusters; each number is a maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Pods of all nodes.
    pub pods: usize,
    /// Policies.
    pub policies: usize,
    /// Rules of a policy in one direction.
    pub rules: usize,
    /// Peers of a rule, and ports of a rule.
    pub entries: usize,
}

impl Size {
    /// Large enough for every kind of rule to meet every other.
    pub const SMALL: Self = Self { pods: 12, policies: 8, rules: 2, entries: 3 };
    /// Many columns, rows and port sets.
    pub const LARGE: Self = Self { pods: 60, policies: 30, rules: 3, entries: 4 };
}
