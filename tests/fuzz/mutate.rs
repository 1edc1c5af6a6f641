//! Frames made of other frames.

use proptest::prelude::{Rng, RngExt as _};

/// Greatest length of a frame: the headers are at its beginning.
const LONGEST: usize = 600;
/// Bytes with a meaning: lengths, versions, protocols, next headers, ICMP types.
const TELLING: [u8; 34] = [
    0, 1, 2, 3, 4, 5, 6, 8, 11, 12, 13, 17, 20, 40, 43, 44, 45, 46, 51, 58, 60, 64, 69, 96, 128,
    129, 132, 133, 135, 136, 139, 140, 143, 255,
];

/// A frame of the pool with a few changes.
pub(crate) fn mutate(pool: &[Vec<u8>], rng: &mut impl Rng) -> Vec<u8> {
    let mut frame = pool[rng.random_range(0..pool.len())].clone();
    for _ in 0..rng.random_range(1..=4) {
        change(&mut frame, pool, rng);
    }
    frame.truncate(LONGEST);
    frame
}

/// A place in the frame, most often near its beginning, where the headers are.
fn place(length: usize, rng: &mut impl Rng) -> usize {
    let reach = if rng.random_ratio(3, 4) { length.min(90) } else { length };
    rng.random_range(0..=reach)
}

fn change(frame: &mut Vec<u8>, pool: &[Vec<u8>], rng: &mut impl Rng) {
    let at = place(frame.len(), rng);
    let telling = TELLING[rng.random_range(0..TELLING.len())];
    match rng.random_range(0..9) {
        0 => set(frame, at, |byte| byte ^ 1 << rng.random_range(0..8)),
        1 => set(frame, at, |_| rng.random()),
        2 | 3 => set(frame, at, |_| telling),
        4 => set(frame, at, |byte| byte.wrapping_add_signed(rng.random_range(-2..=2))),
        5 => frame.truncate(at),
        6 => {
            // Often an extension header's length.
            let length = 8 * rng.random_range(1..=3);
            let mut header = vec![0; length];
            header[0] = telling;
            header[1] = u8::try_from(length / 8 - 1).unwrap_or_default();
            frame.splice(at..at, header);
        }
        7 => {
            let end = (at + rng.random_range(1..=8)).min(frame.len());
            frame.drain(at..end);
        }
        _ => {
            // The headers of this frame before the contents of another one.
            let other = &pool[rng.random_range(0..pool.len())];
            let from = place(other.len(), rng);
            frame.truncate(at);
            frame.extend(&other[from..]);
        }
    }
}

fn set(frame: &mut [u8], at: usize, value: impl FnOnce(u8) -> u8) {
    if let Some(byte) = frame.get_mut(at) {
        *byte = value(*byte);
    }
}
