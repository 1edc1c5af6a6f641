//! Another program of the node clears the packets' marks.

use enforcer_tests::lab::{Proxy, Topology, command_in};

use super::{Way, client, for_each, only_answers, shop, web};
use crate::scene::{Scene, policy, until};
use crate::support::spawner;

/// After kube-proxy's rules, which use marks, and before the receiver's hook.
const CLEAR_MARKS: &str = "add table inet rude; \
    add chain inet rude clear { type filter hook postrouting priority 200; }; \
    add rule inet rude clear meta mark set 0";

async fn the_source_decides(scene: &mut Scene) {
    scene.write("shop.yaml", &shop(""));
    let first = "to: [{podSelector: {matchLabels: {one: \"1\"}}}]";
    let egress = "podSelector: {matchLabels: {app: client}}, policyTypes: [Egress]";
    scene.write(
        "policy.yaml",
        &policy("shop", "egress", &format!("{egress}, egress: [{{{first}}}]")),
    );
    scene.agree("one backend").await;
    assert_eq!(scene.status().await.problems, [""; 0]);
    let added = command_in(scene.lab().node(), &spawner(), "nft", &[CLEAR_MARKS]).await.unwrap();
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    // Masquerading hides the source as well. A bridge then hides the interface, too.
    let ways: &[Way] = match scene.lab().topology() {
        Topology::AzureCni => &[Way::Cluster, Way::Node(0)],
        Topology::Kubenet => &[Way::Cluster],
    };
    for_each(scene, ways, async |at| only_answers(scene, &client(), at, &web(1)).await).await;
    until("the status shows it", async || {
        let problems = scene.status().await.problems;
        problems.iter().any(|it| it.contains("another program cleared their mark"))
    })
    .await;
}

scenarios! {
    n1_a_backend_is_denied_without_marks_on_kubenet: (Topology::Kubenet, Proxy::Iptables) =>
        the_source_decides;
    n1_a_backend_is_denied_without_marks_on_azure_cni: (Topology::AzureCni, Proxy::Nftables) =>
        the_source_decides;
}
