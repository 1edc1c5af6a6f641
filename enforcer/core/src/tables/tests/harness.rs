//! Carries out plans step by step and checks C1 after each step.

use std::collections::{BTreeMap, BTreeSet};

use enforcer_ebpf::contract::networks::Places;
use enforcer_ebpf::contract::table::Limits;
use proptest::prelude::ProptestConfig;

use super::expected::Meaning;
use super::probes::{Classes, Directions, Probes, Stale};
use crate::model::PodId;
use crate::policy::{Delta, Engine};
use crate::tables::oracle::CheckedImage;
use crate::tables::{Desired, Interface, Plan, State, Step, Table};

/// Small tables that are large enough for the generated states.
pub(super) const SMALL: Limits = Limits {
    trie4_blocks: 330,
    trie6_nodes: 400,
    trie6_leaves: 200,
    port_sets: 60,
    verdict_blocks: 6,
    endpoints: 12,
    flows: 0,
};

/// `cases` cases unless `PROPTEST_CASES` is set. Failures are turned into tests by hand, so no file
/// beside the source keeps them.
pub(super) fn config(cases: u32) -> ProptestConfig {
    let default = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_some() {
        return default;
    }
    ProptestConfig { cases, ..default }
}

pub(super) struct Harness {
    pub(super) state: State,
    pub(super) image: CheckedImage,
    pub(super) meaning: Meaning,
    /// Whether the last plan left the tries empty.
    lost: bool,
    /// Steps after which a packet that had read its address before its endpoint could get a third
    /// verdict.
    pub(super) reversals: usize,
}

impl Harness {
    pub(super) fn new(limits: Limits) -> Self {
        Self::with_secrets(limits, Places::KNOWN.secrets)
    }

    /// With these secrets of the IPv6 networks' places.
    pub(super) fn with_secrets(limits: Limits, secrets: [u64; 2]) -> Self {
        Self {
            state: State::new(limits).with_secrets(secrets),
            image: CheckedImage::new(limits).with_secrets(secrets),
            meaning: Meaning::default(),
            lost: false,
            reversals: 0,
        }
    }

    /// Plans, carries out the plan, and checks each step. Returns the plan.
    pub(super) fn go(&mut self, desired: &Desired) -> Result<Plan, String> {
        let plan = self.state.plan(desired);
        self.carry_out(desired, plan)
    }

    /// The same, for the result of an engine.
    pub(super) fn follow(
        &mut self,
        engine: &mut Engine,
        delta: &Delta,
        interfaces: &BTreeMap<u32, Interface>,
    ) -> Result<Plan, String> {
        let plan = self.state.follow(engine, delta, interfaces);
        let (compiled, interfaces) = (engine.compiled(), interfaces.clone());
        self.carry_out(&Desired { compiled, interfaces }, plan)
    }

    /// Carries out a plan to this state, and checks each step.
    fn carry_out(&mut self, desired: &Desired, plan: Plan) -> Result<Plan, String> {
        let after = self.meaning_of(desired, &plan);
        let before = std::mem::replace(&mut self.meaning, after.clone());
        let probes = Probes::new(&[&before.desired, desired]);
        let (old, new) = (&probes.expected(&before), &probes.expected(&after));
        // If closed rows are not enough, even the node's addresses may be missing.
        let lost = plan.addresses_lost.is_some() || plan.addresses_lost_meanwhile || self.lost;
        self.lost = plan.addresses_lost.is_some();
        let strict = (!lost && plan.closed_meanwhile.is_empty(), !self.lost);
        probes.compare(&self.image, &Stale::new(), (old, old), &Directions::new())?;
        let meanwhile = probes.meanwhile(&plan, &[&before, &after]);
        let mut stale = Stale::new();
        let mut classes = Classes::new();
        for (at, step) in plan.steps.iter().enumerate() {
            let error =
                |problem: String| format!("step {at} of {}: {step:?}: {problem}", plan.steps.len());
            probes.note_endpoints(&self.image, &mut stale);
            probes.note_classes(&self.image, &mut classes);
            self.image.apply(step).map_err(|problem| error(problem.to_string()))?;
            if *step == Step::Grace {
                stale.clear();
                classes.clear();
            }
            if probes.concerned(step) {
                probes
                    .compare(&self.image, &stale, (old, new), &meanwhile)
                    .and_then(|()| probes.compare_addresses(&self.image, &before, &after, strict.0))
                    .map_err(error)?;
                let fails = probes.fails_in_reverse(&self.image, &classes, (old, new));
                self.reversals += usize::from(fails);
            }
        }
        let finally = |problem| format!("after all {} steps: {problem}", plan.steps.len());
        probes
            .compare(&self.image, &Stale::new(), (new, new), &Directions::new())
            .and_then(|()| probes.compare_addresses(&self.image, &after, &after, strict.1))
            .and_then(|()| probes.judge_all(&self.image, new))
            .map_err(finally)?;
        Ok(plan)
    }

    fn meaning_of(&self, desired: &Desired, plan: &Plan) -> Meaning {
        let slotless = |table| matches!(table, Table::Endpoints | Table::Interfaces);
        let closed = plan.unrepresented.iter().filter(|item| !slotless(item.shortage.table));
        let reported: BTreeSet<&PodId> = plan
            .unrepresented
            .iter()
            .filter(|item| slotless(item.shortage.table))
            .map(|item| &item.pod)
            .collect();
        Meaning {
            desired: desired.clone(),
            closed: closed.map(|item| (item.pod.clone(), item.direction)).collect(),
            unplaced: desired
                .interfaces
                .iter()
                .filter(|(ifindex, interface)| {
                    self.state.endpoints.get(**ifindex).is_none()
                        && interface.owner.pod().is_none_or(|pod| reported.contains(pod))
                })
                .map(|(&ifindex, _)| ifindex)
                .collect(),
        }
    }
}
