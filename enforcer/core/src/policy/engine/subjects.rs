//! The local subjects, the policies that select them, and their rows.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use enforcer_ebpf::contract::verdict::Direction;

use super::atoms::Atoms;
use super::rows::{Compiler, Row, named_ports, rules};
use super::slab::{Collected, Number, Slab};
use super::touched::Touched;
use crate::model::{Cluster, ContainerPort, Pod, PodId, PolicyId};
use crate::policy::subjects::is_subject;

/// A local subject.
#[derive(Debug, Default)]
struct Subject {
    policies: BTreeSet<PolicyId>,
    rows: [Option<Number>; 2],
}

/// The local subjects and their rows.
#[derive(Debug, Default)]
pub(super) struct Subjects {
    pods: BTreeMap<PodId, Subject>,
    rows: Slab<Row>,
}

/// The rows made in one update: what they follow from.
type Made = HashMap<(Direction, Vec<PolicyId>, Vec<ContainerPort>), Number>;

impl Subjects {
    /// Brings the rows up to date. Returns whether port names came into use.
    pub(super) fn update(
        &mut self,
        compiler: &mut Compiler<'_>,
        touched: &Touched,
        local: &BTreeSet<PodId>,
    ) -> bool {
        let cluster = compiler.cluster;
        let subject = |id: &PodId| cluster.pods.get(id).filter(|pod| is_subject(pod));
        let ended: Vec<PodId> = self
            .pods
            .keys()
            .filter(|id| !local.contains(id) || subject(id).is_none())
            .cloned()
            .collect();
        for id in ended {
            let rows = self.pods.remove(&id).map(|it| it.rows).unwrap_or_default();
            rows.into_iter().flatten().for_each(|row| self.rows.release(row));
        }
        let mut concerned: BTreeSet<&PodId> = BTreeSet::new();
        for (id, pod) in local.iter().filter_map(|id| Some((id, subject(id)?))) {
            let is_new = !self.pods.contains_key(id);
            if is_new || touched.pods.contains(id) {
                let known = self.pods.entry(id.clone()).or_default();
                known.policies = selecting(cluster, pod);
                concerned.insert(id);
            }
        }
        self.select(cluster, touched, local, &mut concerned);
        let (mut made, mut renamed) = (Made::new(), false);
        for id in concerned {
            self.compile(compiler, id, &mut made, &mut renamed);
        }
        // Rows made in this update had a use each, until here.
        made.into_values().for_each(|row| self.rows.release(row));
        renamed
    }

    /// Finds the subjects that changed policies select, or selected.
    fn select<'l>(
        &mut self,
        cluster: &Cluster,
        touched: &Touched,
        local: &'l BTreeSet<PodId>,
        concerned: &mut BTreeSet<&'l PodId>,
    ) {
        for policy_id in &touched.policies {
            let policy = cluster.policies.get(policy_id);
            let first = PodId::new(policy_id.namespace.as_str(), "");
            let same = |id: &&PodId| id.namespace == policy_id.namespace;
            for id in local.range(first..).take_while(same) {
                let Some(subject) = self.pods.get_mut(id) else { continue };
                let pod = cluster.pods.get(id);
                let selects =
                    policy.zip(pod).is_some_and(|(it, pod)| it.subjects.matches(&pod.labels));
                let changed = match selects {
                    true => {
                        subject.policies.insert(policy_id.clone());
                        true
                    }
                    false => subject.policies.remove(policy_id),
                };
                if changed {
                    concerned.insert(id);
                }
            }
        }
    }

    fn compile(
        &mut self,
        compiler: &mut Compiler<'_>,
        id: &PodId,
        made: &mut Made,
        renamed: &mut bool,
    ) {
        let cluster = compiler.cluster;
        let Some(pod) = cluster.pods.get(id) else { return };
        let Some(subject) = self.pods.get_mut(id) else { return };
        for direction in Direction::ALL {
            let ports = match direction {
                Direction::Ingress => named_ports(cluster, &subject.policies, &pod.ports),
                Direction::Egress => Vec::new(),
            };
            let policies = subject.policies.iter().filter_map(|it| cluster.policies.get(it));
            let policies = policies.filter(|it| rules(it, direction).is_some());
            let names: Vec<PolicyId> = policies.clone().map(|it| it.id.clone()).collect();
            let row = if names.is_empty() {
                None
            } else {
                let key = (direction, names, ports.iter().map(|it| (*it).clone()).collect());
                let row = *made.entry(key).or_insert_with(|| {
                    let draft = compiler.draft(policies, direction, &ports);
                    compiler.intern(&mut self.rows, draft, renamed)
                });
                self.rows.retain(row);
                Some(row)
            };
            let before = std::mem::replace(&mut subject.rows[direction as usize], row);
            before.into_iter().for_each(|row| self.rows.release(row));
        }
    }

    /// Forgets the rows that judge no pod any more.
    pub(super) fn collect(&mut self, atoms: &mut Atoms, renamed: &mut bool) -> Collected<Row> {
        let collected = self.rows.collect();
        for (_, row) in &collected.gone {
            for (atom, term) in &row.terms {
                atoms.release(*atom);
                for name in &term.named {
                    *renamed |= atoms.release_name(name);
                }
            }
        }
        collected
    }

    pub(super) fn rows_of(&self, pod: &PodId) -> Option<[Option<Number>; 2]> {
        self.pods.get(pod).map(|subject| subject.rows)
    }

    pub(super) fn row(&self, row: Number) -> Option<&Row> {
        self.rows.get(row).map(|it| &**it)
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = Number> {
        self.rows.iter().map(|(row, _)| row)
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The subjects with their rows.
    pub(super) fn all(&self) -> impl Iterator<Item = (&PodId, [Option<Number>; 2])> {
        self.pods.iter().map(|(id, subject)| (id, subject.rows))
    }
}

/// The policies that select the pod.
fn selecting(cluster: &Cluster, pod: &Pod) -> BTreeSet<PolicyId> {
    let namespace = pod.id.namespace.as_str();
    let policies = cluster.policies.range(PolicyId::new(namespace, "")..);
    policies
        .take_while(|(id, _)| id.namespace == namespace)
        .filter(|(_, policy)| policy.subjects.matches(&pod.labels))
        .map(|(id, _)| id.clone())
        .collect()
}
