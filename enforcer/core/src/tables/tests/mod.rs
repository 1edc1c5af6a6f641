//! Plans, carried out on the model of the kernel and held against the meaning of what was desired.

mod chains;
mod discipline;
mod endpoints;
mod expected;
mod generate;
mod harness;
mod large;
mod limits;
mod probes;
mod tries;
