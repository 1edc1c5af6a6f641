//! Applies rules in a node's namespace.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Plan, ProxyNode, iptables, ipvs, nftables};
use crate::host::find_program;
use crate::lab::{Family, LabError, Namespace};
use enforcer_core::model::Cluster;

/// The kind of rules that implement Services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Proxy {
    /// Those of kube-proxy's iptables mode.
    Iptables,
    /// Those of kube-proxy's nftables mode.
    Nftables,
    /// Those of kube-proxy's ipvs mode, with virtual servers of the kernel.
    #[value(skip)]
    Ipvs,
}

impl Proxy {
    /// Those that every machine has. The kernel's virtual servers are rare.
    pub const ALL: [Self; 2] = [Self::Iptables, Self::Nftables];

    /// The default kind: iptables, as on AKS, or else the installed one.
    pub fn default_here() -> Self {
        Self::ALL.into_iter().find(|it| it.is_installed()).unwrap_or(Self::Iptables)
    }

    /// Checks that the programs are installed.
    ///
    /// # Errors
    /// Names the missing program and how to install it.
    pub fn check(self) -> Result<(), LabError> {
        if self == Self::Ipvs {
            for program in ["ipset", "ipvsadm"] {
                find_program(program).ok_or_else(|| LabError::NoProxy(missing(self, program)))?;
            }
        }
        Family::ALL.into_iter().try_for_each(|family| self.program(family).map(drop))
    }

    fn is_installed(self) -> bool {
        Family::ALL.into_iter().all(|family| find_program(self.program_name(family)).is_some())
    }

    fn program(self, family: Family) -> Result<PathBuf, LabError> {
        let name = self.program_name(family);
        find_program(name).ok_or_else(|| LabError::NoProxy(missing(self, name)))
    }

    const fn program_name(self, family: Family) -> &'static str {
        match (self, family) {
            (Self::Iptables | Self::Ipvs, Family::V4) => "iptables-restore",
            (Self::Iptables | Self::Ipvs, Family::V6) => "ip6tables-restore",
            (Self::Nftables, _) => "nft",
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            // Wait for the lock of the older variant.
            Self::Iptables | Self::Ipvs => &["-w"],
            Self::Nftables => &["-f", "-"],
        }
    }

    fn render(self, plan: &Plan) -> String {
        match self {
            Self::Iptables | Self::Ipvs => iptables::render(plan),
            Self::Nftables => nftables::render(plan),
        }
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
            Self::Ipvs => "ipvs",
        })
    }
}

const fn package(proxy: Proxy) -> &'static str {
    match proxy {
        Proxy::Iptables => "iptables",
        Proxy::Nftables => "nftables",
        Proxy::Ipvs => "ipset ipvsadm",
    }
}

fn missing(proxy: Proxy, program: &str) -> String {
    let other = match proxy {
        Proxy::Iptables => Proxy::Nftables,
        Proxy::Nftables | Proxy::Ipvs => Proxy::Iptables,
    };
    let alternative =
        if other.is_installed() { format!("; or use --proxy {other}") } else { String::new() };
    format!(
        "{program} is not installed; install it with: apt-get install {}{alternative}",
        package(proxy)
    )
}

/// The kube-proxy of one node.
#[derive(Debug)]
pub(crate) struct KubeProxy {
    proxy: Proxy,
    node: ProxyNode,
    /// The current rules, by family.
    texts: [String; 2],
}

impl KubeProxy {
    /// A kube-proxy without rules.
    pub(crate) fn new(proxy: Proxy, node: ProxyNode) -> Self {
        Self { proxy, node, texts: Default::default() }
    }

    pub(crate) fn proxy(&self) -> Proxy {
        self.proxy
    }

    /// Updates the rules for `cluster`, if they differ.
    ///
    /// # Errors
    /// The program is missing or rejects the rules.
    pub(crate) async fn sync(
        &mut self,
        namespace: &Namespace,
        cluster: &Cluster,
    ) -> Result<(), LabError> {
        if self.proxy == Proxy::Ipvs {
            return self.sync_ipvs(namespace, cluster).await;
        }
        for (family, current) in Family::ALL.into_iter().zip(&mut self.texts) {
            let plan = Plan::new(cluster, &self.node, family);
            let text = self.proxy.render(&plan);
            if text != *current {
                load(namespace, self.proxy, family, text.clone()).await?;
                *current = text;
            }
        }
        Ok(())
    }

    /// Runs all programs again if anything differs.
    async fn sync_ipvs(
        &mut self,
        namespace: &Namespace,
        cluster: &Cluster,
    ) -> Result<(), LabError> {
        let plans = Family::ALL.map(|family| Plan::new(cluster, &self.node, family));
        let steps = ipvs::steps(&plans);
        let text = format!("{steps:?}");
        if self.texts[0] == text {
            return Ok(());
        }
        namespace.sysctl(ipvs::SETTINGS.map(|key| (key.to_owned(), "1")).to_vec()).await?;
        for ipvs::Step { program, arguments, input } in steps {
            let what = format!("run {program}");
            let path = find_program(program)
                .ok_or_else(|| LabError::NoProxy(missing(Proxy::Ipvs, program)))?;
            // `ip -force` continues after mistakes, and reports the last one by its exit code.
            let is_lenient = program == "ip";
            let done = namespace.io(&what, move || run(&path, arguments, &input)).await;
            if !is_lenient {
                done?;
            }
        }
        [self.texts[0], self.texts[1]] = [text, String::new()];
        Ok(())
    }
}

/// Runs the program on the namespace's own thread: it reads a few kilobytes and ends.
async fn load(
    namespace: &Namespace,
    proxy: Proxy,
    family: Family,
    text: String,
) -> Result<(), LabError> {
    let program = proxy.program(family)?;
    let what = format!("run {}", program.display());
    namespace.io(&what, move || run(&program, proxy.arguments(), &text)).await
}

fn run(program: &Path, arguments: &[&str], text: &str) -> io::Result<()> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let written = match child.stdin.take() {
        Some(mut pipe) => pipe.write_all(text.as_bytes()),
        None => Ok(()),
    };
    let output = child.wait_with_output()?;
    if output.status.success() {
        return written;
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{}: {}", output.status, message.trim())))
}
