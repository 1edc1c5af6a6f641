//! Which endpoint ids to forget together: each time, the flow tables are read from end to end.

use std::collections::BTreeSet;

use enforcer_core::tables::Step;

/// The ids that were forgotten before their step.
#[derive(Debug, Default)]
pub(super) struct Forgetting(BTreeSet<u32>);

impl Forgetting {
    /// The ids to forget at the first of these steps: its own, and those of later steps that need no
    /// other step before them. Empty: it is none that forgets, or its id was forgotten already.
    pub(super) fn due(&mut self, steps: &[Step]) -> BTreeSet<u32> {
        let Some(Step::ForgetEndpoint { id }) = steps.first() else { return BTreeSet::new() };
        if self.0.remove(id) {
            return BTreeSet::new();
        }
        let mut released = BTreeSet::new();
        let mut ids = BTreeSet::new();
        // After a grace period, packets of ids that were released last are gone, too.
        for step in steps.iter().take_while(|step| !matches!(step, Step::Grace)) {
            match step {
                Step::Owner { id, .. } => _ = released.insert(*id),
                Step::ForgetEndpoint { id } if !released.contains(id) => _ = ids.insert(*id),
                _ => {}
            }
        }
        self.0.extend(ids.iter().filter(|it| *it != id));
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(id: u32) -> Step {
        Step::Owner { id, ifindex: 1, owner: None, uid: String::new(), identity: 0 }
    }

    /// The calls that a plan leads to.
    fn calls(steps: &[Step]) -> Vec<Vec<u32>> {
        let mut forgetting = Forgetting::default();
        let calls = (0..steps.len()).map(|at| forgetting.due(&steps[at..]).into_iter().collect());
        calls.filter(|it: &Vec<u32>| !it.is_empty()).collect()
    }

    #[test]
    fn ids_of_one_plan_are_forgotten_together() {
        let forget = |id| Step::ForgetEndpoint { id };
        let plan = [forget(1), owner(1), forget(2), owner(2), owner(9), forget(3)];
        assert_eq!(calls(&plan), [vec![1, 2, 3]]);
    }

    #[test]
    fn c5_an_id_is_not_forgotten_before_it_is_released_or_before_its_grace_period() {
        let forget = |id| Step::ForgetEndpoint { id };
        assert_eq!(calls(&[forget(1), owner(2), forget(2)]), [vec![1], vec![2]]);
        assert_eq!(calls(&[forget(1), Step::Grace, forget(2)]), [vec![1], vec![2]]);
        assert_eq!(
            calls(&[forget(1), owner(1), owner(1), Step::Grace, forget(1), forget(2)]),
            [vec![1], vec![1, 2]]
        );
    }
}
