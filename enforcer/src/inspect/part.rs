//! The part of a cluster that a question depends on: a small one is copied without delay, and answers it as
//! the whole one would.

use std::net::IpAddr;

use enforcer_core::explain::{self, Workloads};
use enforcer_core::model::{Cluster, Pod, PodId, PolicyId, Service, ServiceId};

use super::end::{End, EndError, find, split};
use super::question::Question;

/// The objects that a question is about: the pods of both ends, the backends of a Service, all pods that have
/// an address of these, and their namespaces with policies. `at`: the pods that have an address.
///
/// # Errors
/// An end does not exist, or the text is no end.
pub fn part<'c>(
    cluster: &'c Cluster,
    question: &Question,
    at: impl Fn(&IpAddr) -> Vec<&'c Pod>,
) -> Result<Cluster, EndError> {
    let (to, _) = split(&question.to)?;
    let workloads = Workloads::default();
    let mut part = Part { cluster, at, part: Cluster::default() };
    part.part.audit = cluster.audit;
    part.part.node_addresses.clone_from(&cluster.node_addresses);
    for text in [question.from.as_str(), to] {
        match find(cluster, &workloads, &question.namespace, text)? {
            End::Node | End::Outside => {}
            End::Address(address) => part.address(address),
            End::Pods(pods) => pods.iter().for_each(|it| part.pod(it)),
            End::Service(id) => part.service(&id),
        }
    }
    Ok(part.part)
}

struct Part<'c, F> {
    cluster: &'c Cluster,
    at: F,
    part: Cluster,
}

impl<'c, F: Fn(&IpAddr) -> Vec<&'c Pod>> Part<'c, F> {
    fn pod(&mut self, id: &PodId) {
        let Some(pod) = self.cluster.pods.get(id) else { return };
        self.add(pod);
        for address in &pod.addresses {
            (self.at)(address).into_iter().for_each(|it| self.add(it));
        }
    }

    fn add(&mut self, pod: &Pod) {
        let namespace = pod.id.namespace.as_str();
        self.part.pods.insert(pod.id.clone(), pod.clone());
        if self.part.namespaces.contains_key(namespace) {
            return;
        }
        if let Some(it) = self.cluster.namespaces.get(namespace) {
            self.part.namespaces.insert(namespace.to_owned(), it.clone());
        }
        let here = self.cluster.policies.range(PolicyId::new(namespace, "")..);
        let here = here.take_while(|(id, _)| id.namespace == namespace);
        self.part.policies.extend(here.map(|(id, policy)| (id.clone(), policy.clone())));
    }

    fn address(&mut self, address: IpAddr) {
        (self.at)(&address).into_iter().for_each(|it| self.add(it));
        let is_node = self.cluster.node_addresses.contains(&address);
        let leads_on = |it: &&Service| {
            let has_node_port = || it.ports.iter().any(|port| port.node_port.is_some());
            it.addresses().any(|own| own == address) || (is_node && has_node_port())
        };
        let services = self.cluster.services.values().filter(leads_on);
        let services: Vec<ServiceId> = services.map(|it| it.id.clone()).collect();
        services.iter().for_each(|it| self.service(it));
    }

    fn service(&mut self, id: &ServiceId) {
        let Some(service) = self.cluster.services.get(id) else { return };
        for translation in explain::translations(self.cluster, service, |_| true) {
            translation.backends.iter().for_each(|it| self.pod(&it.pod));
        }
        self.part.services.insert(id.clone(), service.clone());
    }
}
