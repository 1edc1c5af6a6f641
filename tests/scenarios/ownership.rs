//! What a pod with `CAP_NET_ADMIN` in its own network namespace can do to be taken for another pod, or
//! for none (semantics S6).

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use enforcer_core::model::PodId;
use enforcer_tests::lab::{Family, Namespace, Party, Topology, command_in};
use nix::sys::signal::Signal;
use tokio::net::TcpSocket;

use crate::scene::{
    CLOSED, INGRESS_ISOLATED, OPEN, PATIENCE, Scene, Setup, UNKNOWN, namespace, pod, policy, until,
};
use crate::support::{SILENCE, spawner};

/// The server lets friends in.
const FRIENDS: &str = "podSelector: {matchLabels: {app: server}}, \
                       ingress: [{from: [{podSelector: {matchLabels: {role: friend}}}]}]";
/// Strangers may not send anything.
const NOTHING_OUT: &str = "podSelector: {matchLabels: {role: stranger}}, policyTypes: [Egress]";

const PORTS: [&str; 1] = ["http/TCP/80"];

/// The setups without records of the runtime: only routes, or nothing but observation.
const WITHOUT: [&str; 2] = ["--cni-results", "off"];

fn id(name: &str) -> PodId {
    PodId::new("shop", name)
}

fn party(name: &str) -> Party {
    Party::Pod(id(name))
}

/// A server for friends, and a stranger.
async fn server_and_stranger(scene: &mut Scene) {
    scene.write("policy.yaml", &policy("shop", "friends", FRIENDS));
    let server = pod("shop", "server", "app: server", &PORTS);
    scene.write("server.yaml", &[namespace("shop", ""), server].concat());
    scene.write("stranger.yaml", &pod("shop", "stranger", "role: stranger", &PORTS));
    scene.agree("a stranger").await;
}

/// A command of the shell in a network namespace.
async fn run(namespace: &Namespace, script: &str) {
    let done = command_in(namespace, &spawner(), "sh", &["-ec", script]).await.unwrap();
    assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
}

async fn run_in(scene: &Scene, party: &Party, script: &str) {
    run(scene.lab().namespace(party).unwrap(), script).await;
}

/// Gives the stranger more addresses.
async fn take(scene: &Scene, addresses: &[IpAddr]) {
    for address in addresses {
        let script = match address {
            IpAddr::V4(address) => format!("ip addr add {address}/24 dev eth0"),
            IpAddr::V6(address) => format!("ip addr add {address}/64 dev eth0 nodad"),
        };
        run_in(scene, &party("stranger"), &script).await;
    }
}

async fn drop_addresses(scene: &Scene, addresses: &[IpAddr]) {
    for address in addresses {
        let length = if address.is_ipv4() { 24 } else { 64 };
        let script = format!("ip addr del {address}/{length} dev eth0");
        run_in(scene, &party("stranger"), &script).await;
    }
}

fn addresses(scene: &Scene, name: &str) -> Vec<IpAddr> {
    scene.lab().pods()[&id(name)].addresses().to_vec()
}

/// Whether a connection from this address succeeds.
async fn connects(from: &Namespace, source: IpAddr, to: SocketAddr) -> bool {
    let bound = move || {
        let socket = if source.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.bind(SocketAddr::new(source, 0))?;
        Ok(socket)
    };
    let socket = from.io("bind", bound).await.unwrap();
    tokio::time::timeout(SILENCE, socket.connect(to)).await.is_ok_and(|it| it.is_ok())
}

/// The friend is gone, and the API reports some change to it: an address alone is no evidence.
async fn another_pods_addresses(scene: &mut Scene) {
    server_and_stranger(scene).await;
    scene.write("friend.yaml", &pod("shop", "friend", "role: friend", &PORTS));
    scene.agree("a friend").await;
    let (friends, own) = (addresses(scene, "friend"), addresses(scene, "stranger"));
    scene.lab_mut().vanish(&id("friend")).await.unwrap();
    drop_addresses(scene, &own).await;
    take(scene, &friends).await;
    scene.write("friend.yaml", &pod("shop", "friend", "role: friend, other: label", &PORTS));
    tokio::time::sleep(SILENCE * 2).await;
    let server = addresses(scene, "server");
    for (source, server) in friends.into_iter().zip(server) {
        let stranger = scene.lab().namespace(&party("stranger")).unwrap();
        assert!(!connects(stranger, source, SocketAddr::new(server, 80)).await, "{source}");
    }
    assert!(scene.status().await.endpoints.iter().any(|it| it.pod == "shop/stranger"));
}

