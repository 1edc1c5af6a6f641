//! Grants: the verdicts of an address that exceed those of every address.
//!
//! Most columns differ little from column 0, because most rows do not name most addresses. So the
//! compiler keeps only the rows in which an address differs, sorted, and each such list once:
//! equal ids are equal columns.

use std::collections::HashMap;
use std::rc::Rc;

use super::verdicts::{VerdictId, Verdicts};
use crate::interner::Interner;

/// A row before equal rows are merged.
pub(super) type DraftRow = usize;

/// Grants in [`Grants`]; equal ids are equal columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct GrantId(usize);

impl GrantId {
    /// Nothing beyond the grant of every address: column 0.
    pub(super) const NONE: Self = Self(0);
}

type Grant = Rc<[(DraftRow, VerdictId)]>;

/// All grants of a compilation, each once.
#[derive(Debug)]
pub(super) struct Grants {
    pub(super) verdicts: Verdicts,
    /// The verdict for every address, by row.
    base: Vec<VerdictId>,
    known: Interner<Grant>,
    unions: HashMap<(GrantId, GrantId), GrantId>,
}

impl Grants {
    pub(super) fn new(verdicts: Verdicts, base: Vec<VerdictId>) -> Self {
        let mut known = Interner::default();
        let nothing: Grant = Rc::new([]);
        let none = GrantId(known.intern(nothing));
        debug_assert_eq!(none, GrantId::NONE);
        Self { verdicts, base, known, unions: HashMap::new() }
    }

    /// The grant of these verdicts. Several verdicts for one row add up (semantics S4).
    pub(super) fn intern(&mut self, mut parts: Vec<(DraftRow, VerdictId)>) -> GrantId {
        parts.sort_unstable();
        let mut grant: Vec<(DraftRow, VerdictId)> = Vec::with_capacity(parts.len());
        for (row, verdict) in parts {
            match grant.last_mut() {
                Some((last, sum)) if *last == row => *sum = self.verdicts.union(*sum, verdict),
                _ => grant.push((row, self.verdicts.union(self.base[row], verdict))),
            }
        }
        // One normal form: the row's verdict for every address is left out.
        grant.retain(|(row, verdict)| *verdict != self.base[*row]);
        GrantId(self.known.intern(grant.into()))
    }

    /// The grant that includes all of these.
    pub(super) fn sum(&mut self, grants: impl IntoIterator<Item = GrantId>) -> GrantId {
        let parts =
            grants.into_iter().flat_map(|GrantId(id)| self.known[id].iter().copied()).collect();
        self.intern(parts)
    }

    /// The grant that includes both.
    pub(super) fn union(&mut self, one: GrantId, two: GrantId) -> GrantId {
        if one == two || two == GrantId::NONE {
            return one;
        }
        if one == GrantId::NONE {
            return two;
        }
        let pair = (one.min(two), one.max(two));
        if let Some(id) = self.unions.get(&pair) {
            return *id;
        }
        let id = self.sum([one, two]);
        self.unions.insert(pair, id);
        id
    }

    /// The whole column of a grant: a verdict for each row.
    pub(super) fn column(&self, GrantId(id): GrantId) -> Vec<VerdictId> {
        let mut column = self.base.clone();
        for (row, verdict) in self.known[id].iter() {
            column[*row] = *verdict;
        }
        column
    }
}
