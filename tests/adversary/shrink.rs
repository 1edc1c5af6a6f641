//! Makes an attack smaller: fewer packets first, then simpler ones.

use std::time::{Duration, Instant};

use crate::crafted::{Attack, Crafted, Mac, Way};

/// The time limit: each attempt is sent, and takes its time to arrive.
const LIMIT: Duration = Duration::from_secs(20);

/// The smallest attack found that gets through: the packet that did, alone, or some of all.
pub(crate) fn shrink(
    culprit: Crafted,
    all: Attack,
    mut gets_through: impl FnMut(&Attack) -> bool,
) -> Attack {
    let started_at = Instant::now();
    let mut fails = |attack: &Attack| gets_through(attack) && started_at.elapsed() < LIMIT;
    let alone = vec![culprit];
    let mut smallest = if fails(&alone) { alone } else { all };
    if !fails(&smallest) {
        // It needs what was sent before: kept as it is.
        return smallest;
    }
    let mut part = smallest.len() / 2;
    while part > 0 {
        let mut at = 0;
        while at < smallest.len() && smallest.len() > 1 {
            let mut fewer = smallest.clone();
            fewer.drain(at..(at + part).min(smallest.len()));
            if !fewer.is_empty() && fails(&fewer) {
                smallest = fewer;
            } else {
                at += part;
            }
        }
        part /= 2;
    }
    for at in 0..smallest.len() {
        for simpler in simplifications() {
            let mut other = smallest.clone();
            simpler(&mut other[at]);
            if other != smallest && fails(&other) {
                smallest = other;
            }
        }
    }
    smallest
}

/// Changes that make a packet simpler, the greatest first.
fn simplifications() -> [fn(&mut Crafted); 16] {
    [
        |it| it.outer = None,
        |it| it.pieces.clear(),
        |it| it.way = Way::Plain,
        |it| it.lie = None,
        |it| it.cut = None,
        |it| it.vlans.clear(),
        |it| it.options = 0,
        |it| it.extensions.clear(),
        |it| it.late.clear(),
        |it| it.body = Crafted::default().body,
        |it| it.source = Crafted::default().source,
        |it| it.mac_from = Mac::Own,
        |it| it.mac_to = Mac::Router,
        |it| it.hops = 64,
        |it| it.identification = 1,
        |it| it.length = 64,
    ]
}
