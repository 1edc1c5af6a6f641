//! Addresses that move from one pod to another.

use std::time::Duration;

use enforcer_core::model::{PodId, Protocol};
use enforcer_core::policy::reference::Traffic;
use enforcer_tests::lab::{Family, Lab, Party, Topology};
use enforcer_tests::probe::{Outcome, Probe};

use crate::connection::{End, Living};
use crate::scene::{Scene, namespace, pod, policy, until, with_agent};
use crate::support::{SILENCE, outcomes, web};

/// The port of the client's side: the next pod takes it as well as the address.
const CLIENT_PORT: u16 = 7001;

fn cluster(client: &str, role: &str) -> String {
    [
        namespace("shop", ""),
        pod("shop", "server", "app: server", &["http/TCP/80"]),
        pod("shop", client, &format!("role: {role}"), &["http/TCP/80"]),
    ]
    .concat()
}

fn addresses(lab: &Lab, name: &str) -> Vec<std::net::IpAddr> {
    lab.pods()[&PodId::new("shop", name)].addresses().to_vec()
}

async fn flows(lab: &Lab, client: &str) -> Vec<Living> {
    let (client, server) = (Party::pod("shop", client), Party::pod("shop", "server"));
    let mut flows = Vec::new();
    for family in Family::ALL {
        flows.push(Living::udp(lab, &client, &server, family, CLIENT_PORT).await);
    }
    flows
}

/// The friend's flow lives when the friend goes and a stranger gets its address and port.
async fn rights_do_not_move(scene: &mut Scene) {
    let friends = "podSelector: {matchLabels: {app: server}}, \
                   ingress: [{from: [{podSelector: {matchLabels: {role: friend}}}]}]";
    let nothing_in = "podSelector: {matchExpressions: [{key: role, operator: Exists}]}";
    scene.write("server.yaml", &policy("shop", "friends", friends));
    scene.write("client.yaml", &policy("shop", "nothing-in", nothing_in));
    scene.write("cluster.yaml", &cluster("first", "friend"));
    scene.agree("a friend").await;
    let before = addresses(scene.lab(), "first");
    for flow in &mut flows(scene.lab(), "first").await {
        flow.exchange().await;
    }

    scene.write("cluster.yaml", &cluster("second", "stranger"));
    scene.agree("a stranger").await;
    assert_eq!(addresses(scene.lab(), "second"), before, "the address did not move");
    // Neither what the friend was allowed, nor what would have been replies to it.
    for flow in &mut flows(scene.lab(), "second").await {
        flow.say(End::Server).await;
        flow.hears_nothing(End::Client).await;
        flow.say(End::Client).await;
        flow.hears_nothing(End::Server).await;
    }

    // The other way round: what the stranger was refused says nothing about its successor.
    scene.write("cluster.yaml", &cluster("third", "friend"));
    scene.agree("a friend again").await;
    assert_eq!(addresses(scene.lab(), "third"), before, "the address did not move");
    for flow in &mut flows(scene.lab(), "third").await {
        flow.exchange().await;
    }
}

#[test]
fn c5_an_address_lends_its_next_pod_no_rights_on_kubenet() {
    with_agent(Topology::Kubenet, rights_do_not_move);
}

#[test]
fn c5_an_address_lends_its_next_pod_no_rights_on_azure_cni() {
    with_agent(Topology::AzureCni, rights_do_not_move);
}

/// The flow is the pod's, not the address's: a friend's successor that policy allows the same is
/// not answered before it has asked.
async fn flows_do_not_move(scene: &mut Scene) {
    let nothing_in = "podSelector: {matchExpressions: [{key: role, operator: Exists}]}";
    scene.write("client.yaml", &policy("shop", "nothing-in", nothing_in));
    scene.write("cluster.yaml", &cluster("first", "friend"));
    scene.agree("the first").await;
    for flow in &mut flows(scene.lab(), "first").await {
        flow.exchange().await;
    }
    scene.write("cluster.yaml", &cluster("second", "friend"));
    scene.agree("the second").await;
    for flow in &mut flows(scene.lab(), "second").await {
        flow.say(End::Server).await;
        flow.hears_nothing(End::Client).await;
    }
}

#[test]
fn c5_replies_to_a_pod_that_went_are_not_its_successors() {
    with_agent(Topology::Kubenet, flows_do_not_move);
}

/// What the agent takes for news of the old pod: what it heard shortly before its end.
const NEWS: Duration = Duration::from_secs(2);

/// The friend's end is not yet known, nor the next pod, which has the friend's address already.
async fn an_interface_comes_before_the_news(scene: &mut Scene) {
    let friends = "podSelector: {matchLabels: {app: server}}, \
                   ingress: [{from: [{podSelector: {matchLabels: {role: friend}}}]}]";
    scene.write("server.yaml", &policy("shop", "friends", friends));
    scene.write("cluster.yaml", &cluster("first", "friend"));
    scene.agree("a friend").await;
    let before = addresses(scene.lab(), "first");
    tokio::time::sleep(NEWS).await;
    scene.lab_mut().vanish(&PodId::new("shop", "first")).await.unwrap();
    scene.lab_mut().add_pod(&PodId::new("shop", "second"), web()).await.unwrap();
    assert_eq!(addresses(scene.lab(), "second"), before, "the address did not move");
    until("the interface is seen", async || {
        scene.metric("enforcer_endpoints{state=\"unknown\"}").await == 1
    })
    .await;
    let probes = Family::ALL.map(|family| Probe {
        from: Party::pod("shop", "second"),
        to: Party::pod("shop", "server"),
        family,
        traffic: Traffic::Port(Protocol::Tcp, 80),
    });
    let got = outcomes(scene.lab(), &probes, SILENCE).await;
    assert_eq!(got, [Outcome::TimedOut, Outcome::TimedOut], "the friend's rights");
}

#[test]
fn c5_an_address_lends_no_rights_before_there_is_news_on_kubenet() {
    with_agent(Topology::Kubenet, an_interface_comes_before_the_news);
}

#[test]
fn c5_an_address_lends_no_rights_before_there_is_news_on_azure_cni() {
    with_agent(Topology::AzureCni, an_interface_comes_before_the_news);
}
