//! Azure Network Policy Manager on the same node, as during a migration: for the first packet of
//! each connection it clears the whole mark, including the bits that our programs use. The guide in
//! `deploy/README.md` describes the effect; nothing worse may happen.

use std::io;
use std::process::Command;

use enforcer_tests::lab::{Family, Party, Proxy, Topology};

use super::{Way, all_dropped, both_answer, client, only_answers, shop, web};
use crate::scene::{Scene, Setup, policy};

/// NPM's rules that change the mark, with the name and place of its chain. It supports IPv4 only.
const RULES: [&str; 3] = [
    "--new-chain AZURE-NPM",
    "--append AZURE-NPM --jump MARK --set-mark 0x0",
    "--insert FORWARD 1 --match conntrack --ctstate NEW --jump AZURE-NPM",
];

async fn add_npm(scene: &Scene) {
    let node = scene.lab().namespace(&Party::Node).unwrap();
    for rule in RULES {
        let run = move || {
            let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
            let mut command = Command::new("iptables");
            let output = command.env("PATH", path).arg("--wait").args(rule.split(' ')).output()?;
            let message = String::from_utf8_lossy(&output.stderr).into_owned();
            if output.status.success() { Ok(()) } else { Err(io::Error::other(message)) }
        };
        node.io(rule, run).await.unwrap();
    }
}

/// With or without our agent, no pod reaches itself through a Service: kube-proxy's own mark, which
/// requests masquerading of such a connection, is cleared as well.
async fn no_pod_reaches_itself(scene: &mut Scene) {
    scene.write("shop.yaml", &shop(""));
    scene.agree("before").await;
    add_npm(scene).await;
    let at = Way::Cluster.tcp(scene, Family::V4);
    only_answers(scene, &web(1), at, &web(2)).await;
    both_answer(scene, &client(), at).await;
}

/// Denied connections stay denied, and allowed ones work.
async fn policies_hold(scene: &mut Scene) {
    let egress = "podSelector: {matchLabels: {app: client}}, policyTypes: [Egress], \
                  egress: [{to: [{podSelector: {matchLabels: {one: \"1\"}}}]}]";
    let ingress = "podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress], ingress: [{from: \
                   [{podSelector: {matchExpressions: [{key: app, operator: In, values: [client, other]}]}}]}]";
    scene.write("shop.yaml", &shop(""));
    scene.write(
        "policies.yaml",
        &[policy("shop", "egress", egress), policy("shop", "ingress", ingress)].concat(),
    );
    scene.agree("before").await;
    add_npm(scene).await;
    for way in Way::ALL {
        let at = way.tcp(scene, Family::V4);
        // To the other backend the first packet passes and no later one: no page arrives.
        only_answers(scene, &client(), at, &web(1)).await;
        both_answer(scene, &Party::pod("shop", "other"), at).await;
        all_dropped(scene, &web(1), at).await;
    }
    let other_family = Way::Cluster.tcp(scene, Family::V6);
    only_answers(scene, &web(1), other_family, &web(1)).await;
}

// Both: beside a bridge, NPM sees the packets between pods of one node only through br_netfilter.
scenarios! {
    a1_no_pod_reaches_itself_beside_npm_alone: Setup::unguarded(Topology::Kubenet) =>
        no_pod_reaches_itself;
    a1_no_pod_reaches_itself_beside_npm: Topology::Kubenet => no_pod_reaches_itself;
    n1_n3_policies_hold_beside_npm_on_kubenet: (Topology::Kubenet, Proxy::Iptables) =>
        policies_hold;
    n1_n3_policies_hold_beside_npm_on_azure_cni: (Topology::AzureCni, Proxy::Iptables) =>
        policies_hold;
}
