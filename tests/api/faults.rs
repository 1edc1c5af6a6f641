//! kube's watcher with a faulty server: in the end it reports the server's objects.

use std::time::{Duration, Instant};

use enforcer_tests::api::{ApiServer, Fault, Key, Rule, Verb, kinds};
use kube::runtime::watcher::Config;
use serde_json::json;

use crate::support::{Stage, pod};

fn watch() -> Rule {
    Rule::any().verb(Verb::Watch).kind(&kinds::PODS).times(1)
}

fn list() -> Rule {
    Rule::any().verb(Verb::List).kind(&kinds::PODS).times(1)
}

#[tokio::test]
async fn without_a_fault_there_are_no_errors() {
    let stage = Stage::new();
    stage.pods(&["a", "b", "c"]);
    let mut pods = stage.follow(&kinds::PODS, Config::default().page_size(2));
    pods.until_known(&["a", "b", "c"]).await;
    stage.pods(&["d"]);
    stage.label("a", "1");
    stage.server.store().remove(&kinds::PODS, &Key::new("default", "b"));
    pods.until("relabelled", |it| it.known.get("default/a").is_some_and(|it| it == "1")).await;
    pods.until_known(&["a", "c", "d"]).await;
    assert_eq!((pods.errors.len(), pods.lists), (0, 1), "{:?}", pods.errors);
    // Three pods in pages of two.
    assert_eq!(stage.server.journal().count(Verb::List, "pods"), 2);
}

/// Runs with a fault of the first watch, after which the watcher must report `b` and the label.
async fn recovers(fault: Fault) -> Vec<String> {
    let stage = Stage::new();
    stage.pods(&["a"]);
    let hits = stage.server.faults().add(watch(), fault);
    let mut pods = stage.follow(&kinds::PODS, Config::default());
    pods.until_known(&["a"]).await;
    while hits.count() == 0 {
        pods.during(Duration::from_millis(10)).await;
    }
    stage.pods(&["b"]);
    stage.label("a", "1");
    pods.until("relabelled", |it| it.known.get("default/a").is_some_and(|it| it == "1")).await;
    pods.until_known(&["a", "b"]).await;
    pods.errors
}

#[tokio::test]
async fn a_watch_that_is_cut_continues() {
    recovers(Fault::Cut { after: 0 }).await;
    recovers(Fault::Cut { after: 1 }).await;
}

#[tokio::test]
async fn a_watch_that_ends_continues() {
    assert_eq!(recovers(Fault::End { after: 1 }).await, Vec::<String>::new());
}

#[tokio::test]
async fn garbage_in_a_watch_is_only_an_error() {
    assert!(!recovers(Fault::garbage(0)).await.is_empty());
    assert!(!recovers(Fault::garbage(1)).await.is_empty());
}

#[tokio::test]
async fn unknown_events_do_not_hide_others() {
    assert!(!recovers(Fault::unknown_event(1)).await.is_empty());
}

#[tokio::test]
async fn an_expired_version_leads_to_a_new_list() {
    let stage = Stage::new();
    stage.pods(&["a"]);
    stage.server.faults().add(watch(), Fault::expired(1));
    let mut pods = stage.follow(&kinds::PODS, Config::default());
    pods.until_known(&["a"]).await;
    stage.pods(&["b"]);
    pods.until("listed again", |it| it.lists == 2).await;
    assert_eq!(pods.known.len(), 2);
    assert!(pods.errors.iter().all(|it| it.contains("410")), "{:?}", pods.errors);
}

