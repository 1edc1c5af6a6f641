//! The local subjects, the policies that select them, and their rows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use enforcer_ebpf::contract::verdict::Direction;

use super::atoms::Atoms;
use super::rows::{Row, named_ports, names};
use super::selecting::Selecting;
use super::shares::{Ask, Budget, Excess, Need, Scratch, excess, excess_names, with_hysteresis};
use super::sketch::{Compiler, Sketch, rules};
use super::slab::{Collected, Number, Slab};
use super::touched::Touched;
use crate::model::{Cluster, ContainerPort, PodId, PolicyId};
use crate::policy::subjects::is_subject;
use crate::policy::verdicts::VerdictId;

/// How a direction of a subject is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Judge {
    /// Not isolated.
    #[default]
    Open,
    /// By this row.
    Row(Number),
    /// Closed: its namespace's share is too small (semantics R9).
    Closed,
}

/// The policies whose rules of a direction judge a side.
type Rules = (Direction, BTreeSet<PolicyId>);

/// The number of names in a side's rules, and where these are from; `None`: not isolated.
type Names = Option<(u64, Arc<Rules>)>;

/// What a row needs, and the sides that it judges.
type Asking = (Arc<Need>, Vec<Key>);

/// A direction of a subject.
#[derive(Debug, Default)]
struct Side {
    judge: Judge,
    names: Names,
    /// What its row needs.
    need: Option<Arc<Need>>,
}

/// A local subject.
#[derive(Debug, Default)]
struct Subject {
    policies: BTreeSet<PolicyId>,
    sides: [Side; 2],
}

/// A side of a subject.
type Key = (PodId, Direction);

/// The local subjects and their rows.
#[derive(Debug)]
pub(super) struct Subjects {
    pods: BTreeMap<PodId, Subject>,
    rows: Slab<Row>,
    budget: Budget,
    /// The sides that are closed, because of the names in their rules or because of their rows.
    closed: [BTreeMap<Key, Excess>; 2],
}

/// What the rules of some policies mean, in one update.
struct Draft<'c> {
    sketch: Sketch<'c>,
    need: Arc<Need>,
    /// With a use that ends with the update.
    row: Option<Number>,
}

/// The drafts of one update: what they follow from, and the sides that they judge.
#[derive(Default)]
struct Drafts<'c> {
    list: Vec<Draft<'c>>,
    known: HashMap<(Direction, Vec<&'c PolicyId>, Vec<&'c ContainerPort>), usize>,
    of_side: HashMap<Key, usize>,
    scratch: Scratch,
}

impl Subjects {
    pub(super) fn new(budget: Budget) -> Self {
        Self { pods: BTreeMap::new(), rows: Slab::default(), budget, closed: Default::default() }
    }

    /// Brings the rows up to date. Returns whether port names came into use.
    pub(super) fn update(
        &mut self,
        compiler: &mut Compiler<'_, '_>,
        touched: &Touched,
        local: &BTreeSet<PodId>,
    ) -> bool {
        let cluster = compiler.cluster;
        let subject = |id: &PodId| cluster.pods.get(id).filter(|pod| is_subject(pod));
        let stays = |id: &PodId| local.contains(id) && subject(id).is_some();
        let ended: Vec<PodId> = self.pods.keys().filter(|id| !stays(id)).cloned().collect();
        for id in &ended {
            let sides = self.pods.remove(id).map(|it| it.sides);
            sides.into_iter().flatten().for_each(|side| self.release(side.judge));
        }
        let mut concerned: BTreeSet<PodId> = BTreeSet::new();
        let mut selecting = Selecting::new(cluster);
        for (id, pod) in local.iter().filter_map(|id| Some((id, subject(id)?))) {
            if touched.pods.contains(id) || !self.pods.contains_key(id) {
                let known = self.pods.entry(id.clone()).or_default();
                known.policies = selecting.policies_of(pod);
                concerned.insert(id.clone());
            }
        }
        self.select(cluster, touched, local, &mut concerned);
        if concerned.is_empty() && ended.is_empty() {
            return false;
        }
        let (mut drafts, mut renamed) = (Drafts::default(), false);
        self.count_names(cluster, &concerned);
        let reopened = self.close_names();
        concerned.extend(reopened);
        for id in &concerned {
            self.draft(compiler, id, &mut drafts);
        }
        for id in self.close_rows() {
            if concerned.insert(id.clone()) {
                self.draft(compiler, &id, &mut drafts);
            }
        }
        for id in &concerned {
            self.judge(compiler, id, &mut drafts, &mut renamed);
        }
        drafts.list.into_iter().filter_map(|it| it.row).for_each(|row| self.rows.release(row));
        renamed
    }

