//! The files of libcni, read again where they have changed.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::result::{self, ResultError};
use super::{Results, State};
use enforcer_core::model::{PodId, Sandbox};

/// The largest file to read. The plugins' configuration and the pod's annotations are in it;
/// Kubernetes limits the latter to 256 KiB.
const SIZE_LIMIT: u64 = 2 << 20;
/// The most files to read; a node has at most a few hundred pods.
const FILE_LIMIT: usize = 16_384;

/// The first wait before a file is read again that was not understood: it may be incomplete.
const FIRST_RETRY: Duration = Duration::from_millis(20);
/// The longest wait before that.
const LAST_RETRY: Duration = Duration::from_secs(10);
/// From this wait on, such a file is a problem.
const PATIENCE: Duration = Duration::from_secs(1);

/// What changes when a file is written or replaced.
type Version = (u64, u64, i64, i64);

fn version(metadata: &Metadata) -> Version {
    (metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

#[derive(Debug)]
struct Entry {
    version: Version,
    content: Result<Option<Sandbox>, String>,
}

/// The directory of libcni's results.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    entries: BTreeMap<String, Entry>,
    retry: Duration,
}

impl Directory {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, entries: BTreeMap::new(), retry: FIRST_RETRY }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what has changed. Returns the results, and when to read again if files were not
    /// understood.
    pub(super) fn read(&mut self) -> (Results, Option<Duration>) {
        if let Err(error) = self.scan() {
            self.entries.clear();
            let why = format!("{}: {error}", self.path.display());
            return (Results { state: State::Missing { why }, ..Results::default() }, None);
        }
        let is_bad = self.entries.values().any(|it| it.content.is_err());
        let wait = is_bad.then_some(self.retry);
        let problems = match is_bad && self.retry >= PATIENCE {
            true => self.problems(),
            false => BTreeMap::new(),
        };
        self.retry = if is_bad { (self.retry * 2).min(LAST_RETRY) } else { FIRST_RETRY };
        let sandboxes = self.newest();
        (Results { state: State::Readable, sandboxes, problems, received_at: None }, wait)
    }

    fn scan(&mut self) -> io::Result<()> {
        let mut before = std::mem::take(&mut self.entries);
        for entry in fs::read_dir(&self.path)?.take(FILE_LIMIT) {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // Removed meanwhile, or no regular file: a link could lead anywhere.
            let Ok(metadata) = entry.metadata() else { continue };
            if !metadata.is_file() {
                continue;
            }
            let version = version(&metadata);
            let known = before.remove(&name);
            let known = known.filter(|it| it.version == version && it.content.is_ok());
            let found = match known {
                Some(known) => known,
                None => match content(&entry.path(), metadata.len()) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => Entry { version, content: Err(error.to_string()) },
                    Ok(content) => {
                        Entry { version, content: content.map_err(|error| error.to_string()) }
                    }
                },
            };
            self.entries.insert(name, found);
        }
        Ok(())
    }

    fn problems(&self) -> BTreeMap<String, String> {
        let bad = self
            .entries
            .iter()
            .filter_map(|(name, it)| Some((name.clone(), it.content.as_ref().err()?.clone())));
        bad.collect()
    }

    /// The sandboxes by id: one file for each network of a sandbox, and only the newest sandbox of a
    /// pod. The file of an earlier one stays if its removal failed.
    fn newest(&self) -> BTreeMap<String, Sandbox> {
        let mut sandboxes: BTreeMap<&str, (Sandbox, (i64, i64))> = BTreeMap::new();
        for entry in self.entries.values() {
            let Ok(Some(sandbox)) = &entry.content else { continue };
            let (_, _, seconds, nanoseconds) = entry.version;
            let at = (seconds, nanoseconds);
            let (merged, newest) =
                sandboxes.entry(&sandbox.id).or_insert_with(|| (sandbox.clone(), at));
            merged.addresses.extend(&sandbox.addresses);
            merged.interfaces.extend(sandbox.interfaces.iter().cloned());
            *newest = at.max(*newest);
        }
        let mut by_pod: BTreeMap<PodId, (Sandbox, (i64, i64))> = BTreeMap::new();
        for (sandbox, at) in sandboxes.into_values() {
            let is_newer = by_pod.get(&sandbox.pod).is_none_or(|(_, other)| *other < at);
            if is_newer {
                by_pod.insert(sandbox.pod.clone(), (sandbox, at));
            }
        }
        by_pod.into_values().map(|(sandbox, _)| (sandbox.id.clone(), sandbox)).collect()
    }
}

