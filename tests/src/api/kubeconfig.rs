//! How clients find the server, and tests find `kubectl`.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::host::find_program;

/// Writes a kubeconfig file. JSON is YAML.
pub fn write(path: &Path, server: SocketAddr) -> io::Result<()> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "lab", "cluster": { "server": format!("http://{server}") } }],
        "users": [{ "name": "anybody", "user": {} }],
        "contexts": [{ "name": "lab", "context": { "cluster": "lab", "user": "anybody", "namespace": "default" } }],
        "current-context": "lab",
    });
    fs::write(path, format!("{config:#}\n"))
}

/// The path of kubectl, if it is installed: `ENFORCER_KUBECTL`, or else found by `PATH`.
pub fn kubectl() -> Option<PathBuf> {
    let named = std::env::var_os("ENFORCER_KUBECTL").map(PathBuf::from);
    named.or_else(|| find_program("kubectl"))
}
