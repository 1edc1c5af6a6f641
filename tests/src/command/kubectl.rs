//! `enforcer-lab run --api`: the cluster is an API server's, and `kubectl` drives the lab.

use std::time::{Duration, Instant};

use anyhow::Context;

use super::run::{Run, interrupted};
use super::scratch::Scratch;
use super::tutorial::Step;
use super::walk::is_about_services;
use crate::api::{ApiServer, Executor, Listening, write_kubeconfig};
use crate::matrix::Matrix;
use crate::session::Session;

/// Whoever applies a folder writes several objects; so much later they are all there.
const CALM: Duration = Duration::from_millis(50);
/// How often it is looked whether the agent still runs.
const LOOK: Duration = Duration::from_secs(1);

/// The file in the scratch directory.
pub(crate) const KUBECONFIG: &str = "kubeconfig";

impl Run<'_> {
    /// A server for a lab of this process, if one is wanted.
    pub(crate) fn api_server(&self) -> anyhow::Result<Option<ApiServer>> {
        if !self.options.api {
            return Ok(None);
        }
        let program = self.programs.lab.clone();
        let executor = Executor::new(move |pod, command| {
            // It enters the pod as people do by `cargo xtask exec`.
            let mut process = std::process::Command::new(&program);
            process.args(["exec", "--lab"]).arg(std::process::id().to_string());
            process.arg(format!("{}/{}", pod.namespace, pod.name)).arg("--").args(command);
            process
        });
        Ok(Some(ApiServer::new()?.graceful().with_executor(executor)))
    }

    /// An empty cluster that stays until it is interrupted; `None`: it was before it began.
    pub(crate) async fn by_kubectl(&self, scratch: &Scratch) -> anyhow::Result<Option<bool>> {
        let topology = self.options.topologies().first().copied().context("no topology")?;
        self.introduce_topology(topology);
        let options = self.session_options(topology, self.manifests(scratch))?;
        let session = tokio::select! {
            session = Session::start(&self.sandbox, topology, options) => session?,
            () = interrupted() => return Ok(None),
        };
        self.stay(session, scratch).await?;
        Ok(Some(true))
    }

    /// Starts a scenario: nothing of the one before is left.
    pub(crate) fn clear(&self, session: &Session, scratch: &Scratch) -> anyhow::Result<()> {
        match session.api() {
            Some(server) => server.store().clear(),
            None => scratch.clear()?,
        }
        Ok(())
    }

    /// Puts a step's manifests where lab and agent find them.
    pub(crate) fn give(
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

    /// Lets kubectl find the server on this host.
    pub(crate) fn serve_host(
        &self,
        session: &Session,
        scratch: &Scratch,
    ) -> anyhow::Result<Option<Listening>> {
        let Some(server) = session.api() else { return Ok(None) };
        let listening = server.listen_on_loopback(0).context("offer the API server")?;
        let path = scratch.path().join(KUBECONFIG);
        write_kubeconfig(&path, listening.address())
            .with_context(|| format!("write {}", path.display()))?;
        Ok(Some(listening))
    }

    /// Follows what is done to the server's objects, for ever. Pods come and go at once; what is
    /// measured then is given up when something else is done meanwhile.
    pub(crate) async fn follow(
        &self,
        session: &mut Session,
        server: &ApiServer,
    ) -> anyhow::Result<()> {
        let mut versions = server.store().follow();
        let mut seen = server.store().version();
        let mut before: Option<Matrix> = None;
        loop {
            while server.store().version() == seen {
                let _ = tokio::time::timeout(LOOK, versions.changed()).await;
                session.check_agent()?;
            }
            while let Ok(Ok(())) = tokio::time::timeout(CALM, versions.changed()).await {}
            let started = Instant::now();
            seen = server.store().version();
            let declared = match session.declare().await {
                Err(error) if is_about_services(&error) => {
                    self.screen.verdict(false, &format!("{error:#}"));
                    continue;
                }
                declared => declared?,
            };
            if server.store().version() != seen {
                // The lab has said what runs now; or there is more to do.
                continue;
            }
            versions.mark_unchanged();
            let applied = tokio::select! {
                applied = session.settle(declared, started) => applied?,
                _ = versions.changed() => continue,
            };
            self.screen.heading("The cluster has changed.");
            self.show(&applied, before.as_ref());
            before = Some(applied.matrix);
        }
    }

    /// What to type.
    pub(crate) fn invite_kubectl(&self, scratch: &Scratch) {
        let file = scratch.path().join(KUBECONFIG);
        let file = file.display();
        self.screen.show(&format!("  kubectl    export KUBECONFIG={file}"));
        self.screen.show("             kubectl apply -f deploy/tutorial/hello-world");
        self.screen.show("             apply, label, delete, exec: the lab and the matrix follow");
    }
}
