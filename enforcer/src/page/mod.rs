//! The web page: who may reach whom, who does, and why; what a change of policies would change.
//!
//! ```text
//! Clusters ─► State ─┬─► model, explain, describe, diff (inspect) ─► api ─► server (loopback, token)
//! Activity ─► drops, flows, audit ────────────────────────────────┘          │
//!                                        web/: HTML, CSS, JavaScript ────────┴─► bundle: one file
//! ```
//! Belongs here: the server of the page, its files, and the report, which is the page with its data
//! in one file. Does not belong here: the answers, which are [`crate::inspect`]'s; reading agents,
//! which an implementation of [`Activity`] does.

mod activity;
mod api;
mod assets;
mod bundle;
mod clusters;
mod failure;
mod report;
mod security;
mod server;
mod sources;

pub use activity::{Activity, ActivityReport, NoActivity};
pub use clusters::{Cache, Clusters, Reader};
pub use report::{Report, report};
pub use server::{Served, serve, serve_without_token};
pub use sources::Page;
