//! The packet reader against another one, on mutated frames (semantics P1, P2, P6, A4).
//!
//! The corpus is data beside this file; a mutated frame joins it if the other reader has not met
//! its kind before. `ENFORCER_SEED` and `ENFORCER_FRAMES` set the seed and the number of mutations.
//! A frame on which the two differ is shrunk and kept in `failures`, where every later run tries
//! it.
//!
//! What belongs here: the parser of single frames, as plain Rust. What does not: verdicts, and the
//! loaded programs (`kernel`).
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail loudly")]

mod compare;
mod corpus;
mod linear;
mod mutate;
mod naive;
mod shrink;

use std::collections::BTreeSet;

use proptest::prelude::RngExt as _;
use proptest::test_runner::{RngAlgorithm, TestRng};

use compare::disagreement;
use naive::Fault;

/// Frames of a run, by default.
const FRAMES: u64 = 400_000;
/// The seed of a run, by default: every change is tested on the same frames.
const SEED: u64 = 1;

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().expect("ENFORCER_SEED and ENFORCER_FRAMES are numbers"),
        Err(_) => default,
    }
}

fn generator(seed: u64) -> TestRng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
}

/// Fails if the two readers differ on a frame, and keeps the smallest frame that they differ on.
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
fn kept_failures_are_read_alike() {
    for frame in corpus::read("failures") {
        assert_agreed(&frame);
    }
}

#[test]
fn mutated_frames_are_read_alike() {
    let (seed, frames) = (number("ENFORCER_SEED", SEED), number("ENFORCER_FRAMES", FRAMES));
    let mut rng = generator(seed);
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
    // Without this, all mutations could be malformed at their first byte.
    let missing: Vec<_> = Fault::ALL.iter().filter(|it| !faults.contains(it)).collect();
    assert!(missing.is_empty() || frames < FRAMES, "never met: {missing:?}");
    assert!(seen.len() >= 300 || frames < FRAMES, "only {} kinds", seen.len());
}

/// However few bytes are readable, what is read is what the whole frame says, or nothing.
#[test]
fn fewer_readable_bytes_turn_no_drop_into_a_pass() {
    let (seed, frames) = (number("ENFORCER_SEED", SEED), number("ENFORCER_FRAMES", FRAMES));
    let mut rng = generator(seed.wrapping_add(1));
    let pool = [corpus::read("corpus"), corpus::read("failures")].concat();
    for frame in &pool {
        for readable in 0..=frame.len() {
            assert_same(frame, readable);
        }
    }
    for _ in 0..frames {
        let frame = mutate::mutate(&pool, &mut rng);
        let readable = rng.random_range(0..=frame.len());
        assert_same(&frame, readable);
    }
}

/// Fails if that many readable bytes change what is read, and keeps the smallest such frame.
fn assert_same(frame: &[u8], readable: usize) {
    if linear::difference(frame, readable).is_none() {
        return;
    }
    let worst = |it: &[u8]| (0..=it.len()).find_map(|readable| linear::difference(it, readable));
    let smallest = shrink::shrink(frame, |it| worst(it).is_some());
    let difference = worst(&smallest).unwrap_or_default();
    let kept = corpus::keep(&smallest, &difference);
    panic!("{difference}\nkept as {}", kept.display());
}

/// No contents of a frame make the reader panic.
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
