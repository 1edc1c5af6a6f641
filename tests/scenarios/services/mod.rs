//! Services (semantics N1 to N4): policy on connections that kube-proxy translates.
//!
//! Setups: the path between a pod and the translation depends on the topology (bridge or routes),
//! the translation on kube-proxy's mode. No rule of either mode depends on the topology, so each
//! test runs on both topologies, once with each mode; the pairing alternates. `stand_in.rs` tries
//! all four pairs. Tests of two nodes vary the fabric as well.

mod connections;
mod datagrams;
mod egress;
mod ingress;
mod ipvs;
mod marks;
mod nodes;
mod npm;
mod stand_in;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use enforcer_tests::lab::{Door, Family, Party};
use enforcer_tests::probe::{Outcome, Page, fetch};
use enforcer_tests::{at_once, patient};
use futures::stream::{self, FuturesUnordered, StreamExt as _};
use tokio::time::timeout;

use crate::scene::{Scene, namespace, pod, pod_on};
use crate::support::{ANSWER, SILENCE};

/// The Service's ports. They differ from its pods' ports, so that no rule covers both.
const PORT: u16 = 80;
const NODE_PORT: u16 = 30_080;
const UDP_PORT: u16 = 53;
const UDP_NODE_PORT: u16 = 30_053;

/// Ports of the backends: the names `http` and `dns` stand for different numbers.
const BACKEND: [&str; 2] = ["http/TCP/8080", "dns/UDP/5353"];
const OTHER_BACKEND: [&str; 2] = ["http/TCP/8081", "dns/UDP/5354"];

/// Connections through a Service, enough to reach both backends: one of two is missed by chance
/// once in eight million times.
const MANY: usize = 24;

/// The office's addresses, without those of its guests.
const OFFICE: &str = "{ipBlock: {cidr: 198.51.100.0/25}}, {ipBlock: {cidr: '2001:db8:100::/64'}}";

/// The Service `shop/web` with every kind of address; `more` is added to its `spec`.
fn web_service(more: &str) -> String {
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
fn shop(more: &str) -> String {
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

/// The first backend and a client on the first node; the second backend and a second client,
/// `shop/far`, on the second.
fn shop_on_two_nodes(more: &str) -> String {
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

fn client() -> Party {
    Party::pod("shop", "client")
}

/// A client outside.
fn office() -> Party {
    Party::outside("office")
}

fn web(number: u8) -> Party {
    Party::pod("shop", format!("web{number}"))
}

/// One of the Service's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Cluster,
    Balancer,
    ExternalIp,
    /// The port of the node with this index.
    Node(usize),
}

impl Way {
    /// All, in a lab of one node.
    const ALL: [Self; 4] = [Self::Cluster, Self::Balancer, Self::ExternalIp, Self::Node(0)];
    /// Those that are reachable from outside.
    const EXTERNAL: [Self; 3] = [Self::Balancer, Self::ExternalIp, Self::Node(0)];

    fn address(self, scene: &Scene, family: Family) -> IpAddr {
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
    fn tcp(self, scene: &Scene, family: Family) -> SocketAddr {
        let port = if let Self::Node(_) = self { NODE_PORT } else { PORT };
        SocketAddr::new(self.address(scene, family), port)
    }

    /// For UDP.
    fn udp(self, scene: &Scene, family: Family) -> SocketAddr {
        let port = if let Self::Node(_) = self { UDP_NODE_PORT } else { UDP_PORT };
        SocketAddr::new(self.address(scene, family), port)
    }
}

/// One connection. A time limit is for a usual machine.
async fn ask(
    scene: &Scene,
    from: &Party,
    at: SocketAddr,
    patience: Duration,
) -> Result<Page, Outcome> {
    let namespace = scene.lab().namespace(from).unwrap();
    // Nodes choose their own address; clients outside share a namespace.
    let own = match from {
        Party::Node | Party::OtherNode(_) => None,
        _ => Some(scene.lab().address(from, Family::of(at.ip())).unwrap()),
    };
    fetch(namespace, at, own, patient(patience)).await.unwrap()
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

/// Connections that must all succeed: the client addresses that each backend saw.
async fn answers(
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
async fn both_answer(scene: &Scene, from: &Party, at: SocketAddr) {
    let found: BTreeSet<String> = answers(scene, from, at).await.into_keys().collect();
    assert_eq!(found, names(&[web(1), web(2)]), "{from} → {at}");
}

/// Runs a check for the Service's TCP addresses of these kinds, both families, as many at once as the machine
/// answers in time: a drop takes its time to show.
async fn for_each(scene: &Scene, ways: &[Way], check: impl AsyncFn(SocketAddr)) {
    let of_family = |family| ways.iter().map(move |way| way.tcp(scene, family));
    let checks: Vec<_> = Family::ALL.into_iter().flat_map(of_family).map(|at| check(at)).collect();
    let width = at_once(checks.len());
    stream::iter(checks).buffer_unordered(width).collect::<()>().await;
}

/// Connections that succeed to one backend and are dropped on the way to others: those that are silent for
/// some time after the last answer. A slow machine's first answer may take longer.
async fn only_answers(scene: &Scene, from: &Party, at: SocketAddr, backend: &Party) {
    let mut asked: FuturesUnordered<_> = (0..MANY).map(|_| ask(scene, from, at, ANSWER)).collect();
    let mut answered = 0;
    let mut wait = ANSWER;
    while let Ok(Some(answer)) = timeout(patient(wait), asked.next()).await {
        match answer {
            Ok(page) => assert_eq!(page.by, backend.to_string(), "{from} → {at}"),
            Err(Outcome::TimedOut) => continue,
            Err(other) => panic!("{from} → {at}: {other:?}"),
        }
        answered += 1;
        wait = SILENCE;
    }
    assert!((1..MANY).contains(&answered), "{from} → {at}: {answered} of {MANY} were answered");
}

/// Connections that are all dropped.
async fn all_dropped(scene: &Scene, from: &Party, at: SocketAddr) {
    for answer in ask_often(scene, from, at, SILENCE).await {
        assert_eq!(answer, Err(Outcome::TimedOut), "{from} → {at}");
    }
}

fn names(parties: &[Party]) -> BTreeSet<String> {
    parties.iter().map(ToString::to_string).collect()
}
