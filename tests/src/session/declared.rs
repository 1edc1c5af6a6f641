//! The declared cluster, and the ports that its pods serve.

use std::collections::BTreeMap;
use std::path::Path;

use enforcer_core::model::{Cluster, Pod, PodId, Protocol, Service};

use enforcer::source::Severity;
use enforcer::source::manifests::{Manifests, Report};

use super::api::Api;
use crate::lab::{Lab, PodSpec, Ports};

/// The source of the declared cluster.
#[derive(Debug)]
pub(crate) enum Source {
    /// A directory of manifests, and the cluster read from it.
    Manifests(Box<Manifests>, Cluster),
    /// An API server.
    Api(Api),
}

/// The declared state.
#[derive(Debug, Default)]
pub struct Declared {
    /// The cluster.
    pub cluster: Cluster,
    /// The pods that the lab has to run.
    pub pods: BTreeMap<PodId, PodSpec>,
    /// Mistakes in the manifests, and objects that the lab does not support.
    pub notes: Vec<String>,
    /// The number of errors in the manifests: something that they declare is not in effect.
    pub errors: usize,
}

/// The port of a pod that names none.
const DEFAULT_PORT: u16 = 80;

impl Source {
    pub(crate) fn of_manifests(directory: &Path) -> anyhow::Result<Self> {
        let manifests = Manifests::new(vec![directory.to_owned()])?;
        Ok(Self::Manifests(Box::new(manifests), Cluster::default()))
    }

    pub(crate) fn api(&mut self) -> Option<&mut Api> {
        match self {
            Self::Api(api) => Some(api),
            Self::Manifests(..) => None,
        }
    }

    pub(crate) fn rescan(&mut self, lab: &Lab) -> Declared {
        let mut declared = Declared::default();
        match self {
            Self::Manifests(manifests, cluster) => {
                let update = manifests.rescan();
                for change in update.changes {
                    cluster.apply(change);
                }
                declared.cluster = cluster.clone();
                let is_error = |it: &&Report| it.severity == Severity::Error;
                declared.errors = update.reports.iter().filter(is_error).count();
                declared.notes.extend(update.reports.iter().map(ToString::to_string));
            }
            Self::Api(api) => (declared.cluster, declared.notes) = api.cluster(),
        }
        // A kubelet stops pods that are being deleted.
        for pod in declared.cluster.pods.values().filter(|pod| !pod.terminating) {
            match spec(pod, lab) {
                Ok(spec) => {
                    declared.pods.insert(pod.id.clone(), spec);
                }
                Err(why) => declared.notes.push(format!("pod {} is not started: {why}", pod.id)),
            }
        }
        declared.notes.extend(declared.cluster.services.values().flat_map(unserved));
        declared
    }
}

/// The wanted state of a pod, or why the lab can't run it.
fn spec(pod: &Pod, lab: &Lab) -> Result<PodSpec, String> {
    if pod.finished {
        return Err("it is finished".to_owned());
    }
    let node = match &pod.node {
        None => 0,
        Some(name) => lab.node_named(name).ok_or_else(|| format!("it belongs to node {name}"))?,
    };
    let (host_network, uid) = (pod.host_network, pod.uid.to_string());
    Ok(PodSpec { ports: ports(pod), node, host_network, uid })
}

/// The note for a Service without addresses. A cluster would assign some; the lab can't, since the
/// agent reads the same manifests.
fn unserved(service: &Service) -> Option<String> {
    let none = service.cluster_addresses.is_empty() && service.external_addresses.is_empty();
    let wanted = service.selector.is_some() && !service.ports.is_empty();
    (none && wanted).then(|| {
        format!("service {} has no address: set spec.clusterIPs in its manifest", service.id)
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
