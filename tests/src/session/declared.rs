//! What the manifests declare: the cluster, and what its pods serve.

use std::collections::BTreeMap;
use std::path::Path;

use enforcer::model::{Cluster, Pod, PodId, Protocol, Service};

use enforcer::source::manifests::Manifests;

use crate::lab::{Lab, PodSpec, Ports};

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
    pub pods: BTreeMap<PodId, PodSpec>,
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
    pub(crate) fn rescan(&mut self, lab: &Lab) -> anyhow::Result<Declared> {
        let update = self.manifests.rescan();
        for change in update.changes {
            self.cluster.apply(change);
        }
        let mut declared = Declared { cluster: self.cluster.clone(), ..Declared::default() };
        declared.notes.extend(update.reports.iter().map(ToString::to_string));
        for pod in self.cluster.pods.values() {
            match spec(pod, lab) {
                Ok(spec) => {
                    declared.pods.insert(pod.id.clone(), spec);
                }
                Err(why) => declared.notes.push(format!("pod {} is not run: {why}", pod.id)),
            }
        }
        declared.notes.extend(self.cluster.services.values().flat_map(unserved));
        Ok(declared)
    }
}

/// What the lab has to run, or why it cannot.
fn spec(pod: &Pod, lab: &Lab) -> Result<PodSpec, String> {
    if pod.finished {
        return Err("it is finished".to_owned());
    }
    let node = match &pod.node {
        None => 0,
        Some(name) => lab.node_named(name).ok_or_else(|| format!("it belongs to node {name}"))?,
    };
    Ok(PodSpec { ports: ports(pod), node, host_network: pod.host_network })
}

/// What a cluster would have filled in: the agent reads the same manifests, so that the lab can't.
fn unserved(service: &Service) -> Option<String> {
    let none = service.cluster_addresses.is_empty() && service.external_addresses.is_empty();
    let wanted = service.selector.is_some() && !service.ports.is_empty();
    (none && wanted).then(|| {
        format!(
            "service {} has no address: write its spec.clusterIPs into the manifest",
            service.id
        )
    })
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
