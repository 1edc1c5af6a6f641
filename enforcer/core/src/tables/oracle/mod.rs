//! Test oracles: a kernel made of vectors, and the rule for writes.
//!
//! [`Image`] takes the steps that the kernel takes and answers with the look-up code that the
//! programs run. [`CheckedImage`] also rejects steps that write what a packet may be reading. The
//! agent uses neither.
//!
//! What belongs here: models of the kernel that tests of this and other crates use. What does not:
//! the expected verdicts and the generators of this crate's tests (`tables/tests`).

mod discipline;
mod image;

pub use discipline::CheckedImage;
pub use image::{Image, ImageError};
