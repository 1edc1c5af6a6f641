//! Plans, carried out on an image of the kernel and compared with the meaning of what was desired.
//!
//! Helpers: `generate` and `fixtures` make states, `harness` carries out the plans between them and
//! asks the questions of `probes` after each step, `expected` has the answers.
//!
//! What belongs here: tests of planning and of the image. What does not: small tests of one file's
//! internals, which are at the end of that file, and tests with a real kernel (`tests/kernel` of the
//! workspace).

mod expected;
mod fixtures;
mod generate;
mod harness;
mod probes;

mod chains;
mod discipline;
mod endpoints;
mod follow;
mod large;
mod limits;
mod shares;
mod shortcuts;
mod tries;
