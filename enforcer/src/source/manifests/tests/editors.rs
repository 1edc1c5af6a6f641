//! Changes as editors and deployments make them, on a real filesystem.

use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::mpsc::{self, Receiver};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::scene::policy;
use super::*;

/// Long enough for any machine; reached only if a test fails.
const PATIENCE: Duration = Duration::from_secs(30);
/// Long enough for a wrongly sent update to arrive.
const QUIET: Duration = Duration::from_millis(400);

struct Watched {
    directory: TempDir,
    cluster: Cluster,
    updates: Receiver<Update>,
    task: JoinHandle<Result<(), ManifestError>>,
}

impl Watched {
    async fn new(files: &[(&str, String)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        Self::start(directory, "").await
    }

    /// Watches a directory within `directory`.
    async fn start(directory: TempDir, within: &str) -> Self {
        let manifests = Manifests::new(vec![directory.path().join(within)]).unwrap();
        let (sender, updates) = mpsc::channel(16);
        let task = tokio::spawn(manifests.watch(sender));
        let mut watched = Self { directory, cluster: Cluster::default(), updates, task };
        watched.update().await;
        watched
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn update(&mut self) -> Vec<Report> {
        let update = timeout(PATIENCE, self.updates.recv()).await.expect("an update").unwrap();
        for change in update.changes {
            assert!(self.cluster.apply(change));
        }
        update.reports
    }

    /// Waits until exactly these policies are there.
    async fn until(&mut self, names: &[&str]) {
        while self.policies() != names {
            self.update().await;
        }
    }

    fn policies(&self) -> Vec<String> {
        self.cluster.policies.keys().map(|id| id.name.to_string()).collect()
    }

    async fn is_quiet(&mut self) {
        let update = timeout(QUIET, self.updates.recv()).await;
        assert!(update.is_err(), "unexpected update: {update:?}");
    }
}

fn simple(name: &str) -> String {
    policy(name, "podSelector: {}")
}

#[tokio::test]
async fn the_whole_state_comes_first_even_if_there_is_none() {
    let watched = Watched::new(&[]).await;
    assert_eq!(watched.cluster, Cluster::default());
    let watched = Watched::new(&[("a.yaml", simple("a"))]).await;
    assert_eq!(watched.policies(), ["a"]);
}

#[tokio::test]
async fn rewritten_renamed_into_place_and_removed() {
    let mut watched = Watched::new(&[("a.yaml", simple("a"))]).await;
    fs::write(watched.path("a.yaml"), simple("a2")).unwrap();
    watched.until(&["a2"]).await;
    fs::write(watched.path(".a.yaml.tmp"), simple("a3")).unwrap();
    fs::rename(watched.path(".a.yaml.tmp"), watched.path("a.yaml")).unwrap();
    watched.until(&["a3"]).await;
    // As vim saves: the old version is kept under another name.
    fs::rename(watched.path("a.yaml"), watched.path("a.yaml~")).unwrap();
    fs::write(watched.path("a.yaml"), simple("a4")).unwrap();
    fs::remove_file(watched.path("a.yaml~")).unwrap();
    watched.until(&["a4"]).await;
    fs::rename(watched.path("a.yaml"), watched.path("a.off")).unwrap();
    watched.until(&[]).await;
    fs::rename(watched.path("a.off"), watched.path("a.yaml")).unwrap();
    watched.until(&["a4"]).await;
    fs::remove_file(watched.path("a.yaml")).unwrap();
    watched.until(&[]).await;
}

#[tokio::test]
async fn a_file_is_not_read_while_it_is_written() {
    let mut watched = Watched::new(&[("a.yaml", simple("a"))]).await;
    // Truncates, and keeps the file open.
    let mut file = File::create(watched.path("a.yaml")).unwrap();
    watched.is_quiet().await;
    let text = [simple("a"), simple("b")].join("---\n");
    let (first, second) = text.split_at(50);
    file.write_all(first.as_bytes()).unwrap();
    // The change of another file must not cause this one to be read.
    fs::write(watched.path("z.yaml"), simple("z")).unwrap();
    watched.until(&["a", "z"]).await;
    watched.is_quiet().await;
    file.write_all(second.as_bytes()).unwrap();
    drop(file);
    assert_eq!(watched.update().await, []);
    assert_eq!(watched.policies(), ["a", "b", "z"]);
}

#[tokio::test]
async fn a_new_file_is_read_when_it_is_closed() {
    let mut watched = Watched::new(&[]).await;
    let mut file = File::create(watched.path("a.yaml")).unwrap();
    file.write_all(&simple("a").as_bytes()[..50]).unwrap();
    watched.is_quiet().await;
    file.write_all(&simple("a").as_bytes()[50..]).unwrap();
    drop(file);
    assert_eq!(watched.update().await, []);
    assert_eq!(watched.policies(), ["a"]);
}

#[tokio::test]
async fn saving_the_same_again_changes_nothing() {
    let mut watched = Watched::new(&[("a.yaml", simple("a"))]).await;
    fs::write(watched.path("a.yaml"), simple("a")).unwrap();
    watched.is_quiet().await;
}

#[tokio::test]
async fn an_error_and_its_fix_are_reported() {
    let mut watched = Watched::new(&[("a.yaml", simple("a"))]).await;
    fs::write(watched.path("a.yaml"), policy("a", "bad: x")).unwrap();
    let reports = watched.update().await;
    assert_eq!(reports[0].severity, Severity::Error);
    assert_eq!(watched.policies(), ["a"]);
    fs::write(watched.path("a.yaml"), simple("a2")).unwrap();
    let reports = watched.update().await;
    assert_eq!(reports[0].message, "fixed");
    assert_eq!(watched.policies(), ["a2"]);
}

#[tokio::test]
async fn directories_come_and_go() {
    let mut watched = Watched::new(&[]).await;
    fs::create_dir_all(watched.path("x/y")).unwrap();
    fs::write(watched.path("x/y/a.yaml"), simple("a")).unwrap();
    watched.until(&["a"]).await;
    fs::write(watched.path("x/y/b.yaml"), simple("b")).unwrap();
    watched.until(&["a", "b"]).await;
    fs::rename(watched.path("x"), watched.path("z")).unwrap();
    fs::write(watched.path("z/y/b.yaml"), simple("b2")).unwrap();
    watched.until(&["a", "b2"]).await;
    fs::remove_dir_all(watched.path("z")).unwrap();
    watched.until(&[]).await;
}

#[tokio::test]
async fn links_count_as_soon_as_they_exist() {
    let mut watched = Watched::new(&[]).await;
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("a.yaml"), simple("a")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path().join("a.yaml"), watched.path("a.yaml")).unwrap();
    watched.until(&["a"]).await;
}

/// The kubelet mounts a ConfigMap as links through `..data`, which it swaps.
#[tokio::test]
async fn a_mounted_config_map_is_swapped() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let version = |number: u32, name: &str| {
        let version = path.join(format!("..{number}"));
        fs::create_dir(&version).unwrap();
        fs::write(version.join("a.yaml"), simple(name)).unwrap();
        let link = path.join("..data_tmp");
        std::os::unix::fs::symlink(format!("..{number}"), &link).unwrap();
        fs::rename(link, path.join("..data")).unwrap();
    };
    version(1, "one");
    std::os::unix::fs::symlink("..data/a.yaml", path.join("a.yaml")).unwrap();
    let mut watched = Watched::start(directory, "").await;
    assert_eq!(watched.policies(), ["one"]);
    version(2, "two");
    fs::remove_dir_all(path.join("..1")).unwrap();
    watched.until(&["two"]).await;
}

