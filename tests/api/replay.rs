//! Recordings of a real server, replayed: kube's watcher reports the recorded objects in the end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use enforcer_tests::api::{ApiServer, Fault, Kind, Replay, Rule, Verb, kinds};
use kube::runtime::watcher::Config;

use crate::support::{Follower, Stage};

const KINDS: [&Kind; 6] = [
    &kinds::PODS,
    &kinds::NAMESPACES,
    &kinds::NETWORK_POLICIES,
    &kinds::SERVICES,
    &kinds::NODES,
    &kinds::ENDPOINT_SLICES,
];

fn recordings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../enforcer/tests-data/recordings")
}

/// The names of the store's objects, in the followers' format.
fn stored(stage: &Stage, kind: &'static Kind) -> Vec<String> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let objects = stage.server.store().all(kind);
    let names = objects.iter().map(|it| {
        format!("{}/{}", text(&it["metadata"]["namespace"]), text(&it["metadata"]["name"]))
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

async fn follow_to_the_end(stage: &Stage, followers: &mut [Follower]) {
    for (kind, follower) in KINDS.into_iter().zip(followers) {
        let names = stored(stage, kind);
        let what = format!("the {} {names:?}", kind.plural);
        follower.until(&what, |it| it.lists > 0 && it.known.keys().eq(names.iter())).await;
    }
}

#[tokio::test]
async fn a_recording_is_followed_in_any_order_and_through_faults() {
    for seed in [1, 2, 3] {
        let stage = Stage::of(ApiServer::default());
        let mut replay = Replay::read(&recordings(), seed).unwrap();
        assert_eq!(replay.left(), 138);
        replay.begin(stage.server.store()).unwrap();
        assert_eq!(stored(&stage, &kinds::NODES), ["/node1", "/node2"]);
        let mut followers: Vec<_> =
            KINDS.iter().map(|kind| stage.follow(kind, Config::default())).collect();
        follow_to_the_end(&stage, &mut followers).await;
        for fault in [Fault::Cut { after: 3 }, Fault::garbage(5), Fault::Twice] {
            let rule = Rule::any().verb(Verb::Watch).kind(&kinds::PODS).times(1);
            stage.server.faults().add(rule, fault);
        }
        let mut step = 0;
        while replay.step(stage.server.store()).unwrap() {
            step += 1;
            if step % 60 == 0 {
                follow_to_the_end(&stage, &mut followers).await;
                stage.server.store().compact();
            }
        }
        follow_to_the_end(&stage, &mut followers).await;
        assert!(stored(&stage, &kinds::PODS).is_empty(), "the namespace is deleted in the end");
    }
}

#[tokio::test]
async fn malformed_recordings_are_reported_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("watch.pods.jsonl"), "{}\n{\n").unwrap();
    let missing = Replay::read(folder.path(), 0).unwrap_err().to_string();
    assert!(missing.contains("list-before.pods.json"), "{missing}");
    std::fs::write(folder.path().join("list-before.pods.json"), "{\"items\":[]}").unwrap();
    let broken = Replay::read(folder.path(), 0).unwrap_err().to_string();
    assert!(broken.contains("watch.pods.jsonl, line 2"), "{broken}");
}

/// The refusal is exactly the recorded one.
#[tokio::test]
async fn a_streamed_list_is_refused_as_recorded() {
    let recorded =
        std::fs::read_to_string(recordings().join("watchlist-refused.pods.jsonl")).unwrap();
    let recorded: serde_json::Value = serde_json::from_str(&recorded).unwrap();
    let stage = Stage::new();
    let address = stage.listening.address();
    let path = "/api/v1/pods?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let request = async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = tokio::time::timeout(Duration::from_secs(5), request).await.unwrap();
    let line = answer.lines().find(|line| line.starts_with('{')).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(line).unwrap(), recorded);
}
