//! An adversary: hostile pods and a hostile host outside send composed frames with marked payloads
//! from raw sockets, and recorders look for the marks at every other party.
//!
//! No marked byte may arrive where the reference evaluator denies it, and all ordinary connections
//! that policy allows keep working meanwhile. Without an agent the same frames do arrive: each run
//! begins with that control, or its recorders could be blind.
//!
//! `ENFORCER_SEED` and `ENFORCER_HOSTILE` set the seed and the number of frames in each topology.
//! An attack that gets through is shrunk and kept in `failures`, where every later run tries it
//! first.
//!
//! What belongs here: anything that a pod or a client can send. What does not: the verdict on one
//! packet with a known answer (`kernel`), or what agent and node do (`scenarios`).
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail loudly")]

mod bytes;
mod campaign;
mod cases;
mod cast;
mod crafted;
mod friends;
mod grammar;
mod marks;
mod oracle;
mod read;
mod shrink;
mod stage;
mod wire;

use enforcer_tests::lab::Topology;

#[test]
fn no_hostile_frame_passes_on_kubenet() {
    campaign::run(Topology::Kubenet);
}

#[test]
fn no_hostile_frame_passes_on_azure_cni() {
    campaign::run(Topology::AzureCni);
}
