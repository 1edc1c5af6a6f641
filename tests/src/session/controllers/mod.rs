//! The controllers of a cluster, as far as the lab has them: workloads, endpoints, load balancers.
//!
//! They act on the objects of the API server only. What pods run belongs to [`super::declared`].

mod agents;
mod common;
mod endpoints;
mod workloads;

use crate::api::{Refusal, Store};

pub(crate) use agents::LABEL as AGENT_LABEL;
pub(super) use agents::declare as declare_agents;

/// Brings workloads' pods and Services' addresses up to date.
pub(super) fn before_pods(store: &Store) -> Result<(), Refusal> {
    workloads::run(store)?;
    endpoints::balance(store);
    Ok(())
}

/// Writes what follows from the pods' status.
pub(super) fn after_pods(store: &Store) -> Result<(), Refusal> {
    workloads::report(store);
    endpoints::run(store)
}

#[cfg(test)]
mod tests;
