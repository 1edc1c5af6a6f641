//! Services in the lab: every node's kube-proxy, and the load balancer in front of the nodes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use enforcer_core::model::{Cluster, Service, ServiceId, TrafficPolicy};
use ipnet::IpNet;

use super::fabric::OUTSIDE_INDEX;
use super::kube_proxy::{Plan, Proxy};
use super::{Door, Family, Frontend, Lab, LabError};

impl Lab {
    /// The Services of the nodes' current rules.
    pub fn services(&self) -> &BTreeMap<ServiceId, Service> {
        &self.services
    }

    /// Updates every node's rules for the cluster's Services and pods, and routes external
    /// addresses to a node. A lab that never had a Service needs no programs.
    ///
    /// # Errors
    /// A program or a kernel module is missing, or fails.
    pub async fn serve(&mut self, proxy: Proxy, cluster: &Cluster) -> Result<(), LabError> {
        if cluster.services.is_empty() && self.services.is_empty() {
            return Ok(());
        }
        for node in &mut self.nodes {
            let namespace = std::sync::Arc::clone(&node.namespace);
            node.kube_proxy(proxy).await?.sync(&namespace, cluster).await?;
        }
        self.balance(cluster).await?;
        self.services = cluster.services.clone();
        Ok(())
    }

    /// Routes each external address to a node, like a load balancer that keeps the destination: to
    /// the first node, or with `externalTrafficPolicy: Local` to the first node with a backend.
    async fn balance(&mut self, cluster: &Cluster) -> Result<(), LabError> {
        let mut wanted = BTreeMap::new();
        for service in cluster.services.values() {
            for address in &service.external_addresses {
                let node = self.entry(cluster, service, Family::of(*address));
                wanted.entry(*address).or_insert(node);
            }
        }
        let stale = self.balanced.iter().filter(|(address, _)| !wanted.contains_key(*address));
        for (address, node) in stale {
            let via = self.gateway(*node, *address)?;
            self.outside_links.unroute(IpNet::from(*address), via, OUTSIDE_INDEX).await?;
        }
        for (address, node) in &wanted {
            if self.balanced.get(address) != Some(node) {
                let via = self.gateway(*node, *address)?;
                self.outside_links.route(IpNet::from(*address), via, OUTSIDE_INDEX).await?;
            }
        }
        self.balanced = wanted;
        Ok(())
    }

    fn entry(&self, cluster: &Cluster, service: &Service, family: Family) -> usize {
        if service.distribution.external == TrafficPolicy::Cluster {
            return 0;
        }
        let has_backend = |node: &super::LabNode| {
            let plan = Plan::new(cluster, &node.as_proxy_node(), family);
            plan.ports.iter().any(|port| port.service == service.id && !port.local.is_empty())
        };
        self.nodes.iter().position(has_backend).unwrap_or(0)
    }

    fn gateway(&self, node: usize, towards: IpAddr) -> Result<Option<IpAddr>, LabError> {
        let uplink = self.node_at(node)?.site.uplink().map(|net| net.addr());
        Ok(uplink.into_iter().find(|it| Family::of(*it) == Family::of(towards)))
    }

    /// The node that an external address is routed to.
    pub fn balanced_to(&self, address: IpAddr) -> Option<usize> {
        self.balanced.get(&address).copied()
    }

    pub(super) fn frontend_address(&self, frontend: &Frontend, family: Family) -> Option<IpAddr> {
        let service = self.services.get(&frontend.service)?;
        let is_of_family = |it: &IpAddr| Family::of(*it) == family;
        match frontend.door {
            Door::Cluster => service.cluster_addresses.iter().copied().find(is_of_family),
            Door::External => service.external_addresses.iter().copied().find(is_of_family),
            Door::Node(index) => {
                let has_family = service.cluster_addresses.iter().any(is_of_family);
                let node = self.nodes.get(usize::from(index)).filter(|_| has_family)?;
                node.site.uplink().map(|net| net.addr()).into_iter().find(is_of_family)
            }
        }
    }
}
