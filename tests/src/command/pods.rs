//! What the lab's kubelets do for `kubectl exec`, `port-forward` and `logs`.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream as StdStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use enforcer_core::model::PodId;
use futures::FutureExt as _;
use nix::sched::{CloneFlags, setns};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::applet;
use super::run::Programs;
use crate::api::{Executor, Forwarder, Lines, Logger};
use crate::lab::{AccessLog, LAB_DIR, NODE_NAME, NODE_NAMESPACE, Topology, namespace_name};
use crate::session::{AGENT_LABEL, node_kubeconfig};

/// The program of the agent's container.
const AGENT: &str = "/enforcer";

/// The time to connect to a pod's port.
const PATIENCE: Duration = Duration::from_secs(5);

/// Commands run like those of `cargo xtask exec`.
pub(crate) fn executor(programs: &Programs) -> Executor {
    let programs = programs.clone();
    Executor::new(move |pod, command| {
        let mut process = std::process::Command::new(&programs.lab);
        process.args(["exec", "--lab"]).arg(std::process::id().to_string());
        process.arg(place(pod)).arg("--");
        match (command.split_first(), &programs.agent) {
            (Some((program, rest)), Some(agent)) if program == AGENT => {
                process.arg(agent).args(rest).env("KUBECONFIG", node_kubeconfig());
            }
            _ if applet::is_one(command) => {
                process.arg(&programs.lab).arg(applet::COMMAND).arg("--").args(command);
            }
            _ => {
                process.args(command);
            }
        }
        process
    })
}

/// Connects to a port inside the pod, where no policy applies.
pub(crate) fn forwarder() -> Forwarder {
    Forwarder::by(|pod, port| {
        let namespace = Path::new("/run/netns").join(namespace(pod));
        let own = text(pod, "/status/podIP").parse::<IpAddr>().ok();
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        let places = [Some(loopback), own].into_iter().flatten();
        let places = places.map(|it| SocketAddr::new(it, port)).collect();
        connect(namespace, places).boxed()
    })
}

/// The lines of the agents' log files, and the requests that other pods have answered.
pub(crate) fn logger(topology: Topology, log: AccessLog) -> Logger {
    Logger::new(move |pod| {
        let (label, value) = AGENT_LABEL;
        if pod["metadata"]["labels"][label] == value {
            let file = match number(pod) {
                1 => format!("agent-{topology}.log"),
                number => format!("agent-{topology}-{number}.log"),
            };
            let text = fs::read_to_string(Path::new(LAB_DIR).join(file)).unwrap_or_default();
            return Lines { lost: 0, lines: text.lines().map(str::to_owned).collect() };
        }
        let (lost, lines) = log.lines(&id(pod).to_string());
        Lines { lost, lines }
    })
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn id(pod: &Value) -> PodId {
    PodId::new(text(pod, "/metadata/namespace"), text(pod, "/metadata/name"))
}

/// The number of the pod's node, counted from 1.
fn number(pod: &Value) -> u32 {
    let rest = text(pod, "/spec/nodeName").strip_prefix(NODE_NAME).unwrap_or_default();
    rest.trim_start_matches('-').parse().unwrap_or(1)
}

/// The pod's network namespace: its node's if it uses that network.
fn namespace(pod: &Value) -> String {
    if pod["spec"]["hostNetwork"] != true {
        return namespace_name(&id(pod));
    }
    match number(pod) {
        1 => NODE_NAMESPACE.to_owned(),
        number => format!("{NODE_NAMESPACE}{number}"),
    }
}

/// The pod as an argument of `exec`.
fn place(pod: &Value) -> String {
    if pod["spec"]["hostNetwork"] == true { namespace(pod) } else { id(pod).to_string() }
}

/// The first connection that succeeds. A thread of its own enters the namespace: threads of the runtime
/// must stay where they are.
async fn connect(namespace: PathBuf, places: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let (reply, answer) = oneshot::channel();
    std::thread::spawn(move || {
        let connect = || {
            setns(File::open(&namespace)?, CloneFlags::CLONE_NEWNET)?;
            let mut failed = io::Error::from(io::ErrorKind::ConnectionRefused);
            for at in places {
                match StdStream::connect_timeout(&at, PATIENCE) {
                    Ok(stream) => return Ok(stream),
                    Err(error) => failed = error,
                }
            }
            Err(failed)
        };
        let _ = reply.send(connect());
    });
    let stream = answer.await.map_err(io::Error::other)??;
    stream.set_nonblocking(true)?;
    TcpStream::from_std(stream)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_in_its_nodes_network_is_reached_there() {
        let pod = |node: &str, host: bool| {
            json!({
                "metadata": { "namespace": "demo", "name": "a" },
                "spec": { "nodeName": node, "hostNetwork": host },
            })
        };
        assert_eq!(place(&pod("lab-node", false)), "demo/a");
        assert_eq!(namespace(&pod("lab-node-2", false)), "demo.a");
        assert_eq!(place(&pod("lab-node", true)), "node");
        assert_eq!(namespace(&pod("lab-node-2", true)), "node2");
    }
}
