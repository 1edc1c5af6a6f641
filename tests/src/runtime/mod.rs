//! A stand-in for the container runtime: containerd's side of NRI.
//!
//! Like containerd's `nri` it uses two ttrpc connections over one Unix socket: registration,
//! configuration, a list of the running pods, then a call for each event, which waits for the
//! reply.
//!
//! Nothing here uses the agent's code: errors common to both sides would stay unnoticed.

mod wire;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use enforcer_core::model::PodId;
use tokio::net::UnixListener;

use wire::{
    Message, REQUEST, RESPONSE, TO_PLUGIN, TO_RUNTIME, Trunk, bytes, field, invalid, number, text,
    value,
};

const PLUGIN: &str = "nri.pkg.api.v1alpha1.Plugin";
const RUNTIME: &str = "nri.pkg.api.v1alpha1.Runtime";

/// gRPC's code for an unsupported call.
const UNIMPLEMENTED: u64 = 12;

/// The variants of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// containerd 1.7 with NRI 0.6: one call for all events, no addresses, no time limits.
    Old,
    /// containerd 2 with NRI 0.9: one call for all events.
    Current,
    /// Later versions: a separate call for each event.
    Later,
}

/// A pod as the runtime announces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSandbox {
    /// The runtime's id.
    pub id: String,
    /// The pod.
    pub pod: PodId,
    /// `metadata.uid`
    pub uid: String,
    /// The pod's labels; those that the kubelet adds are added.
    pub labels: BTreeMap<String, String>,
    /// Its addresses; the old dialect omits them.
    pub addresses: Vec<IpAddr>,
    /// The file of its network namespace; `None`: the node's network.
    pub network: Option<PathBuf>,
    /// The sandbox's process.
    pub process: u32,
}

/// A runtime that waits for plugins.
#[derive(Debug)]
pub struct Runtime {
    listener: UnixListener,
}

/// A registered plugin.
#[derive(Debug)]
pub struct Plugin {
    trunk: Trunk,
    dialect: Dialect,
    stream: u32,
    /// Its index and name.
    pub name: String,
    /// The events that it subscribes to, one bit each.
    pub events: u64,
}

impl Runtime {
    /// Listens at a path. The socket of an earlier runtime is replaced.
    pub fn listen(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(Self { listener: UnixListener::bind(path)? }),
        }
    }

    /// Accepts the next plugin. It is configured with `patience` as the time limit for each event,
    /// and gets the running pods, one per message.
    ///
    /// # Errors
    /// The plugin violates the protocol or disconnects.
    pub async fn accept(
        &self,
        dialect: Dialect,
        patience: Duration,
        running: &[PodSandbox],
    ) -> io::Result<Plugin> {
        let mut plugin = self.registered(dialect).await?;
        plugin.answer_registration(0).await?;
        let mut configuration = Vec::new();
        bytes(&mut configuration, 2, b"stand-in");
        bytes(&mut configuration, 3, b"v1");
        if dialect != Dialect::Old {
            number(&mut configuration, 4, 5000);
            let patience = u64::try_from(patience.as_millis()).map_err(io::Error::other)?;
            number(&mut configuration, 5, patience);
        }
        let configured = plugin.call("Configure", &configuration).await?;
        plugin.events = value(&configured, 2)?;
        for (index, pod) in running.iter().enumerate() {
            plugin.synchronize(Some(pod), index + 1 < running.len()).await?;
        }
        if running.is_empty() {
            plugin.synchronize(None, false).await?;
        }
        Ok(plugin)
    }

    /// Refuses the next plugin.
    pub async fn refuse(&self) -> io::Result<()> {
        self.registered(Dialect::Current).await?.answer_registration(3).await
    }

    async fn registered(&self, dialect: Dialect) -> io::Result<Plugin> {
        let (socket, _) = self.listener.accept().await?;
        let mut trunk = Trunk::new(socket);
        let Message { connection, stream, kind, payload } = trunk.receive().await?;
        let call = (text(&payload, 1)?, text(&payload, 2)?);
        if (connection, kind) != (TO_RUNTIME, REQUEST)
            || call != (RUNTIME.to_owned(), "RegisterPlugin".to_owned())
        {
            return Err(invalid(&format!("{call:?} instead of a registration")));
        }
        let request = field(&payload, 3)?.unwrap_or_default();
        let name = format!("{}-{}", text(&request, 2)?, text(&request, 1)?);
        Ok(Plugin { trunk, dialect, stream, name, events: 0 })
    }
}

impl Plugin {
    async fn answer_registration(&mut self, code: u64) -> io::Result<()> {
        let mut status = Vec::new();
        if code != 0 {
            number(&mut status, 1, code);
            bytes(&mut status, 2, b"not today");
        }
        let mut payload = Vec::new();
        bytes(&mut payload, 1, &status);
        let stream = std::mem::replace(&mut self.stream, 1);
        let message = Message { connection: TO_RUNTIME, stream, kind: RESPONSE, payload };
        self.trunk.send(&message).await
    }