#[tokio::test]
async fn c4_a_directory_that_is_replaced_is_watched_again() {
    let outer = tempfile::tempdir().unwrap();
    fs::create_dir(outer.path().join("in")).unwrap();
    fs::write(outer.path().join("in/a.yaml"), simple("a")).unwrap();
    let mut watched = Watched::start(outer, "in").await;
    fs::rename(watched.path("in"), watched.path("away")).unwrap();
    let reports = watched.update().await;
    assert_eq!(reports[0].severity, Severity::Error);
    assert_eq!(watched.policies(), ["a"]);
    fs::create_dir(watched.path("new")).unwrap();
    fs::write(watched.path("new/a.yaml"), simple("a2")).unwrap();
    fs::rename(watched.path("new"), watched.path("in")).unwrap();
    watched.until(&["a2"]).await;
    sleep(QUIET).await;
    fs::write(watched.path("in/a.yaml"), simple("a3")).unwrap();
    watched.until(&["a3"]).await;
}

#[tokio::test]
async fn many_changes_lose_nothing() {
    let mut watched = Watched::new(&[]).await;
    for round in 0..200 {
        let name = format!("{}.yaml", round % 20);
        fs::write(watched.path(&name), simple(&format!("p{round}"))).unwrap();
    }
    let names: Vec<String> = (180..200).map(|round| format!("p{round}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    watched.until(&names).await;
}

#[tokio::test]
async fn the_watch_ends_with_its_receiver() {
    let watched = Watched::new(&[]).await;
    drop(watched.updates);
    timeout(PATIENCE, watched.task).await.expect("an end").unwrap().unwrap();
}
