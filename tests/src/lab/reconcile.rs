//! Starts and stops pods.

use std::collections::BTreeMap;
use std::net::IpAddr;

use enforcer_core::model::PodId;

use super::links::Place;
use super::pod::{HostPod, PodNet, PodSpec};
use super::server::Servers;
use super::wiring;
use super::{Lab, LabError, Party, Ports, cni, namespace_name, status};

impl Lab {
    /// Starts a pod on the first node: namespace, interface, addresses, servers and status
    /// document. It is reachable when this returns.
    ///
    /// # Errors
    /// The subnet is full, the pod exists already, or the kernel reports an error.
    pub async fn add_pod(&mut self, id: &PodId, ports: Ports) -> Result<&PodNet, LabError> {
        self.start_pod(id, PodSpec { ports, ..PodSpec::default() }).await?;
        self.wait_for(&[id]).await?;
        self.pods.get(id).ok_or_else(|| LabError::Unknown(Party::Pod(id.clone())))
    }

    async fn start_pod(&mut self, id: &PodId, spec: PodSpec) -> Result<(), LabError> {
        self.connect_pod(id, spec).await?;
        self.report_pod(id)
    }

    /// Everything but the status document.
    pub(super) async fn connect_pod(&mut self, id: &PodId, spec: PodSpec) -> Result<(), LabError> {
        let unknown = LabError::Unknown(Party::node(spec.node));
        let node = self.nodes.get_mut(spec.node).ok_or(unknown)?;
        let number = node.hosts.take().ok_or(LabError::Full)?;
        let index = spec.node;
        let pod = match self.build_pod(id, spec, number).await {
            Ok(pod) => pod,
            Err(error) => {
                self.free_host(index, number);
                return Err(error);
            }
        };
        self.pods.insert(id.clone(), pod);
        Ok(())
    }

    /// Writes a pod's status document: the addresses as the kubelet would report them.
    pub fn report_pod(&self, id: &PodId) -> Result<(), LabError> {
        let pod = self.pods.get(id).ok_or_else(|| LabError::Unknown(Party::Pod(id.clone())))?;
        status::write(&self.state, id, &pod.addresses)
    }

    pub(super) fn free_host(&mut self, node: usize, number: u8) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.hosts.free(number);
        }
    }

    async fn build_pod(&self, id: &PodId, spec: PodSpec, number: u8) -> Result<PodNet, LabError> {
        let node = self.node_at(spec.node)?;
        let (namespace, links) = wiring::namespace(&namespace_name(id), false).await?;
        let pod = Place { namespace: &namespace, links: &links };
        let interfaces = wiring::attach(node.site, node.place(), pod, number).await?;
        let addresses: Vec<IpAddr> = node.site.host(number).map(|net| net.addr()).to_vec();
        // The kubelet knows a UID of each pod; sources of files may not.
        let uid = Some(spec.uid.clone()).filter(|uid| !uid.is_empty());
        let uid = uid.unwrap_or_else(|| format!("uid-of-{}", id.name));
        let sandbox = cni::sandbox_id(id, &uid);
        let netns = namespace.path();
        let attached = cni::Attached { site: node.site, id, uid: &uid, number, netns: &netns };
        cni::write(&node.cni_results(), &attached)?;
        let mut servers = Servers::noting(self.access_log.clone());
        servers.serve(&namespace, &id.to_string(), &addresses, &spec.ports).await?;
        let _servers = servers;
        Ok(PodNet { addresses, spec, number, uid, sandbox, interfaces, links, _servers, namespace })
    }

    /// Starts servers in the node's namespace, at its uplink's addresses. Ports of the node's own
    /// servers are left to these.
    async fn start_host_pod(&mut self, id: &PodId, spec: PodSpec) -> Result<(), LabError> {
        let node = self.node_at(spec.node)?;
        let namespace = std::sync::Arc::clone(&node.namespace);
        let addresses = node.site.uplink().map(|net| net.addr()).to_vec();
        let ports = spec.ports.without(&Ports::of_hosts());
        let servers = Servers::start(&namespace, &id.to_string(), &addresses, &ports).await?;
        status::write(&self.state, id, &addresses)?;
        let pod = HostPod { addresses, spec, namespace, _servers: servers };
        self.host_pods.insert(id.clone(), pod);
        Ok(())
    }

    pub(super) async fn wait_for(&self, ids: &[&PodId]) -> Result<(), LabError> {
        for (index, node) in self.nodes.iter().enumerate() {
            let pods = ids.iter().filter_map(|id| self.pods.get(id));
            let here = pods.filter(|pod| pod.node() == index);
            let here: Vec<_> = here.map(|pod| (pod.place(), pod.interfaces)).collect();
            if !here.is_empty() {
                wiring::wait_until_ready(self.topology(), node.place(), &here).await?;
            }
        }
        Ok(())
    }

    /// Stops a pod, if it exists; its address is free again.
    pub async fn remove_pod(&mut self, id: &PodId) -> Result<(), LabError> {
        if self.host_pods.remove(id).is_some() {
            return status::remove(&self.state, id);
        }
        let Some(pod) = self.pods.remove(id) else { return Ok(()) };
        status::remove(&self.state, id)?;
        self.disconnect(id, &pod).await?;
        self.free_host(pod.node(), pod.number);
        Ok(())
    }

    /// Removes a pod's interface, and then the result of its CNI plugins.
    pub(super) async fn disconnect(&self, id: &PodId, pod: &PodNet) -> Result<(), LabError> {
        let node = self.node_at(pod.node())?;
        node.links.delete(pod.interfaces.host).await?;
        cni::remove(&node.cni_results(), id, &pod.uid)
    }

    /// The ports that a pod serves; `None`: no such pod exists.
    pub fn ports(&self, id: &PodId) -> Option<&Ports> {
        self.spec_of(id).map(|spec| &spec.ports)
    }

    fn spec_of(&self, id: &PodId) -> Option<&PodSpec> {
        let host = || self.host_pods.get(id).map(|pod| &pod.spec);
        self.pods.get(id).map(|pod| &pod.spec).or_else(host)
    }

    /// Starts and stops pods until exactly `wanted` run. Pods with changed ports or node are
    /// replaced.
    pub async fn reconcile(&mut self, wanted: &BTreeMap<PodId, PodSpec>) -> Result<(), LabError> {
        let all = self.pods.keys().chain(self.host_pods.keys());
        let stale = all.filter(|id| wanted.get(id) != self.spec_of(id));
        let stale: Vec<PodId> = stale.cloned().collect();
        for id in &stale {
            self.remove_pod(id).await?;
        }
        let new = wanted.iter().filter(|(id, _)| self.spec_of(id).is_none());
        let new: Vec<(&PodId, PodSpec)> = new.map(|(id, spec)| (id, spec.clone())).collect();
        let ids: Vec<&PodId> = new.iter().map(|(id, _)| *id).collect();
        for (id, spec) in new {
            if spec.host_network {
                self.start_host_pod(id, spec).await?;
            } else {
                self.start_pod(id, spec).await?;
            }
        }
        self.wait_for(&ids).await
    }
}
