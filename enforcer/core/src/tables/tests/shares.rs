//! Fair shares of tables that are too small (semantics R9), and their real use.

use std::collections::BTreeSet;

use enforcer_ebpf::contract::table::Limits;
use proptest::collection::vec;
use proptest::prelude::*;

use super::fixtures::{interface, single_ports, state, tcp, wide};
use super::harness::{Harness, config};
use crate::model::PodId;
use crate::policy::{PodPolicy, Verdict};
use crate::tables::{Desired, Owner, Plan, State, Table};

/// Tenants with rows of these sizes: row `n` of a tenant allows columns of its own, each a port.
fn tenants(sizes: &[Vec<usize>]) -> Desired {
    let total: usize = sizes.iter().flatten().sum();
    let mut next = 1;
    let mut rows = Vec::new();
    for size in sizes.iter().flatten() {
        let mut row = vec![Verdict::Deny; total + 1];
        for (port, verdict) in (1..).zip(&mut row[next..next + size]) {
            *verdict = tcp(port, port);
        }
        next += size;
        rows.push(row);
    }
    let mut desired = state(rows);
    desired.compiled.pods.clear();
    desired.interfaces.clear();
    let pods = sizes.iter().enumerate().flat_map(|(tenant, rows)| {
        (0..rows.len()).map(move |at| PodId::new(format!("tenant{tenant}"), format!("{at}")))
    });
    for (row, pod) in pods.enumerate() {
        let policy = PodPolicy { ingress: Some(row), egress: None };
        desired.compiled.pods.insert(pod.clone(), policy);
        let ifindex = u32::try_from(row).unwrap() + 10;
        desired.interfaces.insert(ifindex, interface(Owner::Pod(pod)));
    }
    desired
}

/// Limits that leave the verdict cells as the scarce table.
fn roomy() -> Limits {
    Limits { endpoints: 64, verdict_blocks: 8, ..wide() }
}

fn closed(plan: &Plan) -> BTreeSet<&PodId> {
    plan.unrepresented.iter().map(|it| &it.pod).collect()
}

#[test]
fn r9_a_greedy_namespace_closes_none_of_anothers_pods() {
    let mut harness = Harness::new(roomy());
    // The modest rows have the highest numbers.
    let desired = tenants(&[vec![30; 8], vec![2; 5]]);
    let plan = harness.go(&desired).unwrap();
    assert!(!closed(&plan).is_empty());
    assert!(closed(&plan).iter().all(|pod| pod.namespace == "tenant0"), "{:?}", closed(&plan));
}

#[test]
fn r9_what_is_closed_stays_closed_until_the_demand_falls() {
    let mut harness = Harness::new(roomy());
    let mut desired = tenants(&[vec![30; 8], vec![2; 5]]);
    let first = harness.go(&desired).unwrap();
    // A pod elsewhere comes: no row opens or closes.
    desired.compiled.addresses.insert("10.200.0.9/32".parse().unwrap(), 1);
    let second = harness.go(&desired).unwrap();
    assert_eq!(closed(&first), closed(&second));
    assert!(second.steps.len() < 10, "{}", second.steps.len());
    // After that, the tenant's policies name less: there is room for all pods.
    harness.go(&Desired::default()).unwrap();
    let smaller = tenants(&[vec![5; 6], vec![2; 5]]);
    assert!(closed(&harness.go(&smaller).unwrap()).is_empty());
}

#[test]
fn use_is_what_is_in_use_now() {
    let mut state = State::new(wide());
    let used = |state: &State| Table::ALL.map(|table| state.usage(table).0);
    let empty = used(&state);
    state.plan(&super::fixtures::state(vec![single_ports(1..300), single_ports(300..500)]));
    assert!(used(&state) > empty);
    state.plan(&Desired::default());
    for (at, table) in Table::ALL.into_iter().enumerate() {
        let (used, _) = state.usage(table);
        let most = if table == Table::PortClasses { empty[at] + 16 } else { empty[at] };
        assert!(used <= most, "{table:?}: {used}");
    }
}

proptest! {
    #![proptest_config(config(48))]

    /// A tenant that needs no more than an equal share of the columns keeps all its pods.
    #[test]
    fn r9_a_modest_tenant_is_never_closed(sizes in vec(vec(1usize..25, 1..5), 2..6)) {
        let limits = Limits { verdict_blocks: 2, ..roomy() };
        let mut harness = Harness::new(limits);
        let desired = tenants(&sizes);
        let plan = harness.go(&desired).map_err(TestCaseError::fail)?;
        let total = |tenant: &Vec<usize>| tenant.iter().map(|it| it + 1).sum::<usize>();
        let largest = sizes.iter().map(total).max().unwrap();
        let closed = closed(&plan);
        let again = State::new(limits).plan(&desired);
        prop_assert_eq!(&again.unrepresented, &plan.unrepresented, "deterministic");
        let left = |at: usize| {
            let rows = sizes[at].iter().enumerate();
            let open = rows.filter(|(row, _)| {
                !closed.contains(&PodId::new(format!("tenant{at}"), format!("{row}")))
            });
            open.map(|(_, size)| size + 1).sum::<usize>()
        };
        for (at, tenant) in sizes.iter().enumerate() {
            if left(at) < total(tenant) {
                // It was the largest when it was cut: with its last row, no other has more left.
                let row = tenant.iter().max().unwrap() + 1;
                let others = (0..sizes.len()).filter(|it| *it != at).map(left).max().unwrap();
                prop_assert!(left(at) + row >= others, "{} {:?} {:?}", at, sizes, closed);
            }
        }
        prop_assert!(largest > 0);
    }
}
