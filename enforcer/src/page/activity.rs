//! The seam to agents: what they saw.

use async_trait::async_trait;
use serde::Serialize;
use serde_json::Value;

/// Documents of agents, as `docs/json.md` describes them.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ActivityReport {
    /// The agents that answered.
    pub agents: Vec<String>,
    /// Documents of the kind `flows`.
    pub flows: Vec<Value>,
    /// Documents of the kind `drop`.
    pub drops: Vec<Value>,
    /// Documents of the kind `audit`.
    pub audit: Vec<Value>,
    /// The agents that did not answer, and why.
    pub silent: Vec<String>,
}

/// A source of flows, drops and audit reports.
#[async_trait]
pub trait Activity: Send + Sync + 'static {
    /// The present documents. An agent that does not answer is named in them.
    async fn read(&self) -> ActivityReport;
}

/// No agents: the page shows policies only.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoActivity;

#[async_trait]
impl Activity for NoActivity {
    async fn read(&self) -> ActivityReport {
        ActivityReport::default()
    }
}
