//! The matrix of all pods against explanations, on generated clusters.

use std::net::IpAddr;

use enforcer_core::explain;
use enforcer_core::model::{Cluster, Pod};
use enforcer_ebpf::contract::verdict::Direction;
use enforcer_tests::generate;
use proptest::prelude::{TestCaseError, prop_assert_eq, proptest};

use super::config;

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn a_matrix_has_what_explanations_answer(cluster in generate::cluster()) {
        agree(&cluster)?;
    }
}

fn agree(cluster: &Cluster) -> Result<(), TestCaseError> {
    let outside = ["203.0.113.77", "2001:db8:77::7"].map(|it| it.parse::<IpAddr>().unwrap());
    let matrix = explain::matrix(cluster, &outside);
    let traffic = generate::traffic(cluster);
    let pods = cluster.pods.values().filter(|it| it.is_peer() && !it.addresses.is_empty());
    let ends = pods.map(|pod| (Some(pod), matrix.pods[&pod.id], pod.addresses.clone()));
    let ends: Vec<_> = ends.chain([(None, matrix.outside, outside.into())]).collect();
    let allows = |pod: &Option<&Pod>, direction, peer: IpAddr, traffic| {
        pod.is_none_or(|it| explain::why(cluster, &it.id, direction, peer, traffic).allows())
    };
    for (from, from_kind, sources) in &ends {
        for (to, to_kind, targets) in &ends {
            if sources.iter().any(|it| targets.contains(it)) {
                continue;
            }
            for traffic in traffic.iter().step_by(3) {
                let pairs = sources.iter().flat_map(|it| targets.iter().map(move |to| (*it, *to)));
                let mut pairs = pairs.filter(|(from, to)| from.is_ipv4() == to.is_ipv4());
                let expected = pairs.any(|(source, target)| {
                    allows(from, Direction::Egress, target, *traffic)
                        && allows(to, Direction::Ingress, source, *traffic)
                });
                let cell = matrix.allowed(*from_kind, *to_kind).unwrap().contains(*traffic);
                prop_assert_eq!(cell, expected, "{:?} to {:?} {:?}", from, to, traffic);
            }
        }
    }
    Ok(())
}
