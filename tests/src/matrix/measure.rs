//! Which connections are tried, and trying them.

use std::time::Duration;

use enforcer::model::{Cluster, Protocol};
use enforcer::policy::reference::Traffic;
use futures::{StreamExt, TryStreamExt, stream};

use super::{Cell, Matrix, expected};
use crate::lab::{Family, Lab, LabError, OUTSIDE_CLIENTS, Party, Ports, SERVICE_TCP, SERVICE_UDP};
use crate::probe::Probe;

/// So many probes at once; each holds a few descriptors.
const PARALLEL: usize = 128;

/// Which receivers a matrix has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Pods.
    Pods,
    /// Pods, and the pages of the node and the outside clients.
    PodsAndPages,
    /// Whatever anybody serves.
    Everything,
}

impl Scope {
    /// Whoever is no pod is worth a column only where some policy restricts what pods send.
    #[must_use]
    pub fn for_cluster(cluster: &Cluster) -> Self {
        let restricts = cluster.policies.values().any(|policy| policy.egress.is_some());
        if restricts { Self::PodsAndPages } else { Self::Pods }
    }
}

/// All probes between the lab's parties: every sender, every receiver in `scope`, every port that
/// the receiver serves and an echo request, both families.
#[must_use]
pub fn probes(lab: &Lab, scope: Scope) -> Vec<Probe> {
    let pods = lab.pods().iter().map(|(id, pod)| (Party::Pod(id.clone()), pod.ports().clone()));
    let own = Ports { tcp: vec![SERVICE_TCP], udp: vec![SERVICE_UDP] };
    let others = [Party::Node].into_iter();
    let others = others.chain(OUTSIDE_CLIENTS.iter().map(|client| Party::outside(client.name)));
    let everybody: Vec<(Party, Ports)> =
        pods.chain(others.map(|party| (party, own.clone()))).collect();
    let mut probes = Vec::new();
    for (from, _) in &everybody {
        for (to, ports) in &everybody {
            for traffic in offers(to, ports, scope) {
                probes.extend(Family::ALL.map(|family| Probe {
                    from: from.clone(),
                    to: to.clone(),
                    family,
                    traffic,
                }));
            }
        }
    }
    probes
}

/// What of a receiver is tried.
fn offers(to: &Party, ports: &Ports, scope: Scope) -> Vec<Traffic> {
    match (to, scope) {
        (Party::Pod(_), _) | (_, Scope::Everything) => {}
        (_, Scope::Pods) => return Vec::new(),
        (_, Scope::PodsAndPages) => return vec![Traffic::Port(Protocol::Tcp, SERVICE_TCP)],
    }
    let tcp = ports.tcp.iter().map(|port| Traffic::Port(Protocol::Tcp, *port));
    let udp = ports.udp.iter().map(|port| Traffic::Port(Protocol::Udp, *port));
    tcp.chain(udp).chain([Traffic::Portless]).collect()
}

/// Runs the probes, many at once, and asks the reference evaluator about each.
///
/// # Errors
/// Only when the lab itself fails.
pub async fn measure(
    lab: &Lab,
    cluster: &Cluster,
    probes: Vec<Probe>,
    patience: Duration,
) -> Result<Matrix, LabError> {
    let cells = stream::iter(probes).map(|probe| async move {
        let expected = expected(cluster, lab, &probe)?;
        let measured = probe.run(lab, patience).await?;
        Ok::<_, LabError>(Cell { probe, measured, expected })
    });
    let cells = cells.buffered(PARALLEL).try_collect().await?;
    Ok(Matrix { cells })
}
