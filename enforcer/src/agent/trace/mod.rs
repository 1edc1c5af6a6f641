//! Questions about the running state: what policies decide, and what the loaded programs do with a packet.
//!
//! ```text
//! observer ─► turn ─► reconciler's thread: the part of the cluster that a question depends on
//!                 └─► a thread for it: explanations; the way of each packet through the trial programs
//! ```
//! The reconciler's thread only copies a few objects. Packets are tried by [`Trial`](crate::kernel::Trial)s,
//! one question at a time.

mod copy;
pub(super) mod packet;
pub(super) mod trials;
mod walk;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use enforcer_core::tables::Owner;
use serde::Serialize;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Instant as At, sleep, sleep_until};

use self::trials::Trials;
use self::walk::{Place, PodPlace, walk};
use super::reconciler::Reconciler;
use crate::inspect::{self, Each, EndError, Question, State, Trace};
use crate::observe::{AskError, Asked, LiveQuestion};

/// Questions that may wait for the reconciler's thread.
pub(super) const WAITING: usize = 4;
/// The longest wait for a moment without a change that is not enforced yet.
const PATIENCE: Duration = Duration::from_secs(5);
const SOON: Duration = Duration::from_millis(10);
/// The shortest time between two questions.
const PACE: Duration = Duration::from_millis(100);
/// The most connections that are tried for one question.
const MOST: usize = 16;
/// The attempts to ask while no policy changes.
const ATTEMPTS: usize = 3;

/// A question for the reconciler's thread.
pub(super) enum Wanted {
    /// What a question about connections depends on.
    Slice {
        question: Question,
        /// Whether the tables must have the present state.
        enforced: bool,
        answer: oneshot::Sender<Result<Slice, AskError>>,
    },
    /// The whole cluster.
    Copy(oneshot::Sender<State>),
}

/// What a question depends on.
pub(super) struct Slice {
    state: State,
    place: Place,
    /// [`Reconciler::generation`] at this time.
    generation: u64,
}

/// The way to ask, for observers.
pub(super) struct Live {
    questions: mpsc::Sender<Wanted>,
    trials: Arc<Trials>,
    generation: Arc<AtomicU64>,
    /// When the last question was answered.
    turn: Mutex<Option<Instant>>,
}

impl Live {
    pub(super) fn new(reconciler: &Reconciler) -> (Self, mpsc::Receiver<Wanted>) {
        let (questions, wanted) = mpsc::channel(WAITING);
        let (trials, generation) =
            (Arc::clone(&reconciler.trials), Arc::clone(&reconciler.generation));
        (Self { questions, trials, generation, turn: Mutex::default() }, wanted)
    }

    /// Answers a question with a document.
    pub(super) async fn ask(
        &self,
        asked: Asked,
        question: LiveQuestion,
    ) -> Result<String, AskError> {
        let LiveQuestion { from, to, namespace, all } = question;
        let question = Question { from, to, namespace, all };
        let mut turn = self.turn.lock().await;
        if let Some(last) = *turn {
            sleep_until(At::from_std(last + PACE)).await;
        }
        let answer = match asked {
            Asked::Explain => self.explain(question).await,
            Asked::Trace => self.trace(question).await,
        };
        *turn = Some(Instant::now());
        answer
    }

    async fn explain(&self, question: Question) -> Result<String, AskError> {
        let Slice { state, .. } = self.slice(&question, false).await?;
        aside(move || document("explain", &inspect::ask(&state, &question).map_err(|it| bad(&it))?))
            .await
    }

    async fn trace(&self, question: Question) -> Result<String, AskError> {
        for _ in 0..ATTEMPTS {
            let slice = self.slice(&question, true).await?;
            let (generation, trials) = (slice.generation, Arc::clone(&self.trials));
            let question = question.clone();
            let trace = aside(move || trace(&slice, &question, &trials)).await?;
            // Otherwise tables may have changed while they were asked.
            if self.generation.load(Ordering::Acquire) == generation {
                return document("trace", &trace);
            }
        }
        Err(AskError::Busy("policies keep changing: try again".to_owned()))
    }

    async fn slice(&self, question: &Question, enforced: bool) -> Result<Slice, AskError> {
        let (answer, slice) = oneshot::channel();
        let wanted = Wanted::Slice { question: question.clone(), enforced, answer };
        self.questions.send(wanted).await.map_err(|_| ended())?;
        slice.await.map_err(|_| ended())?
    }

