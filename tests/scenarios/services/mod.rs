//! Services (semantics N1 to N4): what policy makes of connections that kube-proxy translates.

mod connections;
mod datagrams;
mod egress;
mod ingress;
mod judged;
mod nodes;
mod npm;
mod stand_in;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use enforcer_tests::lab::{Door, Fabric, Family, Layout, Party, Proxy, Topology};
use enforcer_tests::probe::{Outcome, Page, fetch};

use crate::scene::{Scene, Setup, namespace, pod, pod_on};
use crate::support::ANSWER;

/// The Service's port, and the ports of its pods: they differ, so that a rule about one says
/// nothing of the other.
pub(crate) const PORT: u16 = 80;
pub(crate) const NODE_PORT: u16 = 30_080;
pub(crate) const UDP_PORT: u16 = 53;
pub(crate) const UDP_NODE_PORT: u16 = 30_053;

/// Ports of a backend: `http` and `dns` have another number on every second one.
pub(crate) const BACKEND: [&str; 2] = ["http/TCP/8080", "dns/UDP/5353"];
pub(crate) const OTHER_BACKEND: [&str; 2] = ["http/TCP/8081", "dns/UDP/5354"];

/// So many connections through a Service. Of two backends, one is missed by chance once in
/// eight million times.
pub(crate) const MANY: usize = 24;

/// Tests that each run in one setup, named `topology, proxy`.
macro_rules! on_each_setup {
    ($($name:ident($topology:ident, $proxy:ident): $test:ident;)*) => {
        $(#[test]
        fn $name() {
            use enforcer_tests::lab::{Proxy, Topology};
            let one = crate::scene::Setup::one_node(Topology::$topology);
            let setup = crate::scene::Setup { proxy: Proxy::$proxy, ..one };
            crate::scene::with_setup(setup, $test);
        })*
    };
}
pub(crate) use on_each_setup;

/// Two nodes.
pub(crate) const fn two_nodes(topology: Topology, proxy: Proxy, fabric: Fabric) -> Setup {
    let layout = Layout { topology, nodes: 2, fabric };
    Setup { layout, proxy, ..Setup::one_node(topology) }
}

/// The Service `shop/web` with all that a Service can have; `more` goes into its `spec`.
pub(crate) fn web_service(more: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{namespace: shop, name: web}}\n\
         spec:\n  type: LoadBalancer\n  selector: {{app: web}}\n  clusterIP: 10.0.0.10\n  \
         clusterIPs: [10.0.0.10, \"fd00:10::10\"]\n  \
         externalIPs: [192.0.2.20, \"2001:db8:2::20\"]\n  ports:\n  \
         - {{name: http, port: {PORT}, targetPort: http, nodePort: {NODE_PORT}}}\n  \
         - {{name: dns, protocol: UDP, port: {UDP_PORT}, targetPort: dns, nodePort: {UDP_NODE_PORT}}}\n\
         {more}\
         status:\n  loadBalancer:\n    ingress: [{{ip: 192.0.2.10}}, {{ip: \"2001:db8:2::10\"}}]\n"
    )
}

/// Two backends, two other pods, and the Service, on one node.
pub(crate) fn shop(more: &str) -> String {
    [
        namespace("shop", ""),
        pod("shop", "web1", "app: web, one: \"1\"", &BACKEND),
        pod("shop", "web2", "app: web, one: \"2\"", &OTHER_BACKEND),
        pod("shop", "client", "app: client", &["http/TCP/80"]),
        pod("shop", "other", "app: other", &["http/TCP/80"]),
        web_service(more),
    ]
    .concat()
}

/// The first backend and a client on the first node; the second backend and `shop/far`, a client
/// too, on the second.
pub(crate) fn shop_on_two_nodes(more: &str) -> String {
    const SECOND: &str = "lab-node-2";
    [
        namespace("shop", ""),
        pod("shop", "web1", "app: web, one: \"1\"", &BACKEND),
        pod_on(SECOND, "shop", "web2", "app: web, one: \"2\"", &OTHER_BACKEND),
        pod("shop", "client", "app: client", &["http/TCP/80"]),
        pod_on(SECOND, "shop", "far", "app: far", &["http/TCP/80"]),
        web_service(more),
    ]
    .concat()
}

