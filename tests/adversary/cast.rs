//! The parties: pods, Services and policies, and their addresses in a running lab.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer_core::model::PodId;
use enforcer_tests::lab::{Family, Lab, Namespace, Party, Topology};
use nix::ifaddrs::getifaddrs;

use crate::crafted::{Address, Mac, Role, Service};
use crate::marks::short_mark;

/// The pods.
pub(crate) const PODS: [Role; 6] =
    [Role::Evil, Role::Narrow, Role::Rogue, Role::Friend, Role::Victim, Role::Ally];
/// The client's port of the flow between victim and office that always lives.
pub(crate) const LIVING: u16 = 40_000;

/// The port of the server behind the device without Ethernet headers.
pub(crate) const FAR: u16 = 5_001;

/// The pods, Services and policies. Every hostile pod of the attacker model is here: one that may
/// nothing, one that may little, and one that no policy isolates.
pub(crate) const MANIFEST: &str = r#"---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: evil, labels: {app: evil}}
spec: {containers: [{name: c, image: x, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: narrow, labels: {app: narrow}}
spec: {containers: [{name: c, image: x, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: rogue, labels: {app: rogue}}
spec: {containers: [{name: c, image: x, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: friend, labels: {app: friend}}
spec: {containers: [{name: c, image: x, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: victim, labels: {app: victim}}
spec: {containers: [{name: c, image: x, ports: [{containerPort: 80}, {containerPort: 5353, protocol: UDP}]}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: ally, labels: {app: ally}}
spec: {containers: [{name: c, image: x, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: web}
spec: {type: NodePort, selector: {app: ally}, clusterIP: 10.0.0.10, clusterIPs: [10.0.0.10, "fd00:10::10"], externalIPs: [192.0.2.20, "2001:db8:2::20"], ports: [{name: h, port: 80, targetPort: 8080, nodePort: 30080}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: vault}
spec: {type: NodePort, selector: {app: victim}, clusterIP: 10.0.0.11, clusterIPs: [10.0.0.11, "fd00:10::11"], externalIPs: [192.0.2.21, "2001:db8:2::21"], ports: [{name: h, port: 80, targetPort: 80, nodePort: 30081}, {name: u, protocol: UDP, port: 53, targetPort: 5353, nodePort: 30053}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: open}
spec: {type: NodePort, selector: {app: friend}, clusterIP: 10.0.0.12, clusterIPs: [10.0.0.12, "fd00:10::12"], externalIPs: [192.0.2.22, "2001:db8:2::22"], ports: [{name: h, port: 80, targetPort: 80, nodePort: 30082}, {name: u, protocol: UDP, port: 53, targetPort: 5354, nodePort: 30054}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: far}
spec: {clusterIP: 10.0.0.13, clusterIPs: [10.0.0.13, "fd00:10::13"], ports: [{name: u, port: 53, protocol: UDP}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: evil}
spec: {podSelector: {matchLabels: {app: evil}}, policyTypes: [Ingress, Egress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: narrow}
spec:
  podSelector: {matchLabels: {app: narrow}}
  policyTypes: [Ingress, Egress]
  egress: [{to: [{podSelector: {matchLabels: {app: ally}}}], ports: [{port: 8080}]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: ally}
spec:
  podSelector: {matchLabels: {app: ally}}
  policyTypes: [Ingress]
  ingress: [{from: [{podSelector: {matchExpressions: [{key: app, operator: In, values: [friend, narrow]}]}}], ports: [{port: 8080}]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: victim}
spec:
  podSelector: {matchLabels: {app: victim}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: friend}}}]
    ports: [{port: 80}, {port: 5353, protocol: UDP}]
  # The node's addresses, too: a client that masquerading hides behind them gains nothing.
  - from:
    - {ipBlock: {cidr: 198.51.100.0/25}}
    - {ipBlock: {cidr: "2001:db8:100::/64"}}
    - {ipBlock: {cidr: 10.240.0.4/32}}
    - {ipBlock: {cidr: "fd00:10:240::4/128"}}
    - {ipBlock: {cidr: 10.244.1.1/32}}
    - {ipBlock: {cidr: "fd00:10:244:1::1/128"}}
    ports: [{port: 80}, {port: 5353, protocol: UDP}]
  egress:
  - to: [{podSelector: {matchLabels: {app: friend}}}]
    ports: [{port: 80}]
  - to: [{ipBlock: {cidr: 198.51.100.0/25}}, {ipBlock: {cidr: "2001:db8:100::/64"}}]
    ports: [{port: 53, protocol: UDP}]
  - to: [{ipBlock: {cidr: 10.78.0.9/32}}, {ipBlock: {cidr: "fd00:78::9/128"}}]
    ports: [{port: 5001, protocol: UDP}]
"#;

impl Role {
    /// The pod's name; none for the outside host.
    pub(crate) fn pod(self) -> Option<PodId> {
        let name = match self {
            Self::Evil => "evil",
            Self::Narrow => "narrow",
            Self::Rogue => "rogue",
            Self::Friend => "friend",
            Self::Victim => "victim",
            Self::Ally => "ally",
            Self::Outside => return None,
        };
        Some(PodId::new("shop", name))
    }

    pub(crate) fn party(self) -> Party {
        self.pod().map_or_else(|| Party::outside("internet"), Party::Pod)
    }
}

/// An interface: hardware address, and addresses of either family.
#[derive(Debug, Clone, Copy)]
struct Port {
    mac: [u8; 6],
    v4: Ipv4Addr,
    v6: Ipv6Addr,
    link_local: Ipv6Addr,
}

/// The addresses of a running lab.
#[derive(Debug, Clone)]
pub(crate) struct World {
    ports: BTreeMap<Role, Port>,
    node: [u8; 6],
    gateway: [u8; 6],
    gateways: [IpAddr; 2],
    /// All of the node's addresses (semantics A2), link-local ones included.
    pub(crate) node_addresses: Vec<IpAddr>,
}

/// Hardware address, and link-local address, of an interface.
async fn interface(namespace: &Namespace, name: &'static str) -> ([u8; 6], Ipv6Addr) {
    let read = move || {
        let (mut mac, mut link_local) = ([0; 6], Ipv6Addr::UNSPECIFIED);
        for it in getifaddrs()?.filter(|it| it.interface_name == name) {
            let Some(address) = it.address else { continue };
            if let Some(found) = address.as_link_addr().and_then(nix::sys::socket::LinkAddr::addr) {
                mac = found;
            }
            if let Some(v6) = address.as_sockaddr_in6().filter(|it| it.ip().is_unicast_link_local())
            {
                link_local = v6.ip();
            }
        }
        Ok((mac, link_local))
    };
    namespace.io("read an interface", read).await.unwrap()
}

impl World {
    pub(crate) async fn read(lab: &Lab) -> Self {
        let mut ports = BTreeMap::new();
        for role in PODS.into_iter().chain([Role::Outside]) {
            let party = role.party();
            let (mac, link_local) = interface(lab.namespace(&party).unwrap(), "eth0").await;
            let [IpAddr::V4(v4), IpAddr::V6(v6)] =
                Family::ALL.map(|it| lab.address(&party, it).unwrap())
            else {
                panic!("a party has an address of each family")
            };
            ports.insert(role, Port { mac, v4, v6, link_local });
        }
        let (node, node_link_local) = interface(lab.node(), "eth0").await;
        let (gateway, gateway_link_local) = match lab.topology() {
            Topology::Kubenet => interface(lab.node(), "cbr0").await,
            Topology::AzureCni => ([0xaa; 6], node_link_local),
        };
        let mut node_addresses = lab.node_addresses();
        node_addresses.extend([node_link_local, gateway_link_local].map(IpAddr::from));
        // Of the device without Ethernet headers.
        node_addresses
            .extend(["10.238.0.1", "fd00:10:238::1"].map(|it| it.parse::<IpAddr>().unwrap()));
        let gateways = lab.nodes()[0].site().gateways();
        Self { ports, node, gateway, gateways, node_addresses }
    }

    /// The address that a frame of `by` has there.
    pub(crate) fn address(&self, address: Address, by: Role, v6: bool) -> IpAddr {
        let pair = |v4: [u8; 4], text: &str| -> IpAddr {
            if v6 { text.parse().unwrap() } else { v4.into() }
        };
        match address {
            Address::Own => self.of(by, v6),
            Address::Pod(role) => self.of(role, v6),
            Address::LinkLocal(role) if v6 => self.ports[&role].link_local.into(),
            Address::LinkLocal(role) => self.of(role, v6),
            Address::Node => pair([10, 240, 0, 4], "fd00:10:240::4"),
            Address::Gateway => self.gateways[usize::from(v6)],
            Address::Tunnel => pair([10, 239, 0, 1], "fd00:10:239::1"),
            Address::Cluster(service) => match service {
                Service::Web => pair([10, 0, 0, 10], "fd00:10::10"),
                Service::Vault => pair([10, 0, 0, 11], "fd00:10::11"),
                Service::Open => pair([10, 0, 0, 12], "fd00:10::12"),
                Service::Far => pair([10, 0, 0, 13], "fd00:10::13"),
            },
            Address::External(service) => match service {
                Service::Web => pair([192, 0, 2, 20], "2001:db8:2::20"),
                Service::Vault => pair([192, 0, 2, 21], "2001:db8:2::21"),
                Service::Open | Service::Far => pair([192, 0, 2, 22], "2001:db8:2::22"),
            },
            Address::Office => pair([198, 51, 100, 10], "2001:db8:100::10"),
            Address::Internet => pair([203, 0, 113, 7], "2001:db8:203::7"),
            Address::BehindTunnel => pair([10, 77, 0, 9], "fd00:77::9"),
            Address::BehindBare => pair([10, 78, 0, 9], "fd00:78::9"),
            Address::Nobody => self.in_subnet(200, v6),
            Address::SubnetBroadcast if !v6 => self.in_subnet(255, v6),
            Address::AllHosts | Address::SubnetBroadcast | Address::Broadcast if v6 => {
                pair([0; 4], "ff02::1")
            }
            Address::AllRouters => pair([224, 0, 0, 2], "ff02::2"),
            Address::Solicited(role) if v6 => {
                let [.., a, b, c] = self.ports[&role].v6.octets();
                let low = u16::from_be_bytes([b, c]);
                Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), low).into()
            }
            Address::Broadcast => Ipv4Addr::BROADCAST.into(),
            Address::Unspecified => pair([0; 4], "::"),
            _ => pair([224, 0, 0, 1], "ff02::1"),
        }
    }

    fn in_subnet(&self, host: u8, v6: bool) -> IpAddr {
        let Port { v4, v6: address, .. } = self.ports[&Role::Victim];
        if v6 {
            let mut octets = address.octets();
            octets[15] = host;
            return octets.into();
        }
        let [a, b, c, _] = v4.octets();
        [a, b, c, host].into()
    }

    /// A party's address.
    pub(crate) fn of(&self, role: Role, v6: bool) -> IpAddr {
        let port = &self.ports[&role];
        if v6 { port.v6.into() } else { port.v4.into() }
    }

    /// Whether the address is the party's, its link-local one included.
    pub(crate) fn owns(&self, role: Role, address: IpAddr) -> bool {
        let port = &self.ports[&role];
        [IpAddr::from(port.v4), port.v6.into(), port.link_local.into()].contains(&address)
    }

    /// The hardware address that a frame of `by` to `destination` has there.
    pub(crate) fn mac(&self, mac: Mac, by: Role, destination: IpAddr, mark: u32) -> [u8; 6] {
        match mac {
            Mac::Own => self.ports[&by].mac,
            Mac::Router if by == Role::Outside => self.node,
            Mac::Router => self.gateway,
            Mac::Pod(role) => self.ports[&role].mac,
            Mac::Broadcast => [0xff; 6],
            Mac::Mark => short_mark(mark),
            Mac::Group => match destination {
                IpAddr::V4(it) if it.is_broadcast() => [0xff; 6],
                IpAddr::V4(it) => {
                    let [_, b, c, d] = it.octets();
                    [1, 0, 0x5e, b & 0x7f, c, d]
                }
                IpAddr::V6(it) => {
                    let [.., a, b, c, d] = it.octets();
                    [0x33, 0x33, a, b, c, d]
                }
            },
        }
    }
}
