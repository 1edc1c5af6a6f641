//! What needs a whole lab: namespaces, real connections, the real agent. Needs root.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "how a test fails")]

mod lab;
mod support;
