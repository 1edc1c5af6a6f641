//! Which flow makes room for a new one in a full group (semantics R9).

use super::PLACES;

/// What makes a flow give its place to a new one: bits of [`Resident::kind`].
pub mod kind {
    /// It is dead.
    pub const DEAD: u32 = 1 << 0;
    /// It is the same pod's.
    pub const OWN: u32 = 1 << 1;
    /// Its pod has more flows than its share.
    pub const OVER_SHARE: u32 = 1 << 2;
    /// It is established.
    pub const ESTABLISHED: u32 = 1 << 3;
}

/// The rank of a dead flow.
const DEAD: u32 = 5;
/// The rank of an established one.
const ESTABLISHED: u32 = 1;

/// How willingly a flow of this kind makes room; 0: never. `is_over_share`: whether the new flow's pod
/// has more flows than its share.
///
/// Of the living ones, what is not established goes first: the pod's own flows, so that a flood
/// displaces itself; then those of pods beyond their share, then others. An established flow goes only
/// if its pod is beyond its share and the new flow's is not (semantics R9).
const fn rank(kind: u32, is_over_share: bool) -> u32 {
    let (is_own, is_beyond) = (kind & kind::OWN != 0, kind & kind::OVER_SHARE != 0);
    if kind & kind::DEAD != 0 {
        DEAD
    } else if kind & kind::ESTABLISHED != 0 {
        if !is_own && is_beyond && !is_over_share { ESTABLISHED } else { 0 }
    } else if is_own {
        4
    } else if is_beyond {
        3
    } else if !is_over_share {
        2
    } else {
        0
    }
}

/// The ranks of all kinds, four bits each, for a pod within its share and for one beyond it: the
/// verifier would follow each branch of the decision.
const RANKS: [u64; 2] = [ranks(false), ranks(true)];

const fn ranks(is_over_share: bool) -> u64 {
    let mut all = 0;
    let mut kind = 0;
    while kind < 16 {
        all |= (rank(kind, is_over_share) as u64) << (kind * 4);
        kind += 1;
    }
    all
}

/// An entry of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resident {
    /// The bits of [`kind`].
    pub kind: u32,
    /// Buckets of the clock since its last packet.
    pub age: u32,
}

/// The entries of a group without a free place for a new flow.
pub trait Residents {
    /// The entry in a place below [`PLACES`].
    fn resident(&self, place: usize) -> Resident;
    /// The same number. In the kernel, the verifier does not know how it came about.
    fn settle(&self, number: u32) -> u32;
}

/// The place that a new flow takes in such a group: of the flows that make room most willingly, the
/// oldest one's. `None`: the flow is refused. `is_over_share`: whether its pod has more flows than its
/// share; `displaceable`: the marked places that it may take.
#[inline(always)]
#[must_use]
pub fn victim<R: Residents>(
    is_over_share: bool,
    displaceable: u64,
    residents: &R,
) -> Option<Victim> {
    const OLDEST: u32 = (1 << 26) - 1;
    let ranks = if is_over_share { RANKS[1] } else { RANKS[0] };
    let mut best = 0;
    for place in 0..PLACES {
        let it = residents.resident(place);
        let is_marked = (displaceable >> (place * 8 + 7)) as u32 & 1;
        let rank = ((ranks >> ((it.kind & 15) * 4)) as u32 & 7) * is_marked;
        let age = residents.settle(if it.age > OLDEST { OLDEST } else { it.age });
        let score = rank << 29 | age << 3 | place as u32;
        if rank != 0 && score > best {
            best = score;
        }
        best = residents.settle(best);
    }
    if best == 0 {
        return None;
    }
    Some(Victim { place: best as usize & (PLACES - 1), rank: best >> 29 })
}

/// A place, and what its flow is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Victim {
    /// The place.
    pub place: usize,
    rank: u32,
}

impl Victim {
    /// Whether its flow is alive.
    #[inline(always)]
    #[must_use]
    pub const fn is_alive(self) -> bool {
        self.rank != DEAD
    }

    /// Whether its flow is established.
    #[inline(always)]
    #[must_use]
    pub const fn is_established(self) -> bool {
        self.rank == ESTABLISHED
    }
}
