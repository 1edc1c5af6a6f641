//! Programs at the node's interfaces that others remove, replace or precede (semantics C7).

use std::fs;

use enforcer::kernel::{Hooks, Kernel, Place, Settings};
use enforcer_core::model::PodId;
use enforcer_tests::lab::{Family, Party, Topology, command_in};
use nix::net::if_::if_indextoname;
use nix::sys::signal::Signal;
use tokio::time::timeout;

use crate::restart::{cluster, is_enforced};
use crate::scene::{OPEN, Scene, Setup, shop_of, until};
use crate::support::{SILENCE, spawner, udp_at, web};

const CLSACT: &[&str] = &["--attach", "clsact"];
const DENY: &[&str] = &["--unknown-pod", "deny"];
const DENY_CLSACT: &[&str] = &["--unknown-pod", "deny", "--attach", "clsact"];
/// The limits of these tests are far above the second that a restoration may take.
const RESTORED: &str = "enforcer_hooks_restored_total";
const UNGUARDED: &str = "enforcer_unguarded_interfaces";

fn party(name: &str) -> Party {
    Party::pod("shop", name)
}

/// Runs a program on the node; its output.
async fn on_node(scene: &Scene, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let done = command_in(scene.lab().node(), &spawner(), words[0], &words[1..]).await.unwrap();
    assert!(done.status.success(), "{line}: {done:?}");
    String::from_utf8(done.stdout).unwrap()
}

/// The host side of a pod's interface.
async fn interface(scene: &Scene, name: &str) -> (u32, String) {
    let ifindex = scene.lab().pods()[&PodId::new("shop", name)].interface();
    let name = move || Ok(if_indextoname(ifindex)?.into_string().unwrap());
    (ifindex, scene.lab().node().io("the name of an interface", name).await.unwrap())
}

/// The interface that leads off the node.
async fn uplink(scene: &Scene) -> String {
    let route = on_node(scene, "ip route show default").await;
    let mut words = route.split_whitespace().skip_while(|it| *it != "dev");
    words.nth(1).unwrap().to_owned()
}

async fn only_friends(scene: &mut Scene) {
    scene.write("cluster.yaml", &cluster());
    scene.agree("only friends").await;
}

/// Waits until this number of interfaces has been restored and all are guarded.
async fn until_restored(scene: &Scene, times: u64) {
    until("the hooks are restored", async || {
        scene.metric(RESTORED).await >= times && scene.metric(UNGUARDED).await == 0
    })
    .await;
    assert!(scene.get("/readyz").await.starts_with("HTTP/1.1 200"));
    let problems = scene.status().await.problems;
    assert!(!problems.iter().any(|it| it.contains("not guarded")), "{problems:?}");
}

async fn filters_and_qdiscs_are_restored(scene: &mut Scene) {
    only_friends(scene).await;
    let (_, server) = interface(scene, "server").await;
    on_node(scene, &format!("tc filter del dev {server} egress")).await;
    until_restored(scene, 1).await;
    is_enforced(scene).await;
    on_node(scene, &format!("tc qdisc del dev {server} clsact")).await;
    until_restored(scene, 2).await;
    is_enforced(scene).await;
    let uplink = uplink(scene).await;
    on_node(scene, &format!("tc qdisc del dev {uplink} clsact")).await;
    until_restored(scene, 3).await;
    let shown = on_node(scene, &format!("tc filter show dev {uplink} ingress")).await;
    assert!(shown.contains("from_wire"), "{shown}");
    assert!(scene.log().contains("its program was detached"), "who looks at the log knows");
}

/// Other programs take the first place of both hooks of the server's interface.
async fn the_first_place_is_taken_back(scene: &mut Scene, others: fn() -> Hooks) {
    only_friends(scene).await;
    let (ifindex, name) = interface(scene, "server").await;
    let take_first_place = move || {
        let mut kernel = Kernel::load(&Settings::default()).unwrap();
        let mut hooks = others();
        hooks.attach(&mut kernel, ifindex, &name, Place::Pod).unwrap();
        Ok((kernel, hooks))
    };
    let node = scene.lab().node();
    let others = node.io("attach other programs", take_first_place).await.unwrap();
    until_restored(scene, 1).await;
    is_enforced(scene).await;
    let (kernel, hooks) = others;
    node.io("detach other programs", move || {
        drop((hooks, kernel));
        Ok(())
    })
    .await
    .unwrap();
    is_enforced(scene).await;
}

