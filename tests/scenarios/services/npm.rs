//! Azure Network Policy Manager beside us, as while a cluster moves: for the first packet of each
//! connection it clears the whole mark, also what our programs tell each other in it. The guide in
//! `deploy/README.md` says what that does, and nothing worse may come of it.

use std::io;
use std::process::Command;

use enforcer_tests::lab::{Family, Party, Topology};

use super::judged::{nobody_answers, only_answers};
use super::{Way, both_answer, client, on_each_setup, shop, web};
use crate::scene::{Scene, Setup, policy, with_setup};

/// What NPM does of that kind, with its chain's name and place. It knows IPv4 only.
const RULES: [&str; 3] = [
    "--new-chain AZURE-NPM",
    "--append AZURE-NPM --jump MARK --set-mark 0x0",
    "--insert FORWARD 1 --match conntrack --ctstate NEW --jump AZURE-NPM",
];

async fn other_engine(scene: &Scene) {
    let node = scene.lab().namespace(&Party::Node).unwrap();
    for rule in RULES {
        let run = move || {
            let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
            let mut command = Command::new("iptables");
            let output = command.env("PATH", path).arg("--wait").args(rule.split(' ')).output()?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            if output.status.success() { Ok(()) } else { Err(io::Error::other(said)) }
        };
        node.io(rule, run).await.unwrap();
    }
}

/// With or without our agent, no pod reaches itself through a Service: kube-proxy's own mark, by
/// which it would hide that the pod asks itself, is cleared, too.
async fn a_pod_misses_itself(scene: &mut Scene) {
    scene.write("shop.yaml", &shop(""));
    scene.agree("before").await;
    other_engine(scene).await;
    let at = Way::Cluster.tcp(scene, Family::V4);
    only_answers(scene, &web(1), at, &web(2)).await;
    both_answer(scene, &client(), at).await;
}

/// What policy forbids stays forbidden, and what it allows goes on.
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
    other_engine(scene).await;
    for way in Way::ALL {
        let at = way.tcp(scene, Family::V4);
        // To the other backend the first packet passes and nothing that follows: no page comes.
        only_answers(scene, &client(), at, &web(1)).await;
        both_answer(scene, &Party::pod("shop", "other"), at).await;
        nobody_answers(scene, &web(1), at).await;
    }
    let other_family = Way::Cluster.tcp(scene, Family::V6);
    only_answers(scene, &web(1), other_family, &web(1)).await;
}

#[test]
fn a1_no_pod_reaches_itself_beside_the_other_engine_alone() {
    with_setup(Setup { agent: false, ..Setup::one_node(Topology::Kubenet) }, a_pod_misses_itself);
}

on_each_setup! {
    a1_no_pod_reaches_itself_beside_the_other_engine(Kubenet, Iptables): a_pod_misses_itself;
    n1_n3_policies_hold_beside_the_other_engine_on_kubenet(Kubenet, Iptables): policies_hold;
    n1_n3_policies_hold_beside_the_other_engine_on_azure_cni(AzureCni, Iptables): policies_hold;
}
