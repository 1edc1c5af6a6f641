//! Selects connections and measures them.

use std::time::Duration;

use enforcer_core::model::{Cluster, Protocol, Service, ServicePort};
use enforcer_core::policy::reference::Traffic;
use futures::{StreamExt, TryStreamExt, stream};

use super::{Cell, Expectation, Judge, Matrix, service};
use crate::host::at_once;
use crate::lab::{
    Door, Family, Frontend, Lab, LabError, OUTSIDE_CLIENTS, Party, Ports, SERVICE_TCP,
};
use crate::probe::Probe;

/// The number of concurrent probes; each holds a few descriptors.
const PARALLEL: usize = 128;

/// The receivers of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Pods.
    Pods,
    /// Pods, and the pages of the node and the outside clients.
    PodsAndPages,
    /// All ports of all parties.
    Everything,
}

impl Scope {
    /// The default: receivers other than pods matter only if some policy restricts egress.
    pub fn for_cluster(cluster: &Cluster) -> Self {
        let restricts = cluster.policies.values().any(|policy| policy.egress.is_some());
        if restricts { Self::PodsAndPages } else { Self::Pods }
    }
}

/// All probes between the lab's parties: every sender, every receiver in `scope`, every port of the
/// receiver and an echo request, both families.
pub fn probes(lab: &Lab, scope: Scope) -> Vec<Probe> {
    let pods = lab.pods().iter().map(|(id, pod)| (Party::Pod(id.clone()), pod.ports().clone()));
    let own = Ports::of_hosts();
    let others = (0..lab.nodes().len()).map(Party::node);
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
        probes.extend(through_services(lab, from));
    }
    probes
}

/// The probes of one sender to all Services.
fn through_services(lab: &Lab, from: &Party) -> Vec<Probe> {
    let mut probes = Vec::new();
    for service in lab.services().values() {
        for (door, port, traffic) in doors(lab, from, service) {
            let frontend = Frontend { service: service.id.clone(), door };
            let to = Party::Service(frontend);
            let reachable = |family: &Family| lab.address(&to, *family).is_ok();
            if port.protocol == Protocol::Sctp {
                continue;
            }
            probes.extend(Family::ALL.into_iter().filter(reachable).map(|family| Probe {
                from: from.clone(),
                to: to.clone(),
                family,
                traffic,
            }));
        }
    }
    probes
}

/// The frontends of a Service that a sender can reach, with their ports.
fn doors<'a>(
    lab: &Lab,
    from: &Party,
    service: &'a Service,
) -> Vec<(Door, &'a ServicePort, Traffic)> {
    let mut doors = Vec::new();
    for port in &service.ports {
        let at = |number| Traffic::Port(port.protocol, number);
        // Outside clients have no route to cluster addresses.
        if !matches!(from, Party::Outside(_)) && !service.cluster_addresses.is_empty() {
            doors.push((Door::Cluster, port, at(port.port)));
        }
        let nodes = (0..lab.layout().nodes).filter_map(|node| Some((node, port.node_port?)));
        doors.extend(nodes.map(|(node, number)| (Door::Node(node), port, at(number))));
        if !service.external_addresses.is_empty() {
            doors.push((Door::External, port, at(port.port)));
        }
    }
    doors
}

/// The traffic that is tried with a receiver.
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

/// Runs the probes concurrently, and evaluates each by the reference evaluator.
///
/// # Errors
/// Only a failure of the lab itself.
pub async fn measure(
    lab: &Lab,
    cluster: &Cluster,
    probes: Vec<Probe>,
    patience: Duration,
) -> Result<Matrix, LabError> {
    let judge = Judge::new(cluster, lab);
    let mut judged = Vec::new();
    for probe in probes {
        let expected = judge.expected(&probe)?;
        // Without a backend, policies have no visible effect.
        if expected != Expectation::Backends(Vec::new()) {
            judged.push((probe, expected));
        }
    }
    let cells = stream::iter(judged).map(|(probe, expected)| async move {
        let measured = match &expected {
            Expectation::Direct(_) => probe.run(lab, patience).await?,
            Expectation::Backends(all) => service::measure(lab, &probe, all, patience).await?,
        };
        let expected = expected.is_open();
        Ok::<_, LabError>(Cell { probe, measured, expected, unguarded: false })
    });
    let cells = cells.buffered(at_once(PARALLEL)).try_collect().await?;
    Ok(Matrix::new(cells))
}
