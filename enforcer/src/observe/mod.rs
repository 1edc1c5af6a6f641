//! The agent's state for people and monitoring: metrics, status, log.
//!
//! ```text
//! Report (plain data) ─► metrics (OpenMetrics text) ─┐
//!                     └► status (JSON) ──────────────┴─► http
//! Event (bytes from the ring buffer) ─► drops (records, one line each; the last ones in the status)
//! ```
//! Belongs here: the formats of this data, and the HTTP server. Does not belong here: reading the
//! kernel's tables; the agent fills a [`Report`] from them.

mod attribute;
mod attribution;
mod audit;
mod drop_line;
mod drops;
mod flow_decision;
mod flows;
mod http;
mod log;
mod metrics;
mod process;
mod question;
mod recent;
mod report;
mod rise;
mod status;

pub use attribution::{Attribution, Nearest};
pub use audit::{Audit, AuditedConnection, audited_line};
pub use drops::{DropRecord, End, Names, TruncatedEvent, address, protocol_name, read_event};
pub use flow_decision::{FlowAudit, FlowDecision, FlowRule};
pub use flows::{FlowRecord, Flows, PolicyUse, summed, time};
pub use http::{Limits, Observed, Paths, serve, serve_on_loopback};
pub use log::{LogError, LogFilter, LogFormat};
pub use metrics::{Metrics, PodMetrics};
pub use process::ProcessUse;
pub use question::{AskError, Asked, LiveQuestion};
pub use recent::{EndedDrop, RecentDrop, RecentDrops};
pub use report::{
    CniReport, ConntrackReport, DriftReport, Endpoint, EventReport, FORMER_NAMESPACES, FlowReport,
    Interface, Isolation, NriReport, PodProtection, RejectReport, Report, TableUse, TakenOver,
    UnguardedReport, WatchReport,
};
pub use rise::Rise;
pub use status::{CounterStatus, EndpointStatus, ProtectionStatus, Status};

/// Data that the tests of several modules share.
#[cfg(test)]
mod fixture;
