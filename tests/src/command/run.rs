//! `enforcer-lab run`.

use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};

use super::exec;
use super::options::{Output, RunOptions};
use super::report::Report;
use super::scratch::Scratch;
use super::screen::{Screen, count, document};
use crate::lab::Sandbox;
use crate::session::Session;

pub(crate) fn main(options: &RunOptions) -> anyhow::Result<ExitCode> {
    let programs = programs(options)?;
    let own = options.manifests.as_ref().map(fs::canonicalize).transpose();
    let own = own.context("the directory of manifests")?;
    // Before the runtime starts its threads, which inherit the mounts of this one.
    let sandbox = Sandbox::enter().context("the lab needs root")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let finished = runtime.block_on(async {
        let run = Run { options, programs, sandbox, screen: Screen::new(options), own };
        run.everything().await
    })?;
    Ok(match finished {
        Some(true) => ExitCode::SUCCESS,
        Some(false) => ExitCode::FAILURE,
        // Interrupted, without a result. The code is a shell's for SIGINT.
        None => ExitCode::from(130),
    })
}

/// The programs that the lab starts.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    /// This program.
    pub lab: PathBuf,
    /// The agent; `None`: nothing is enforced.
    pub agent: Option<PathBuf>,
}

/// The programs, checked before anything is created.
fn programs(options: &RunOptions) -> anyhow::Result<Programs> {
    let lab = std::env::current_exe().context("find this program's path")?;
    let agent = match &options.agent {
        Some(path) if path == Path::new("none") => None,
        Some(path) => {
            Some(fs::canonicalize(path).with_context(|| format!("agent {}", path.display()))?)
        }
        None => Some(lab.with_file_name("enforcer")),
    };
    if let Some(path) = agent.as_ref().filter(|path| !path.is_file()) {
        bail!("agent {} not found; specify it with --agent", path.display());
    }
    if let Some(path) = &agent {
        check_arguments(path, &options.agent_arguments)?;
    }
    Ok(Programs { lab, agent })
}

/// Asks the agent for its help beside the arguments that it will get: it refuses wrong ones first.
fn check_arguments(agent: &Path, arguments: &[OsString]) -> anyhow::Result<()> {
    if arguments.is_empty() {
        return Ok(());
    }
    let mut command = Command::new(agent);
    let answer = command.arg("run").args(arguments).arg("--help").output();
    let answer = answer.with_context(|| format!("start the agent {}", agent.display()))?;
    if !answer.status.success() {
        let why = String::from_utf8_lossy(&answer.stderr);
        let why = why.trim().trim_start_matches("error: ");
        bail!("the agent refuses the arguments after `--`: {why}");
    }
    Ok(())
}

/// Returns on Ctrl-C, SIGTERM or SIGHUP.
pub(crate) async fn interrupted() {
    let listen = |kind| signal(kind).ok();
    let (mut int, mut term, mut hup) = (
        listen(SignalKind::interrupt()),
        listen(SignalKind::terminate()),
        listen(SignalKind::hangup()),
    );
    let one = async |signal: &mut Option<tokio::signal::unix::Signal>| match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    };
    tokio::select! {
        () = one(&mut int) => {}
        () = one(&mut term) => {}
        () = one(&mut hup) => {}
    }
}

pub(crate) struct Run<'a> {
    pub options: &'a RunOptions,
    pub programs: Programs,
    pub sandbox: Sandbox,
    pub screen: Screen,
    /// The user's own directory of manifests.
    pub own: Option<PathBuf>,
}

impl Run<'_> {
    /// Runs the walk-through, the summary, and then the interactive part. Returns whether the
    /// walk-through was as expected; `None`: it was interrupted.
    async fn everything(&self) -> anyhow::Result<Option<bool>> {
        let _announced = exec::announce()?;
        let scratch = self.scratch()?;
        if self.options.api && !self.options.once {
            return self.by_kubectl(&scratch).await;
        }
        let mut report = Report::default();
        let last = tokio::select! {
            last = self.topologies(&scratch, &mut report) => last?,
            () = interrupted() => return Ok(None),
        };
        self.summary(&report);
        if self.options.output == Output::Json {
            document(&report)?;
        }
        if let Some(session) = last {
            self.stay(session, &scratch).await?;
        }
        Ok(Some(report.ok))
    }

    /// Runs the walk-through in each topology. Returns the last lab if it stays up.
    async fn topologies(
        &self,
        scratch: &Scratch,
        report: &mut Report,
    ) -> anyhow::Result<Option<Session>> {
        let mut last = None;
        for topology in self.options.topologies() {
            self.end(last.take(), report).await;
            last = self.walk(topology, scratch, report).await?;
        }
        if self.options.once {
            self.end(last.take(), report).await;
        }
        Ok(last)
    }

    fn scratch(&self) -> anyhow::Result<Scratch> {
        if self.options.once || self.own.is_some() {
            return Scratch::hidden();
        }
        Scratch::editable(&self.programs.lab)
    }

    /// The directory of manifests for lab and agent.
    pub(crate) fn manifests<'s>(&'s self, scratch: &'s Scratch) -> &'s Path {
        self.own.as_deref().unwrap_or_else(|| scratch.path())
    }

    async fn end(&self, session: Option<Session>, report: &mut Report) {
        let Some(mut session) = session else { return };
        let topology = session.lab().topology();
        let stopped = self.screen.waiting("stopping the agent", session.stop_agent());
        if let Err(error) = stopped.await {
            self.trouble(report, topology, &error);
        }
    }

    fn summary(&self, report: &Report) {
        let Report { ok, cells, as_expected, problems, steps, .. } = report;
        self.screen.heading("═══ Summary ═══");
        let bad = steps.iter().filter(|step| !step.ok).count();
        let (cells, steps) = (count(*cells, "connection"), count(steps.len(), "step"));
        let verb = if *as_expected == 1 { "matches" } else { "match" };
        let mut text = format!("{cells} measured in {steps}, {as_expected} {verb} the policies");
        if bad > 0 {
            let _ = write!(text, "; {} failed", count(bad, "step"));
        }
        if !problems.is_empty() {
            let _ = write!(text, "; {}", count(problems.len(), "problem"));
        }
        self.screen.verdict(*ok, &text);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_agents_arguments_are_checked_before_anything_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let agent = folder.path().join("agent");
        let script = "#!/bin/sh\nfor it; do [ \"$it\" != --wrong ] || { echo \"error: --wrong\" >&2; exit 2; }; done\n";
        fs::write(&agent, script).unwrap();
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o700)).unwrap();
        check_arguments(&agent, &["--audit".into()]).unwrap();
        check_arguments(&agent, &[]).unwrap();
        let error = check_arguments(&agent, &["--wrong".into()]).unwrap_err().to_string();
        assert_eq!(error, "the agent refuses the arguments after `--`: --wrong");
    }
}
