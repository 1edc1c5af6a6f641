//! The ways to enforce policies, and the stage on which they are measured.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::bail;

use super::addresses::{PORTS, middle};
use super::load::Ends;
use super::{nftables, npm};
use crate::bench::lab::options;
use crate::host::{find_program, replace_file};
use crate::lab::{Family, Party, Sandbox, Topology};
use crate::session::{Session, SessionOptions};

/// A way to enforce policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bench) enum Setup {
    /// None: everything passes.
    None,
    /// The agent.
    Enforcer,
    /// nftables: a map from the pod's address to its chain, sets of peers.
    Nftables,
    /// iptables with ipset, as Azure NPM lays them out.
    Npm,
}

/// A port that no policy allows.
const DENIED: u16 = 5_100;
/// The time for policies to take effect.
const PATIENCE: Duration = Duration::from_secs(20);
/// The time after which a connection counts as denied.
const SILENCE: Duration = Duration::from_millis(300);

impl Setup {
    /// All; the one to compare with comes first.
    pub(super) const ALL: [Self; 4] = [Self::None, Self::Enforcer, Self::Nftables, Self::Npm];

    pub(in crate::bench) const fn name(self) -> &'static str {
        match self {
            Self::None => "no policy",
            Self::Enforcer => "enforcer",
            Self::Nftables => "nftables sets",
            Self::Npm => "iptables + ipset as NPM",
        }
    }

    /// The programs that load its rules, with their arguments.
    const fn programs(self) -> &'static [(&'static str, &'static [&'static str])] {
        match self {
            Self::None | Self::Enforcer => &[],
            Self::Nftables => &[("nft", &["-f", "-"])],
            Self::Npm => &[("ipset", &["restore"]), ("iptables-restore", &["-w", "--noflush"])],
        }
    }

    /// A program that is not installed.
    pub(super) fn missing(self) -> Option<&'static str> {
        let names = self.programs().iter().map(|(name, _)| *name);
        names.into_iter().find(|name| find_program(name).is_none())
    }

    /// The input of each program.
    fn rules(self, policies: usize, server: IpAddr, client: IpAddr) -> Vec<String> {
        match self {
            Self::None | Self::Enforcer => Vec::new(),
            Self::Nftables => vec![nftables::rules(policies, server, client)],
            Self::Npm => npm::rules(policies, server, client).into(),
        }
    }
}

const PODS: &str = "apiVersion: v1
kind: Namespace
metadata: {name: bench}
---
apiVersion: v1
kind: Service
metadata: {namespace: bench, name: server}
spec: {clusterIP: 10.0.50.50, selector: {app: server}, ports: [{port: 80, protocol: TCP}]}
";

/// The manifests of pods with these labels `app`, and of policies. The policy in the middle selects the
/// server and allows the client.
fn manifests(pods: &[&str], policies: usize) -> String {
    let mut text = PODS.to_owned();
    // Writing to a String never fails.
    for app in pods {
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{namespace: bench, name: {app}, labels: {{app: \
             {app}}}}}\nspec: {{containers: [{{name: main, image: example.org/main}}]}}\n"
        );
    }
    for number in 0..policies {
        let (subject, peer) = if number == middle(policies) {
            ("server".to_owned(), "client".to_owned())
        } else {
            (format!("subject{number}"), format!("peer{number}"))
        };
        let [first, last] = PORTS;
        let _ = write!(
            text,
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{namespace: bench, \
             name: policy{number}}}\nspec:\n  podSelector: {{matchLabels: {{app: {subject}}}}}\n  \
             ingress: [{{from: [{{podSelector: {{matchLabels: {{app: {peer}}}}}}}], ports: [{{protocol: \
             TCP, port: {first}, endPort: {last}}}, {{protocol: UDP, port: {first}, endPort: \
             {last}}}]}}]\n"
        );
    }
    text
}

/// A lab with a client and a server, and policies in effect.
pub(in crate::bench) struct Stage {
    pub(in crate::bench) session: Session,
}

