//! The compiler against the reference evaluator, on generated clusters. Pure: needs no root.
//!
//! `PROPTEST_CASES` sets the number of clusters, `PROPTEST_RNG_SEED` their seed. A failure prints
//! the smallest cluster that shows it, and is kept beside this file, where every later run tries it
//! first.
//!
//! What belongs here: laws of pure code that span crates. What does not: laws of one crate alone,
//! which are tested there.

use std::collections::BTreeSet;

use enforcer_core::model::{Cluster, PodId, Traffic};
use enforcer_core::policy::reference::{egress_allows, ingress_allows, is_isolated};
use enforcer_core::policy::{Compiled, PortSet, Verdict, compile};
use enforcer_ebpf::contract::verdict::Direction;
use enforcer_tests::failure;
use enforcer_tests::generate::{self, Size};
use proptest::prelude::{ProptestConfig, TestCaseError, prop_assert, prop_assert_eq, proptest};
use proptest::test_runner::FileFailurePersistence;

fn config(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    ProptestConfig {
        cases: if asked { default.cases } else { cases },
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..default
    }
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn compiled_answers_what_the_reference_does(cluster in generate::cluster()) {
        let local = generate::local(&cluster);
        let compiled = compile(&cluster, &local);
        agree(&cluster, &compiled).map_err(|wrong| kept(&cluster, &wrong))?;
    }

    #[test]
    fn compiled_has_its_documented_form(cluster in generate::cluster()) {
        let local = generate::local(&cluster);
        form(&cluster, &local, &compile(&cluster, &local))?;
    }

    #[test]
    fn a_pod_has_the_same_verdicts_whichever_pods_are_local(cluster in generate::cluster()) {
        let all = compile(&cluster, &cluster.pods.keys().cloned().collect());
        let some = compile(&cluster, &generate::local(&cluster));
        for pod in some.pods.keys() {
            for direction in Direction::ALL {
                for peer in generate::addresses(&cluster) {
                    let verdicts =
                        [&all, &some].map(|compiled| compiled.verdict(pod, direction, peer));
                    prop_assert_eq!(verdicts[0], verdicts[1], "{} {:?} {}", pod, direction, peer);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn compiled_has_its_documented_form_when_large(cluster in generate::size(Size::LARGE)) {
        let local = generate::local(&cluster);
        form(&cluster, &local, &compile(&cluster, &local))?;
    }
}

/// Keeps the cluster: the last one that fails is the smallest.
fn kept(cluster: &Cluster, wrong: &TestCaseError) -> TestCaseError {
    match failure::keep("compile", cluster, &wrong.to_string()) {
        Ok(folder) => TestCaseError::fail(format!("{wrong}\nkept in {}", folder.display())),
        Err(error) => TestCaseError::fail(format!("{wrong}\nnot kept: {error}")),
    }
}

/// Compares compiler and reference evaluator for every subject, peer and kind of traffic.
fn agree(cluster: &Cluster, compiled: &Compiled) -> Result<(), TestCaseError> {
    let (addresses, traffic) = (generate::addresses(cluster), generate::traffic(cluster));
    for (pod, policy) in &compiled.pods {
        for direction in Direction::ALL {
            let isolated = is_isolated(cluster, pod, direction);
            prop_assert_eq!(policy.row(direction).is_some(), isolated, "{} {:?}", pod, direction);
            if !isolated {
                continue;
            }
            for peer in &addresses {
                let verdict = compiled.verdict(pod, direction, *peer);
                for traffic in &traffic {
                    let compiled = verdict.is_none_or(|it| it.allows(*traffic));
                    let reference = match direction {
                        Direction::Ingress => ingress_allows(cluster, pod, *peer, *traffic),
                        Direction::Egress => egress_allows(cluster, pod, *peer, *traffic),
                    };
                    prop_assert_eq!(
                        compiled,
                        reference,
                        "{} {:?} {} {:?}",
                        pod,
                        direction,
                        peer,
                        traffic
                    );
                }
            }
        }
    }
    Ok(())
}

/// Checks the documented form of [`Compiled`].
fn form(
    cluster: &Cluster,
    local: &BTreeSet<PodId>,
    compiled: &Compiled,
) -> Result<(), TestCaseError> {
    distinct_rows(compiled)?;
    distinct_columns(compiled)?;
    needed_prefixes(cluster, compiled)?;
    for verdict in compiled.rows.iter().flat_map(|row| &row.verdicts) {
        if let Verdict::Ports(set) = verdict {
            canonical(set)?;
        }
    }
    subjects(cluster, local, compiled)
}

fn distinct_rows(compiled: &Compiled) -> Result<(), TestCaseError> {
    let rows: BTreeSet<_> = compiled.rows.iter().collect();
    prop_assert_eq!(rows.len(), compiled.rows.len(), "rows alike");
    let named = compiled.pods.values().flat_map(|it| [it.ingress, it.egress]).flatten();
    let named: BTreeSet<_> = named.collect();
    prop_assert!(named.into_iter().eq(0..compiled.rows.len()), "unused rows, or no rows");
    Ok(())
}

fn distinct_columns(compiled: &Compiled) -> Result<(), TestCaseError> {
    prop_assert!(compiled.columns >= 1);
    prop_assert!(compiled.rows.iter().all(|row| row.verdicts.len() == compiled.columns));
    let column = |it: usize| compiled.rows.iter().map(|row| &row.verdicts[it]).collect::<Vec<_>>();
    let columns: BTreeSet<_> = (0..compiled.columns).map(column).collect();
    prop_assert_eq!(columns.len(), compiled.columns, "columns alike");
    let used: BTreeSet<_> = compiled.addresses.values().copied().chain([0]).collect();
    prop_assert!(used.into_iter().eq(0..compiled.columns), "columns of no address");
    Ok(())
}

/// Every prefix differs from its surroundings, except for the node's own addresses, which are all
/// present.
fn needed_prefixes(cluster: &Cluster, compiled: &Compiled) -> Result<(), TestCaseError> {
    let node: BTreeSet<_> = cluster.node_addresses.iter().map(|it| (*it).into()).collect();
    prop_assert_eq!(&compiled.node_addresses, &node);
    for address in &node {
        prop_assert!(compiled.addresses.contains_key(address), "{} is missing", address);
    }
    for (prefix, column) in &compiled.addresses {
        prop_assert_eq!(*prefix, prefix.trunc(), "host bits");
        let around = compiled
            .addresses
            .iter()
            .filter(|(other, _)| *other != prefix && other.contains(prefix))
            .max_by_key(|(other, _)| other.prefix_len())
            .map_or(0, |(_, column)| *column);
        prop_assert!(*column != around || node.contains(prefix), "{} is redundant", prefix);
    }
    Ok(())
}

fn canonical(set: &PortSet) -> Result<(), TestCaseError> {
    prop_assert!(!set.ranges.is_empty(), "a set without ports is a denial");
    for (protocol, ranges) in &set.ranges {
        prop_assert!(!ranges.is_empty(), "{} without ports", protocol);
        prop_assert!(ranges.iter().all(|it| it.first <= it.last));
        for pair in ranges.windows(2) {
            let gap = u32::from(pair[1].first).saturating_sub(u32::from(pair[0].last));
            prop_assert!(gap > 1, "{} ranges overlap or touch: {:?}", protocol, pair);
        }
    }
    Ok(())
}

/// Exactly the local subjects are in the result (semantics S1).
fn subjects(
    cluster: &Cluster,
    local: &BTreeSet<PodId>,
    compiled: &Compiled,
) -> Result<(), TestCaseError> {
    let expected = local.iter().filter(|id| {
        let pod = &cluster.pods[*id];
        !pod.host_network && !pod.finished && !pod.addresses.is_empty()
    });
    prop_assert!(compiled.pods.keys().eq(expected));
    Ok(())
}

/// The generated clusters contain the cases that the properties are about. Without this, a change
/// to the generator could make the properties hold trivially.
#[test]
fn generated_clusters_are_various() {
    use proptest::strategy::{Strategy, ValueTree};
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let (mut denied, mut allowed, mut ports, mut portless) = (0, 0, 0, 0);
    let (mut rows, mut columns) = (0, 0);
    for _ in 0..200 {
        let cluster = generate::cluster().new_tree(&mut runner).unwrap().current();
        let compiled = compile(&cluster, &generate::local(&cluster));
        rows = rows.max(compiled.rows.len());
        columns = columns.max(compiled.columns);
        for verdict in compiled.rows.iter().flat_map(|row| &row.verdicts) {
            match verdict {
                Verdict::Deny => denied += 1,
                Verdict::Allow => allowed += 1,
                Verdict::Ports(_) => ports += 1,
            }
            portless += u32::from(verdict.allows(Traffic::Portless));
        }
    }
    assert!(rows >= 5 && columns >= 10, "at most {rows} rows, {columns} columns");
    assert!(denied.min(allowed).min(ports) >= 200, "{denied} deny, {allowed} allow, {ports} ports");
    assert!(portless >= 200);
}
