//! Saves the generated cluster of a failed test as manifests, for inspection and replay.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use enforcer_core::model::{Cluster, Pod, SharedSet};

use crate::generate::NODE;
use crate::render::manifests;

/// The environment variable with the folder for failures.
pub const FOLDER: &str = "ENFORCER_FAILURES";

/// The environment variables that repeat a run.
const SEEDS: [&str; 2] = ["ENFORCER_SEED", "PROPTEST_RNG_SEED"];

/// Saves a cluster and its failure, replacing an earlier one of that name. Returns the folder:
///
/// - `manifests/`: for `cargo xtask run --manifests`. The pods of [`NODE`] have no node and no
///   addresses: the lab assigns its own, which `ipBlock`s may not cover.
/// - `exact.yaml`: the exact cluster.
/// - `failure.txt`: the failure, and the seed.
pub fn keep(name: &str, cluster: &Cluster, wrong: &str) -> io::Result<PathBuf> {
    let kept = std::env::var_os(FOLDER).map(PathBuf::from);
    let kept = kept.unwrap_or_else(|| std::env::temp_dir().join("enforcer-failures"));
    keep_in(&kept.join(name), cluster, wrong)
}

fn keep_in(folder: &Path, cluster: &Cluster, wrong: &str) -> io::Result<PathBuf> {
    let runnable = folder.join("manifests");
    fs::create_dir_all(&runnable)?;
    fs::write(runnable.join("cluster.yaml"), manifests(&for_the_lab(cluster)))?;
    fs::write(folder.join("exact.yaml"), manifests(cluster))?;
    let seeds = SEEDS.iter().filter_map(|it| Some(format!("{it}={}\n", std::env::var(it).ok()?)));
    let again = format!("show it: cargo xtask run --manifests {}\n", runnable.display());
    let text = format!("{wrong}\n\n{again}{}", seeds.collect::<String>());
    fs::write(folder.join("failure.txt"), text)?;
    Ok(folder.to_owned())
}

fn for_the_lab(cluster: &Cluster) -> Cluster {
    let mut cluster = cluster.clone();
    let local = |pod: &&mut Pod| pod.node.as_deref() == Some(NODE);
    for pod in cluster.pods.values_mut().filter(local) {
        pod.node = None;
        pod.addresses = SharedSet::new();
    }
    cluster.node_addresses.clear();
    cluster
}

#[cfg(test)]
mod tests {
    use enforcer::source::manifests::Manifests;
    use proptest::strategy::{Strategy, ValueTree};
    use proptest::test_runner::TestRunner;

    use super::*;
    use crate::generate;

    fn read(path: PathBuf) -> Cluster {
        let mut cluster = Cluster::default();
        let changes = Manifests::new(vec![path]).unwrap().rescan().changes;
        for change in changes {
            cluster.apply(change);
        }
        cluster
    }

    #[test]
    fn saved_clusters_can_be_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut runner = TestRunner::deterministic();
        for _ in 0..20 {
            let cluster = generate::cluster().new_tree(&mut runner).unwrap().current();
            let kept = keep_in(folder.path(), &cluster, "a packet").unwrap();
            assert_eq!(read(kept.join("exact.yaml")).pods, cluster.pods);
            let runnable = read(kept.join("manifests"));
            assert!(runnable.pods.keys().eq(cluster.pods.keys()));
            let here = generate::local(&cluster);
            assert!(here.iter().all(|it| runnable.pods[it].addresses.is_empty()));
            assert!(fs::read_to_string(kept.join("failure.txt")).unwrap().contains("a packet"));
        }
    }
}