    /// Finds the subjects that changed policies select, or selected. The policies of those that are
    /// concerned already are known.
    fn select(
        &mut self,
        cluster: &Cluster,
        touched: &Touched,
        local: &BTreeSet<PodId>,
        concerned: &mut BTreeSet<PodId>,
    ) {
        if touched.policies.is_empty() {
            return;
        }
        let others: Vec<&PodId> = local.iter().filter(|id| !concerned.contains(*id)).collect();
        for policy_id in &touched.policies {
            let policy = cluster.policies.get(policy_id);
            let first = others.partition_point(|id| id.namespace < policy_id.namespace);
            let same = |id: &&&PodId| id.namespace == policy_id.namespace;
            for &id in others.iter().skip(first).take_while(same) {
                let Some(subject) = self.pods.get_mut(id) else { continue };
                let pod = cluster.pods.get(id);
                let selects = policy.zip(pod).is_some_and(|(it, pod)| {
                    it.subjects.matches(&pod.labels) && !cluster.is_in_audit(it)
                });
                let changed = match selects {
                    true => {
                        subject.policies.insert(policy_id.clone());
                        true
                    }
                    false => subject.policies.remove(policy_id),
                };
                if changed {
                    concerned.insert(id.clone());
                }
            }
        }
    }

    /// Counts the names in the rules of these subjects.
    fn count_names(&mut self, cluster: &Cluster, concerned: &BTreeSet<PodId>) {
        // Subjects with the same policies have the same rules.
        let mut known: HashMap<Rules, Names> = HashMap::new();
        for id in concerned {
            let Some(subject) = self.pods.get_mut(id) else { continue };
            for direction in Direction::ALL {
                let key = (direction, subject.policies.clone());
                let counted = known.entry(key).or_insert_with_key(|key| {
                    let policies =
                        subject.policies.iter().filter_map(|it| cluster.policies.get(it));
                    let mut isolating =
                        policies.filter(|it| rules(it, direction).is_some()).peekable();
                    isolating.peek()?;
                    let count: u64 = isolating.map(|it| names(it, direction)).sum();
                    Some((count, Arc::new(key.clone())))
                });
                let side = &mut subject.sides[direction as usize];
                (side.names, side.need) = (counted.clone(), None);
            }
        }
    }

    /// Closes the sides whose rules have more names than their namespace's share. Returns the
    /// subjects with sides that are no longer closed by this.
    fn close_names(&mut self) -> Vec<PodId> {
        let sides = self.pods.iter().flat_map(|(id, subject)| {
            Direction::ALL.into_iter().filter_map(move |direction| {
                let (count, rules) = subject.sides[direction as usize].names.as_ref()?;
                Some((id.namespace.as_str(), (id.clone(), direction), rules, *count))
            })
        });
        let asks: Vec<_> = sides.collect();
        let closed = with_hysteresis(&self.closed[0], &self.budget, |it| excess_names(&asks, it));
        self.replace_closed(0, closed)
    }

    /// Closes the sides whose rows need more than their namespace's share. Returns the subjects with
    /// sides that are no longer closed by this.
    fn close_rows(&mut self) -> Vec<PodId> {
        let mut rows: HashMap<(&str, u64), Asking> = HashMap::new();
        for (id, subject) in &self.pods {
            for direction in Direction::ALL {
                if let Some(need) = &subject.sides[direction as usize].need {
                    let row = rows.entry((&id.namespace, need.row));
                    let (_, keys) = row.or_insert_with(|| (Arc::clone(need), Vec::new()));
                    keys.push((id.clone(), direction));
                }
            }
        }
        // Its first side identifies a row: the same rules in another namespace are another row.
        let mut asks: Vec<Ask<'_, &Key>> = Vec::with_capacity(rows.len());
        for ((namespace, _), (need, keys)) in &rows {
            let key = keys.first();
            asks.extend(key.map(|key| Ask { namespace, key, need: Arc::clone(need) }));
        }
        let before = asks.iter().filter_map(|it| Some((it.key, *self.closed[1].get(it.key)?)));
        let before: BTreeMap<&Key, Excess> = before.collect();
        let found = with_hysteresis(&before, &self.budget, |budget| excess(&asks, budget));
        let closed = rows
            .values()
            .filter_map(|(_, keys)| Some((keys, *found.get(keys.first()?)?)))
            .flat_map(|(keys, excess)| keys.iter().map(move |key| (key.clone(), excess)))
            .collect();
        self.replace_closed(1, closed)
    }

