//! The file by which clients find the server.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::json;

/// Writes the file. JSON is YAML.
///
/// # Errors
/// When it can't be written.
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

/// The variable that names kubectl where it is not on the path.
pub const KUBECTL: &str = "ENFORCER_KUBECTL";

/// kubectl, if there is one.
#[must_use]
pub fn kubectl() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(KUBECTL) {
        return Some(path.into());
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|it| it.join("kubectl")).find(|it| it.is_file())
}