/// The stranger has the friend's addresses before the friend exists.
async fn the_next_pods_addresses(scene: &mut Scene) {
    server_and_stranger(scene).await;
    // The lab gives the lowest free addresses.
    scene.write("friend.yaml", &pod("shop", "friend", "role: friend", &PORTS));
    scene.agree("a friend").await;
    let next = addresses(scene, "friend");
    scene.remove("friend.yaml");
    scene.agree("none").await;
    take(scene, &next).await;
    scene.write("friend.yaml", &pod("shop", "next", "role: friend", &PORTS));
    scene.run_pods().await;
    assert_eq!(addresses(scene, "next"), next);
    assert_eq!(scene.status().await.endpoints.len(), 3);
    scene.expect(&party("stranger"), &party("server"), CLOSED).await;
    // On a bridge the stranger also answers for the friend's address: that is another attack.
    drop_addresses(scene, &next).await;
    run_in(scene, &party("server"), "ip neigh flush dev eth0").await;
    scene.expect(&party("next"), &party("server"), OPEN).await;
}

/// The stranger's end of the pair is in a namespace of its own making, with an unknown address.
async fn a_child_namespace(scene: &mut Scene) {
    server_and_stranger(scene).await;
    let child = Namespace::new("child").unwrap();
    let unknown: IpAddr = "10.244.1.99".parse().unwrap();
    run_in(scene, &party("stranger"), "ip link set eth0 netns child").await;
    let gateway = scene.lab().nodes()[0].site().gateways()[0];
    let script = format!(
        "ip link set lo up; ip addr add {unknown}/24 dev eth0; ip link set eth0 up; \
         ip route add default via {gateway}"
    );
    run(&child, &script).await;
    tokio::time::sleep(SILENCE).await;
    let status = scene.status().await;
    assert!(status.endpoints.iter().any(|it| it.pod == "shop/stranger"), "{:?}", status.problems);
    let server = SocketAddr::new(scene.lab().address(&party("server"), Family::V4).unwrap(), 80);
    assert!(!connects(&child, unknown, server).await);
    // Nor after a restart of the agent.
    scene.kill_agent().await.unwrap();
    scene.start_agent().await.unwrap();
    assert!(scene.status().await.endpoints.iter().any(|it| it.pod == "shop/stranger"));
    assert!(!connects(&child, unknown, server).await);
}

/// Whatever routes lead to it, a pod's interface is no uplink.
async fn default_routes(scene: &mut Scene) {
    server_and_stranger(scene).await;
    scene.write("out.yaml", &policy("shop", "nothing-out", NOTHING_OUT));
    scene.agree("a stranger that may not send").await;
    let device = scene.status().await.endpoints;
    let device = device.iter().find(|it| it.pod == "shop/stranger").unwrap();
    let device = device.interface.name.clone();
    let node = scene.lab().node().clone();
    for route in ["table 100", "proto ra metric 9000", "metric 9001"] {
        run(&node, &format!("ip route add default dev {device} {route}")).await;
    }
    run(&node, &format!("ip -6 route add default dev {device} proto ra metric 9000")).await;
    // The next event of the node makes an agent look that misses these.
    run(&node, &format!("ip link set {device} alias x")).await;
    tokio::time::sleep(SILENCE).await;
    scene.expect(&party("stranger"), &party("server"), CLOSED).await;
    scene.expect(&party("stranger"), &Party::outside("office"), CLOSED).await;
    assert!(scene.status().await.endpoints.iter().any(|it| it.pod == "shop/stranger"));
}

/// The record is there before the API reports an address, and decides.
async fn by_the_record(scene: &mut Scene) {
    server_and_stranger(scene).await;
    scene.write("out.yaml", &policy("shop", "nothing-out", NOTHING_OUT));
    let status = scene.status().await;
    assert_eq!((status.cni.state.as_str(), status.unknown_pod.as_str()), ("used", "deny"));
    // The API knows the pod, but no address: the lab does not report it.
    scene.write("late.yaml", &pod("shop", "late", "role: friend", &PORTS));
    scene.lab_mut().add_unreported_pod(&id("late"), crate::support::web()).await.unwrap();
    until("the record counts", async || {
        scene.connect(&party("late"), &party("server"), SILENCE).await == OPEN
    })
    .await;
    // A pod that the API does not know at all has a record, too.
    scene.lab_mut().add_unreported_pod(&id("stray"), crate::support::web()).await.unwrap();
    until("its interface is seen", async || scene.metric(UNKNOWN).await == 1).await;
    scene.expect(&party("stray"), &Party::outside("office"), CLOSED).await;
}

