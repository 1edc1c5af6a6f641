//! Tests of the API server stand-in with real clients: kube's, and kubectl.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "how a test fails")]

mod bookmarks;
mod faults;
mod kubectl;
mod replay;
mod support;
mod verbs;
