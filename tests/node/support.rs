//! Private network namespaces without names: nothing remains after a test.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::thread;
use std::time::Duration;

use enforcer::node::{Seen, Snapshot, watch};
use futures::TryStreamExt;
use netlink_packet_route::address::AddressHeaderFlags;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo};
use netlink_packet_route::route::RouteProtocol;
use nix::sched::{CloneFlags, setns, unshare};
use rtnetlink::{Handle, LinkBridge, LinkUnspec, LinkVeth};
use tokio::runtime;
use tokio::sync::watch::{Receiver, channel};
use tokio::time::timeout;

/// Time limit for an event; far more than it ever takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// A network namespace that lives as long as this, or as a thread in it.
pub(crate) struct Namespace(File);

impl Namespace {
    /// A new namespace, its loopback interface up.
    pub(crate) fn new() -> Self {
        let open = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace: root is needed");
            File::open("/proc/thread-self/ns/net").unwrap()
        };
        let namespace = thread::scope(|scope| Self(scope.spawn(open).join().unwrap()));
        namespace.run(async |ip| ip.up("lo").await);
        namespace
    }

    /// Runs something on a thread of its own inside the namespace.
    pub(crate) fn enter<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        let enter = || {
            setns(self.0.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
            inside()
        };
        let result = thread::scope(|scope| scope.spawn(enter).join());
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Runs something asynchronous inside the namespace, with a handle to change it.
    pub(crate) fn run<T: Send>(&self, inside: impl AsyncFnOnce(Ip) -> T + Send) -> T {
        self.enter(|| {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (connection, handle, _) = rtnetlink::new_connection().unwrap();
                tokio::spawn(connection);
                inside(Ip(handle)).await
            })
        })
    }

    /// A snapshot of the namespace.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.enter(|| enforcer::node::snapshot().unwrap())
    }
}

/// The functions of `ip`, in one namespace.
pub(crate) struct Ip(Handle);

impl Ip {
    /// The index of an interface.
    pub(crate) async fn index(&self, name: &str) -> u32 {
        let mut links = self.0.link().get().match_name(name.to_owned()).execute();
        links.try_next().await.unwrap().unwrap().header.index
    }

    /// Makes a veth pair within this namespace; returns the indices of both.
    pub(crate) async fn veth(&self, name: &str, peer: &str) -> (u32, u32) {
        self.0.link().add(LinkVeth::new(name, peer).build()).execute().await.unwrap();
        (self.index(name).await, self.index(peer).await)
    }

    /// Makes a bridge.
    pub(crate) async fn bridge(&self, name: &str) {
        self.0.link().add(LinkBridge::new(name).build()).execute().await.unwrap();
    }

    /// Makes an interface a port of a bridge.
    pub(crate) async fn enslave(&self, name: &str, bridge: &str) {
        let bridge = self.index(bridge).await;
        let change = LinkUnspec::new_with_name(name).controller(bridge).build();
        self.0.link().set(change).execute().await.unwrap();
    }

    /// Moves an interface to another namespace.
    pub(crate) async fn hand_over(&self, name: &str, to: &Namespace) {
        let change = LinkUnspec::new_with_name(name).setns_by_fd(to.0.as_raw_fd()).build();
        self.0.link().set(change).execute().await.unwrap();
    }

    /// Sets an interface up.
    pub(crate) async fn up(&self, name: &str) {
        let change = LinkUnspec::new_with_name(name).up().build();
        self.0.link().set(change).execute().await.unwrap();
    }

    /// Removes an interface.
    pub(crate) async fn remove(&self, name: &str) {
        self.0.link().del(self.index(name).await).execute().await.unwrap();
    }

    /// Adds an address without duplicate-address detection.
    pub(crate) async fn add(&self, name: &str, address: &str, prefix: u8) {
        let address: IpAddr = address.parse().unwrap();
        let mut request = self.0.address().add(self.index(name).await, address, prefix);
        request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        request.execute().await.unwrap();
    }

    /// Removes an address.
    pub(crate) async fn take(&self, name: &str, address: &str) {
        let address: IpAddr = address.parse().unwrap();
        let index = self.index(name).await;
        let list = self.0.address().get().set_link_index_filter(index);
        let mut list = list.set_address_filter(address).execute();
        let found = list.try_next().await.unwrap().unwrap();
        while list.try_next().await.unwrap().is_some() {}
        self.0.address().del(found).execute().await.unwrap();
    }

