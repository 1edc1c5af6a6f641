//! The effect of the container runtime's CNI results (semantics S6, C6).

use std::time::Instant;

use super::options::UnknownPod;
use super::reconciler::Reconciler;
use super::sandboxes::Reporter;
use crate::cni::{Results, State};
use crate::observe::CniReport;
use enforcer_core::model::Sandbox;

impl Reconciler {
    /// Takes the runtime's CNI results; [`Reconciler::reconcile`] enforces them.
    pub(super) fn take_results(&mut self, results: Results) {
        let before = std::mem::replace(&mut self.records.taken, results.clone());
        if results.state != State::Readable {
            self.records.proven = false;
            let changes = self.sandboxes.forget_results();
            self.put(changes);
            return;
        }
        let gone = before.sandboxes.keys().filter(|id| !results.sandboxes.contains_key(*id));
        for id in gone {
            let change = self.sandboxes.ended(id);
            self.put(change);
        }
        let is_first = before.state != State::Readable;
        for (id, sandbox) in results.sandboxes {
            if before.sandboxes.get(&id) == Some(&sandbox) {
                continue;
            }
            if is_first {
                let change = self.sandboxes.listed(sandbox, &self.cluster);
                self.put(change);
            } else {
                tracing::debug!(pod = %sandbox.pod, id, "a pod's network is ready");
                self.sandbox_started(sandbox, Reporter::Cni);
            }
        }
        self.locate_sandboxes();
    }

    /// A new sandbox of a pod.
    pub(super) fn sandbox_started(&mut self, sandbox: Sandbox, by: Reporter) {
        let (id, uid) = (sandbox.pod.clone(), sandbox.uid.clone());
        let is_known = self.cluster.pods.get(&id).is_some_and(|pod| pod.uid == uid);
        if let Some(change) = self.sandboxes.started(sandbox, by, &self.cluster) {
            // A new sandbox is a change to the pod: its claim to an interface does not rest on an
            // address alone (semantics C5).
            if is_known {
                self.bindings.changed(&id, Instant::now());
            } else {
                self.bindings.forget(&id);
            }
            self.put([change]);
            self.locate_sandboxes();
        }
    }

    /// Whether the runtime's records make pods known before their containers start.
    pub(super) fn has_records(&self) -> bool {
        self.records.proven || self.sandboxes.is_connected()
    }

    /// Whether interfaces are closed until their pod is known.
    pub(super) fn denies_unknown(&self) -> bool {
        match self.unknown_pod {
            UnknownPod::Allow => false,
            UnknownPod::Deny => true,
            UnknownPod::Auto => self.has_records(),
        }
    }

    /// Notes whether the runtime's results name interfaces of this node, and logs what follows.
    pub(super) fn judge_records(&mut self) {
        let is_readable = self.records.taken.state == State::Readable;
        self.records.proven |= is_readable && self.bindings.has_recorded();
        let denies = self.denies_unknown();
        if self.unknown_pod != UnknownPod::Auto || self.records.logged == Some(denies) {
            return;
        }
        self.records.logged = Some(denies);
        match denies {
            true => tracing::info!(
                "--unknown-pod auto: deny, since the container runtime's records make pods known before \
                 their containers start"
            ),
            false => tracing::warn!(
                "--unknown-pod auto: allow, since there is no record of the container runtime yet: new \
                 pods are unrestricted until the API reports their addresses"
            ),
        }
    }

    /// The state of the records, for observers.
    pub(super) fn records_report(&self) -> CniReport {
        let Results { state, sandboxes, problems, .. } = &self.records.taken;
        let (state, about) = match state {
            State::Pending => ("pending", ""),
            State::Off => ("off", ""),
            State::Missing { why } => ("missing", why.as_str()),
            State::Readable if self.records.proven => ("used", ""),
            State::Readable => ("readable", ""),
        };
        CniReport {
            state: state.to_owned(),
            about: about.to_owned(),
            sandboxes: sandboxes.len() as u64,
            problems: problems.iter().map(|(file, why)| format!("{file}: {why}")).collect(),
        }
    }
}
