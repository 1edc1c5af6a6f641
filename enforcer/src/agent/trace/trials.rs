//! The trial programs, which are loaded when they are needed first. The thread that runs them holds a lock: never for
//! long, except while they are loaded.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crate::kernel::{KernelError, Trial, TrialSeed};

/// The time before the drift check loads them: at its start an agent has more urgent work.
const SETTLED: Duration = Duration::from_secs(10);
/// The time between two attempts of the drift check to load them.
const AGAIN: Duration = Duration::from_secs(60);

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub(in crate::agent) enum TrialError {
    /// Tables can be shared by pins only.
    #[error("the agent shares tables with its trial programs by pins: run it with --pins DIR")]
    NoPins,
    /// They can't be loaded or run.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// The trial programs, or what they are loaded from.
pub(in crate::agent) struct Trials(Mutex<State>);

struct State {
    seed: Option<TrialSeed>,
    trial: Option<Trial>,
    /// When the drift check may try to load them.
    due: Instant,
}

impl Trials {
    /// `None`: there are no pins.
    pub(in crate::agent) fn new(seed: Option<TrialSeed>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { seed, trial: None, due: Instant::now() + SETTLED })))
    }

    /// Runs something on them; loads them first if need be, which takes a second. Not for the reconciler's
    /// thread.
    pub(in crate::agent) fn with<T>(
        &self,
        run: impl FnOnce(&mut Trial) -> Result<T, KernelError>,
    ) -> Result<T, TrialError> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.load()?;
        let trial = state.trial.as_mut().ok_or(TrialError::NoPins)?;
        Ok(trial.attempt(run)?)
    }

    /// Runs something on them without delay; `None`: they are not loaded, or in use. The first time, another
    /// thread begins to load them.
    pub(in crate::agent) fn try_with<T>(
        self: &Arc<Self>,
        run: impl FnOnce(&mut Trial) -> Result<T, KernelError>,
    ) -> Result<Option<T>, KernelError> {
        let Some(mut state) = self.try_lock() else { return Ok(None) };
        if let Some(trial) = &mut state.trial {
            return trial.attempt(run).map(Some);
        }
        let now = Instant::now();
        if state.due <= now && state.seed.is_some() {
            state.due = now + AGAIN;
            drop(state);
            self.load_elsewhere();
        }
        Ok(None)
    }

    fn load_elsewhere(self: &Arc<Self>) {
        let trials = Arc::clone(self);
        let load = move || {
            if let Err(error) = trials.with(|_| Ok(())) {
                tracing::warn!("the drift check runs no programs: {error}");
            }
        };
        let builder = std::thread::Builder::new().name("trial".to_owned());
        if let Err(error) = builder.spawn(load) {
            tracing::warn!("the drift check runs no programs: cannot start a thread: {error}");
        }
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, State>> {
        match self.0.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl State {
    fn load(&mut self) -> Result<(), TrialError> {
        if self.trial.is_none() {
            let seed = self.seed.as_ref().ok_or(TrialError::NoPins)?;
            let started_at = Instant::now();
            self.trial = Some(seed.load()?);
            self.seed = None;
            tracing::debug!(took = ?started_at.elapsed(), "loaded the trial programs");
        }
        Ok(())
    }
}
