//! What people and monitoring see: metrics, status, drops.
//!
//! ```text
//! Report (plain data) ─► metrics (OpenMetrics text) ─┐
//!                     └► status (JSON) ──────────────┴─► http
//! Event (bytes from the ring buffer) ─► drops (records, one line each)
//! ```
//! Nothing here reads the kernel: whoever owns the tables fills a [`Report`].

mod drops;
mod http;
mod metrics;
mod report;
mod status;

pub use drops::{DropRecord, End, Names, TruncatedEvent, read_event};
pub use http::{Observed, serve};
pub use metrics::Metrics;
pub use report::{
    Endpoint, EventReport, FlowReport, Interface, Isolation, NriReport, Report, TableUse,
    WatchReport,
};
pub use status::{CounterStatus, EndpointStatus, Status};

/// Data that the tests of several modules share.
#[cfg(test)]
mod fixture;