/// A pod that starts while the agent is stopped has no programs: it reaches its node and nothing else.
async fn while_the_agent_is_away(scene: &mut Scene) {
    server_and_stranger(scene).await;
    scene.write("out.yaml", &policy("shop", "nothing-out", NOTHING_OUT));
    scene.agree("before").await;
    scene.agent().unwrap().signal(Signal::SIGSTOP).unwrap();
    scene.lab_mut().add_unreported_pod(&id("late"), crate::support::web()).await.unwrap();
    let late = party("late");
    scene.expect(&late, &Party::outside("office"), CLOSED).await;
    scene.expect(&late, &party("stranger"), CLOSED).await;
    scene.expect(&party("server"), &late, CLOSED).await;
    scene.expect(&late, &Party::Node, OPEN).await;
    scene.expect(&Party::Node, &late, OPEN).await;
    // Guarded pods are not affected.
    scene.expect(&party("server"), &Party::outside("office"), OPEN).await;
    scene.expect(&Party::outside("office"), &party("stranger"), OPEN).await;
    scene.agent().unwrap().signal(Signal::SIGCONT).unwrap();
    let unguarded = "namespace=\"\",pod=\"\",direction=\"egress\",reason=\"unguarded\"";
    let dropped = format!("enforcer_drops_total{{{unguarded}}}");
    until("the drops are counted", async || scene.metric(&dropped).await > 0).await;
}

/// Many records at once. How long it takes is printed: `--nocapture` shows it.
async fn many_records(scene: &mut Scene) {
    const PODS: usize = 60;
    let names: Vec<String> = (0..PODS).map(|number| format!("pod{number}")).collect();
    scene.write("policy.yaml", &policy("shop", "friends", FRIENDS));
    let all = names.iter().map(|name| pod("shop", name, "app: server", &PORTS));
    scene.write("pods.yaml", &[namespace("shop", "")].into_iter().chain(all).collect::<String>());
    for name in &names {
        scene.lab_mut().add_unreported_pod(&id(name), crate::support::web()).await.unwrap();
    }
    let known = |wanted: usize| {
        let scene: &Scene = scene;
        async move { scene.metric(INGRESS_ISOLATED).await == wanted as u64 }
    };
    until("all are known", async || known(PODS).await).await;
    for name in &names {
        scene.lab().record(&id(name), false).unwrap();
    }
    until("none is known", async || known(0).await).await;
    let started_at = Instant::now();
    for name in &names {
        scene.lab().record(&id(name), true).unwrap();
    }
    let written = started_at.elapsed();
    while !known(PODS).await {
        assert!(started_at.elapsed() < PATIENCE, "they are not known");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let programmed = started_at.elapsed();
    let text =
        format!("{PODS} records: written in {written:.1?}, programmed after {programmed:.1?}\n");
    std::io::stderr().write_all(text.as_bytes()).unwrap();
}

scenarios! {
    // Both: with and without the interface's name in the record.
    c6_sixty_pods_at_once_are_known_by_their_records_on_kubenet: Topology::Kubenet => many_records;
    c6_sixty_pods_at_once_are_known_by_their_records_on_azure_cni: Topology::AzureCni =>
        many_records;
    // Both: on a bridge, packets enter by a port, or by the bridge if the node routes them.
    c6_a_pod_that_starts_without_an_agent_reaches_only_its_node_on_kubenet: Topology::Kubenet =>
        while_the_agent_is_away;
    c6_a_pod_that_starts_without_an_agent_reaches_only_its_node_on_azure_cni: Topology::AzureCni =>
        while_the_agent_is_away;
    c6_a_pod_that_starts_without_an_agent_reaches_only_its_node_with_clsact:
        Setup::with(Topology::AzureCni, &["--attach", "clsact"]) => while_the_agent_is_away;
    s6_c5_another_pods_addresses_give_no_rights:
        Setup::with(Topology::Kubenet, &WITHOUT) => another_pods_addresses;
    // Both: on Azure CNI the host route shows whose the address is.
    s6_the_next_pods_addresses_give_no_rights_on_kubenet:
        Setup::with(Topology::Kubenet, &WITHOUT) => the_next_pods_addresses;
    s6_the_next_pods_addresses_give_no_rights_on_azure_cni:
        Setup::with(Topology::AzureCni, &WITHOUT) => the_next_pods_addresses;
    s6_c3_a_pod_that_moves_its_interface_stays_guarded:
        Setup::with(Topology::Kubenet, &WITHOUT) => a_child_namespace;
    s6_no_route_makes_an_uplink_of_a_pods_interface: Topology::AzureCni => default_routes;
    // Both: the bridge plugin's record names the interface, Azure's does not.
    s6_c6_the_runtimes_record_makes_a_pod_known_on_kubenet: Topology::Kubenet => by_the_record;
    s6_c6_the_runtimes_record_makes_a_pod_known_on_azure_cni: Topology::AzureCni => by_the_record;
}
