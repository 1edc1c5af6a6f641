//! `enforcer-lab run --api`: the lab's API server holds the cluster, and `kubectl` drives the lab.

use std::time::{Duration, Instant};

use anyhow::Context;
use enforcer_core::model::Cluster;

use super::pods;
use super::run::{Run, interrupted};
use super::scratch::Scratch;
use super::tutorial::Step;
use super::walk::MEASURING;
use crate::api::{ApiServer, Listening, write_kubeconfig};
use crate::lab::{AccessLog, Topology};
use crate::matrix::Matrix;
use crate::session::Session;

/// The quiet time after which a sequence of changes counts as complete: `kubectl apply` of a folder
/// writes several objects.
const CALM: Duration = Duration::from_millis(50);
/// The interval of checks that the agent still runs.
const CHECK: Duration = Duration::from_secs(1);

pub(crate) const KUBECONFIG: &str = "kubeconfig";

impl Run<'_> {
    /// The API server for this process's lab, with `--api`.
    pub(crate) fn api_server(
        &self,
        topology: Topology,
        log: &AccessLog,
    ) -> anyhow::Result<Option<ApiServer>> {
        if !self.options.api {
            return Ok(None);
        }
        let server = ApiServer::new()?.graceful();
        let server = server.with_executor(pods::executor(&self.programs));
        let server = server.with_forwarder(pods::forwarder());
        Ok(Some(server.with_logger(pods::logger(topology, log.clone()))))
    }

    /// Runs an empty cluster until interrupted; `None`: interrupted during the start.
    pub(crate) async fn by_kubectl(&self, scratch: &Scratch) -> anyhow::Result<Option<bool>> {
        let topology = self.options.topologies().first().copied().context("no topology")?;
        self.introduce_topology(topology);
        let options = self.session_options(topology, self.manifests(scratch))?;
        let session = tokio::select! {
            session = self.screen.waiting(
                "starting the lab, its agent and its API server",
                Session::start(&self.sandbox, topology, options),
            ) => session?,
            () = interrupted() => return Ok(None),
        };
        self.stay(session, scratch).await?;
        Ok(Some(true))
    }

    /// Removes everything of the previous scenario.
    pub(crate) fn clear(&self, session: &Session, scratch: &Scratch) -> anyhow::Result<()> {
        match session.api() {
            Some(server) => server.store().clear(),
            None => scratch.clear()?,
        }
        Ok(())
    }

    pub(crate) fn apply_step(
        &self,
        session: &Session,
        scratch: &Scratch,
        step: &Step,
    ) -> anyhow::Result<()> {
        match session.api() {
            Some(server) => server.store().apply(step.text).with_context(|| step.file.to_owned()),
            None => scratch.write(step.file, step.text),
        }
    }

    /// Makes the API server reachable for kubectl on this host.
    pub(crate) fn serve_host(
        &self,
        session: &Session,
        scratch: &Scratch,
    ) -> anyhow::Result<Option<Listening>> {
        let Some(server) = session.api() else { return Ok(None) };
        let listening = server.listen_on_loopback(0).context("start the API server")?;
        let path = scratch.path().join(KUBECONFIG);
        write_kubeconfig(&path, listening.address())
            .with_context(|| format!("write {}", path.display()))?;
        Ok(Some(listening))
    }

    /// Follows changes of the server's objects. Pods are started and stopped at once. A measurement
    /// is abandoned if the objects change meanwhile. Returns only on failure.
    pub(crate) async fn follow(
        &self,
        session: &mut Session,
        server: &ApiServer,
    ) -> anyhow::Result<()> {
        let mut versions = server.store().follow();
        let mut seen = server.store().version();
        let mut before: Option<(Cluster, Matrix)> = None;
        loop {
            while server.store().version() == seen {
                let _ = tokio::time::timeout(CHECK, versions.changed()).await;
                session.check_agent()?;
            }
            while let Ok(Ok(())) = tokio::time::timeout(CALM, versions.changed()).await {}
            let started = Instant::now();
            seen = server.store().version();
            let Some(declared) = self.unless_no_proxy(session.declare().await)? else { continue };
            if server.store().version() != seen {
                // The lab has written the pods' status, or there are more changes.
                continue;
            }
            versions.mark_unchanged();
            if before.as_ref().is_some_and(|(cluster, _)| *cluster == declared.cluster) {
                // An event, a status or an annotation: nothing that a connection depends on.
                continue;
            }
            let applied = tokio::select! {
                applied = self.screen.waiting(MEASURING, session.settle(declared, started)) => {
                    applied?
                }
                _ = versions.changed() => continue,
            };
            self.screen.heading("The cluster has changed.");
            self.show(&applied, before.as_ref().map(|(_, matrix)| matrix));
            before = Some((applied.cluster, applied.matrix));
        }
    }

    pub(crate) fn explain_kubectl(&self, scratch: &Scratch) {
        let file = scratch.path().join(KUBECONFIG);
        let file = file.display();
        self.screen.show(&format!("  kubectl    export KUBECONFIG={file}"));
        self.screen.show("             kubectl apply -f deploy/tutorial/hello-world");
        self.screen
            .show("             The lab and the matrix follow apply, label, delete and exec.");
    }
}
