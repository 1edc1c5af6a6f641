//! The CNI bandwidth plugin beside our programs, in either order (semantics C7). It adds a qdisc of
//! kind `ingress` whose filter sends all packets of the pod to another interface.

use std::path::PathBuf;

use enforcer_core::model::PodId;
use enforcer_tests::lab::{Party, Topology, command_in};

use crate::scene::{CLOSED, OPEN, Scene, Setup, pod, policy, shop_of, until};
use crate::support::{spawner, web};

/// The lab's uplink is named: the plugin's interface leads nowhere.
const TCX: &[&str] = &["--uplink", "eth0"];
const CLSACT: &[&str] = &["--uplink", "eth0", "--attach", "clsact"];

/// The plugin, as `cargo xtask test` provides it.
fn plugin() -> Option<PathBuf> {
    let path = std::env::var_os("ENFORCER_CNI_BANDWIDTH").map(PathBuf::from);
    path.or_else(|| Some(PathBuf::from("/usr/lib/cni/bandwidth"))).filter(|it| it.is_file())
}

fn server() -> PodId {
    PodId::new("shop", "server")
}

fn party(name: &str) -> Party {
    Party::pod("shop", name)
}

/// Limits the server's rates in both directions, as the container runtime does it.
async fn limit(scene: &Scene, plugin: &std::path::Path) {
    let lab = scene.lab();
    let pod = &lab.pods()[&server()];
    let (network, index) = (pod.namespace().path(), pod.interface());
    let find = move || Ok(nix::net::if_::if_indextoname(index)?.into_string().unwrap());
    let name = lab.node().io("the name of an interface", find).await.unwrap();
    let network = network.display();
    let configuration = format!(
        r#"{{"cniVersion": "0.4.0", "name": "limit", "type": "bandwidth",
        "ingressRate": 80000000, "ingressBurst": 80000000,
        "egressRate": 80000000, "egressBurst": 80000000,
        "prevResult": {{"cniVersion": "0.4.0", "ips": [],
        "interfaces": [{{"name": "{name}"}}, {{"name": "eth0", "sandbox": "{network}"}}]}}}}"#
    );
    let script = format!(
        "echo '{configuration}' | CNI_COMMAND=ADD CNI_CONTAINERID=server CNI_NETNS={network} \
         CNI_IFNAME=eth0 CNI_PATH=/nowhere {}",
        plugin.display()
    );
    let done = command_in(lab.node(), &spawner(), "sh", &["-c", &script]).await.unwrap();
    assert!(done.status.success(), "{done:?}");
}

/// The server's manifest and policy: only friends may come, and it may go nowhere.
fn declare(scene: &Scene) {
    let ports = ["http/TCP/80", "dns/UDP/53"];
    let spec = "podSelector: {matchLabels: {app: server}}, policyTypes: [Ingress, Egress], \
        ingress: [{from: [{podSelector: {matchLabels: {app: friend}}}]}]";
    let text = pod("shop", "server", "app: server", &ports) + &policy("shop", "friends", spec);
    scene.write("server.yaml", &text);
}

#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
async fn beside_the_plugin(scene: &mut Scene, is_first: bool) {
    let Some(plugin) = plugin() else {
        eprintln!("skipped: the CNI plugin bandwidth is missing (cargo xtask test provides it)");
        return;
    };
    scene.write("others.yaml", &shop_of(&["friend", "stranger"]));
    scene.agree("without the server").await;
    if is_first {
        scene.stop_agent().await.unwrap();
    }
    scene.lab_mut().add_pod(&server(), web()).await.unwrap();
    limit(scene, &plugin).await;
    declare(scene);
    if is_first {
        scene.start_agent().await.unwrap();
    }
    until("the server is guarded", async || {
        let status = scene.status().await;
        status.ready && status.endpoints.iter().any(|it| it.pod == "shop/server")
    })
    .await;
    scene.expect(&party("friend"), &party("server"), OPEN).await;
    scene.expect(&party("stranger"), &party("server"), CLOSED).await;
    scene.expect(&party("server"), &party("stranger"), CLOSED).await;
    // The node reaches its pod (A2), whose answers take the way by the plugin's interface.
    scene.expect(&Party::Node, &party("server"), OPEN).await;
    assert_eq!(scene.metric("enforcer_unguarded_interfaces").await, 0);
}

async fn plugin_first(scene: &mut Scene) {
    beside_the_plugin(scene, true).await;
}

async fn ours_first(scene: &mut Scene) {
    beside_the_plugin(scene, false).await;
}

scenarios! {
    c7_the_bandwidth_plugin_comes_first_on_clsact: Setup::with(Topology::AzureCni, CLSACT) =>
        plugin_first;
    c7_the_bandwidth_plugin_comes_later_on_clsact: Setup::with(Topology::Kubenet, CLSACT) =>
        ours_first;
    c7_the_bandwidth_plugin_comes_first_on_tcx: Setup::with(Topology::Kubenet, TCX) => plugin_first;
    c7_the_bandwidth_plugin_comes_later_on_tcx: Setup::with(Topology::AzureCni, TCX) => ours_first;
}
