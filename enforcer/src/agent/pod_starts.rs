//! Pods that the container runtime is about to start (semantics C6).

use tokio::sync::oneshot;

use super::reconciler::Reconciler;
use super::sandboxes::Reporter;
use crate::kernel::Place;
use crate::nri::Event;
use enforcer_core::model::PodId;

/// The pods that wait to be programmed: the id of the sandbox, and the channel for the answer.
#[derive(Debug, Default)]
pub(super) struct PodStarts(Vec<(String, oneshot::Sender<()>)>);

impl PodStarts {
    /// Notes an event of the runtime; [`Reconciler::reconcile`] enforces it.
    pub(super) fn take(&mut self, reconciler: &mut Reconciler, event: Event) {
        match event {
            Event::Started(sandbox, waiting) => {
                tracing::debug!(pod = %sandbox.pod, id = sandbox.id, "a pod is about to start");
                self.0.push((sandbox.id.clone(), waiting));
                reconciler.sandbox_started(sandbox, Reporter::Nri);
            }
            Event::Ended(sandbox) => {
                tracing::debug!(id = sandbox, "a pod's sandbox has ended");
                let change = reconciler.sandboxes.ended(&sandbox);
                reconciler.put(change);
            }
            Event::All(sandboxes) => {
                let changes = reconciler.sandboxes.all(sandboxes, &reconciler.cluster);
                reconciler.put(changes);
                reconciler.locate_sandboxes();
            }
            Event::Lost => {
                let changes = reconciler.sandboxes.lost();
                reconciler.put(changes);
            }
        }
    }

    /// Releases the pods that are programmed, and forgets those that the runtime no longer waits for.
    pub(super) fn settle(&mut self, reconciler: &Reconciler) {
        for (sandbox, waiting) in std::mem::take(&mut self.0) {
            match reconciler.sandboxes.pod_of(&sandbox) {
                Some(pod) if reconciler.guards(pod) => {
                    // The runtime may have timed out.
                    let _ = waiting.send(());
                }
                Some(_) if !waiting.is_closed() => self.0.push((sandbox, waiting)),
                _ => {}
            }
        }
    }
}

impl Reconciler {
    /// Whether the pod's interfaces have their programs, and the tables its policy.
    fn guards(&self, pod: &PodId) -> bool {
        let interfaces = self.assignment.pods.iter().filter(|(_, it)| *it == pod);
        let mut guarded = interfaces.map(|(it, _)| self.hooks.place(*it) == Some(Place::Pod));
        let first = guarded.next();
        first == Some(true) && guarded.all(|it| it)
    }
}
