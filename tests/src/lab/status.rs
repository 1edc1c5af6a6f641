//! The pods' status documents: their addresses as the kubelet would report them.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use enforcer_core::model::PodId;
use serde_json::json;

use super::error::Context as _;
use super::{LabError, namespace_name};
use crate::host::replace_file;

/// Creates an empty directory for status documents.
pub(crate) fn fresh_directory(parent: &Path) -> Result<PathBuf, LabError> {
    let path = parent.join("state");
    let removed = match fs::remove_dir_all(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    let created = removed.and_then(|()| fs::create_dir_all(&path));
    created.context(format!("create {}", path.display()))?;
    Ok(path)
}

pub(crate) fn write(directory: &Path, id: &PodId, addresses: &[IpAddr]) -> Result<(), LabError> {
    let ips: Vec<_> = addresses.iter().map(|ip| json!({ "ip": ip })).collect();
    let document = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "namespace": id.namespace, "name": id.name },
        "status": { "phase": "Running", "podIP": addresses.first(), "podIPs": ips },
    });
    let path = path_of(directory, id);
    // JSON is YAML.
    replace_file(&path, &format!("{document:#}\n")).context(format!("write {}", path.display()))
}

pub(crate) fn remove(directory: &Path, id: &PodId) -> Result<(), LabError> {
    let path = path_of(directory, id);
    fs::remove_file(&path).context(format!("remove {}", path.display()))
}

fn path_of(directory: &Path, id: &PodId) -> PathBuf {
    // Not `set_extension`: names may contain dots.
    directory.join(format!("{}.yaml", namespace_name(id)))
}
