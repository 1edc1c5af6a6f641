//! The lab by itself: everybody reaches everybody, and nothing stays behind.

use enforcer_core::model::{PodId, Protocol};
use enforcer_core::policy::reference::Traffic;
use enforcer_tests::lab::{Family, Lab, Party, Topology, command_in};
use enforcer_tests::probe::{Outcome, Probe};

use crate::support::{ANSWER, SILENCE, outcomes, parties, spawner, web, with_lab};

const WAYS: [Traffic; 3] =
    [Traffic::Port(Protocol::Tcp, 80), Traffic::Port(Protocol::Udp, 53), Traffic::Portless];

fn mesh(lab: &Lab) -> Vec<Probe> {
    let mut probes = Vec::new();
    for from in parties(lab) {
        for to in parties(lab) {
            for family in Family::ALL {
                let (from, to) = (from.clone(), to.clone());
                probes.extend(WAYS.map(|traffic| Probe {
                    from: from.clone(),
                    to: to.clone(),
                    family,
                    traffic,
                }));
            }
        }
    }
    probes
}

async fn everybody_reaches_everybody(lab: &mut Lab) {
    for name in ["a", "b", "c"] {
        lab.add_pod(&PodId::new("default", name), web()).await.unwrap();
    }
    let probes = mesh(lab);
    assert_eq!(probes.len(), 7 * 7 * 2 * 3);
    let outcomes = outcomes(lab, &probes, ANSWER).await;
    for (probe, outcome) in probes.iter().zip(outcomes) {
        assert_eq!(outcome, Outcome::Open, "{probe:?}");
    }
}

#[test]
fn without_an_agent_everything_is_open_on_kubenet() {
    with_lab(Topology::Kubenet, everybody_reaches_everybody);
}

#[test]
fn without_an_agent_everything_is_open_on_azure_cni() {
    with_lab(Topology::AzureCni, everybody_reaches_everybody);
}

async fn outcomes_differ(lab: &mut Lab) {
    let (a, b) = (PodId::new("default", "a"), PodId::new("default", "b"));
    lab.add_pod(&a, web()).await.unwrap();
    lab.add_pod(&b, web()).await.unwrap();
    for family in Family::ALL {
        let probe = |traffic| Probe {
            from: Party::Pod(a.clone()),
            to: Party::Pod(b.clone()),
            family,
            traffic,
        };
        for traffic in [Traffic::Port(Protocol::Tcp, 81), Traffic::Port(Protocol::Udp, 81)] {
            assert_eq!(probe(traffic).run(lab, ANSWER).await.unwrap(), Outcome::Refused);
        }
        block(lab, &b, family).await;
        for traffic in WAYS {
            assert_eq!(probe(traffic).run(lab, SILENCE).await.unwrap(), Outcome::TimedOut);
        }
    }
}

/// Makes a pod forget the way back to other pods: its answers go nowhere.
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

#[test]
fn refused_and_dropped_are_told_apart() {
    with_lab(Topology::AzureCni, outcomes_differ);
}

#[test]
fn a_pod_that_went_leaves_no_interface_and_its_address_is_free() {
    with_lab(Topology::Kubenet, async |lab| {
        let (a, b) = (PodId::new("default", "a"), PodId::new("default", "b"));
        let before = links(lab).await;
        let first = lab.add_pod(&a, web()).await.unwrap().addresses().to_vec();
        assert_ne!(links(lab).await, before);
        lab.remove_pod(&a).await.unwrap();
        assert_eq!(links(lab).await, before);
        assert_eq!(std::fs::read_dir(lab.state_directory()).unwrap().count(), 0);
        let second = lab.add_pod(&b, web()).await.unwrap().addresses().to_vec();
        assert_eq!(first, second);
        let call = Probe {
            from: Party::Node,
            to: Party::Pod(b),
            family: Family::V4,
            traffic: Traffic::Port(Protocol::Tcp, 80),
        };
        assert_eq!(call.run(lab, ANSWER).await.unwrap(), Outcome::Open);
    });
}

async fn links(lab: &Lab) -> String {
    let output = command_in(lab.node(), &spawner(), "ip", &["-br", "link"]).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    // Flags and states settle by themselves; names are what matters.
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split_whitespace().next()).collect::<Vec<_>>().join(" ")
}
