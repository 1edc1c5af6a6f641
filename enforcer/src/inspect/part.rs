//! The part of a cluster that a question depends on: a small one is copied without delay, and answers it as
//! the whole one would.

use std::net::IpAddr;

use enforcer_core::explain::{self, Workloads};
use enforcer_core::model::{Cluster, Pod, PodId, PolicyId, Service, ServiceId};

use super::end::{End, EndError, find, split};
use super::question::Question;

/// The most pods: each pair of them is explained.
const MOST: usize = 200;

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
    let mut part = Part { cluster, at, part: cluster.without_objects() };
    for text in [question.from.as_str(), to] {
        match find(cluster, &workloads, &question.namespace, text)? {
            End::Node | End::Outside => {}
            End::Address(address) => part.address(address),
            End::Pods(pods) if pods.len() > MOST => {
                return Err(EndError::TooMany(text.to_owned(), MOST));
            }
            End::Pods(pods) => pods.iter().for_each(|it| part.pod(it)),
            End::Service(id) => part.service(&id),
        }
        if part.part.pods.len() > MOST {
            return Err(EndError::TooMany(text.to_owned(), MOST));
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::source::manifests::Manifests;

    fn cluster(pods: usize) -> Cluster {
        let pods = (0..pods).map(|it| {
            format!(
                "---\napiVersion: v1\nkind: Pod\n\
                 metadata: {{namespace: shop, name: pod{it}, labels: {{app: web}}}}\n\
                 spec: {{containers: [{{name: main, image: main, ports: [{{containerPort: 80}}]}}]}}\n\
                 status: {{podIP: 10.0.{}.{}}}\n",
                it / 200,
                it % 200 + 1
            )
        });
        let more = "---\napiVersion: v1\nkind: Pod\nmetadata: {namespace: mall, name: other}\n\
                    spec: {containers: [{name: main, image: main}]}\nstatus: {podIP: 10.1.0.1}\n\
                    ---\napiVersion: v1\nkind: Service\nmetadata: {namespace: shop, name: web}\n\
                    spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{port: 80}]}\n\
                    ---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
                    metadata: {namespace: shop, name: deny}\nspec: {podSelector: {}}\n\
                    ---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
                    metadata: {namespace: bank, name: deny}\nspec: {podSelector: {}}\n";
        let text = pods.collect::<String>() + more;
        let (manifests, reports) = Manifests::of_text(Path::new("x.yaml"), &text);
        assert!(reports.iter().all(|it| !it.to_string().contains("error")), "{reports:?}");
        manifests.cluster().clone()
    }

    fn part_of(cluster: &Cluster, from: &str, to: &str) -> Result<[usize; 4], EndError> {
        let question = Question { from: from.to_owned(), to: to.to_owned(), ..Question::default() };
        let at = |address: &IpAddr| {
            cluster.pods.values().filter(|it| it.addresses.contains(address)).collect()
        };
        let Cluster { namespaces, pods, policies, services, .. } = part(cluster, &question, at)?;
        Ok([namespaces.len(), pods.len(), policies.len(), services.len()])
    }

    #[test]
    fn a_part_has_what_the_answer_depends_on() {
        let all = cluster(3);
        let of = |from, to| part_of(&all, from, to).unwrap();
        assert_eq!(of("shop/pod0", "shop/pod1:80"), [1, 2, 1, 0]);
        assert_eq!(of("mall/other", "shop/pod1:80"), [2, 2, 1, 0], "both namespaces");
        assert_eq!(of("outside", "10.0.0.2:80"), [1, 1, 1, 0], "the pod with the address");
        assert_eq!(of("mall/other", "shop/svc/web:80"), [2, 4, 1, 1], "all backends");
        assert_eq!(of("mall/other", "10.96.0.1:80"), [2, 4, 1, 1], "by the Service's address");
        assert_eq!(of("node", "outside"), [0; 4]);
    }

    #[test]
    fn questions_about_very_many_pods_are_refused() {
        let all = cluster(MOST + 1);
        assert!(matches!(part_of(&all, "outside", "shop"), Err(EndError::TooMany(..))));
        assert!(matches!(part_of(&all, "outside", "shop/svc/web:80"), Err(EndError::TooMany(..))));
        assert!(part_of(&all, "outside", "shop/pod7").is_ok());
    }
}
