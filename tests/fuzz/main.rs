//! The packet reader against another one, on mutated frames (semantics P1, P2, P6, A4).
//!
//! The corpus is data beside this file; what is mutated further is chosen by what the other reader
//! made of it. `ENFORCER_SEED` and `ENFORCER_FRAMES` ask for other mutations and more of them. A
//! frame that the two read differently is shrunk and kept in `failures`, to be tried first from
//! then on.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests fail loudly")]

mod compare;
mod corpus;
mod mutate;
mod naive;
mod shrink;

use std::collections::BTreeSet;

use proptest::prelude::RngExt as _;
use proptest::test_runner::{RngAlgorithm, TestRng};

use compare::disagreement;
use naive::Fault;

/// Frames that a run tries, unless told otherwise.
const FRAMES: u64 = 400_000;
/// The seed of a run, unless told otherwise: each change is tried on the same frames.
const SEED: u64 = 1;

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().expect("ENFORCER_SEED and ENFORCER_FRAMES are numbers"),
        Err(_) => default,
    }
}

/// Fails with the smallest frame like this one that is still read differently, and keeps it.
fn assert_agreed(frame: &[u8]) {
    if disagreement(frame).is_none() {
        return;
    }
    let smallest = shrink::shrink(frame, |it| disagreement(it).is_some());
    let difference = disagreement(&smallest).unwrap_or_default();
    let kept = corpus::keep(&smallest, &difference);
    assert!(difference.is_empty(), "{difference}\nkept as {}", kept.display());
}

#[test]
fn what_failed_once_is_read_alike() {
    for frame in corpus::read("failures") {
        assert_agreed(&frame);
    }
}

#[test]
fn mutated_frames_are_read_alike() {
    let (seed, frames) = (number("ENFORCER_SEED", SEED), number("ENFORCER_FRAMES", FRAMES));
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut pool = corpus::read("corpus");
    assert!(pool.len() >= 20, "the corpus is gone");
    let mut seen = BTreeSet::new();
    for frame in &pool {
        assert_agreed(frame);
        seen.insert(naive::read(frame).kind());
    }
    for _ in 0..frames {
        let frame = mutate::mutate(&pool, &mut rng);
        assert_agreed(&frame);
        if seen.insert(naive::read(&frame).kind()) {
            pool.push(frame);
        }
    }
    let faults = seen.iter().filter_map(naive::Kind::fault);
    let faults: BTreeSet<Fault> = faults.collect();
    println!("seed {seed}: {frames} frames of {} kinds, {} faults", seen.len(), faults.len());
    // Without this, the mutations could all be refused at their first byte.
    let missing: Vec<_> = Fault::ALL.iter().filter(|it| !faults.contains(it)).collect();
    assert!(missing.is_empty() || frames < FRAMES, "never met: {missing:?}");
    assert!(seen.len() >= 300 || frames < FRAMES, "only {} kinds", seen.len());
}

/// Nothing that a frame may hold makes the reader panic, least of all noise.
#[test]
fn noise_is_read_alike() {
    let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    for length in (0..200).cycle().take(20_000) {
        let mut frame: Vec<u8> = (0..length).map(|_| rng.random()).collect();
        if let Some(kind) = frame.get_mut(12..14) {
            let kinds = [[0x08, 0x00], [0x86, 0xdd], [0x81, 0x00]];
            kind.copy_from_slice(&kinds[length % 3]);
        }
        assert_agreed(&frame);
    }
}
