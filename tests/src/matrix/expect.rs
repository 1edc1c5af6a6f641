//! What the reference evaluator says about a probe.

use enforcer::model::Cluster;
use enforcer::policy::reference::connection_allowed;

use crate::lab::{Lab, LabError};
use crate::probe::Probe;

/// Whether the policies of `cluster` let the probe through, by both ends (semantics S5).
///
/// # Errors
/// When the lab has no such party.
pub fn expected(cluster: &Cluster, lab: &Lab, probe: &Probe) -> Result<bool, LabError> {
    let from = lab.address(&probe.from, probe.family)?;
    let to = lab.address(&probe.to, probe.family)?;
    Ok(connection_allowed(cluster, from, to, probe.traffic))
}
