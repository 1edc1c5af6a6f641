//! The web page of a running agent: its own state of the cluster, and what it saw.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ipnet::IpNet;
use serde_json::Value;

use super::shared::Shared;
use crate::inspect::State;
use crate::observe::{Audit, Observed as _, Status};
use crate::page::{Activity, ActivityReport, Cache, Clusters, Page};

/// How long a copy of the state may be shown.
const LEAST: Duration = Duration::from_secs(5);
/// The time after which an old copy is forgotten: it takes as much memory as the state.
const FORGET: Duration = Duration::from_secs(120);

/// The page's sources.
pub(super) fn page(shared: &Arc<Shared>) -> Arc<Page> {
    let own = Arc::new(Own { shared: Arc::clone(shared), cache: Arc::default() });
    let activity: Arc<dyn Activity> = Arc::clone(&own) as _;
    Page::new(own, activity)
}

struct Own {
    shared: Arc<Shared>,
    cache: Arc<Cache>,
}

#[async_trait]
impl Clusters for Own {
    async fn state(&self, fresh: bool) -> anyhow::Result<Arc<State>> {
        let live = self.shared.live();
        let read = async { Ok(live.copy().await?.with_addresses(self.pod_cidr())) };
        let state = self.cache.get(fresh, LEAST, read).await?;
        let cache = Arc::clone(&self.cache);
        tokio::spawn(async move {
            tokio::time::sleep(FORGET).await;
            cache.forget_old().await;
        });
        Ok(state)
    }

    fn name(&self) -> String {
        format!("agent of node {}", self.shared.seen_flows().node())
    }

    fn pod_cidr(&self) -> Option<IpNet> {
        None
    }
}

#[async_trait]
impl Activity for Own {
    async fn read(&self) -> ActivityReport {
        let shared = &self.shared;
        let flows = shared.flows(0);
        let status = Status::new(shared.report(), shared.ready().err().as_deref());
        let audit = Audit::new(&[status], &flows);
        // Documents always have a form in JSON.
        let value = |it: serde_json::Result<Value>| it.unwrap_or_default();
        ActivityReport {
            agents: vec![flows.node.clone()],
            audit: vec![value(serde_json::to_value(audit))],
            drops: shared.drops(0).iter().map(|it| value(serde_json::to_value(it))).collect(),
            flows: vec![value(serde_json::to_value(&flows))],
            silent: Vec::new(),
        }
    }
}
