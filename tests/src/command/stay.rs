//! After the walk-through: the lab stays up and follows the user's changes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use enforcer::cli::page::Agents;
use enforcer::inspect::StateOptions;
use enforcer::page::{Page, Reader, Served, serve};
use enforcer::source::kubernetes::ClientOptions;
use enforcer::source::manifests::Input;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::kubectl::KUBECONFIG;
use super::run::{Run, interrupted};
use super::scratch::Scratch;
use super::tutorial::STEPS;
use super::walk::{MEASURING, is_no_proxy};
use super::watch::Watch;
use crate::lab::{LAB_DIR, forward};
use crate::matrix::Matrix;
use crate::session::{AGENT_PORT, Session};

/// The scenario that stays after the walk-through.
const LASTING: &str = "hello-world";

impl Run<'_> {
    /// Measures after each change, until interrupted.
    pub(crate) async fn stay(&self, mut session: Session, scratch: &Scratch) -> anyhow::Result<()> {
        let before = self.settle_down(&mut session, scratch).await?;
        let watch = Watch::new(self.manifests(scratch))?;
        let _server = self.serve_host(&session, scratch)?;
        let metrics = self.metrics_listener().await?;
        let (stop, stopped) = oneshot::channel();
        let page = self.page(scratch, metrics.local_addr()?, stopped).await?;
        self.explain(scratch, &metrics, &page.url)?;
        let page = tokio::spawn(page.serving);
        let inside = SocketAddr::from(([127, 0, 0, 1], AGENT_PORT));
        let node = Arc::clone(session.lab().node());
        tokio::select! {
            result = forward(&node, &metrics, inside) => result?,
            result = self.react(&mut session, watch, before) => result?,
            () = interrupted() => self.screen.show("\nThe lab ends."),
        }
        drop(stop);
        page.await??;
        self.screen.waiting("stopping the agent", session.stop_agent()).await
    }

    /// Leaves the files of the lasting scenario for the user, and measures what they declare.
    async fn settle_down(
        &self,
        session: &mut Session,
        scratch: &Scratch,
    ) -> anyhow::Result<Option<Matrix>> {
        if self.own.is_some() || self.options.api {
            return Ok(None);
        }
        scratch.clear()?;
        for step in STEPS.iter().filter(|step| step.scenario == LASTING) {
            scratch.write(step.file, step.text)?;
        }
        let applied = self.screen.waiting(MEASURING, session.apply()).await?;
        self.screen.heading(&format!("Back to {LASTING}, with all of its files."));
        self.show(&applied, None);
        Ok(Some(applied.matrix))
    }

    async fn react(
        &self,
        session: &mut Session,
        mut watch: Watch,
        mut before: Option<Matrix>,
    ) -> anyhow::Result<()> {
        if let Some(server) = session.api().cloned() {
            return self.follow(session, &server).await;
        }
        loop {
            tokio::select! {
                () = watch.changed() => {}
                () = tokio::time::sleep(Duration::from_secs(1)) => {
                    session.check_agent()?;
                    continue;
                }
            }
            let applied = self.screen.waiting(MEASURING, session.apply()).await;
            let Some(applied) = self.unless_no_proxy(applied)? else { continue };
            self.screen.heading("The manifests have changed.");
            self.show(&applied, before.as_ref());
            before = Some(applied.matrix);
        }
    }

    /// The result, or `None` after showing that Services can't work on this machine.
    pub(crate) fn unless_no_proxy<T>(
        &self,
        result: anyhow::Result<T>,
    ) -> anyhow::Result<Option<T>> {
        match result {
            Err(error) if is_no_proxy(&error) => {
                self.screen.verdict(false, &format!("{error:#}"));
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// Listens on the requested address, or else on the default port or, if it is taken, another.
    async fn metrics_listener(&self) -> anyhow::Result<TcpListener> {
        if let Some(address) = self.options.metrics {
            let bound = TcpListener::bind(address).await;
            return bound.with_context(|| format!("serve metrics at {address}"));
        }
        match TcpListener::bind(("127.0.0.1", AGENT_PORT)).await {
            Ok(listener) => Ok(listener),
            Err(_) => TcpListener::bind(("127.0.0.1", 0)).await.context("serve metrics"),
        }
    }

    /// The web page about the lab, on this host's loopback until `stopped`.
    async fn page(
        &self,
        scratch: &Scratch,
        agent: SocketAddr,
        stopped: oneshot::Receiver<()>,
    ) -> anyhow::Result<Served<impl Future<Output = std::io::Result<()>> + Send + 'static>> {
        let options = if self.options.api {
            let client =
                ClientOptions { kubeconfig: Some(scratch.path().join(KUBECONFIG)), context: None };
            StateOptions { client, ..StateOptions::default() }
        } else {
            let manifests = vec![Input::Path(self.manifests(scratch).to_owned())];
            StateOptions { manifests, ..StateOptions::default() }
        };
        let agents = self.programs.agent.is_some().then_some(agent);
        let agents = Agents(agents.into_iter().collect());
        let page = Page::new(Arc::new(Reader::new(options)), Arc::new(agents));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("serve the page")?;
        Ok(serve(listener, page, async { drop(stopped.await) })?)
    }

    fn explain(&self, scratch: &Scratch, metrics: &TcpListener, page: &str) -> anyhow::Result<()> {
        self.screen.heading("The lab stays up until Ctrl-C.");
        if self.options.api {
            self.explain_kubectl(scratch);
        } else {
            self.screen.show(&format!("  manifests  {}", self.manifests(scratch).display()));
            self.screen.show("             Edit, add or remove files: the matrix follows.");
        }
        if self.programs.agent.is_some() {
            self.screen.show(&format!("  metrics    http://{}/metrics", metrics.local_addr()?));
        }
        self.screen.show(&format!("  web page   {page}"));
        let exec = self.exec_command();
        self.screen.show(&format!("  a pod      {exec} NAMESPACE/POD -- sh"));
        if self.programs.agent.is_some() && !self.options.agent_log {
            let topology = self.options.topologies().last().copied();
            let log = topology.map(|it| format!("{LAB_DIR}/agent-{it}.log")).unwrap_or_default();
            self.screen.show(&format!("  its log    {exec} node -- tail -f {log}"));
        }
        Ok(())
    }

    /// The user's command for a command in a pod.
    fn exec_command(&self) -> String {
        let program = &self.programs.lab;
        let is_built = program.components().any(|it| it.as_os_str() == "target");
        if is_built {
            "cargo xtask exec".to_owned()
        } else {
            format!("sudo {} exec", program.display())
        }
    }
}
