//! Lists: when objects are added and removed (semantics C4).

use super::*;

#[tokio::test(start_paused = true)]
async fn c4_nothing_is_complete_before_every_kind_is() {
    for kind in Kind::ALL {
        let server = Server::default();
        let slow = match kind {
            Kind::Node => {
                let node = json!({"metadata": {"name": NODE, "resourceVersion": "1"}});
                Answer::List(vec![node], 1, None)
            }
            _ => Answer::List(vec![], 1, None),
        };
        server.on(kind.resource(), [Answer::After(Duration::from_secs(50), Box::new(slow))]);
        let mut scene = Scene::start(server);
        scene.seconds(49).await;
        assert!(!scene.complete, "without {kind:?}");
        let missing = format!("the first list of {} is not complete", kind.resource());
        assert_eq!(scene.watches.missing(), Some(missing));
        scene.seconds(2).await;
        assert!(scene.complete, "with {kind:?}");
        assert_eq!(scene.watches.missing(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn lists_come_in_pages_that_take_effect_as_they_come() {
    let server = Server::default();
    let later = |answer| Answer::After(Duration::from_secs(10), Box::new(answer));
    server.on(
        "pods",
        [
            Answer::List(vec![pod("one", 1), pod("two", 2)], 9, Some("page-2")),
            later(Answer::List(vec![pod("three", 3)], 9, Some("page-3"))),
            later(Answer::List(vec![pod("four", 4)], 9, None)),
            Answer::watch([event("ADDED", &pod("five", 10))]),
        ],
    );
    let mut scene = Scene::start(server);
    scene.seconds(5).await;
    assert_eq!((scene.pods(), scene.complete), (vec!["one", "two"], false));
    scene.seconds(30).await;
    assert_eq!(scene.pods(), ["five", "four", "one", "three", "two"]);
    assert!(scene.complete);
    let asked = scene.asked("pods");
    assert!(asked[..3].iter().all(|it| it.contains("limit=500")), "{asked:?}");
    assert!(asked[1].contains("continue=page-2") && asked[2].contains("continue=page-3"));
    assert!(asked[3].contains("watch=true") && asked[3].contains("resourceVersion=9"));
    assert!(asked[3].contains("allowWatchBookmarks=true"));
    assert_eq!((scene.state(Kind::Pod).objects, scene.state(Kind::Pod).lists), (5, 1));
}

/// Expiry as an event of the watch and as its response; and of a page.
#[tokio::test(start_paused = true)]
async fn c4_a_new_list_removes_objects_only_when_it_is_complete() {
    let gone = json!({"reason": "Expired", "message": "too old", "code": 410, "kind": "Status"});
    let expired: [fn(Value) -> Answer; 2] =
        [|gone| Answer::watch([event("ERROR", &gone)]), |gone| Answer::Status(410, gone)];
    for expired in expired {
        let server = Server::default();
        server.on(
            "pods",
            [
                Answer::List(vec![pod("one", 1), pod("two", 2), pod("three", 3)], 9, None),
                expired(gone.clone()),
                Answer::List(vec![pod("one", 1)], 20, Some("more")),
                Answer::Status(410, gone.clone()),
                Answer::List(vec![pod("two", 2)], 30, Some("more")),
                Answer::After(
                    Duration::from_secs(30),
                    Box::new(Answer::List(vec![pod("four", 4)], 30, None)),
                ),
            ],
        );
        let mut scene = Scene::start(server);
        scene.seconds(20).await;
        assert!(scene.complete && scene.asked("pods").len() == 6, "{:?}", scene.asked("pods"));
        assert_eq!(scene.pods(), ["one", "three", "two"], "nothing is gone yet");
        assert_eq!(scene.state(Kind::Pod).phase, Phase::Listing);
        scene.seconds(30).await;
        assert_eq!(scene.pods(), ["four", "two"]);
        assert_eq!(scene.state(Kind::Pod).phase, Phase::Synced);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_was_recreated_unseen_is_another_pod() {
    let mut again = pod("one", 5);
    again["metadata"]["uid"] = json!("another");
    again["status"] = json!({"podIPs": [{"ip": "not an address"}]});
    let server = Server::default();
    server.on(
        "pods",
        [
            Answer::List(vec![pod("one", 1)], 1, None),
            Answer::Status(410, json!({})),
            Answer::List(vec![again], 5, None),
        ],
    );
    let mut scene = Scene::start(server);
    scene.seconds(10).await;
    assert!(scene.pods().is_empty(), "the last good state was another pod's");
    assert_eq!(scene.state(Kind::Pod).bad, 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_enforced_under_a_name_that_no_node_has() {
    let node = |name: &str| json!({"metadata": {"name": name, "resourceVersion": "2"}});
    let server = Server::default();
    server.on(
        "nodes",
        [
            Answer::List(vec![], 1, None),
            Answer::After(
                Duration::from_secs(60),
                Box::new(Answer::watch([event("ADDED", &node(NODE))])),
            ),
            Answer::List(vec![node("here-too"), node("elsewhere")], 1, None),
        ],
    );
    let mut scene = Scene::start(server);
    scene.seconds(30).await;
    assert!(!scene.complete);
    let missing = scene.watches.missing().unwrap();
    assert!(missing.starts_with("no node is called \"here\"; there is here-too. "), "{missing}");
    assert!(scene.asked("nodes")[0].contains("fieldSelector=metadata.name%3Dhere"));
    scene.seconds(60).await;
    assert!(scene.complete && scene.watches.missing().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_removed_later_changes_nothing() {
    let node = json!({"metadata": {"name": NODE, "resourceVersion": "2"}});
    let server = Server::default();
    server.on(
        "nodes",
        [Answer::List(vec![node.clone()], 1, None), Answer::watch([event("DELETED", &node)])],
    );
    server.on("pods", [Answer::List(vec![pod("one", 1)], 1, None)]);
    let mut scene = Scene::start(server);
    scene.seconds(10).await;
    assert!(scene.complete);
    assert_eq!(scene.pods(), ["one"]);
    assert!(scene.watches.node_problem().unwrap().contains("is gone from the API server"));
}