    /// A copy of the state, made in small steps.
    pub(super) async fn copy(&self) -> Result<State, AskError> {
        let (answer, copy) = oneshot::channel();
        self.questions.send(Wanted::Copy(answer)).await.map_err(|_| ended())?;
        copy.await.map_err(|_| ended())
    }
}

fn ended() -> AskError {
    AskError::Busy("the agent is ending".to_owned())
}

/// Runs something in a thread of its own.
async fn aside<T: Send + 'static>(
    run: impl FnOnce() -> Result<T, AskError> + Send + 'static,
) -> Result<T, AskError> {
    let run = tokio::task::spawn_blocking(run).await;
    run.unwrap_or_else(|error| Err(AskError::Busy(error.to_string())))
}

fn document(kind: &str, body: &impl Serialize) -> Result<String, AskError> {
    let text = inspect::document(kind, body, inspect::Output::Json);
    text.map(Option::unwrap_or_default).map_err(|error| AskError::Busy(error.to_string()))
}

fn bad(error: &EndError) -> AskError {
    AskError::Question(error.to_string())
}

fn trace(slice: &Slice, question: &Question, trials: &Trials) -> Result<Trace, AskError> {
    let Slice { state, place, .. } = slice;
    let Each { pairs, notes } = inspect::ask_each(state, question).map_err(|it| bad(&it))?;
    let mut trace = Trace { node: place.node.clone(), notes, ..Trace::default() };
    let tried = trials.with(|trial| {
        for (pair, explanation) in &pairs {
            if trace.connections.len() == MOST {
                trace.notes.push(format!(
                    "only the first {MOST} of {} pairs of addresses were tried: name pods",
                    pairs.len()
                ));
                break;
            }
            trace.connections.extend(walk(trial, place, pair, explanation)?);
            trial.forget()?;
        }
        Ok(())
    });
    tried.map_err(|error| AskError::Busy(format!("cannot run the programs: {error}")))?;
    if trace.connections.is_empty() {
        trace.notes.push(format!("no end is a pod of node {}", place.node));
    }
    if pairs.iter().any(|(pair, _)| pair.to.service.is_some()) {
        let note = "Services: kube-proxy's translation is assumed, without masquerading";
        trace.notes.push(note.to_owned());
    }
    Ok(trace)
}

/// Answers questions in the reconciler's thread.
pub(super) async fn keep(
    reconciler: &RefCell<Reconciler>,
    mut questions: mpsc::Receiver<Wanted>,
) -> anyhow::Result<()> {
    while let Some(wanted) = questions.recv().await {
        // Nobody may be waiting any more.
        match wanted {
            Wanted::Slice { question, enforced, answer } => {
                let began = Instant::now();
                while enforced && !reconciler.borrow().is_enforced() && began.elapsed() < PATIENCE {
                    sleep(SOON).await;
                }
                let _ = answer.send(reconciler.borrow().slice(&question, enforced));
            }
            Wanted::Copy(answer) => drop(answer.send(copy::whole(reconciler).await)),
        }
    }
    std::future::pending().await
}

impl Reconciler {
    fn slice(&self, question: &Question, enforced: bool) -> Result<Slice, AskError> {
        if enforced && !self.is_enforced() {
            return Err(AskError::Busy("changes are still to be enforced: try again".to_owned()));
        }
        let cluster = {
            let addresses = self.addresses.read();
            inspect::part(&self.cluster, question, |it| addresses.pods(it, &self.cluster))
        };
        let state = State::of_node(cluster.map_err(|it| bad(&it))?, self.node_name());
        let pods = self.state.endpoints().filter_map(|(owner, record)| {
            let Owner::Pod(pod) = owner else { return None };
            let known = state.cluster.pods.contains_key(pod);
            known.then(|| (pod.clone(), self.pod_place(record.ifindex, record.id)))
        });
        let uplink = self.snapshot.uplinks.iter().next();
        let place = Place {
            node: self.node_name().to_owned(),
            pods: pods.collect(),
            uplink: uplink.map_or((1, "lo".to_owned()), |(it, known)| (*it, known.name.clone())),
            addresses: self.cluster.node_addresses.clone(),
            mark_shift: self.mark_shift,
        };
        let generation = self.generation.load(Ordering::Acquire);
        Ok(Slice { state, place, generation })
    }

    fn pod_place(&self, ifindex: u32, id: u32) -> PodPlace {
        let name = self.snapshot.veth(ifindex).map(|it| it.name.clone());
        PodPlace { ifindex, name: name.unwrap_or_else(|| ifindex.to_string()), id }
    }
}
