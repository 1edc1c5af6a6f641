//! Interfaces, addresses, routes and neighbours of one namespace, through rtnetlink.

use std::net::IpAddr;

use futures::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::address::AddressHeaderFlags;
use netlink_packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkMessage, State};
use netlink_packet_route::neighbour::{NeighbourFlags, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{RouteMessage, RouteScope};
use rtnetlink::{
    Handle, LinkBridge, LinkBridgePort, LinkUnspec, LinkVeth, LinkVxlan, RouteMessageBuilder,
};
use tokio::runtime::Handle as Runtime;

use super::error::Context as _;
use super::site::Mac;
use super::{LabError, Namespace};

/// A namespace and its links.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub namespace: &'a Namespace,
    pub links: &'a Links,
}

/// One end of a veth pair.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End<'a> {
    /// The interface's name, at most 15 bytes.
    pub name: &'a str,
    /// Its hardware address; `None`: the kernel's choice.
    pub mac: Option<Mac>,
    /// The interface's index; `None`: the kernel's choice. It honours indexes only for both ends.
    pub index: Option<u32>,
}

/// A netlink socket inside a namespace.
#[derive(Debug, Clone)]
pub(crate) struct Links {
    handle: Handle,
}

impl Links {
    pub(crate) async fn open(namespace: &Namespace) -> Result<Self, LabError> {
        let runtime = Runtime::current();
        let handle = namespace
            .io("open a netlink socket", move || {
                let _guard = runtime.enter();
                let (connection, handle, _) = rtnetlink::new_connection()?;
                runtime.spawn(connection);
                Ok(handle)
            })
            .await?;
        Ok(Self { handle })
    }