/// Reads a file that has this length.
fn content(path: &Path, length: u64) -> io::Result<Result<Option<Sandbox>, ResultError>> {
    if length > SIZE_LIMIT {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 2 MiB"));
    }
    let mut text = Vec::new();
    // It may have grown since.
    File::open(path)?.take(SIZE_LIMIT).read_to_end(&mut text)?;
    Ok(result::sandbox(&text))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn text(container: &str, name: &str, uid: &str, address: &str) -> String {
        serde_json::json!({
            "kind": "cniCacheV1", "containerId": container, "ifName": "eth0",
            "cniArgs": [["K8S_POD_NAMESPACE", "d"], ["K8S_POD_NAME", name], ["K8S_POD_UID", uid]],
            "result": {"ips": [{"address": address}]},
        })
        .to_string()
    }

    fn ids(results: &Results) -> Vec<&str> {
        results.sandboxes.keys().map(String::as_str).collect()
    }

    #[test]
    fn a_missing_directory_is_reported_and_found_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results");
        let mut directory = Directory::new(path.clone());
        let (missing, wait) = directory.read();
        assert!(matches!(missing.state, State::Missing { why } if why.contains("results")));
        assert_eq!(wait, None);
        fs::create_dir(&path).unwrap();
        assert_eq!(directory.read().0.state, State::Readable);
    }

    #[test]
    fn an_incomplete_file_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut directory = Directory::new(folder.path().to_owned());
        let whole = text("c1", "a", "u1", "10.0.0.5/24");
        fs::write(folder.path().join("n-c1-eth0"), &whole[..40]).unwrap();
        fs::write(folder.path().join("n-c2-eth0"), text("c2", "b", "u2", "10.0.0.6/24")).unwrap();
        let (found, wait) = directory.read();
        assert_eq!((ids(&found), wait), (vec!["c2"], Some(FIRST_RETRY)));
        assert!(found.problems.is_empty(), "it may be complete soon");
        fs::write(folder.path().join("n-c1-eth0"), &whole).unwrap();
        let (found, wait) = directory.read();
        assert_eq!((ids(&found), wait), (vec!["c1", "c2"], None));
    }

    #[test]
    fn a_file_that_stays_bad_is_a_problem_and_hides_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let mut directory = Directory::new(folder.path().to_owned());
        fs::write(folder.path().join("bad"), "{").unwrap();
        fs::write(folder.path().join("n-c2-eth0"), text("c2", "b", "u2", "10.0.0.6/24")).unwrap();
        fs::create_dir(folder.path().join("folder")).unwrap();
        let huge = File::create(folder.path().join("huge")).unwrap();
        huge.set_len(SIZE_LIMIT + 1).unwrap();
        let mut last = None;
        for _ in 0..20 {
            let (found, wait) = directory.read();
            assert_eq!(ids(&found), ["c2"]);
            last = Some((found, wait));
        }
        let (found, wait) = last.unwrap();
        assert_eq!(wait, Some(LAST_RETRY));
        assert_eq!(found.problems.keys().collect::<Vec<_>>(), ["bad", "huge"]);
    }

    #[test]
    fn networks_of_a_sandbox_are_merged_and_only_its_pods_newest_counts() {
        let folder = tempfile::tempdir().unwrap();
        let mut directory = Directory::new(folder.path().to_owned());
        let write = |name: &str, text: &str, age: u64| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 - age);
            File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
        };
        write("n-old-eth0", &text("old", "a", "u1", "10.0.0.5/24"), 60);
        write("n-new-eth0", &text("new", "a", "u2", "10.0.0.6/24"), 5);
        write("m-new-net1", &text("new", "a", "u2", "10.8.0.6/24"), 4);
        let (found, _) = directory.read();
        assert_eq!(ids(&found), ["new"]);
        assert_eq!(found.sandboxes["new"].addresses.len(), 2);
        fs::remove_file(folder.path().join("n-new-eth0")).unwrap();
        fs::remove_file(folder.path().join("m-new-net1")).unwrap();
        assert_eq!(ids(&directory.read().0), ["old"]);
    }
}
