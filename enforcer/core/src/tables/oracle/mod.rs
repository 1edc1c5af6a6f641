//! Test oracles: a kernel made of vectors, and the rules of what may be written when.
//!
//! [`Image`] takes the steps that the kernel takes and answers with the look-up code that the
//! programs run. A checked image also rejects steps that write what a packet may be reading
//! ([`discipline`]). The agent itself uses neither.

mod discipline;
mod image;

pub use discipline::CheckedImage;
#[cfg(test)]
pub(crate) use image::Judgement;
pub use image::{Image, ImageError};