pub(crate) fn client() -> Party {
    Party::pod("shop", "client")
}

pub(crate) fn web(number: u8) -> Party {
    Party::pod("shop", format!("web{number}"))
}

/// One of the Service's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Cluster,
    Balancer,
    ExternalIp,
    /// The port of the node with this index.
    Node(usize),
}

impl Way {
    /// All of a lab of one node.
    pub(crate) const ALL: [Self; 4] =
        [Self::Cluster, Self::Balancer, Self::ExternalIp, Self::Node(0)];
    /// Those that lead in from outside.
    pub(crate) const EXTERNAL: [Self; 3] = [Self::Balancer, Self::ExternalIp, Self::Node(0)];

    pub(crate) fn address(self, scene: &Scene, family: Family) -> IpAddr {
        let of = |v4: &str, v6: &str| match family {
            Family::V4 => v4.parse().unwrap(),
            Family::V6 => v6.parse().unwrap(),
        };
        match self {
            Self::Cluster => of("10.0.0.10", "fd00:10::10"),
            Self::Balancer => of("192.0.2.10", "2001:db8:2::10"),
            Self::ExternalIp => of("192.0.2.20", "2001:db8:2::20"),
            Self::Node(index) => {
                let door = Door::Node(index.try_into().unwrap());
                scene.lab().address(&Party::service("shop", "web", door), family).unwrap()
            }
        }
    }

    /// For TCP.
    pub(crate) fn tcp(self, scene: &Scene, family: Family) -> SocketAddr {
        let port = if let Self::Node(_) = self { NODE_PORT } else { PORT };
        SocketAddr::new(self.address(scene, family), port)
    }

    /// For UDP.
    pub(crate) fn udp(self, scene: &Scene, family: Family) -> SocketAddr {
        let port = if let Self::Node(_) = self { UDP_NODE_PORT } else { UDP_PORT };
        SocketAddr::new(self.address(scene, family), port)
    }
}

/// One connection.
pub(crate) async fn ask(
    scene: &Scene,
    from: &Party,
    at: SocketAddr,
    patience: Duration,
) -> Result<Page, Outcome> {
    let namespace = scene.lab().namespace(from).unwrap();
    // Nodes choose by themselves, clients outside share a namespace.
    let own = match from {
        Party::Node | Party::OtherNode(_) => None,
        _ => Some(scene.lab().address(from, Family::of(at.ip())).unwrap()),
    };
    fetch(namespace, at, own, patience).await.unwrap()
}

/// Many connections at once.
async fn ask_often(
    scene: &Scene,
    from: &Party,
    at: SocketAddr,
    patience: Duration,
) -> Vec<Result<Page, Outcome>> {
    let all = (0..MANY).map(|_| ask(scene, from, at, patience));
    futures::future::join_all(all).await
}

/// Connections that all must succeed: which backend was asked from which addresses.
pub(crate) async fn answers(
    scene: &Scene,
    from: &Party,
    at: SocketAddr,
) -> BTreeMap<String, BTreeSet<IpAddr>> {
    let mut found: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
    for answer in ask_often(scene, from, at, ANSWER).await {
        let page = answer.unwrap_or_else(|it| panic!("{from} → {at}: {it:?}"));
        found.entry(page.by).or_default().insert(page.client);
    }
    found
}

/// Connections that reach both backends.
pub(crate) async fn both_answer(scene: &Scene, from: &Party, at: SocketAddr) {
    let found: BTreeSet<String> = answers(scene, from, at).await.into_keys().collect();
    assert_eq!(found, names(&[web(1), web(2)]), "{from} → {at}");
}

pub(crate) fn names(parties: &[Party]) -> BTreeSet<String> {
    parties.iter().map(ToString::to_string).collect()
}