/// A filter that can't be moved keeps packets from ours: that is reported until it is gone.
async fn a_fault_is_reported_until_it_ends(scene: &mut Scene) {
    only_friends(scene).await;
    let (_, server) = interface(scene, "server").await;
    // Without a pause, the agent would restore its filter first.
    scene.agent().unwrap().signal(Signal::SIGSTOP).unwrap();
    for line in [
        format!("tc qdisc del dev {server} clsact"),
        format!("tc qdisc add dev {server} clsact"),
        // A table of its own, which nothing else could know how to fill.
        format!("tc filter add dev {server} egress prio 1 protocol all handle 1: u32 divisor 1"),
        // Without an action, a match accepts the packet.
        format!(
            "tc filter add dev {server} egress prio 1 protocol all u32 match u32 0 0 flowid 1:1"
        ),
    ] {
        on_node(scene, &line).await;
    }
    scene.agent().unwrap().signal(Signal::SIGCONT).unwrap();
    until("the interface is reported", async || scene.metric(UNGUARDED).await == 1).await;
    let ready = scene.get("/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains(&server), "{ready}");
    let problems = scene.status().await.problems;
    let expected = format!(
        "interface {server} (shop/server) is not guarded: packets to the pod (to_pod): a u32 \
         filter of priority 1 of another program runs before ours"
    );
    assert!(problems.contains(&expected), "{problems:?}");
    scene.expect(&party("stranger"), &party("server"), OPEN).await;
    on_node(scene, &format!("tc filter del dev {server} egress prio 1 protocol all u32")).await;
    until_restored(scene, 1).await;
    is_enforced(scene).await;
}

/// No descriptor is left when a pod starts: the attempt is repeated, though nothing changes. The
/// agent can't read the pod's manifest either, so that it is closed as an unknown one.
async fn a_failure_is_retried_by_time(scene: &mut Scene) {
    scene.write("server.yaml", &shop_of(&["server"]));
    scene.agree("the server alone").await;
    let agent = scene.agent().unwrap().pid().unwrap();
    on_node(scene, &format!("prlimit --pid {agent} --nofile=1:")).await;
    scene.lab_mut().add_pod(&PodId::new("shop", "late"), web()).await.unwrap();
    until("the failure is logged", async || scene.log().contains("not guarded: ")).await;
    // Datagrams: what the pod answers is dropped at the server, since it comes from an unguarded pod.
    let (server, late) = (party("server"), party("late"));
    let from = udp_at(scene.lab(), &server, Family::V4, 0).await;
    let to = udp_at(scene.lab(), &late, Family::V4, 7_000).await;
    let arrives = async || {
        from.send_to(b"?", to.local_addr().unwrap()).await.unwrap();
        timeout(SILENCE, to.recv(&mut [0; 8])).await.is_ok()
    };
    assert!(arrives().await, "the interface is unguarded");
    on_node(scene, &format!("prlimit --pid {agent} --nofile=1024:")).await;
    until("the interface is guarded", async || !arrives().await).await;
    assert_eq!(scene.metric(UNGUARDED).await, 0);
}

/// Pins are removed, and another file system is mounted over them.
async fn enforcement_survives_without_its_pins(scene: &mut Scene) {
    only_friends(scene).await;
    fs::remove_dir_all("/sys/fs/bpf/enforcer").unwrap();
    is_enforced(scene).await;
    let (ifindex, _) = interface(scene, "server").await;
    until("the pins are back", async || {
        let mut folders = fs::read_dir("/sys/fs/bpf/enforcer").into_iter().flatten().flatten();
        folders.any(|it| it.path().join(format!("links/{ifindex}-out")).exists())
    })
    .await;
    scene.kill_agent().await.unwrap();
    is_enforced(scene).await;
    scene.start_agent().await.unwrap();
    assert_eq!(scene.metric("enforcer_taken_over").await, 1);
    is_enforced(scene).await;
}

async fn on_tcx(scene: &mut Scene) {
    the_first_place_is_taken_back(scene, Hooks::default).await;
}

async fn on_clsact(scene: &mut Scene) {
    the_first_place_is_taken_back(scene, || Hooks::default().without_tcx()).await;
}

scenarios! {
    c7_filters_and_qdiscs_are_restored: Setup::with(Topology::Kubenet, CLSACT) =>
        filters_and_qdiscs_are_restored;
    c7_the_first_place_is_taken_back_on_tcx: Topology::AzureCni => on_tcx;
    c7_the_first_place_is_taken_back_on_clsact: Setup::with(Topology::Kubenet, CLSACT) =>
        on_clsact;
    c7_a_fault_is_reported_until_it_ends: Setup::with(Topology::AzureCni, CLSACT) =>
        a_fault_is_reported_until_it_ends;
    c7_a_failure_is_retried_by_time_on_tcx: Setup::with(Topology::Kubenet, DENY) => a_failure_is_retried_by_time;
    c7_a_failure_is_retried_by_time_on_clsact: Setup::with(Topology::AzureCni, DENY_CLSACT) =>
        a_failure_is_retried_by_time;
    c3_c7_removed_pins_are_restored_on_tcx: Topology::AzureCni =>
        enforcement_survives_without_its_pins;
    c3_c7_removed_pins_are_restored_on_clsact: Setup::with(Topology::Kubenet, CLSACT) =>
        enforcement_survives_without_its_pins;
}
