use enforcer_core::model::Distribution;

use super::super::plan::tests::{cluster, here, two_pods};
use super::*;

fn inputs(distribution: Distribution) -> Vec<(&'static str, String)> {
    let cluster = cluster(&two_pods(), distribution);
    let plans = Family::ALL.map(|family| Plan::new(&cluster, &here(), family));
    steps(&plans).into_iter().map(|step| (step.program, step.input)).collect()
}

fn input(distribution: Distribution, program: &str) -> String {
    let all = inputs(distribution).into_iter().filter(|(name, _)| *name == program);
    all.map(|(_, input)| input).collect()
}

#[test]
fn addresses_become_the_nodes_and_lead_to_the_backends() {
    let text = input(Distribution::default(), "ip");
    assert!(text.contains("address add 10.0.0.1/32 dev kube-ipvs0\n"), "{text}");
    assert!(text.contains("address add 192.0.2.1/32 dev kube-ipvs0\n"), "{text}");
    let text = input(Distribution::default(), "ipvsadm");
    let server = "-A -t 10.0.0.1:80 -s rr\n\
                  -a -t 10.0.0.1:80 -r 10.244.1.2:8080 -m -w 1\n\
                  -a -t 10.0.0.1:80 -r 10.244.1.3:8081 -m -w 1\n";
    assert!(text.contains(server), "{text}");
}

#[test]
fn the_number_of_rules_does_not_depend_on_services() {
    let text = input(Distribution::default(), "iptables-restore");
    assert!(!text.contains("10.0.0.1"), "{text}");
    assert!(
        text.contains("! -s 10.244.0.0/16 -m set --match-set KUBE-CLUSTER-IP dst,dst"),
        "{text}"
    );
    let sets = input(Distribution::default(), "ipset");
    for member in [
        "add KUBE-CLUSTER-IP 10.0.0.1,tcp:80 -exist\n",
        "add KUBE-LOAD-BALANCER 192.0.2.1,tcp:80 -exist\n",
        "add KUBE-LOOP-BACK 10.244.1.2,tcp:8080,10.244.1.2 -exist\n",
    ] {
        assert!(sets.contains(member), "{member}: {sets}");
    }
}

#[test]
fn local_traffic_keeps_its_source() {
    let local = Distribution { external: TrafficPolicy::Local, ..Distribution::default() };
    let add = "add KUBE-LOAD-BALANCER-LOCAL 192.0.2.1,tcp:80";
    assert!(input(local, "ipset").contains(add));
    assert!(!input(Distribution::default(), "ipset").contains(add));
}
