//! Verdicts as small numbers, so that the compiler can compare and unite them cheaply.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};

use super::compiled::{PortSet, Verdict};

/// A verdict in [`Verdicts`]; equal ids are equal verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct VerdictId(usize);

impl VerdictId {
    pub(super) const DENY: Self = Self(0);
    pub(super) const ALLOW: Self = Self(1);
}

/// A verdict that has an id.
#[derive(Debug)]
struct Known {
    verdict: Verdict,
    /// The same for equal verdicts, whatever their ids.
    identity: u64,
    /// The ranges of ports in it.
    ranges: usize,
}

/// Distinct verdicts, each once.
#[derive(Debug)]
pub(super) struct Verdicts {
    /// By id; `None`: the id is free.
    known: Vec<Option<Known>>,
    ids: HashMap<Verdict, VerdictId>,
    free: Vec<VerdictId>,
    unions: HashMap<(VerdictId, VerdictId), VerdictId>,
    /// The ranges of ports in all verdicts.
    ranges: usize,
    /// The size at which unused verdicts are forgotten.
    most: usize,
    fingerprints: RandomState,
}

/// The size below which nothing is forgotten: verdicts, their ranges of ports, remembered unions.
const FEW: usize = 4_096;

impl Verdicts {
    pub(super) fn new() -> Self {
        let mut verdicts = Self {
            known: Vec::new(),
            ids: HashMap::new(),
            free: Vec::new(),
            unions: HashMap::new(),
            ranges: 0,
            most: FEW,
            fingerprints: RandomState::new(),
        };
        let deny = verdicts.intern(Verdict::Deny);
        let allow = verdicts.intern(Verdict::Allow);
        debug_assert_eq!((deny, allow), (VerdictId::DENY, VerdictId::ALLOW));
        verdicts
    }

    pub(super) fn intern(&mut self, verdict: Verdict) -> VerdictId {
        if let Some(id) = self.ids.get(&verdict) {
            return *id;
        }
        let identity = self.fingerprint(&verdict);
        let ranges = verdict.ranges();
        self.ranges += ranges;
        let known = Known { verdict: verdict.clone(), identity, ranges };
        let id = match self.free.pop() {
            Some(id) => {
                self.known[id.0] = Some(known);
                id
            }
            None => {
                self.known.push(Some(known));
                VerdictId(self.known.len() - 1)
            }
        };
        self.ids.insert(verdict, id);
        id
    }

    pub(super) fn get(&self, id: VerdictId) -> &Verdict {
        self.known.get(id.0).and_then(Option::as_ref).map_or(&Verdict::Deny, |it| &it.verdict)
    }

    /// A number for equal values. Tenants choose the values, but neither they nor anybody else know the
    /// key: they can't write rules that have another's number.
    pub(super) fn fingerprint(&self, value: &impl Hash) -> u64 {
        self.fingerprints.hash_one(value)
    }

    /// A number for what the verdict is, whatever id it has at the moment.
    pub(super) fn identity(&self, id: VerdictId) -> u64 {
        self.known.get(id.0).and_then(Option::as_ref).map_or(0, |it| it.identity)
    }

    /// The number of ranges of ports in the verdict; 0 only if it is no set of ports.
    pub(super) fn ranges(&self, id: VerdictId) -> usize {
        self.known.get(id.0).and_then(Option::as_ref).map_or(0, |it| it.ranges)
    }

    /// The verdicts, the ranges of ports in them, and the remembered unions.
    pub(super) fn size(&self) -> usize {
        self.ids.len() + self.ranges + self.unions.len()
    }

    /// Forgets the verdicts that are not in use, if many have come since the last time. Their ids are
    /// reused, so nobody else may have one of them.
    pub(super) fn collect<I: Iterator<Item = VerdictId>>(&mut self, used: impl FnOnce() -> I) {
        if self.size() <= self.most {
            return;
        }
        let mut is_used = vec![false; self.known.len()];
        for VerdictId(id) in used().chain([VerdictId::DENY, VerdictId::ALLOW]) {
            is_used[id] = true;
        }
        self.unions = HashMap::new();
        for (id, (slot, is_used)) in self.known.iter_mut().zip(is_used).enumerate() {
            if let Some(gone) = slot.take_if(|_| !is_used) {
                self.ids.remove(&gone.verdict);
                self.ranges -= gone.ranges;
                self.free.push(VerdictId(id));
            }
        }
        self.ids.shrink_to(2 * self.ids.len());
        self.most = FEW + 2 * self.size();
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

    /// The verdict that allows what any of these allows. Many are united at once: sums on the way
    /// would be of no further use.
    pub(super) fn union_all(&mut self, mut ids: Vec<VerdictId>) -> VerdictId {
        ids.sort_unstable();
        ids.dedup();
        if ids.len() <= 3 || ids.contains(&VerdictId::ALLOW) {
            return ids.into_iter().fold(VerdictId::DENY, |sum, id| self.union(sum, id));
        }
        let sets = ids.into_iter().filter_map(|id| match self.get(id) {
            Verdict::Ports(set) => Some(set.as_ref()),
            _ => None,
        });
        let union = Verdict::ports(PortSet::new(sets.flat_map(PortSet::iter)));
        self.intern(union)
    }
}

impl Verdict {
    /// The number of its ranges of ports.
    fn ranges(&self) -> usize {
        match self {
            Self::Ports(set) => set.ranges.values().map(Vec::len).sum(),
            Self::Deny | Self::Allow => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With a known key, a tenant could find rules with the same number, and so hide what they need.
    #[test]
    fn r9_fingerprints_can_not_be_known_beforehand() {
        let [one, two] = [Verdicts::new(), Verdicts::new()];
        assert_eq!(one.fingerprint(&"rules"), one.fingerprint(&"rules"));
        assert_ne!(one.fingerprint(&"rules"), two.fingerprint(&"rules"));
        assert_ne!(one.identity(VerdictId::ALLOW), two.identity(VerdictId::ALLOW));
    }
}
