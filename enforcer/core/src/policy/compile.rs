//! From the cluster's state to [`Compiled`].

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::compiled::{Compiled, PodPolicy, Row, RowId};
use super::grants::{GrantId, Grants};
use super::subjects::Subjects;
use super::verdicts::VerdictId;
use super::{peers, regions, subjects, terms};
use crate::interner::Interner;
use crate::model::{Cluster, PodId, Service};

/// Compiles the policies for the pods `local`, which are this node's. The result leaves out those
/// that are not subjects (semantics S1).
#[must_use]
pub fn compile(cluster: &Cluster, local: &BTreeSet<PodId>) -> Compiled {
    let subjects = subjects::select(cluster, local);
    let (terms, mut grants) = terms::collect(&subjects);
    let hosts = peers::addresses(cluster, &terms, &mut grants);
    let hosts = hosts.into_iter().map(|(address, grant)| (IpNet::from(address), grant));
    let node: BTreeSet<IpNet> = cluster.node_addresses.iter().map(|it| IpNet::from(*it)).collect();
    let addresses = regions::addresses(&terms.blocks, hosts, &node, &mut grants);
    let services = cluster.services.values().flat_map(Service::addresses).map(IpNet::from);
    let external = cluster.services.values().flat_map(|it| &it.external_addresses);
    Compiled {
        node_addresses: node,
        service_addresses: services.collect(),
        external_addresses: external.map(|it| IpNet::from(*it)).collect(),
        ..assemble(subjects, &grants, addresses)
    }
}

/// Numbers the columns that addresses have, and merges equal rows.
fn assemble(
    subjects: Subjects<'_>,
    grants: &Grants,
    addresses: BTreeMap<IpNet, GrantId>,
) -> Compiled {
    // Column 0 is for addresses without a grant of their own; the others are in the order of their
    // addresses.
    let mut columns: Interner<GrantId> = Interner::default();
    columns.intern(GrantId::NONE);
    let addresses =
        addresses.into_iter().map(|(prefix, grant)| (prefix, columns.intern(grant))).collect();
    let (rows, merged) = merge_rows(grants, columns.values(), subjects.rows.len());
    let pods = subjects
        .pods
        .into_iter()
        .map(|(id, drafts)| {
            let [ingress, egress] = drafts.map(|draft| draft.map(|draft| merged[draft]));
            (id, PodPolicy { ingress, egress })
        })
        .collect();
    Compiled { rows, columns: columns.values().len(), addresses, pods, ..Compiled::default() }
}

/// The distinct rows over these columns, and the row of each draft.
fn merge_rows(grants: &Grants, columns: &[GrantId], drafts: usize) -> (Vec<Row>, Vec<RowId>) {
    let mut contents: Vec<Vec<VerdictId>> = vec![Vec::with_capacity(columns.len()); drafts];
    for grant in columns {
        for (row, verdict) in contents.iter_mut().zip(grants.column(*grant)) {
            row.push(verdict);
        }
    }
    let mut distinct: Interner<Vec<VerdictId>> = Interner::default();
    let merged = contents.into_iter().map(|verdicts| distinct.intern(verdicts)).collect();
    let row = |verdicts: &Vec<VerdictId>| Row {
        verdicts: verdicts.iter().map(|verdict| grants.verdicts.get(*verdict).clone()).collect(),
    };
    (distinct.values().iter().map(row).collect(), merged)
}
