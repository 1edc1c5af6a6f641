//! What must be seen of connections through a Service that policy judges.

use std::net::SocketAddr;

use enforcer_tests::lab::Party;
use enforcer_tests::probe::Outcome;

use super::{MANY, ask_often};
use crate::scene::Scene;
use crate::support::SILENCE;

/// Connections of which those to one backend succeed and all others are dropped.
pub(crate) async fn only_answers(scene: &Scene, from: &Party, at: SocketAddr, backend: &Party) {
    let all = ask_often(scene, from, at, SILENCE).await;
    let mut dropped = 0;
    for answer in all {
        match answer {
            Ok(page) => assert_eq!(page.by, backend.to_string(), "{from} → {at}"),
            Err(Outcome::TimedOut) => dropped += 1,
            Err(other) => panic!("{from} → {at}: {other:?}"),
        }
    }
    assert!((1..MANY).contains(&dropped), "{from} → {at}: {dropped} of {MANY} were dropped");
}

/// Connections that are dropped, all of them.
pub(crate) async fn nobody_answers(scene: &Scene, from: &Party, at: SocketAddr) {
    for answer in ask_often(scene, from, at, SILENCE).await {
        assert_eq!(answer, Err(Outcome::TimedOut), "{from} → {at}");
    }
}
