//! The lab by itself: all parties reach each other, and an ended pod leaves nothing behind.

use enforcer_core::model::{PodId, Protocol};
use enforcer_core::policy::reference::Traffic;
use enforcer_tests::lab::{Family, Lab, OUTSIDE_CLIENTS, Party, Topology, command_in};
use enforcer_tests::probe::{Outcome, Probe};

use crate::scene::{Scene, Setup};
use crate::support::{ANSWER, SILENCE, outcomes, spawner, web, web_probe};

const TRAFFIC: [Traffic; 3] =
    [Traffic::Port(Protocol::Tcp, 80), Traffic::Port(Protocol::Udp, 53), Traffic::Portless];

/// All parties of a lab.
fn parties(lab: &Lab) -> Vec<Party> {
    let pods = lab.pods().keys().cloned().map(Party::Pod);
    let clients = OUTSIDE_CLIENTS.iter().map(|it| Party::outside(it.name));
    pods.chain([Party::Node]).chain(clients).collect()
}

/// All traffic of both families between two parties.
fn traffic(from: &Party, to: &Party) -> impl Iterator<Item = Probe> {
    Family::ALL
        .into_iter()
        .flat_map(|family| TRAFFIC.map(|traffic| Probe { traffic, ..web_probe(from, to, family) }))
}

async fn all_reach_all(scene: &mut Scene) {
    let lab = scene.lab_mut();
    for name in ["a", "b", "c"] {
        lab.add_pod(&PodId::new("default", name), web()).await.unwrap();
    }
    let parties = parties(lab);
    let pairs = parties.iter().flat_map(|from| parties.iter().map(move |to| (from, to)));
    let probes: Vec<_> = pairs.flat_map(|(from, to)| traffic(from, to)).collect();
    assert_eq!(probes.len(), 7 * 7 * 2 * 3);
    let outcomes = outcomes(lab, &probes, ANSWER).await;
    for (probe, outcome) in probes.iter().zip(outcomes) {
        assert_eq!(outcome, Outcome::Open, "{probe:?}");
    }
}

async fn outcomes_differ(scene: &mut Scene) {
    let lab = scene.lab_mut();
    let (a, b) = (PodId::new("default", "a"), PodId::new("default", "b"));
    lab.add_pod(&a, web()).await.unwrap();
    lab.add_pod(&b, web()).await.unwrap();
    for family in Family::ALL {
        let probe = |traffic| Probe {
            traffic,
            ..web_probe(&Party::Pod(a.clone()), &Party::Pod(b.clone()), family)
        };
        for traffic in [Traffic::Port(Protocol::Tcp, 81), Traffic::Port(Protocol::Udp, 81)] {
            assert_eq!(probe(traffic).run(lab, ANSWER).await.unwrap(), Outcome::Refused);
        }
        block(lab, &b, family).await;
        for traffic in TRAFFIC {
            assert_eq!(probe(traffic).run(lab, SILENCE).await.unwrap(), Outcome::TimedOut);
        }
    }
}

/// Removes a pod's route to other pods: its replies are lost.
async fn block(lab: &Lab, pod: &PodId, family: Family) {
    let namespace = lab.namespace(&Party::Pod(pod.clone())).unwrap();
    let pods = match family {
        Family::V4 => lab.nodes()[0].site().pods_v4().to_string(),
        Family::V6 => lab.nodes()[0].site().pods_v6().to_string(),
    };
    let line = ["route", "add", "blackhole", pods.as_str()];
    let output = command_in(namespace, &spawner(), "ip", &line).await.unwrap();
    assert!(output.status.success(), "{output:?}");
}

async fn a_pod_ends(scene: &mut Scene) {
    let lab = scene.lab_mut();
    let (a, b) = (PodId::new("default", "a"), PodId::new("default", "b"));
    let before = links(lab).await;
    let first = lab.add_pod(&a, web()).await.unwrap().addresses().to_vec();
    assert_ne!(links(lab).await, before);
    lab.remove_pod(&a).await.unwrap();
    assert_eq!(links(lab).await, before);
    assert_eq!(std::fs::read_dir(lab.state_directory()).unwrap().count(), 0);
    let second = lab.add_pod(&b, web()).await.unwrap().addresses().to_vec();
    assert_eq!(first, second);
    let probe = web_probe(&Party::Node, &Party::Pod(b), Family::V4);
    assert_eq!(probe.run(lab, ANSWER).await.unwrap(), Outcome::Open);
}

async fn links(lab: &Lab) -> String {
    let output = command_in(lab.node(), &spawner(), "ip", &["-br", "link"]).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    // The names only: flags and states settle later.
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split_whitespace().next()).collect::<Vec<_>>().join(" ")
}

// Both: the lab itself is under test.
scenarios! {
    without_an_agent_everything_is_open_on_kubenet: Setup::unguarded(Topology::Kubenet) =>
        all_reach_all;
    without_an_agent_everything_is_open_on_azure_cni: Setup::unguarded(Topology::AzureCni) =>
        all_reach_all;
}

scenarios! {
    refused_and_dropped_packets_are_distinguished: Setup::unguarded(Topology::AzureCni) =>
        outcomes_differ;
    an_ended_pod_leaves_no_interface_and_frees_its_address: Setup::unguarded(Topology::Kubenet) =>
        a_pod_ends;
}
