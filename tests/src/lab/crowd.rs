//! Many pods' interfaces at once, with one namespace behind all of them.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::time::SystemTime;

use futures::future::try_join_all;
use ipnet::IpNet;

use super::links::{End, Links, Place, index_of};
use super::{Lab, LabError, Namespace, wiring};

/// The namespace at the inner ends of the crowd's interfaces.
#[derive(Debug)]
pub struct Crowd {
    namespace: Namespace,
    links: Links,
}

/// An interface that was made on the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Its name.
    pub interface: String,
    /// The time before it was requested.
    pub created_at: SystemTime,
}

impl Crowd {
    /// A crowd of nobody yet.
    ///
    /// # Errors
    /// The namespace can't be created.
    pub async fn new() -> Result<Self, LabError> {
        let (namespace, links) = wiring::namespace("crowd", false).await?;
        Ok(Self { namespace, links })
    }

    /// The address of a member.
    #[must_use]
    pub fn address(number: u16) -> IpAddr {
        let [high, low] = number.to_be_bytes();
        Ipv4Addr::new(10, 203, high, low).into()
    }

    /// Connects members to the lab's first node, all at the same time, each with its address inside and
    /// a route to it on the node, as Azure's CNI plugin does.
    ///
    /// # Errors
    /// The kernel reports one.
    pub async fn join(&self, lab: &Lab, numbers: Range<u16>) -> Result<Vec<Joined>, LabError> {
        let node = lab.node_at(0)?.place();
        try_join_all(numbers.map(|number| self.connect(node, number))).await
    }

    async fn connect(&self, node: Place<'_>, number: u16) -> Result<Joined, LabError> {
        let (here, there) = (format!("azvcrowd{number}"), format!("member{number}"));
        let end = |name| End { name, mac: None, index: None };
        let created_at = SystemTime::now();
        node.links.veth(end(&here), end(&there), &self.namespace).await?;
        let outer = index_of(node.namespace, &here).await?;
        let inner = index_of(&self.namespace, &there).await?;
        node.links.up(outer).await?;
        self.links.up(inner).await?;
        let address = IpNet::from(Self::address(number));
        self.links.address(inner, address).await?;
        node.links.route(address, None, outer).await?;
        Ok(Joined { interface: here, created_at })
    }
}
