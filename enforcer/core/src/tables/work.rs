//! What a plan that follows an engine has to do.

use std::collections::BTreeSet;

use enforcer_ebpf::contract::entry::Entry;

use super::change::Change;
use super::link::Link;
use super::regions::Regions;
use super::state::State;
use crate::policy::{Delta, Engine, Kind, Move, Number, Target};

/// Addresses that get another entry.
pub(super) struct Flip {
    pub(super) first: u128,
    pub(super) last: u128,
    /// The id that they have.
    pub(super) old: u32,
    pub(super) new: Target,
}

/// What is to be done.
pub(super) struct Work {
    pub(super) flips: [Vec<Flip>; 2],
    /// Classes without an id.
    pub(super) fresh: Vec<Number>,
    /// Classes that went.
    pub(super) gone: Vec<Number>,
    /// Ids that are no class's.
    pub(super) strange: Vec<u32>,
}

impl Work {
    /// The difference between two results.
    pub(super) fn of(link: &Link, delta: &Delta) -> Self {
        let flip = |it: &Move| {
            let old = link.ids.get(&it.old.class).copied().unwrap_or(0);
            Flip { first: it.first, last: it.last, old, new: it.new }
        };
        Self {
            flips: delta.moves.each_ref().map(|moves| moves.iter().map(flip).collect()),
            fresh: delta.fresh_classes.clone(),
            gone: delta.gone_classes.clone(),
            strange: Vec::new(),
        }
    }

    /// Everything: the kernel has something else, or nothing yet.
    pub(super) fn all(state: &State, engine: &Engine) -> Self {
        let now = state.maps();
        let mut strange: BTreeSet<u32> = BTreeSet::new();
        let flips = [0, 1].map(|family: usize| {
            let mut wanted = Regions::uniform(NOWHERE);
            for (first, target) in engine.points(family) {
                wanted.push(first, target);
            }
            let mut flips = Vec::new();
            now[family].zip(&wanted, |first, last, entry, new| {
                let old = Entry(entry).index();
                strange.insert(old);
                flips.push(Flip { first, last, old, new });
            });
            flips
        });
        let fresh = engine.classes().collect();
        Self { flips, fresh, gone: Vec::new(), strange: strange.into_iter().collect() }
    }
}

/// What an engine without anything has for each address.
const NOWHERE: Target = Target { class: 0, kind: Kind(0) };

/// The entry of an address.
pub(super) fn entry(id: u32, kind: Kind) -> u32 {
    let flags = [
        (Kind::NODE, Entry::NODE),
        (Kind::SERVICE, Entry::SERVICE),
        (Kind::EXTERNAL, Entry::EXTERNAL),
    ];
    let flags = flags.into_iter().filter(|(it, _)| kind.has(*it)).fold(0, |all, it| all | it.1);
    Entry::class(id, flags).0
}

/// The changes, with neighbours that are alike as one.
pub(super) fn joined(changes: &[Vec<Change>; 2]) -> [Vec<Change>; 2] {
    changes.each_ref().map(|changes| {
        let mut joined: Vec<Change> = Vec::with_capacity(changes.len());
        for change in changes {
            match joined.last_mut() {
                Some(last)
                    if last.entry == change.entry
                        && last.last.checked_add(1) == Some(change.first) =>
                {
                    last.last = change.last;
                }
                _ => joined.push(*change),
            }
        }
        joined
    })
}