    fn replace_closed(&mut self, stage: usize, closed: BTreeMap<Key, Excess>) -> Vec<PodId> {
        let before = std::mem::replace(&mut self.closed[stage], closed);
        self.close(stage);
        let open = before.into_keys().filter(|key| !self.closed[stage].contains_key(key));
        open.map(|(id, _)| id).collect()
    }

    fn close(&mut self, stage: usize) {
        for (id, direction) in self.closed[stage].keys() {
            let Some(subject) = self.pods.get_mut(id) else { continue };
            let judge = &mut subject.sides[*direction as usize].judge;
            if let Judge::Row(row) = std::mem::replace(judge, Judge::Closed) {
                self.rows.release(row);
            }
        }
    }

    /// Finds what the policies of a subject mean and need.
    fn draft<'c>(&mut self, compiler: &mut Compiler<'c, '_>, id: &PodId, drafts: &mut Drafts<'c>) {
        let cluster = compiler.cluster;
        let Some(pod) = cluster.pods.get(id) else { return };
        for direction in Direction::ALL {
            let key = (id.clone(), direction);
            let Some(subject) = self.pods.get_mut(id) else { return };
            if self.closed[0].contains_key(&key) {
                continue;
            }
            let ports = match direction {
                Direction::Ingress => named_ports(cluster, &subject.policies, &pod.ports),
                Direction::Egress => Vec::new(),
            };
            let policies = subject.policies.iter().filter_map(|it| cluster.policies.get(it));
            let policies = policies.filter(|it| rules(it, direction).is_some());
            let names: Vec<&PolicyId> = policies.clone().map(|it| &it.id).collect();
            let side = &mut subject.sides[direction as usize];
            side.need = None;
            if names.is_empty() {
                continue;
            }
            let Drafts { list, known, of_side, scratch } = drafts;
            let at = *known.entry((direction, names, ports.clone())).or_insert_with(|| {
                let sketch = compiler.sketch(policies, direction, &ports);
                let need = Arc::new(Need::new(&sketch, compiler.verdicts, scratch));
                list.push(Draft { sketch, need, row: None });
                list.len() - 1
            });
            side.need = list.get(at).map(|it| Arc::clone(&it.need));
            of_side.insert(key, at);
        }
    }

    /// Decides how a subject is judged. What is closed is closed already.
    fn judge<'c>(
        &mut self,
        compiler: &mut Compiler<'c, '_>,
        id: &PodId,
        drafts: &mut Drafts<'c>,
        renamed: &mut bool,
    ) {
        for direction in Direction::ALL {
            let key = (id.clone(), direction);
            if self.closed.iter().any(|it| it.contains_key(&key)) {
                continue;
            }
            let draft = drafts.of_side.get(&key).and_then(|at| drafts.list.get_mut(*at));
            let judge = draft.map_or(Judge::Open, |Draft { sketch, row, .. }| {
                let rows = &mut self.rows;
                let row = *row.get_or_insert_with(|| compiler.intern(rows, sketch, renamed));
                rows.retain(row);
                Judge::Row(row)
            });
            let Some(subject) = self.pods.get_mut(id) else { return };
            let side = &mut subject.sides[direction as usize];
            let before = std::mem::replace(&mut side.judge, judge);
            self.release(before);
        }
    }

    fn release(&mut self, judge: Judge) {
        if let Judge::Row(row) = judge {
            self.rows.release(row);
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

    pub(super) fn judges(&self, pod: &PodId) -> Option<[Judge; 2]> {
        self.pods.get(pod).map(|subject| subject.sides.each_ref().map(|side| side.judge))
    }

    /// The sides that are closed, and the shares that are too small for them.
    pub(super) fn excess(&self) -> impl Iterator<Item = (&PodId, Direction, Excess)> {
        let all = self.closed.iter().flatten();
        all.map(|((id, direction), excess)| (id, *direction, *excess))
    }

    pub(super) fn row(&self, row: Number) -> Option<&Row> {
        self.rows.get(row).map(|it| &**it)
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = Number> {
        self.rows.iter().map(|(row, _)| row)
    }

    /// The verdicts in rows.
    pub(super) fn verdicts(&self) -> impl Iterator<Item = VerdictId> {
        let rows = self.rows.iter();
        rows.flat_map(|(_, row)| row.terms.values().map(|term| term.always).chain([row.base]))
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The subjects.
    pub(super) fn all(&self) -> impl Iterator<Item = (&PodId, [Judge; 2])> {
        self.pods.iter().map(|(id, it)| (id, it.sides.each_ref().map(|side| side.judge)))
    }
}
