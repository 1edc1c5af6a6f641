//! Addresses that are reused by another pod (semantics C5).

use std::time::Duration;

use enforcer_core::model::PodId;
use enforcer_tests::lab::{Family, Lab, Party, Topology};

use crate::connection::{Connection, End, exchange_all};
use crate::scene::{CLOSED, Scene, Setup, UNKNOWN, namespace, pod, policy, until};
use crate::support::web;

/// The client's port: the next pod reuses it along with the address.
const CLIENT_PORT: u16 = 7001;

/// The server lets friends in.
const FRIENDS: &str = "podSelector: {matchLabels: {app: server}}, \
                       ingress: [{from: [{podSelector: {matchLabels: {role: friend}}}]}]";
/// The server talks with friends only. Without isolation of what it sends, its own datagrams would
/// open the flow again (semantics A6).
const FRIENDS_ONLY: &str = "podSelector: {matchLabels: {app: server}}, \
                            ingress: [{from: [{podSelector: {matchLabels: {role: friend}}}]}], \
                            egress: [{to: [{podSelector: {matchLabels: {role: friend}}}]}]";
/// No client lets anything in.
const NOTHING_IN: &str = "podSelector: {matchExpressions: [{key: role, operator: Exists}]}";

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

async fn flows(lab: &Lab, client: &str) -> Vec<Connection> {
    let (client, server) = (Party::pod("shop", client), Party::pod("shop", "server"));
    let mut flows = Vec::new();
    for family in Family::ALL {
        flows.push(Connection::udp(lab, &client, &server, family, CLIENT_PORT).await);
    }
    flows
}

/// A friend's flow is active when the friend ends and a stranger gets its address and port.
async fn permissions_stay_with_the_pod(scene: &mut Scene) {
    scene.write("server.yaml", &policy("shop", "friends", FRIENDS_ONLY));
    scene.write("client.yaml", &policy("shop", "nothing-in", NOTHING_IN));
    scene.write("cluster.yaml", &cluster("first", "friend"));
    scene.agree("a friend").await;
    let before = addresses(scene.lab(), "first");
    exchange_all(&mut flows(scene.lab(), "first").await).await;

    scene.write("cluster.yaml", &cluster("second", "stranger"));
    scene.agree("a stranger").await;
    assert_eq!(addresses(scene.lab(), "second"), before, "the address was not reused");
    // Neither the friend's permission is inherited, nor the replies to its flow.
    for flow in &mut flows(scene.lab(), "second").await {
        flow.send(End::Server).await;
        flow.receives_nothing(End::Client).await;
        flow.send(End::Client).await;
        flow.receives_nothing(End::Server).await;
    }

    // The other way round: the stranger's denial does not affect its successor.
    scene.write("cluster.yaml", &cluster("third", "friend"));
    scene.agree("a friend again").await;
    assert_eq!(addresses(scene.lab(), "third"), before, "the address was not reused");
    exchange_all(&mut flows(scene.lab(), "third").await).await;
}

/// A flow belongs to the pod, not to the address: a successor with the same permissions gets no
/// reply before it has sent anything.
async fn flows_stay_with_the_pod(scene: &mut Scene) {
    scene.write("client.yaml", &policy("shop", "nothing-in", NOTHING_IN));
    scene.write("cluster.yaml", &cluster("first", "friend"));
    scene.agree("the first").await;
    exchange_all(&mut flows(scene.lab(), "first").await).await;
    scene.write("cluster.yaml", &cluster("second", "friend"));
    scene.agree("the second").await;
    for flow in &mut flows(scene.lab(), "second").await {
        flow.send(End::Server).await;
        flow.receives_nothing(End::Client).await;
    }
}

/// The period before a pod's end in which the agent still counts an event as news of that pod.
const NEWS: Duration = Duration::from_secs(2);

/// The agent knows neither the friend's end nor the next pod, which already has its address.
async fn an_interface_precedes_the_news(scene: &mut Scene) {
    scene.write("server.yaml", &policy("shop", "friends", FRIENDS));
    scene.write("cluster.yaml", &cluster("first", "friend"));
    scene.agree("a friend").await;
    let before = addresses(scene.lab(), "first");
    tokio::time::sleep(NEWS).await;
    scene.lab_mut().vanish(&PodId::new("shop", "first")).await.unwrap();
    scene.lab_mut().add_pod(&PodId::new("shop", "second"), web()).await.unwrap();
    assert_eq!(addresses(scene.lab(), "second"), before, "the address was not reused");
    until("the interface is seen", async || scene.metric(UNKNOWN).await == 1).await;
    scene.expect(&Party::pod("shop", "second"), &Party::pod("shop", "server"), CLOSED).await;
}

scenarios! {
    c5_a_reused_address_inherits_no_permissions: Topology::AzureCni =>
        permissions_stay_with_the_pod;
    c5_a_reused_address_gets_no_replies_to_its_predecessor: Topology::Kubenet =>
        flows_stay_with_the_pod;
    // Without the runtime's record. Both: the interface alone shows that the pod changed, a bridge port or the end of a route.
    c5_a_reused_address_inherits_nothing_before_the_pod_is_known_on_kubenet:
        Setup::with(Topology::Kubenet, &["--cni-results", "off"]) => an_interface_precedes_the_news;
    c5_a_reused_address_inherits_nothing_before_the_pod_is_known_on_azure_cni:
        Setup::with(Topology::AzureCni, &["--cni-results", "off"]) => an_interface_precedes_the_news;
}
