//! What goes in and comes out.

use std::collections::BTreeSet;

use crate::flows::FlowEnd;
use crate::model::{Policy, Protocol};

/// An observed flow that was allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The initiator.
    pub from: FlowEnd,
    /// The responder.
    pub to: FlowEnd,
    /// The protocol and the responder's port; `None`: a protocol without ports.
    pub port: Option<(Protocol, u16)>,
    /// The evidence in words, for people.
    pub evidence: String,
}

/// A flow that is to be allowed at some of its ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// The flow.
    pub flow: Observed,
    /// The sender's policies deny it.
    pub at_sender: bool,
    /// The receiver's policies deny it.
    pub at_receiver: bool,
}

/// A suggested policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    /// The policy.
    pub policy: Policy,
    /// The workloads whose pods it selects: several if their labels are the same.
    pub workloads: BTreeSet<String>,
    /// The evidence for each ingress rule.
    pub ingress: Vec<BTreeSet<String>>,
    /// The evidence for each egress rule.
    pub egress: Vec<BTreeSet<String>>,
}

/// What was made of observed flows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Suggestions {
    /// The policies.
    pub policies: Vec<Suggestion>,
    /// What could not be used, and why.
    pub notes: BTreeSet<String>,
}
