//! Bookmarks and versions of watches, as kube-apiserver's watch cache treats them.
//!
//! Sources, in `kubernetes/kubernetes`, `staging/src/k8s.io/apiserver/pkg/storage/cacher`:
//! - `cacher.go`, `dispatchEvents`: a bookmark has the version of the kind's last event, or of etcd's
//!   last progress notification; there is none before the first of these.
//! - `cache_watcher.go`, `process`: a watch gets only what is newer than its first version;
//!   `nextBookmarkTime`: once a minute, and two seconds before its end.
//! - `cacher.go`, `Watch`: an error after authorization is an event of the watch. Only a watch that
//!   requests the initial events waits until the cache has the version; another one begins, and is
//!   silent.

use std::time::Duration;

use enforcer_tests::api::{ApiServer, kinds};
use futures::StreamExt;
use futures::stream::BoxStream;
use kube::api::{DynamicObject, WatchEvent, WatchParams};
use serde_json::json;

use crate::support::{PATIENCE, Stage};

/// Many times the interval of bookmarks.
const SILENCE: Duration = Duration::from_millis(200);

type Events = BoxStream<'static, WatchEvent<DynamicObject>>;

fn stage() -> Stage {
    let stage = Stage::of(ApiServer::new().unwrap());
    stage.server.faults().bookmark_every(Duration::from_millis(10));
    stage
}

async fn watch(stage: &Stage, version: u64, seconds: u32) -> Events {
    let parameters = WatchParams::default().timeout(seconds);
    let api = stage.api(&kinds::PODS);
    let events = api.watch(&parameters, &version.to_string()).await.unwrap();
    events.map(Result::unwrap).boxed()
}

/// The version of the next event, which must be a bookmark.
async fn bookmark(events: &mut Events) -> u64 {
    match tokio::time::timeout(PATIENCE, events.next()).await.unwrap().unwrap() {
        WatchEvent::Bookmark(it) => it.metadata.resource_version.parse().unwrap(),
        other => panic!("{other:?}"),
    }
}

async fn is_silent(events: &mut Events) -> bool {
    tokio::time::timeout(SILENCE, events.next()).await.is_err()
}

fn namespace(stage: &Stage, name: &str) {
    let object = json!({ "metadata": { "name": name } });
    stage.server.store().create(&kinds::NAMESPACES, "", object).unwrap();
}

#[tokio::test]
async fn a_quiet_kind_has_no_bookmarks() {
    let stage = stage();
    stage.pods(&["a"]);
    let version = stage.server.store().version();
    let mut events = watch(&stage, version, 60).await;
    assert!(is_silent(&mut events).await, "nothing has changed since the version");
    namespace(&stage, "x");
    assert!(is_silent(&mut events).await, "only another kind has changed");
    stage.pods(&["b"]);
    let change = events.next().await.unwrap();
    assert!(matches!(change, WatchEvent::Added(_)), "{change:?}");
    let changed = stage.server.store().version();
    namespace(&stage, "y");
    // From now on again and again, always with the version of the change.
    assert_eq!(bookmark(&mut events).await, changed);
    assert_eq!(bookmark(&mut events).await, changed);
}

#[tokio::test]
async fn progress_of_the_storage_moves_the_bookmarks() {
    let stage = stage();
    stage.server.faults().notify_progress(true);
    let mut events = watch(&stage, stage.server.store().version(), 60).await;
    assert!(is_silent(&mut events).await);
    namespace(&stage, "x");
    assert_eq!(bookmark(&mut events).await, stage.server.store().version());
}

#[tokio::test]
async fn a_watch_that_ends_is_bookmarked_before() {
    let stage = stage();
    stage.server.faults().bookmark_every(Duration::from_secs(60));
    let version = stage.server.store().version();
    let mut events = watch(&stage, version, 3).await;
    stage.pods(&["a"]);
    assert!(matches!(events.next().await.unwrap(), WatchEvent::Added(_)));
    assert_eq!(bookmark(&mut events).await, stage.server.store().version());
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn a_watch_of_a_future_version_is_silent() {
    let stage = stage();
    let mut events = watch(&stage, stage.server.store().version() + 2, 60).await;
    stage.pods(&["a", "b"]);
    assert!(is_silent(&mut events).await);
    stage.pods(&["c"]);
    match events.next().await.unwrap() {
        WatchEvent::Added(pod) => assert_eq!(pod.metadata.name.as_deref(), Some("c")),
        other => panic!("{other:?}"),
    }
}

/// An expired version is an event of the watch, not its answer.
#[tokio::test]
async fn an_expired_version_is_an_event() {
    let stage = stage();
    let version = stage.server.store().version();
    stage.pods(&["a"]);
    stage.server.store().compact();
    match watch(&stage, version, 60).await.next().await.unwrap() {
        WatchEvent::Error(status) => assert_eq!(status.code, 410),
        other => panic!("{other:?}"),
    }
}