impl Stage {
    /// Starts the lab and waits until the policies have their effect.
    pub(in crate::bench) async fn start(
        sandbox: &Sandbox,
        setup: Setup,
        policies: usize,
    ) -> anyhow::Result<Self> {
        let stage =
            Self::with_pods(sandbox, setup, (&["client", "server"], ""), (policies, &[])).await?;
        let [server, client] = [stage.address("server")?, stage.address("client")?];
        let node = stage.session.lab().node();
        for (program, text) in setup.programs().iter().zip(setup.rules(policies, server, client)) {
            let (name, arguments) = *program;
            node.io(&format!("run {name}"), move || feed(name, arguments, &text)).await?;
        }
        if setup != Setup::None {
            stage.until_in_effect(&stage.ends()?).await?;
        }
        Ok(stage)
    }

    /// Starts a lab with the agent (if that is the setup), these pods, and further manifests.
    pub(in crate::bench) async fn with_pods(
        sandbox: &Sandbox,
        setup: Setup,
        (pods, further): (&[&str], &str),
        (policies, further_arguments): (usize, &[&str]),
    ) -> anyhow::Result<Self> {
        let (directory, options) = options()?;
        let text = manifests(pods, policies) + further;
        replace_file(&directory.join("bench.yaml"), &text)?;
        let agent = options.agent.clone().filter(|_| setup == Setup::Enforcer);
        // Every denied packet would be logged as a drop.
        let mut arguments: Vec<OsString> = vec!["--log".into(), "info,enforcer::drops=off".into()];
        arguments.extend(further_arguments.iter().map(|it| (*it).into()));
        let options = SessionOptions { agent, arguments, settle: PATIENCE, ..options };
        let mut session = Session::start(sandbox, Topology::AzureCni, options).await?;
        session.declare().await?;
        Ok(Self { session })
    }

    pub(in crate::bench) fn address(&self, pod: &str) -> anyhow::Result<IpAddr> {
        Ok(self.session.lab().address(&Party::pod("bench", pod), Family::V4)?)
    }

    /// The ends of loads.
    pub(in crate::bench) fn ends(&self) -> anyhow::Result<Ends<'_>> {
        let lab = self.session.lab();
        let [client, server] = ["client", "server"].map(|name| Party::pod("bench", name));
        Ok(Ends {
            client: lab.namespace(&client)?,
            server: lab.namespace(&server)?,
            address: lab.address(&server, Family::V4)?,
            first_port: PORTS[0],
        })
    }

    /// Waits until an allowed port answers and a denied one does not.
    pub(in crate::bench) async fn until_in_effect(&self, ends: &Ends<'_>) -> anyhow::Result<()> {
        let mut listeners = Vec::new();
        for port in [PORTS[0], DENIED] {
            let at = SocketAddr::new(ends.address, port);
            listeners.push(ends.server.io("listen", move || TcpListener::bind(at)).await?);
        }
        let started_at = Instant::now();
        while started_at.elapsed() < PATIENCE {
            let [allowed, denied] = [PORTS[0], DENIED].map(|port| connects(ends, port));
            if allowed.await? && !denied.await? {
                return Ok(());
            }
        }
        bail!("the policies had no effect within {PATIENCE:?}: figures would be meaningless");
    }

    /// Ends the lab, and the agent in an orderly way.
    pub(in crate::bench) async fn end(mut self) -> anyhow::Result<()> {
        self.session.check_agent()?;
        self.session.stop_agent().await
    }
}

/// Whether a connection opens. Nobody accepts it, so the page never comes: only a reset is an answer.
async fn connects(ends: &Ends<'_>, port: u16) -> anyhow::Result<bool> {
    let at = SocketAddr::new(ends.address, port);
    let connect = move || {
        let stream = std::net::TcpStream::connect_timeout(&at, SILENCE);
        Ok(stream.is_ok())
    };
    Ok(ends.client.io("connect", connect).await?)
}

/// Runs a program with this input.
fn feed(name: &str, arguments: &[&str], text: &str) -> io::Result<()> {
    let program = find_program(name).ok_or(io::ErrorKind::NotFound)?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let written = child.stdin.take().map_or(Ok(()), |mut pipe| pipe.write_all(text.as_bytes()));
    let output = child.wait_with_output()?;
    if output.status.success() {
        return written;
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{name}: {}", message.trim())))
}