    /// Creates a veth pair: `here` in this namespace, `there` directly in the other, so that this
    /// namespace never sees it. Both ends are down.
    pub(crate) async fn veth(
        &self,
        here: End<'_>,
        there: End<'_>,
        other: &Namespace,
    ) -> Result<(), LabError> {
        let mut peer = LinkMessage::default();
        peer.header.index = there.index.unwrap_or_default();
        peer.attributes.push(LinkAttribute::IfName(there.name.to_owned()));
        peer.attributes.push(LinkAttribute::NetNsFd(other.raw_fd()));
        if let Some(mac) = there.mac {
            peer.attributes.push(LinkAttribute::Address(mac.to_vec()));
        }
        let mut veth = LinkVeth::new(here.name, there.name)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)));
        if let Some(index) = here.index {
            veth = veth.index(index);
        }
        if let Some(mac) = here.mac {
            veth = veth.address(mac.to_vec());
        }
        self.create(veth.build(), format!("create veth {}", here.name)).await
    }

    async fn create(&self, link: LinkMessage, what: String) -> Result<(), LabError> {
        self.handle.link().add(link).execute().await.context(what)
    }

    async fn change(&self, link: LinkMessage, what: &str) -> Result<(), LabError> {
        self.handle.link().set(link).execute().await.context(what)
    }

    /// Whether the kernel has noticed that the interface is up and connected.
    pub(crate) async fn is_up(&self, index: u32) -> Result<bool, LabError> {
        let mut found = self.handle.link().get().match_index(index).execute();
        let link = found.try_next().await.context("read a link")?;
        let up = LinkAttribute::OperState(State::Up);
        Ok(link.is_some_and(|link| link.attributes.contains(&up)))
    }

    pub(crate) async fn bridge(&self, name: &str, mac: Mac) -> Result<(), LabError> {
        let bridge = LinkBridge::new(name).address(mac.to_vec()).build();
        self.create(bridge, format!("create bridge {name}")).await
    }

    /// Creates a VXLAN device that sends from `local` through the interface `uplink`.
    pub(crate) async fn vxlan(
        &self,
        name: &str,
        mac: Mac,
        uplink: u32,
        local: IpAddr,
    ) -> Result<(), LabError> {
        /// An arbitrary number.
        const NETWORK: u32 = 1;
        /// RFC 7348, section 8.
        const PORT: u16 = 4789;
        let device = LinkVxlan::new(name, NETWORK).dev(uplink).port(PORT).learning(false);
        let device = match local {
            IpAddr::V4(local) => device.local(local),
            IpAddr::V6(local) => device.local6(local),
        };
        let device = device.address(mac.to_vec()).build();
        self.create(device, format!("create VXLAN device {name}")).await
    }

    /// Adds the node of the hardware address `mac` to a VXLAN device's table.
    pub(crate) async fn forward(&self, index: u32, mac: Mac, node: IpAddr) -> Result<(), LabError> {
        // Without the flag, the entry would belong to the device's bridge.
        let add = self.handle.neighbours().add_bridge(index, &mac).destination(node);
        let add = add.flags(NeighbourFlags::Own);
        add.execute().await.context(format!("add the entry of {node}"))
    }

    /// Makes `port` a port of `bridge`. With `hairpin` the bridge may send frames back to their
    /// port: a pod that calls its own Service needs it (semantics A1).
    pub(crate) async fn enslave(
        &self,
        port: u32,
        bridge: u32,
        hairpin: bool,
    ) -> Result<(), LabError> {
        let join = LinkUnspec::new_with_index(port).controller(bridge).build();
        self.change(join, "join the bridge").await?;
        let hairpin = LinkBridgePort::new(port).hairpin(hairpin).build();
        self.handle.link().set_port(hairpin).execute().await.context("set hairpin mode")
    }

    pub(crate) async fn up(&self, index: u32) -> Result<(), LabError> {
        self.change(LinkUnspec::new_with_index(index).up().build(), "bring an interface up").await
    }

    /// Removes an interface, and with it the other end of a veth pair.
    pub(crate) async fn delete(&self, index: u32) -> Result<(), LabError> {
        self.handle.link().del(index).execute().await.context("remove an interface")
    }

    /// Adds an address, usable at once (no duplicate-address detection).
    pub(crate) async fn address(&self, index: u32, address: IpNet) -> Result<(), LabError> {
        let mut add = self.handle.address().add(index, address.addr(), address.prefix_len());
        if address.addr().is_ipv6() {
            add.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        }
        add.execute().await.context(format!("add address {address}"))
    }

    /// Removes an address, if the interface has it.
    pub(crate) async fn remove_address(&self, index: u32, address: IpAddr) -> Result<(), LabError> {
        let what = || format!("remove address {address}");
        let known = self.handle.address().get().set_link_index_filter(index);
        let mut known = known.set_address_filter(address).execute();
        while let Some(message) = known.try_next().await.context(what())? {
            self.handle.address().del(message).execute().await.context(what())?;
        }
        Ok(())
    }

    /// Adds or replaces a route through `index`, to hosts on that link (`via` is `None`) or behind
    /// a gateway on that link.
    pub(crate) async fn route(
        &self,
        to: IpNet,
        via: Option<IpAddr>,
        index: u32,
    ) -> Result<(), LabError> {
        let route = Self::route_message(to, via, index)?;
        let request = self.handle.route().add(route).replace();
        request.execute().await.context(format!("add a route to {to}"))
    }

    /// Removes a route added by [`Self::route`].
    pub(crate) async fn unroute(
        &self,
        to: IpNet,
        via: Option<IpAddr>,
        index: u32,
    ) -> Result<(), LabError> {
        let route = Self::route_message(to, via, index)?;
        self.handle.route().del(route).execute().await.context(format!("remove the route to {to}"))
    }

    fn route_message(to: IpNet, via: Option<IpAddr>, index: u32) -> Result<RouteMessage, LabError> {
        let context = |e: String| LabError::Agent(format!("route to {to}: {e}"));
        let mut route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(to.network(), to.prefix_len())
            .map_err(|e| context(e.to_string()))?
            .output_interface(index);
        route = match via {
            Some(via) => route.gateway(via).map_err(|e| context(e.to_string()))?.onlink(),
            None if to.addr().is_ipv4() => route.scope(RouteScope::Link),
            None => route,
        };
        Ok(route.build())
    }

    pub(crate) async fn neighbour(
        &self,
        index: u32,
        address: IpAddr,
        mac: Mac,
    ) -> Result<(), LabError> {
        let add = self.handle.neighbours().add(index, address).link_layer_address(&mac);
        add.execute().await.context(format!("add neighbour {address}"))
    }

    pub(crate) async fn mtu(&self, index: u32, mtu: u32) -> Result<(), LabError> {
        let link = LinkUnspec::new_with_index(index).mtu(mtu).build();
        self.change(link, "set an interface's MTU").await
    }

    /// Removes all neighbours except the permanent ones.
    pub(crate) async fn forget_neighbours(&self) -> Result<(), LabError> {
        let what = "remove neighbours";
        let known = self.handle.neighbours().get().execute();
        let known: Vec<NeighbourMessage> = known.try_collect().await.context(what)?;
        for neighbour in known {
            let lasting = [NeighbourState::Permanent, NeighbourState::Noarp, NeighbourState::None];
            if lasting.contains(&neighbour.header.state) {
                continue;
            }
            match self.handle.neighbours().del(neighbour).execute().await {
                // It has expired meanwhile.
                Err(rtnetlink::Error::NetlinkError(e))
                    if e.to_io().kind() == std::io::ErrorKind::NotFound => {}
                other => other.context(what)?,
            }
        }
        Ok(())
    }
}

/// The index of an interface of `namespace`.
pub(crate) async fn index_of(namespace: &Namespace, name: &str) -> Result<u32, LabError> {
    let wanted = name.to_owned();
    namespace
        .io(&format!("find interface {name}"), move || {
            Ok(nix::net::if_::if_nametoindex(wanted.as_str())?)
        })
        .await
}