    async fn synchronize(&mut self, pod: Option<&PodSandbox>, more: bool) -> io::Result<()> {
        let mut list = Vec::new();
        if let Some(pod) = pod {
            bytes(&mut list, 1, &self.message(pod));
        }
        // A container, which the plugin has to ignore.
        bytes(&mut list, 2, b"\x0a\x01c");
        number(&mut list, 3, more.into());
        let answer = self.call("Synchronize", &list).await?;
        if value(&answer, 2)? == u64::from(more) {
            Ok(())
        } else {
            Err(invalid("the plugin does not support lists in parts"))
        }
    }

    /// Announces a pod's sandbox and network; its containers start when this returns.
    ///
    /// # Errors
    /// The plugin refuses (a real pod would fail) or has disconnected (a real runtime would ignore
    /// it).
    pub async fn run_pod(&mut self, pod: &PodSandbox) -> io::Result<()> {
        self.announce("RunPodSandbox", 1, pod).await
    }

    /// Announces the end of a pod's processes, before its network is removed.
    pub async fn stop_pod(&mut self, pod: &PodSandbox) -> io::Result<()> {
        self.announce("StopPodSandbox", 2, pod).await
    }

    async fn announce(&mut self, method: &str, event: u64, pod: &PodSandbox) -> io::Result<()> {
        let pod = self.message(pod);
        let mut request = Vec::new();
        if self.dialect == Dialect::Later {
            bytes(&mut request, 1, &pod);
            self.call(method, &request).await?;
        } else {
            number(&mut request, 1, event);
            bytes(&mut request, 2, &pod);
            self.call("StateChange", &request).await?;
        }
        Ok(())
    }

    fn message(&self, pod: &PodSandbox) -> Vec<u8> {
        let PodSandbox { id, pod, uid, labels, addresses, network, process } = pod;
        let mut message = Vec::new();
        for (number, text) in [(1, id.as_str()), (2, &pod.name), (3, uid), (4, &pod.namespace)] {
            bytes(&mut message, number, text.as_bytes());
        }
        let own = [
            ("io.kubernetes.pod.name", pod.name.as_str()),
            ("io.kubernetes.pod.namespace", &pod.namespace),
            ("io.kubernetes.pod.uid", uid),
            ("io.cri-containerd.kind", "sandbox"),
        ];
        let labels = labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        for (key, value) in own.into_iter().chain(labels) {
            bytes(&mut message, 5, &pair(key, value));
        }
        bytes(&mut message, 6, &pair("io.kubernetes.cri.container-type", "sandbox"));
        let mut linux = Vec::new();
        bytes(&mut linux, 3, b"/kubepods");
        bytes(&mut linux, 5, &pair("pid", ""));
        if let Some(path) = network {
            bytes(&mut linux, 5, &pair("network", &path.display().to_string()));
        }
        bytes(&mut message, 8, &linux);
        number(&mut message, 9, u64::from(*process));
        for address in addresses.iter().filter(|_| self.dialect != Dialect::Old) {
            bytes(&mut message, 10, address.to_string().as_bytes());
        }
        message
    }

    /// Calls the plugin; returns its reply.
    async fn call(&mut self, method: &str, payload: &[u8]) -> io::Result<Vec<u8>> {
        let mut request = Vec::new();
        bytes(&mut request, 1, PLUGIN.as_bytes());
        bytes(&mut request, 2, method.as_bytes());
        bytes(&mut request, 3, payload);
        let stream = self.stream;
        self.stream += 2;
        let message = Message { connection: TO_PLUGIN, stream, kind: REQUEST, payload: request };
        self.trunk.send(&message).await?;
        let answer = self.trunk.receive().await?;
        if (answer.connection, answer.stream, answer.kind) != (TO_PLUGIN, stream, RESPONSE) {
            return Err(invalid(&format!("{answer:?} instead of an answer to {method}")));
        }
        let status = field(&answer.payload, 1)?.unwrap_or_default();
        match value(&status, 1)? {
            0 => Ok(field(&answer.payload, 2)?.unwrap_or_default()),
            code => Err(io::Error::other(format!("{method} failed with code {code}"))),
        }
    }

    /// Whether the plugin reports a call as unsupported.
    pub async fn lacks(&mut self, method: &str) -> io::Result<bool> {
        match self.call(method, &[]).await {
            Ok(_) => Ok(false),
            Err(error) if error.to_string().ends_with(&format!("code {UNIMPLEMENTED}")) => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// A message of two strings: an entry of a map, or a namespace.
fn pair(first: &str, second: &str) -> Vec<u8> {
    let mut message = Vec::new();
    bytes(&mut message, 1, first.as_bytes());
    bytes(&mut message, 2, second.as_bytes());
    message
}
