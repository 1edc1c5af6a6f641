//! The files of the image: the agent and its documents.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context, Result};

use super::tarball::Entry;

/// The agent's path in the image.
pub(super) const AGENT: &str = "enforcer";

/// Mount points of the container runtime, the kubelet (name resolution, the service account), and
/// the pod. Runtimes only add missing ones if they can write to the image.
const MOUNT_POINTS: [&str; 9] =
    ["bpf", "dev", "etc", "proc", "run", "sys", "usr", "var", "var/run"];

/// The folder of the documents.
const DOCUMENTS: &str = "usr/share/doc/enforcer";

/// The files and folders of an image.
pub(super) fn entries(
    agent: Vec<u8>,
    licence: Vec<u8>,
    notices: Vec<u8>,
    sbom: Vec<u8>,
) -> Vec<Entry> {
    let mut entries: Vec<_> = MOUNT_POINTS.map(Entry::folder).into();
    entries.push(Entry { mode: 0o1777, ..Entry::folder("tmp") });
    for folder in ["usr/share", "usr/share/doc", DOCUMENTS] {
        entries.push(Entry::folder(folder));
    }
    for (name, content) in
        [("LICENSE", licence), ("THIRD-PARTY-NOTICES", notices), ("sbom.cdx.json", sbom)]
    {
        entries.push(Entry::file(format!("{DOCUMENTS}/{name}"), content));
    }
    entries.push(Entry::program(AGENT, agent));
    entries
}

/// Writes the files into a new or empty folder.
///
/// # Errors
/// The folder isn't empty, or can't be written.
pub(super) fn unpack(entries: &[Entry], into: &Path) -> Result<()> {
    let write = || -> Result<()> {
        fs::create_dir_all(into)?;
        if fs::read_dir(into)?.next().is_some() {
            anyhow::bail!("it isn't empty: remove it or use another folder");
        }
        for entry in entries {
            let path = into.join(&entry.path);
            match &entry.content {
                Some(content) => fs::write(&path, content)?,
                None => fs::create_dir_all(&path)?,
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(entry.mode))?;
        }
        Ok(())
    };
    write().with_context(|| format!("can't unpack the image to {}", into.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Vec<Entry> {
        entries(b"agent".to_vec(), b"l".to_vec(), b"n".to_vec(), b"{}".to_vec())
    }

    #[test]
    fn every_file_has_its_folder() {
        let entries = example();
        let is_folder = |path: &str| {
            path.is_empty() || entries.iter().any(|it| it.path == path && it.content.is_none())
        };
        for entry in &entries {
            let folder = entry.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            assert!(is_folder(folder), "{}", entry.path);
        }
    }

    #[test]
    fn unpacked_files_have_their_content_and_mode() {
        let folder = tempfile::tempdir().unwrap();
        let into = folder.path().join("a/b");
        unpack(&example(), &into).unwrap();
        let agent = into.join(AGENT);
        assert_eq!(fs::read(&agent).unwrap(), b"agent");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&agent), 0o755);
        assert_eq!(mode(&into.join("tmp")), 0o1777);
        let error = format!("{:#}", unpack(&example(), &into).unwrap_err());
        assert!(error.contains("isn't empty"), "{error}");
    }
}
