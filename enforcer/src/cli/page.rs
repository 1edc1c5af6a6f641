//! `enforcer ui` and `enforcer report`: the web page, served or in one file.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use clap::Args;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use tokio::net::TcpListener;

use super::ask::ask;
use super::inspect::{SourceArgs, warn};
use super::{flows, status};
use crate::observe::Audit;
use crate::page::{self, Activity, ActivityReport, Clusters as _, Page, Reader, Report};

/// The help of `ui` after its options.
pub(super) const UI_HELP: &str =
    "The page is served on loopback until Ctrl-C. Its URL has a random \
token, without which it shows nothing.

Examples:
  enforcer ui --manifests ./policies
  enforcer ui --context test
  enforcer ui --agent 127.0.0.1:9469";

/// The help of `report` after its options.
pub(super) const REPORT_HELP: &str = "Examples:
  enforcer report --html report.html --manifests ./policies
  enforcer report --html report.html --context test";

/// The sources of the page.
#[derive(Debug, Args)]
pub struct PageArgs {
    /// The source.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Status address of an agent whose flows and drops are shown; may be repeated.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub agent: Vec<SocketAddr>,
}

/// The arguments of `ui`.
#[derive(Debug, Args)]
pub struct UiArgs {
    /// Port on loopback [default: a free one].
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "PORT")]
    pub port: u16,
    /// The sources.
    #[command(flatten)]
    pub page: PageArgs,
}

/// The arguments of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The file to write. It needs no other file and no server.
    #[arg(long, value_name = "FILE")]
    pub html: PathBuf,
    /// The sources.
    #[command(flatten)]
    pub page: PageArgs,
}

/// Agents that are asked by their status addresses.
#[derive(Debug)]
pub struct Agents(pub Vec<SocketAddr>);

#[async_trait]
impl Activity for Agents {
    async fn read(&self) -> ActivityReport {
        let asked = self.0.iter().map(|agent| {
            let agent = *agent;
            tokio::task::spawn_blocking(move || documents(agent))
        });
        let mut report = ActivityReport::default();
        for (agent, asked) in self.0.iter().zip(asked.collect::<Vec<_>>()) {
            match asked.await.map_err(anyhow::Error::from).and_then(|it| it) {
                Ok(one) => {
                    report.agents.extend(one.agents);
                    report.flows.extend(one.flows);
                    report.drops.extend(one.drops);
                    report.audit.extend(one.audit);
                }
                Err(error) => report.silent.push(format!("{agent}: {error:#}")),
            }
        }
        report
    }
}

/// The documents of one agent.
fn documents(agent: SocketAddr) -> anyhow::Result<ActivityReport> {
    let status = status::read(&ask(agent, "GET", "/status", "")?)?;
    let flows = flows::flows(&ask(agent, "GET", "/flows", "")?)?;
    let drops: Vec<Value> = serde_json::from_str(&ask(agent, "GET", "/drops", "")?)?;
    Ok(ActivityReport {
        agents: vec![format!("{} ({agent})", flows.node)],
        audit: vec![serde_json::to_value(Audit::new(&[status], &flows))?],
        flows: vec![serde_json::to_value(&flows)?],
        drops,
        silent: Vec::new(),
    })
}

impl PageArgs {
    fn sources(self) -> anyhow::Result<(Arc<Reader>, Arc<dyn Activity>)> {
        let activity: Arc<dyn Activity> = Arc::new(Agents(self.agent));
        Ok((Arc::new(Reader::new(self.source.options()?)), activity))
    }
}

/// Serves the page until Ctrl-C; prints its URL.
///
/// # Errors
/// The state can't be read, or the port is taken.
pub async fn ui(arguments: UiArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let (clusters, activity) = arguments.page.sources()?;
    serve(Where { port: arguments.port, clusters, activity }, out).await
}

/// A page to serve.
pub(super) struct Where {
    /// The port on loopback; 0: a free one.
    pub(super) port: u16,
    pub(super) clusters: Arc<Reader>,
    pub(super) activity: Arc<dyn Activity>,
}

/// Serves a page until Ctrl-C; prints its URL.
pub(super) async fn serve(
    Where { port, clusters, activity }: Where,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    // An error is of more use here than in the page.
    warn(&*clusters.state(false).await?);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
    let stop = async { drop(tokio::signal::ctrl_c().await) };
    let served = page::serve(listener, Page::new(clusters, activity), stop)?;
    writeln!(out, "{}", served.url)?;
    out.flush()?;
    Ok(served.serving.await?)
}

/// Writes the report.
///
/// # Errors
/// The state can't be read, or has errors, or the file can't be written.
pub async fn report(arguments: ReportArgs) -> anyhow::Result<()> {
    let (clusters, activity) = arguments.page.sources()?;
    let state = clusters.state(true).await?;
    warn(&state);
    let at = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let activity = activity.read().await;
    let text = page::report(Report { state: &state, source: clusters.name(), at, activity })?;
    let path = &arguments.html;
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    anyhow::ensure!(
        state.errors.is_empty(),
        "the manifests have errors; {} shows what the agent enforces with them",
        path.display()
    );
    Ok(())
}
