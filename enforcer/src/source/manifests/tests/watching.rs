use std::io::Write;
use std::os::unix::fs::symlink;
use std::time::Duration;

use tokio::sync::mpsc;

use super::*;

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: []}\n";

/// The next update. The limit is only there so that a failure ends.
async fn next(updates: &mut mpsc::Receiver<Update>) -> Update {
    tokio::time::timeout(Duration::from_secs(20), updates.recv()).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notices_changes_but_no_half_written_file() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.yaml", POD);
    let (sender, mut updates) = mpsc::channel(8);
    let watch = tokio::spawn(manifests(dir.path()).watch(sender));
    assert_eq!(next(&mut updates).await.changes.len(), 2);

    // While the file is open for writing and empty, another file changes: nothing is lost.
    let mut open = fs::File::create(dir.path().join("a.yaml")).unwrap();
    write(dir.path(), "new/b.yaml", &POD.replace("name: a", "name: b"));
    let update = next(&mut updates).await;
    assert!(
        matches!(update.changes.as_slice(), [Change::Pod(it)] if it.id.name == "b"),
        "{update:?}"
    );
    open.write_all(POD.replace("spec:", "spec: {nodeName: x}\n#").as_bytes()).unwrap();
    drop(open);
    loop {
        let update = next(&mut updates).await;
        match update.changes.as_slice() {
            [Change::Pod(it)] if it.id.name == "a" => {
                break assert_eq!(it.node.as_deref(), Some("x"));
            }
            // Reading the new folder may have been early.
            [] => {}
            other => panic!("{other:?}"),
        }
    }

    fs::rename(dir.path().join("a.yaml"), dir.path().join("a.txt")).unwrap();
    let update = next(&mut updates).await;
    assert!(matches!(update.changes.as_slice(), [Change::PodGone(_)]), "{update:?}");
    drop(updates);
    watch.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn follows_a_mounted_config_map() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "..1/a.yaml", POD);
    write(dir.path(), "..2/a.yaml", &POD.replace("spec:", "spec: {nodeName: x}\n#"));
    symlink("..1", dir.path().join("..data")).unwrap();
    symlink("..data/a.yaml", dir.path().join("a.yaml")).unwrap();
    let (sender, mut updates) = mpsc::channel(8);
    tokio::spawn(manifests(dir.path()).watch(sender));
    assert_eq!(next(&mut updates).await.changes.len(), 2);
    symlink("..2", dir.path().join("..tmp")).unwrap();
    fs::rename(dir.path().join("..tmp"), dir.path().join("..data")).unwrap();
    let update = next(&mut updates).await;
    assert!(matches!(update.changes.as_slice(), [Change::Pod(_)]), "{update:?}");
}
