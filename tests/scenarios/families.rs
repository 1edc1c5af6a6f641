//! Pods with addresses of one family only, beside others that have both (semantics S1, R4, R5).

use enforcer_core::model::{PodId, Protocol};
use enforcer_core::policy::reference::Traffic;
use enforcer_tests::lab::{Family, Party, Topology};
use enforcer_tests::probe::{Outcome, Probe};

use crate::scene::{Scene, namespace, pod, policy, until, with_agent};
use crate::support::{SILENCE, outcomes};

const SERVER: &str = "podSelector: {matchLabels: {app: server}}, policyTypes: [Ingress, Egress]";
/// Who connects to whom.
const PAIRS: [[&str; 2]; 4] =
    [["client", "server"], ["other", "server"], ["server", "client"], ["server", "other"]];

/// A server that has one family's address alone, and two pods that have both.
async fn start(scene: &mut Scene, family: Family) {
    let web = ["http/TCP/80"];
    let pods = ["server", "client", "other"].map(|it| pod("shop", it, &format!("app: {it}"), &web));
    scene.write("cluster.yaml", &(namespace("shop", "") + &pods.concat()));
    scene.run_pods().await;
    scene.lab_mut().leave_only(&PodId::new("shop", "server"), family).await.unwrap();
}

/// Waits until just these of the [`PAIRS`] can connect.
async fn connect(scene: &Scene, family: Family, what: &str, open: [bool; 4]) {
    let probes = PAIRS.map(|pair| {
        let [from, to] = pair.map(|name| Party::pod("shop", name));
        Probe { from, to, family, traffic: Traffic::Port(Protocol::Tcp, 80) }
    });
    let expected = open.map(|it| if it { Outcome::Open } else { Outcome::TimedOut });
    until(what, async || outcomes(scene.lab(), &probes, SILENCE).await == expected).await;
}

async fn one_family(scene: &mut Scene, family: Family) {
    start(scene, family).await;
    connect(scene, family, "no policy: everybody", [true; 4]).await;
    let enforce = |rule: &str| {
        let [from, to] = ["from", "to"].map(|side| format!("[{{{side}: [{rule}]}}]"));
        let spec = format!("{SERVER}, ingress: {from}, egress: {to}");
        scene.write("policy.yaml", &policy("shop", "server", &spec));
    };
    enforce("{podSelector: {matchLabels: {app: client}}}");
    connect(scene, family, "by label: the client", [true, false, true, false]).await;
    let blocks = ["{ipBlock: {cidr: 0.0.0.0/0}}", "{ipBlock: {cidr: '::/0'}}"];
    let [own, others] = match family {
        Family::V4 => blocks,
        Family::V6 => [blocks[1], blocks[0]],
    };
    enforce(others);
    connect(scene, family, "the other family's addresses: nobody", [false; 4]).await;
    enforce(own);
    connect(scene, family, "its own family's: everybody", [true; 4]).await;
    let status = scene.status().await;
    let server = status.endpoints.iter().find(|it| it.pod == "shop/server").unwrap();
    assert!(server.interface.addresses.iter().all(|it| Family::of(*it) == family), "{server:?}");
}

#[test]
fn r5_a_pod_with_ipv6_only_on_kubenet() {
    with_agent(Topology::Kubenet, async |scene| one_family(scene, Family::V6).await);
}

#[test]
fn r5_a_pod_with_ipv6_only_on_azure_cni() {
    with_agent(Topology::AzureCni, async |scene| one_family(scene, Family::V6).await);
}

#[test]
fn r5_a_pod_with_ipv4_only_on_kubenet() {
    with_agent(Topology::Kubenet, async |scene| one_family(scene, Family::V4).await);
}
