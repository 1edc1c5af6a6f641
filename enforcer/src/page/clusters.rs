//! The cluster that the page is about, read again when it is old.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ipnet::IpNet;
use tokio::sync::Mutex;

use crate::inspect::{State, StateOptions};

/// A source of the cluster's state.
#[async_trait]
pub trait Clusters: Send + Sync + 'static {
    /// The state; `fresh`: not one that was read before.
    ///
    /// # Errors
    /// It can't be read.
    async fn state(&self, fresh: bool) -> anyhow::Result<Arc<State>>;

    /// The source's name for people.
    fn name(&self) -> String;

    /// The range of the addresses that are assumed for pods without one.
    fn pod_cidr(&self) -> Option<IpNet>;
}

/// How long a state of files may be shown.
const FILES: Duration = Duration::from_secs(2);
/// How long a state of an API server may be shown.
const SERVER: Duration = Duration::from_secs(30);
/// A state may be shown for this many times the time that it took to read it: a large cluster is read
/// less often.
const TIMES: u32 = 20;

#[derive(Debug)]
struct Known {
    state: Arc<State>,
    until: Instant,
}

/// A state that was read before, as long as it may be shown.
#[derive(Debug, Default)]
pub struct Cache(Mutex<Option<Known>>);

impl Cache {
    /// The known state, or a new one. `least`: how long a new one may be shown at least.
    ///
    /// # Errors
    /// Those of `read`.
    pub async fn get(
        &self,
        fresh: bool,
        least: Duration,
        read: impl Future<Output = anyhow::Result<State>> + Send,
    ) -> anyhow::Result<Arc<State>> {
        let mut known = self.0.lock().await;
        let now = Instant::now();
        if let Some(it) = known.as_ref().filter(|it| !fresh && now < it.until) {
            return Ok(Arc::clone(&it.state));
        }
        let state = Arc::new(read.await?);
        let read = Instant::now();
        let until = read + least.max(read.saturating_duration_since(now).saturating_mul(TIMES));
        *known = Some(Known { state: Arc::clone(&state), until });
        Ok(state)
    }

    /// Forgets a state that may not be shown any more.
    pub async fn forget_old(&self) {
        let mut known = self.0.lock().await;
        if known.as_ref().is_some_and(|it| it.until <= Instant::now()) {
            *known = None;
        }
    }
}

/// Reads manifests or the API server, as `enforcer explain` does.
#[derive(Debug)]
pub struct Reader {
    options: StateOptions,
    cache: Cache,
}

impl Reader {
    /// A reader that has read nothing yet.
    #[must_use]
    pub fn new(options: StateOptions) -> Self {
        Self { options, cache: Cache::default() }
    }
}

#[async_trait]
impl Clusters for Reader {
    async fn state(&self, fresh: bool) -> anyhow::Result<Arc<State>> {
        let least = if self.options.manifests.is_empty() { SERVER } else { FILES };
        let read = async { Ok(State::read(&self.options).await?) };
        self.cache.get(fresh, least, read).await
    }

    fn name(&self) -> String {
        let paths = self.options.manifests.iter().map(|it| it.name().display().to_string());
        let paths = paths.collect::<Vec<_>>().join(", ");
        match (paths.is_empty(), &self.options.client.context) {
            (false, _) => paths,
            (true, Some(context)) => format!("API server of {context}"),
            (true, None) => "API server".to_owned(),
        }
    }

    fn pod_cidr(&self) -> Option<IpNet> {
        self.options.pod_cidr
    }
}