#[tokio::test]
async fn after_compaction_a_watch_lists_again() {
    let stage = Stage::new();
    stage.pods(&["a"]);
    let mut pods = stage.follow(&kinds::PODS, Config::default());
    pods.until_known(&["a"]).await;
    // When the cut watch reconnects, its version has expired.
    stage.server.faults().add(watch().times(3), Fault::HangUp);
    let address = stage.listening.address();
    stage.listening.stop().await;
    stage.server.store().remove(&kinds::PODS, &Key::new("default", "a"));
    stage.server.store().create(&kinds::PODS, "default", pod("b")).unwrap();
    stage.server.store().compact();
    let _listening = stage.server.listen_on_loopback(address.port()).unwrap();
    pods.until_known(&["b"]).await;
    assert_eq!(pods.lists, 2);
}

#[tokio::test]
async fn refused_requests_are_retried() {
    let fault = Fault::Refuse { code: 429, retry_after: Some(1) };
    for fault in [fault, Fault::refuse(500), Fault::refuse(503), Fault::refuse(410)] {
        recovers(fault).await;
    }
}

#[tokio::test]
async fn failed_lists_are_retried() {
    let refused = Fault::Refuse { code: 429, retry_after: Some(1) };
    let cases = [
        Fault::Cut { after: 0 },
        Fault::garbage(0),
        Fault::End { after: 0 },
        Fault::HangUp,
        Fault::refuse(500),
        refused,
    ];
    for fault in cases {
        let stage = Stage::new();
        stage.pods(&["a", "b"]);
        stage.server.faults().add(list(), fault.clone());
        let mut pods = stage.follow(&kinds::PODS, Config::default());
        pods.until_known(&["a", "b"]).await;
        // kube retries without an error if the refusal has a retry time.
        let waits = matches!(fault, Fault::Refuse { retry_after: Some(_), .. });
        assert!(waits || !pods.errors.is_empty(), "{fault:?} was not reported");
    }
}

#[tokio::test]
async fn a_slow_list_is_complete() {
    let stage = Stage::new();
    stage.pods(&["a", "b"]);
    let fault = Fault::Drip { bytes: 64, pause: Duration::from_millis(1) };
    stage.server.faults().add(list(), fault);
    let mut pods = stage.follow(&kinds::PODS, Config::default());
    pods.until_known(&["a", "b"]).await;
    assert_eq!(pods.errors, Vec::<String>::new());
}

/// kube's watcher waits as long as its connection lasts: silence is not an error.
#[tokio::test]
async fn a_silent_connection_lasts_until_the_server_stops() {
    let stage = Stage::new();
    stage.pods(&["a"]);
    for fault in [Fault::Stall, Fault::Silence { after: 0 }] {
        stage.server.faults().add(watch(), fault);
    }
    let mut pods = stage.follow(&kinds::PODS, Config::default());
    pods.until_known(&["a"]).await;
    stage.pods(&["b"]);
    pods.during(Duration::from_millis(200)).await;
    assert_eq!(pods.known.len(), 1);
    let address = stage.listening.address();
    stage.listening.stop().await;
    // The second watch is silent, too.
    let _listening = stage.server.listen_on_loopback(address.port()).unwrap();
    stage.server.faults().clear();
    pods.until_known(&["a", "b"]).await;
}

#[tokio::test]
async fn a_restarted_server_is_found_again() {
    let stage = Stage::new();
    stage.pods(&["a"]);
    let mut pods = stage.follow(&kinds::PODS, Config::default());
    pods.until_known(&["a"]).await;
    let address = stage.listening.address();
    stage.listening.stop().await;
    stage.server.store().create(&kinds::PODS, "default", pod("b")).unwrap();
    pods.until("noticed", |it| it.errors.len() > 2).await;
    let _listening = stage.server.listen_on_loopback(address.port()).unwrap();
    pods.until_known(&["a", "b"]).await;
}

#[tokio::test]
async fn events_may_be_sent_twice() {
    assert_eq!(recovers(Fault::Twice).await, Vec::<String>::new());
}

