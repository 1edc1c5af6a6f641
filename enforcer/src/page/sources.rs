//! The sources of a page.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::activity::Activity;
use super::clusters::Clusters;

/// Questions that are answered at the same time.
const QUESTIONS: usize = 2;

/// The page's sources.
pub struct Page {
    pub(super) clusters: Arc<dyn Clusters>,
    pub(super) activity: Arc<dyn Activity>,
    pub(super) turns: Arc<Semaphore>,
}

impl Page {
    /// A page about this cluster and these agents.
    #[must_use]
    pub fn new(clusters: Arc<dyn Clusters>, activity: Arc<dyn Activity>) -> Arc<Self> {
        Arc::new(Self { clusters, activity, turns: Arc::new(Semaphore::new(QUESTIONS)) })
    }
}