    /// Makes an interface the default route.
    pub(crate) async fn default_route(&self, name: &str) {
        let index = self.index(name).await;
        let route = rtnetlink::RouteMessageBuilder::<std::net::Ipv4Addr>::new();
        self.0.route().add(route.output_interface(index).build()).execute().await.unwrap();
    }

    /// The same, in a table and by a protocol.
    pub(crate) async fn default_route_of(&self, name: &str, table: u8, protocol: RouteProtocol) {
        let index = self.index(name).await;
        let route = rtnetlink::RouteMessageBuilder::<std::net::Ipv4Addr>::new();
        let route = route.output_interface(index).table_id(table.into()).protocol(protocol);
        self.0.route().add(route.build()).execute().await.unwrap();
    }

    /// Makes an ifb device.
    pub(crate) async fn ifb(&self, name: &str) {
        let mut link = LinkUnspec::new_with_name(name).build();
        let info = LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Ifb)]);
        link.attributes.push(info);
        self.0.link().add(link).execute().await.unwrap();
    }

    /// Makes a veth pair of which `name` has this index.
    pub(crate) async fn veth_as(&self, name: &str, index: u32) {
        let mut link = LinkVeth::new(name, "eth0").build();
        link.header.index = index;
        self.0.link().add(link).execute().await.unwrap();
    }

    /// Routes one address to an interface.
    pub(crate) async fn route(&self, address: &str, name: &str) {
        let index = self.index(name).await;
        let route = match address.parse().unwrap() {
            IpAddr::V4(it) => rtnetlink::RouteMessageBuilder::<std::net::Ipv4Addr>::new()
                .destination_prefix(it, 32)
                .output_interface(index)
                .build(),
            IpAddr::V6(it) => rtnetlink::RouteMessageBuilder::<std::net::Ipv6Addr>::new()
                .destination_prefix(it, 128)
                .output_interface(index)
                .build(),
        };
        self.0.route().add(route).execute().await.unwrap();
    }
}

/// Connects a namespace to the node: `host` outside, `eth0` inside. Returns the host side's index.
pub(crate) fn connect(node: &Namespace, pod: &Namespace, host: &str) -> u32 {
    connect_as(node, pod, host, "eth0")
}

/// Likewise, with another name inside.
pub(crate) fn connect_as(node: &Namespace, pod: &Namespace, host: &str, inside: &str) -> u32 {
    let index = node.run(async |ip| {
        let (index, _) = ip.veth(host, "to-be-moved").await;
        ip.hand_over("to-be-moved", pod).await;
        ip.up(host).await;
        index
    });
    pod.run(async |ip| {
        let change = LinkUnspec::new_with_name("to-be-moved").name(inside.to_owned()).build();
        // The interface is found by the name in the request, so the new one goes by index.
        let by_index = ip.index("to-be-moved").await;
        let mut change = change;
        change.header.index = by_index;
        ip.0.link().set(change).execute().await.unwrap();
        ip.up(inside).await;
    });
    index
}

/// Adds addresses to `eth0` of a pod.
pub(crate) fn give(pod: &Namespace, addresses: &[&str]) {
    pod.run(async |ip| {
        for address in addresses {
            ip.add("eth0", address, if address.contains(':') { 64 } else { 24 }).await;
        }
    });
}

/// A pod with these addresses, and the index of its host side.
pub(crate) fn pod(node: &Namespace, host: &str, addresses: &[&str]) -> (Namespace, u32) {
    let pod = Namespace::new();
    let index = connect(node, &pod, host);
    give(&pod, addresses);
    (pod, index)
}

/// A watched node.
pub(crate) struct Watched(Receiver<Seen>);

impl Watched {
    /// Watches the namespace of the calling thread, and waits for the first snapshot.
    pub(crate) async fn start() -> Self {
        let (sender, mut receiver) = channel(Seen::default());
        let (_, requests) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async { watch(sender, requests).await.expect("watching goes on") });
        timeout(PATIENCE, receiver.changed()).await.expect("a first snapshot").unwrap();
        Self(receiver)
    }

    /// The present snapshot.
    pub(crate) fn now(&self) -> Snapshot {
        self.0.borrow().snapshot.clone()
    }

    /// Waits until the snapshot is as wanted.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        wanted: impl Fn(&Snapshot) -> bool,
    ) -> Snapshot {
        let waited = timeout(PATIENCE, self.0.wait_for(|seen| wanted(&seen.snapshot))).await;
        let found = waited.map(|it| it.expect("watching goes on").snapshot.clone());
        found.unwrap_or_else(|_| panic!("waited in vain for {what}: {:#?}", self.now()))
    }
}
