//! Operations for particular tests: unreported pods, single-family pods, a host behind a narrow
//! link.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer_core::model::PodId;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::links::{End, Links, Place};
use super::wiring::{self, defaults};
use super::{Family, Lab, LabError, Namespace, Party, PodSpec, Ports, cni, ready, status};

/// A host behind the outside host, over a link with a smaller MTU than all others. It announces the
/// usual segment size: only the router in between knows the smaller one.
#[derive(Debug)]
pub struct Distant {
    namespace: Namespace,
    _links: Links,
}

const ROUTER_INDEX: u32 = 20;
const DISTANT_INDEX: u32 = 21;
const ROUTER: [IpNet; 2] = addresses(1);
const DISTANT: [IpNet; 2] = addresses(2);

/// Addresses of documentation ranges (RFC 5737, RFC 3849).
const fn addresses(host: u8) -> [IpNet; 2] {
    [
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 2, host), 24)),
        IpNet::V6(Ipv6Net::new_assert(
            Ipv6Addr::new(0x2001, 0xdb8, 0x192, 0, 0, 0, 0, host as u16),
            64,
        )),
    ]
}

impl Distant {
    /// Its network namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Its address of a family.
    pub fn address(family: Family) -> IpAddr {
        match family {
            Family::V4 => DISTANT[0].addr(),
            Family::V6 => DISTANT[1].addr(),
        }
    }
}

impl Lab {
    /// Starts a pod on the first node without its status document ([`Self::report_pod`]): only the
    /// container runtime knows its addresses.
    pub async fn add_unreported_pod(&mut self, id: &PodId, ports: Ports) -> Result<(), LabError> {
        self.connect_pod(id, PodSpec { ports, ..PodSpec::default() }).await?;
        self.wait_for(&[id]).await
    }

    /// Removes the runtime's record of a pod's network, or writes it again.
    pub fn record(&self, id: &PodId, is_there: bool) -> Result<(), LabError> {
        let unknown = || LabError::Unknown(Party::Pod(id.clone()));
        let pod = self.pods.get(id).ok_or_else(unknown)?;
        let node = self.node_at(pod.node())?;
        if !is_there {
            return cni::remove(&node.cni_results(), id, &pod.uid);
        }
        let (netns, number, uid) = (pod.namespace.path(), pod.number, pod.uid.as_str());
        let attached = cni::Attached { site: node.site, id, uid, number, netns: &netns };
        cni::write(&node.cni_results(), &attached)
    }

    /// Ends a pod silently: its interface is removed and its address is free for the next pod, but
    /// its status document stays.
    pub async fn vanish(&mut self, id: &PodId) -> Result<(), LabError> {
        let unknown = || LabError::Unknown(Party::Pod(id.clone()));
        let pod = self.pods.remove(id).ok_or_else(unknown)?;
        self.disconnect(id, &pod).await?;
        self.free_host(pod.node(), pod.number);
        Ok(())
    }

    /// Removes a pod's addresses of the other family, as in a cluster of only one family. Its
    /// servers at the removed addresses still run, but are unreachable.
    pub async fn leave_only(&mut self, id: &PodId, family: Family) -> Result<(), LabError> {
        let unknown = || LabError::Unknown(Party::Pod(id.clone()));
        let pod = self.pods.get_mut(id).ok_or_else(unknown)?;
        let (stay, go): (Vec<IpAddr>, Vec<IpAddr>) =
            pod.addresses.iter().partition(|address| Family::of(**address) == family);
        for address in go {
            pod.links.remove_address(pod.interfaces.inner, address).await?;
        }
        pod.addresses = stay;
        status::write(&self.state, id, &pod.addresses)
    }

    /// Adds a host behind a link with an MTU of `mtu` bytes, at least IPv6's 1280.
    pub async fn add_distant(&self, mtu: u32) -> Result<Distant, LabError> {
        let (namespace, links) = wiring::namespace("distant", false).await?;
        let router = &self.outside_links;
        let forwarding = ["ipv4/ip_forward", "ipv6/conf/all/forwarding"];
        let forwarding = forwarding.map(|key| (key.to_owned(), "1"));
        self.outside.sysctl(forwarding.into()).await?;
        let here = End { name: "narrow", mac: None, index: Some(ROUTER_INDEX) };
        let there = End { name: "eth0", mac: None, index: Some(DISTANT_INDEX) };
        router.veth(here, there, &namespace).await?;
        router.mtu(ROUTER_INDEX, mtu).await?;
        for (links, index, addresses) in
            [(router, ROUTER_INDEX, ROUTER), (&links, DISTANT_INDEX, DISTANT)]
        {
            links.up(index).await?;
            for address in addresses {
                links.address(index, address).await?;
            }
        }
        ready::wait_for(Place { namespace: &self.outside, links: router }, ROUTER_INDEX).await?;
        ready::wait_for(Place { namespace: &namespace, links: &links }, DISTANT_INDEX).await?;
        for (gateway, everything) in ROUTER.into_iter().zip(defaults()) {
            links.route(everything, Some(gateway.addr()), DISTANT_INDEX).await?;
        }
        Ok(Distant { namespace, _links: links })
    }

    /// Clears the learnt hardware addresses of nodes and pods.
    pub async fn forget_neighbours(&self) -> Result<(), LabError> {
        for node in &self.nodes {
            node.links.forget_neighbours().await?;
        }
        for pod in self.pods.values() {
            pod.links.forget_neighbours().await?;
        }
        Ok(())
    }
}
