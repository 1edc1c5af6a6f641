//! The course of a soak test.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Options;
use super::cast::Cast;
use super::numbers::Numbers;
use super::report::Summary;
use super::steady::Steady;
use super::step::Soak;
use crate::api::ApiServer;
use crate::lab::{LAB_DIR, Sandbox};
use crate::matrix::Scope;
use crate::session::{Session, SessionOptions};

/// Steps between two checkpoints.
const STEPS: usize = 6;
/// The longest time until a change has taken effect, on a busy machine.
const SETTLE: Duration = Duration::from_secs(20);
/// With this number of broken invariants, the test ends.
const ENOUGH: usize = 3;

/// Goes on until the time is up, or until invariants are broken.
///
/// # Errors
/// The lab fails, or the agent ends by itself.
pub async fn soak(sandbox: &Sandbox, options: &Options) -> anyhow::Result<Summary> {
    let started_at = Instant::now();
    let server = ApiServer::new()?;
    let mut soak = start(sandbox, options, server).await?;
    soak.summary.seed = options.seed;
    let is_over = |soak: &Soak| {
        started_at.elapsed() >= options.duration || soak.summary.violations.len() >= ENOUGH
    };
    report(options, started_at, &soak.checkpoint().await?);
    while !is_over(&soak) {
        for _ in 0..STEPS {
            if is_over(&soak) {
                break;
            }
            report(options, started_at, &soak.step().await?);
        }
        report(options, started_at, &soak.checkpoint().await?);
    }
    soak.session.stop_agent().await?;
    Ok(soak.summary)
}

async fn start(sandbox: &Sandbox, options: &Options, server: ApiServer) -> anyhow::Result<Soak> {
    let directory = Path::new(LAB_DIR).join("manifests");
    fs::create_dir_all(&directory)?;
    // Every denied packet would be logged as a drop.
    let mut arguments = vec!["--log".into(), "info,enforcer::drops=off".into()];
    arguments.extend(options.arguments.iter().cloned());
    let agent = Some(options.agent.clone());
    let session_options = SessionOptions {
        arguments,
        settle: SETTLE,
        scope: Some(Scope::Pods),
        api: Some(server.clone()),
        ..SessionOptions::new(directory, options.spawner.clone(), agent)
    };
    let cast = Cast::new(server)?;
    let mut session = Session::start(sandbox, options.topology, session_options).await?;
    let cluster = session.declare().await?.cluster;
    let steady = Steady::start(session.lab()).await?;
    let numbers = Numbers::new(options.seed);
    let (summary, first) = (Summary::default(), Vec::new());
    Ok(Soak { session, cast, numbers, steady, summary, cluster, first })
}

#[expect(clippy::print_stderr, reason = "progress, away from the summary")]
fn report(options: &Options, started_at: Instant, what: &str) {
    if options.is_verbose {
        eprintln!("{:7.1} s  {what}", started_at.elapsed().as_secs_f64());
    }
}