#[tokio::test]
async fn kinds_overtake_each_other() {
    let stage = Stage::new();
    let mut pods = stage.follow(&kinds::PODS, Config::default());
    let mut namespaces = stage.follow(&kinds::NAMESPACES, Config::default());
    pods.until_known(&[]).await;
    namespaces.until("listed", |it| it.lists == 1).await;
    stage.server.faults().hold(&kinds::NAMESPACES);
    stage
        .server
        .store()
        .create(&kinds::NAMESPACES, "", json!({ "metadata": { "name": "x" } }))
        .unwrap();
    stage.server.store().create(&kinds::PODS, "x", pod("a")).unwrap();
    pods.until("reported", |it| it.known.contains_key("x/a")).await;
    namespaces.during(Duration::from_millis(100)).await;
    assert!(!namespaces.known.contains_key("/x"));
    stage.server.faults().release(&kinds::NAMESPACES);
    namespaces.until("reported", |it| it.known.contains_key("/x")).await;
}

#[tokio::test]
async fn a_kind_can_be_delayed() {
    let stage = Stage::new();
    let mut pods = stage.follow(&kinds::PODS, Config::default());
    pods.until_known(&[]).await;
    let late = Duration::from_millis(150);
    stage.server.faults().delay(&kinds::PODS, late);
    let started = Instant::now();
    stage.pods(&["a"]);
    pods.until_known(&["a"]).await;
    assert!(started.elapsed() >= late);
}

#[tokio::test]
async fn malformed_objects_are_sent_unchanged() {
    let stage = Stage::new();
    let mut broken = pod("broken");
    broken["metadata"]["namespace"] = "default".into();
    broken["spec"]["nodeName"] = 5.into();
    stage.server.store().put(&kinds::PODS, broken).unwrap();
    let pods = kube::Api::<k8s_openapi::api::core::v1::Pod>::all(stage.client.clone());
    let error = pods.list(&kube::api::ListParams::default()).await.unwrap_err();
    assert!(error.to_string().contains("invalid type: integer `5`"), "{error}");
    let seen = stage.api_in(&kinds::PODS, "default").get("broken").await.unwrap();
    assert_eq!(seen.data["spec"]["nodeName"], 5);
}

#[tokio::test]
async fn bookmarks_carry_a_watch_over_a_compaction() {
    let stage = Stage::of(ApiServer::new().unwrap());
    stage.server.faults().notify_progress(true);
    stage.server.faults().bookmark_every(Duration::from_millis(10));
    let mut pods = stage.follow(&kinds::PODS, Config::default());
    pods.until_known(&[]).await;
    while stage.server.journal().count(Verb::Watch, "pods") == 0 {
        pods.during(Duration::from_millis(10)).await;
    }
    // Changes of another kind expire.
    for number in 0..3 {
        let name = format!("n{number}");
        stage
            .server
            .store()
            .create(&kinds::NAMESPACES, "", json!({ "metadata": { "name": name } }))
            .unwrap();
    }
    stage.server.store().compact();
    pods.during(Duration::from_millis(100)).await;
    let address = stage.listening.address();
    stage.listening.stop().await;
    let _listening = stage.server.listen_on_loopback(address.port()).unwrap();
    stage.server.store().create(&kinds::PODS, "default", pod("a")).unwrap();
    pods.until_known(&["a"]).await;
    assert_eq!(pods.lists, 1);
}

/// As recorded from a real server without support.
#[tokio::test]
async fn streamed_lists_are_refused_unless_supported() {
    let stage = Stage::new();
    stage.pods(&["a"]);
    let config = Config {
        initial_list_strategy: kube::runtime::watcher::InitialListStrategy::StreamingList,
        ..Config::default()
    };
    let mut pods = stage.follow(&kinds::PODS, config.clone());
    pods.until("refused", |it| it.errors.iter().any(|it| it.contains("RequestWatchProgress")))
        .await;
    stage.server.faults().stream_lists(true);
    pods.until_known(&["a"]).await;
    let mut pods = stage.follow(&kinds::PODS, config);
    pods.until_known(&["a"]).await;
    assert_eq!(pods.errors, Vec::<String>::new());
}
