//! The walk-through: applies the steps one by one and measures after each.

use std::path::Path;

use super::report::{Report, StepReport};
use super::run::{Programs, Run};
use super::scratch::Scratch;
use super::screen::count;
use super::tutorial::{STEPS, Step};
use crate::lab::{AccessLog, LabError, Topology};
use crate::matrix::{Matrix, essence, render};
use crate::session::{Applied, Session, SessionOptions};

/// What [`Session::apply`] takes its time for.
pub(crate) const MEASURING: &str = "waiting until every connection matches the policies";

impl Run<'_> {
    /// The walk-through of one topology. `None`: the lab or the agent failed, which is reported.
    pub(crate) async fn walk(
        &self,
        topology: Topology,
        scratch: &Scratch,
        report: &mut Report,
    ) -> anyhow::Result<Option<Session>> {
        self.introduce_topology(topology);
        scratch.clear()?;
        let options = self.session_options(topology, self.manifests(scratch))?;
        let started = Session::start(&self.sandbox, topology, options);
        let mut session = match self.screen.waiting("starting the lab and its agent", started).await
        {
            Ok(session) => session,
            Err(error) => return Ok(self.trouble(report, topology, &error)),
        };
        let walked = match self.own {
            Some(_) => self.own_manifests(&mut session, report).await,
            None => self.tutorial(&mut session, scratch, report).await,
        };
        match walked {
            Ok(()) => Ok(Some(session)),
            Err(error) => Ok(self.trouble(report, topology, &error)),
        }
    }

    pub(crate) fn introduce_topology(&self, topology: Topology) {
        self.screen.heading(&format!("═══ {topology} ═══"));
        self.screen.aside(match topology {
            Topology::Kubenet => "Pods are attached to the bridge cbr0 and share its subnet.",
            Topology::AzureCni => "No bridge: the node has a host route to each pod's interface.",
        });
    }

    pub(crate) fn session_options(
        &self,
        topology: Topology,
        manifests: &Path,
    ) -> anyhow::Result<SessionOptions> {
        let Programs { lab, agent } = self.programs.clone();
        let log = AccessLog::default();
        Ok(SessionOptions {
            api: self.api_server(topology, &log)?,
            controllers: self.options.api,
            access_log: self.options.api.then_some(log),
            arguments: self.options.agent_arguments.clone(),
            show_log: self.options.agent_log,
            settle: self.options.settle(),
            layout: Some(self.options.layout(topology)),
            proxy: self.options.proxy(),
            ..SessionOptions::new(manifests.to_owned(), lab, agent)
        })
    }

    pub(crate) fn trouble(
        &self,
        report: &mut Report,
        topology: Topology,
        error: &anyhow::Error,
    ) -> Option<Session> {
        let text = format!("{topology}: {error:#}");
        self.screen.verdict(false, &text);
        report.problem(text);
        None
    }

    async fn own_manifests(
        &self,
        session: &mut Session,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let applied = self.screen.waiting(MEASURING, session.apply()).await?;
        self.policies(&applied, |_| true);
        self.show(&applied, None);
        report.add(step_report(session, "manifests", "", applied));
        Ok(())
    }

    async fn tutorial(
        &self,
        session: &mut Session,
        scratch: &Scratch,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let mut before: Option<Matrix> = None;
        for (number, step) in STEPS.iter().enumerate() {
            if step.is_first() {
                self.clear(session, scratch)?;
                before = None;
            }
            self.introduce(number, step);
            self.apply_step(session, scratch, step)?;
            let Some(applied) = self.apply(session, report).await? else { continue };
            // Policies of earlier steps have been shown before.
            self.policies(&applied, |name| step.text.contains(&format!("name: {name}\n")));
            self.show(&applied, before.as_ref());
            before = Some(applied.matrix.clone());
            report.add(step_report(session, step.scenario, step.file, applied));
        }
        Ok(())
    }

    /// Measures a step. One whose Services can't work on this machine is reported and skipped.
    async fn apply(
        &self,
        session: &mut Session,
        report: &mut Report,
    ) -> anyhow::Result<Option<Applied>> {
        match self.screen.waiting(MEASURING, session.apply()).await {
            Err(error) if is_no_proxy(&error) => {
                self.trouble(report, session.lab().topology(), &error);
                Ok(None)
            }
            applied => applied.map(Some),
        }
    }

    fn introduce(&self, number: usize, step: &Step) {
        let (number, all) = (number + 1, STEPS.len());
        self.screen.heading(&format!("{number}/{all} {}: {}", step.scenario, step.title()));
        self.screen.prose(&step.explanation().join(" "));
    }

    /// Shows the policies whose names are `shown` in a few words.
    fn policies(&self, applied: &Applied, shown: impl Fn(&str) -> bool) {
        for policy in applied.cluster.policies.values().filter(|it| shown(&it.id.name)) {
            for line in essence(policy) {
                self.screen.aside(&format!("  {line}"));
            }
        }
    }

    pub(crate) fn show(&self, applied: &Applied, before: Option<&Matrix>) {
        let Applied { notes, errors, matrix, rounds, took, .. } = applied;
        for note in notes {
            self.screen.prose(&self.with_own_paths(note));
        }
        if *errors > 0 {
            let errors = count(*errors, "error");
            let text = format!("{errors} in the manifests: not all that they declare is in effect");
            self.screen.verdict(false, &text);
        }
        if matrix.cells.is_empty() {
            self.screen.show("No pods are running.");
            return;
        }
        self.screen.show(&render(matrix, before, self.screen.style()));
        let all = count(matrix.cells.len(), "connection");
        let verb = if matrix.cells.len() == 1 { "matches" } else { "match" };
        let again = if *rounds > 1 { format!(", round {rounds}") } else { String::new() };
        let text = format!("{} of {all} {verb} the policies ({took:.1?}{again})", matrix.good());
        self.screen.verdict(matrix.all_good(), &text);
        let open = matrix.unguarded();
        if !open.is_empty() {
            let open = open.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let text = format!("no agent guards yet: {open}. What passes there proves nothing.");
            self.screen.verdict(false, &text);
        }
    }

    /// A note with files as the user knows them: relative to the directory of manifests.
    fn with_own_paths(&self, note: &str) -> String {
        match self.own.as_deref().zip(self.options.manifests.as_deref()) {
            Some((absolute, given)) => {
                note.replace(&format!("{}/", absolute.display()), &format!("{}/", given.display()))
            }
            None => note.to_owned(),
        }
    }
}

/// Whether the error is that Services can't work on this machine.
pub(crate) fn is_no_proxy(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(LabError::NoProxy(_)))
}

fn step_report(session: &Session, scenario: &str, step: &str, applied: Applied) -> StepReport {
    StepReport {
        topology: session.lab().topology(),
        scenario: scenario.to_owned(),
        step: step.to_owned(),
        ok: applied.matrix.all_good() && applied.errors == 0,
        unguarded: applied.matrix.unguarded().clone(),
        rounds: applied.rounds,
        took_ms: applied.took.as_millis(),
        matrix: applied.matrix,
    }
}
