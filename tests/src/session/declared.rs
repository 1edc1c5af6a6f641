//! What the manifests declare: the cluster, and what its pods serve.

use std::collections::BTreeMap;
use std::path::Path;

use enforcer::model::{Cluster, Pod, PodId, Protocol};

use enforcer::source::manifests::Manifests;

use crate::lab::{NODE_NAME, Ports};

/// A reader of a directory of manifests.
#[derive(Debug)]
pub(crate) struct Source {
    manifests: Manifests,
    cluster: Cluster,
}

/// The directory's contents.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    pub cluster: Cluster,
    /// The pods that the lab has to run.
    pub pods: BTreeMap<PodId, Ports>,
    /// What is wrong with the manifests, and what the lab cannot do.
    pub notes: Vec<String>,
}

/// Where a pod that names no port listens.
const DEFAULT_PORT: u16 = 80;

impl Source {
    pub(crate) fn new(directory: &Path) -> anyhow::Result<Self> {
        let manifests = Manifests::new(vec![directory.to_owned()])?;
        Ok(Self { manifests, cluster: Cluster::default() })
    }

    /// Looks at the directory again.
    pub(crate) fn rescan(&mut self) -> anyhow::Result<Declared> {
        let update = self.manifests.rescan();
        for change in update.changes {
            self.cluster.apply(change);
        }
        let mut declared = Declared { cluster: self.cluster.clone(), ..Declared::default() };
        declared.notes.extend(update.reports.iter().map(ToString::to_string));
        for pod in self.cluster.pods.values() {
            match unfit(pod) {
                None => {
                    declared.pods.insert(pod.id.clone(), ports(pod));
                }
                Some(why) => declared.notes.push(format!("pod {} is not run: {why}", pod.id)),
            }
        }
        Ok(declared)
    }
}

/// Why the lab cannot run a pod.
fn unfit(pod: &Pod) -> Option<String> {
    match &pod.node {
        _ if pod.host_network => Some("it uses the host's network".to_owned()),
        _ if pod.finished => Some("it is finished".to_owned()),
        Some(node) if node != NODE_NAME => Some(format!("it belongs to node {node}")),
        _ => None,
    }
}

fn ports(pod: &Pod) -> Ports {
    let of = |protocol| {
        let ports = pod.ports.iter().filter(|port| port.protocol == protocol);
        let ports: std::collections::BTreeSet<u16> = ports.map(|port| port.port).collect();
        ports.into_iter().collect::<Vec<u16>>()
    };
    let mut ports = Ports { tcp: of(Protocol::Tcp), udp: of(Protocol::Udp) };
    if ports == Ports::default() {
        ports.tcp.push(DEFAULT_PORT);
    }
    ports
}
