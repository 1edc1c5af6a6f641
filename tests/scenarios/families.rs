//! Pods with addresses of one family only, beside others that have both (semantics S1, R4, R5).

use enforcer_core::model::PodId;
use enforcer_tests::lab::{Family, Party, Topology};
use enforcer_tests::probe::Outcome;

use crate::scene::{Scene, policy, shop_of, until};
use crate::support::{SILENCE, outcomes, web_probe};

const SERVER: &str = "podSelector: {matchLabels: {app: server}}, policyTypes: [Ingress, Egress]";
/// The connections that are tried, as client and server.
const PAIRS: [[&str; 2]; 4] =
    [["client", "server"], ["other", "server"], ["server", "client"], ["server", "other"]];

/// Waits until exactly these of the [`PAIRS`] can connect.
async fn connect(scene: &Scene, family: Family, what: &str, open: [bool; 4]) {
    let probes = PAIRS.map(|pair| {
        let [from, to] = pair.map(|name| Party::pod("shop", name));
        web_probe(&from, &to, family)
    });
    let expected = open.map(|it| if it { Outcome::Open } else { Outcome::TimedOut });
    until(what, async || outcomes(scene.lab(), &probes, SILENCE).await == expected).await;
}

/// The server has an address of this family alone, the other two pods of both.
async fn one_family(scene: &mut Scene, family: Family) {
    scene.write("cluster.yaml", &shop_of(&["server", "client", "other"]));
    scene.run_pods().await;
    scene.lab_mut().leave_only(&PodId::new("shop", "server"), family).await.unwrap();
    connect(scene, family, "no policy: all pods", [true; 4]).await;
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
    connect(scene, family, "the other family's addresses: no pod", [false; 4]).await;
    enforce(own);
    connect(scene, family, "its own family's addresses: all pods", [true; 4]).await;
    let status = scene.status().await;
    let server = status.endpoints.iter().find(|it| it.pod == "shop/server").unwrap();
    assert!(server.interface.addresses.iter().all(|it| Family::of(*it) == family), "{server:?}");
}

scenarios! {
    r5_a_pod_with_ipv6_only: Topology::AzureCni =>
        async |scene| one_family(scene, Family::V6).await;
    r5_a_pod_with_ipv4_only: Topology::Kubenet =>
        async |scene| one_family(scene, Family::V4).await;
}
