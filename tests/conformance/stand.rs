//! One lab with its agents for all cases.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use enforcer::observe::{Isolation, Status};
use enforcer_core::policy::reference::Traffic;
use enforcer_tests::api::ApiServer;
use enforcer_tests::lab::{Family, LAB_DIR, Party, Sandbox};
use enforcer_tests::probe::Probe;
use enforcer_tests::session::{AGENT_PORT, Session, SessionOptions};
use futures::{StreamExt, TryStreamExt, stream};

use crate::case::{Case, Stage, State};
use crate::expect::Expected;
use crate::feed::{ApiFeed, Feed};
use crate::ground::Ground;
use crate::report::{self, Cell};
use crate::world::{Hosts, canaries, cells, documents, manifests};

/// Time limit for a condition that must come true; only a failing test reaches it.
const PATIENCE: Duration = Duration::from_secs(20);
/// Time limit for an answer that must come, also on a busy machine.
const ANSWER: Duration = Duration::from_secs(5);
/// Duration of silence that counts as a drop.
const SILENCE: Duration = Duration::from_millis(300);
/// Concurrent probes: the denied cells of a state share one silence, but descriptors are limited.
const PARALLEL: usize = 384;

/// The lab, and the state that is active there.
pub(crate) struct Stand {
    session: Session,
    feed: Feed,
    ground: Ground,
    hosts: Hosts,
    /// Alternates with the states, see [`crate::world::TURN`].
    is_odd: bool,
    /// Connections tried so far.
    pub cells: usize,
}

impl Stand {
    /// Makes the lab and starts the agent.
    pub(crate) async fn start(sandbox: &Sandbox, ground: Ground, by_api: bool) -> Self {
        let manifests = Path::new(LAB_DIR).join("manifests");
        fs::create_dir_all(&manifests).unwrap();
        let spawner = PathBuf::from(env!("CARGO_BIN_EXE_enforcer-lab"));
        let agent = spawner.with_file_name("enforcer");
        assert!(agent.is_file(), "there is no {}: cargo build -p enforcer", agent.display());
        let options = SessionOptions {
            layout: Some(ground.layout()),
            api: by_api.then(|| ApiServer::new().unwrap()),
            ..SessionOptions::new(manifests.clone(), spawner, Some(agent))
        };
        let session = Session::start(sandbox, ground.topology, options).await.unwrap();
        let hosts = Hosts::new(ground);
        let feed = match session.api() {
            Some(server) => Feed::Api(ApiFeed::new(server.store().clone())),
            None => Feed::Manifests(manifests),
        };
        Self { session, feed, ground, hosts, is_odd: false, cells: 0 }
    }

    /// Ends the agent.
    pub(crate) async fn stop(mut self) {
        self.session.stop_agent().await.unwrap();
    }

    /// Runs a case's stages; returns a report if one fails.
    pub(crate) async fn run(&mut self, case: &Case) -> Option<String> {
        for stage in &case.stages {
            self.enforce(case, stage).await;
            let cells = self.measure(case, stage).await;
            self.session.check_agent().unwrap();
            self.cells += cells.len();
            if cells.iter().any(|cell| !cell.is_right()) {
                let text = manifests(&stage.state, &self.hosts, self.is_odd);
                return Some(report::failure(case, stage, self.ground, &cells, &text));
            }
        }
        None
    }

    /// Activates a state, and waits until all agents enforce it.
    async fn enforce(&mut self, case: &Case, stage: &Stage) {
        let state = &stage.state;
        self.is_odd = !self.is_odd;
        self.hosts.follow(state);
        let notes = match &mut self.feed {
            Feed::Manifests(folder) => {
                // One file, replaced atomically.
                let draft = folder.join(".draft");
                fs::write(&draft, manifests(state, &self.hosts, self.is_odd)).unwrap();
                fs::rename(draft, folder.join("cluster.yaml")).unwrap();
                self.session.run_pods().await.unwrap()
            }
            Feed::Api(api) => {
                let documents = documents(state, &self.hosts, self.is_odd);
                api.give(&mut self.session, documents).await
            }
        };
        // Some cases are about warnings.
        assert!(!notes.iter().any(|note| note.contains(": error: ")), "{notes:?}");
        for (id, pod) in self.session.lab().pods() {
            let known = self.hosts.addresses();
            assert_eq!(pod.addresses(), known.get(id).unwrap(), "{id} has another address");
        }
        let started_at = Instant::now();
        while !self.is_active().await {
            if started_at.elapsed() >= PATIENCE {
                let status = self.status(0).await;
                panic!("never active: {}, {}: {status:#?}", case.name, stage.what);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Whether the tables in each node's kernel are those of the state written last.
    async fn is_active(&mut self) -> bool {
        self.session.check_agent().unwrap();
        for node in 0..usize::from(self.ground.nodes) {
            let status = self.status(node).await;
            let pods = self.session.lab().pods().iter().filter(|(_, pod)| pod.node() == node);
            let pods: BTreeSet<(String, u32)> =
                pods.map(|(id, pod)| (id.to_string(), pod.interface())).collect();
            let guarded = status.endpoints.iter();
            let guarded: BTreeSet<(String, u32)> =
                guarded.map(|it| (it.pod.clone(), it.interface.ifindex)).collect();
            let is_canary = |pod: &str| canaries(self.ground).contains(&pod);
            let canary = status.endpoints.iter().find(|it| is_canary(&it.pod));
            let wanted = [self.is_odd, !self.is_odd];
            let turned = canary.is_some_and(|it| {
                [it.ingress, it.egress].map(|it| it == Isolation::Isolated) == wanted
            });
            if guarded != pods || !turned || !self.feed.is_known(&status) {
                return false;
            }
        }
        true
    }

    async fn status(&self, node: usize) -> Status {
        let asked = self.session.lab().nodes()[node].namespace().run(|| {
            use std::io::{Read, Write};
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", AGENT_PORT))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            write!(stream, "GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            std::io::Result::Ok(answer)
        });
        let answer = asked.await.unwrap().unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }

    async fn measure(&self, case: &Case, stage: &Stage) -> Vec<Cell> {
        let mut wanted = wanted(self.ground, case, &stage.state, &stage.expected);
        // Those that take long start together.
        wanted.sort_by_key(|(_, expected)| *expected);
        let tried = stream::iter(wanted).map(async |(probe, expected)| {
            let patience = if expected { ANSWER } else { SILENCE };
            let measured = probe.run(self.session.lab(), patience).await?;
            let Probe { from, to, family, traffic } = probe;
            Ok::<_, enforcer_tests::lab::LabError>(Cell {
                from,
                to,
                family,
                traffic,
                expected,
                measured,
            })
        });
        tried.buffer_unordered(PARALLEL).try_collect().await.unwrap()
    }
}

fn wanted(ground: Ground, case: &Case, state: &State, expected: &Expected) -> Vec<(Probe, bool)> {
    let probe = |(from, to, traffic): (Party, Party, Traffic)| {
        Family::ALL.map(|family| {
            let open = expected.allows(&from, &to, traffic, family);
            let (from, to) = (ground.localized(&from, &to), ground.localized(&to, &from));
            (Probe { from, to, family, traffic }, open)
        })
    };
    cells(case, state).into_iter().flat_map(probe).collect()
}
