//! Pods that run before the agent knows them, and after it has forgotten them (semantics C5, C6).

use enforcer_core::model::{PodId, Protocol};
use enforcer_core::policy::reference::Traffic;
use enforcer_tests::lab::{Family, Party, Topology};
use enforcer_tests::probe::{Outcome, Probe};

use crate::connection::connect_all;
use crate::scene::{Scene, namespace, pod, policy, until, with_agent, with_agent_and};
use crate::support::{ANSWER, SILENCE, outcomes, web};

const CLIENT: &str = "client.yaml";

fn client() -> PodId {
    PodId::new("shop", "client")
}

fn parties() -> (Party, Party) {
    (Party::Pod(client()), Party::pod("shop", "server"))
}

/// A known server, and a client that runs without the agent knowing whose interface it has.
async fn unknown_client(scene: &mut Scene) {
    let server = namespace("shop", "") + &pod("shop", "server", "", &["http/TCP/80"]);
    scene.write("server.yaml", &server);
    scene.agree("the server alone").await;
    scene.lab_mut().add_pod(&client(), web()).await.unwrap();
    until("the interface is seen", async || {
        scene.metric("enforcer_endpoints{state=\"unknown\"}").await == 1
    })
    .await;
}

async fn becomes_known(scene: &mut Scene) {
    // With the ports of `web`: the lab lets a pod be that is as declared.
    let ports = ["http/TCP/80", "dns/UDP/53"];
    scene.write(CLIENT, &pod("shop", "client", "role: client", &ports));
    scene.run_pods().await;
}

/// A connection to port 80 in each family.
pub(crate) fn tcp_probes(from: &Party, to: &Party) -> [Probe; 2] {
    let probe = |family| Probe {
        from: from.clone(),
        to: to.clone(),
        family,
        traffic: Traffic::Port(Protocol::Tcp, 80),
    };
    Family::ALL.map(probe)
}

async fn attempts(scene: &Scene, from: &Party, to: &Party) -> Vec<Outcome> {
    let probes = tcp_probes(from, to);
    outcomes(scene.lab(), &probes, ANSWER.min(SILENCE * 2)).await
}

/// What an unknown pod begins, it has begun: policy that isolates it later lets the answers in.
async fn answers_to_an_unknown_pod(scene: &mut Scene) {
    let isolated = "podSelector: {matchLabels: {role: client}}";
    scene.write("policy.yaml", &policy("shop", "client", isolated));
    unknown_client(scene).await;
    let (from, to) = parties();
    let mut connections = connect_all(scene.lab(), &from, &to).await;
    becomes_known(scene).await;
    assert_eq!(scene.metric("enforcer_endpoints{state=\"ingress-isolated\"}").await, 1);
    // The server's interface, too, was there a moment before the pod was known.
    assert!(scene.metric("enforcer_pod_unknown_duration_seconds_count").await >= 1);
    for connection in &mut connections {
        connection.exchange().await;
    }
    assert_eq!(attempts(scene, &to, &from).await, [Outcome::TimedOut, Outcome::TimedOut]);
}

#[test]
fn c6_a3_answers_to_what_a_pod_began_before_it_was_known_pass_on_kubenet() {
    with_agent(Topology::Kubenet, answers_to_an_unknown_pod);
}

#[test]
fn c6_a3_answers_to_what_a_pod_began_before_it_was_known_pass_on_azure_cni() {
    with_agent(Topology::AzureCni, answers_to_an_unknown_pod);
}

#[test]
fn c6_an_unknown_pod_may_be_held_back_until_it_is_known() {
    with_agent_and(Topology::AzureCni, &["--unknown-pod", "deny"], async |scene| {
        unknown_client(scene).await;
        let (from, to) = parties();
        assert_eq!(attempts(scene, &from, &to).await, [Outcome::TimedOut, Outcome::TimedOut]);
        assert_eq!(attempts(scene, &to, &from).await, [Outcome::TimedOut, Outcome::TimedOut]);
        // The node reaches its pods (semantics A2), and the known ones are not concerned.
        assert_eq!(attempts(scene, &Party::Node, &from).await, [Outcome::Open, Outcome::Open]);
        assert_eq!(attempts(scene, &Party::Node, &to).await, [Outcome::Open, Outcome::Open]);
        let dropped = "namespace=\"\",pod=\"\",direction=\"egress\",reason=\"unknown-pod\"";
        assert!(scene.metric(&format!("enforcer_drops_total{{{dropped}}}")).await > 0);
        becomes_known(scene).await;
        scene.agree("both known").await;
    });
}

#[test]
fn c5_who_is_said_to_be_gone_gets_nothing_while_it_still_runs() {
    with_agent(Topology::Kubenet, async |scene| {
        unknown_client(scene).await;
        becomes_known(scene).await;
        scene.agree("both known").await;
        // Only the agent is told: the lab keeps the pod running.
        scene.remove(CLIENT);
        let (from, to) = parties();
        until("the pod is forgotten", async || {
            scene.metric("enforcer_endpoints{state=\"unknown\"}").await == 1
        })
        .await;
        assert_eq!(attempts(scene, &from, &to).await, [Outcome::TimedOut, Outcome::TimedOut]);
        assert_eq!(attempts(scene, &to, &from).await, [Outcome::TimedOut, Outcome::TimedOut]);
        becomes_known(scene).await;
        scene.agree("known again").await;
    });
}
