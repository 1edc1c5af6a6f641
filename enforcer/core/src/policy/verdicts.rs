//! Verdicts as small numbers, so that the compiler can compare and unite them cheaply.

use std::collections::HashMap;

use super::compiled::Verdict;
use crate::interner::Interner;

/// A verdict in [`Verdicts`]; equal ids are equal verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct VerdictId(usize);

impl VerdictId {
    pub(super) const DENY: Self = Self(0);
    pub(super) const ALLOW: Self = Self(1);
}

/// All verdicts of a compilation, each once.
#[derive(Debug)]
pub(super) struct Verdicts {
    known: Interner<Verdict>,
    unions: HashMap<(VerdictId, VerdictId), VerdictId>,
}

impl Verdicts {
    pub(super) fn new() -> Self {
        let mut verdicts = Self { known: Interner::default(), unions: HashMap::new() };
        let deny = verdicts.intern(Verdict::Deny);
        let allow = verdicts.intern(Verdict::Allow);
        debug_assert_eq!((deny, allow), (VerdictId::DENY, VerdictId::ALLOW));
        verdicts
    }

    pub(super) fn intern(&mut self, verdict: Verdict) -> VerdictId {
        VerdictId(self.known.intern(verdict))
    }

    pub(super) fn get(&self, id: VerdictId) -> &Verdict {
        &self.known[id.0]
    }

    /// The verdict that allows what either allows.
    pub(super) fn union(&mut self, one: VerdictId, two: VerdictId) -> VerdictId {
        if one == two || two == VerdictId::DENY {
            return one;
        }
        if one == VerdictId::DENY {
            return two;
        }
        let pair = (one.min(two), one.max(two));
        if let Some(id) = self.unions.get(&pair) {
            return *id;
        }
        let id = self.intern(self.get(one).union(self.get(two)));
        self.unions.insert(pair, id);
        id
    }
}
