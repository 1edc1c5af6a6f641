//! Objects, good and bad.

use super::*;

#[tokio::test(start_paused = true)]
async fn one_bad_object_blocks_no_other() {
    let odd = |metadata: Value| json!({"metadata": metadata, "spec": 5});
    let bad = [
        odd(json!({"name": "b1", "namespace": "a", "resourceVersion": "2"})),
        odd(json!({"name": "b2", "namespace": "a", "resourceVersion": "2", "labels": {"x": 1}})),
        odd(json!({"name": 3, "resourceVersion": "2"})),
        odd(json!("metadata")),
        json!(null),
        json!([1, "x"]),
    ];
    let list = bad.iter().cloned().chain([pod("good", 1)]).collect();
    let with_version = bad.iter().take(3);
    let events =
        with_version.map(|it| event("MODIFIED", it)).chain([event("ADDED", &pod("more", 9))]);
    let server = Server::default();
    server.on("pods", [Answer::List(list, 1, None), Answer::watch(events)]);
    let mut scene = Scene::start(server);
    scene.seconds(5).await;
    assert!(scene.complete);
    assert_eq!(scene.pods(), ["good", "more"]);
    assert_eq!(scene.state(Kind::Pod).lists, 1);
    let errors: Vec<_> = scene.remarks.iter().filter(|it| it.contains(" a/b")).collect();
    assert_eq!(
        errors,
        [
            "error: Pod a/b1: spec: expected a mapping, found the number `5`",
            "notice: Pod a/b1: it is not in effect",
            "error: Pod a/b2: metadata.labels.x: expected a string, found the number `1`",
            "notice: Pod a/b2: it is not in effect",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn c4_the_last_good_version_of_an_object_that_can_not_be_read_stays() {
    let bad = |version| {
        let mut pod = pod("p", version);
        // A pod without any address would be no subject.
        pod["status"] = json!({"podIP": "", "podIPs": [{"ip": "10.0.0.256"}]});
        pod
    };
    let server = Server::default();
    server.on(
        "pods",
        [
            Answer::List(vec![pod("p", 1)], 1, None),
            Answer::ended([event("MODIFIED", &bad(2)), event("MODIFIED", &bad(3))]),
            Answer::Status(410, json!({})),
            Answer::List(vec![bad(3)], 4, None),
            Answer::After(
                Duration::from_secs(60),
                Box::new(Answer::watch([event("MODIFIED", &pod("p", 5))])),
            ),
        ],
    );
    let mut scene = Scene::start(server);
    scene.seconds(30).await;
    assert_eq!(scene.cluster.pods.values().next().unwrap().addresses.len(), 1, "as it was");
    assert_eq!(scene.state(Kind::Pod).bad, 1);
    // Once, although it came three times.
    assert_eq!(scene.remarks.len(), 2, "{:?}", scene.remarks);
    assert!(scene.remarks[0].contains("`10.0.0.256` is not an IP address"), "{:?}", scene.remarks);
    assert!(scene.remarks[1].ends_with("its last good version stays in effect"));
    scene.seconds(60).await;
    assert_eq!((scene.state(Kind::Pod).bad, scene.remarks.len()), (0, 3));
    assert_eq!(scene.remarks[2], "notice: Pod a/p: fixed");
}

/// The last good version of a policy allows what its author may have removed.
#[tokio::test(start_paused = true)]
async fn r9_a_policy_with_errors_allows_nothing_that_was_removed() {
    let web = json!({"matchLabels": {"app": "web"}});
    let spec = |selector: &Value, from: &Value| json!({"podSelector": selector, "ingress": [{"from": from, "ports": [{"port": 80}]}]});
    let anyone = json!([{"namespaceSelector": {}}]);
    let unknown = json!({"matchExpressions": [{"key": "app", "operator": "Like"}]});
    let known = json!([{"podSelector": web}, {"podSelector": unknown}]);
    let good = policy("entry", 1, &spec(&web, &anyone));
    let whole = policy("whole", 1, &spec(&web, &anyone));
    let kept = policy("kept", 1, &spec(&web, &known));
    let server = Server::default();
    server.on(
        "networkpolicies",
        [
            Answer::List(vec![good, kept, whole], 1, None),
            Answer::After(
                Duration::from_secs(60),
                Box::new(Answer::watch([
                    event(
                        "MODIFIED",
                        &policy("entry", 2, &spec(&web, &json!([{"podSelector": unknown}]))),
                    ),
                    event("MODIFIED", &policy("whole", 3, &spec(&unknown, &anyone))),
                ])),
            ),
        ],
    );
    let mut scene = Scene::start(server);
    scene.seconds(90).await;
    let shown: Vec<_> = scene
        .cluster
        .policies
        .values()
        .map(|it| {
            let rules = it.ingress.as_deref().unwrap_or_default();
            let peers: Vec<usize> = rules.iter().map(|it| it.peers.len()).collect();
            (&*it.id.name, it.subjects.requirements.len(), it.ingress.is_some(), peers)
        })
        .collect();
    assert_eq!(
        shown,
        [("entry", 1, true, vec![]), ("kept", 1, true, vec![1]), ("whole", 0, true, vec![]),]
    );
    assert_eq!(scene.state(Kind::Policy).bad, 3);
    let remarks: Vec<_> = scene.remarks.iter().map(String::as_str).collect();
    let of = |name: &str| remarks.iter().filter(|it| it.contains(name)).count();
    assert_eq!((of("a/entry"), of("a/kept"), of("a/whole")), (1, 1, 2), "{remarks:?}");
    assert!(
        remarks[0].contains("spec.ingress[0].from[1].podSelector.matchExpressions[0].operator")
    );
    assert!(remarks[0].contains(": the entry allows nothing"), "{remarks:?}");
}

#[tokio::test(start_paused = true)]
async fn r9_an_unknown_protocol_allows_nothing_and_the_other_ports_count() {
    let port = |protocol: &str| json!({"port": 80, "protocol": protocol});
    let spec = |ports: Value| json!({"podSelector": {}, "ingress": [{"ports": ports}]});
    let some = policy("some", 1, &spec(json!([port("QUIC"), port("TCP")])));
    let mut types = spec(json!([port("TCP")]));
    types["policyTypes"] = json!(["Ingress", "Forward"]);
    let server = Server::default();
    server.on("networkpolicies", [Answer::List(vec![some, policy("types", 1, &types)], 1, None)]);
    let mut scene = Scene::start(server);
    scene.seconds(30).await;
    let rules = |policy: &enforcer_core::model::Policy| {
        [&policy.ingress, &policy.egress].map(|it| {
            it.as_ref().map(|rules| rules.iter().map(|it| it.ports.len()).collect::<Vec<_>>())
        })
    };
    let shown: Vec<_> = scene.cluster.policies.values().map(rules).collect();
    assert_eq!(shown, [[Some(vec![1]), None], [Some(vec![]), Some(vec![])]]);
}

#[tokio::test(start_paused = true)]
async fn r9_a_policy_that_never_was_understood_is_closed() {
    let port = json!({"port": 80, "protocol": "QUIC"});
    let spec = json!({
        "podSelector": {"matchLabels": {"app": "web"}},
        "policyTypes": ["Ingress"],
        "ingress": [{"ports": [port]}],
    });
    let bad = policy("p", 1, &spec);
    let server = Server::default();
    server.on(
        "networkpolicies",
        [
            Answer::List(vec![bad.clone()], 1, None),
            Answer::After(
                Duration::from_secs(60),
                Box::new(Answer::watch([event("DELETED", &bad)])),
            ),
        ],
    );
    let mut scene = Scene::start(server);
    scene.seconds(30).await;
    let closed = scene.cluster.policies.values().next().unwrap();
    assert_eq!((closed.ingress.as_deref(), &closed.egress), (Some(&[][..]), &None));
    assert_eq!(closed.subjects.requirements.len(), 1, "only what it selects");
    assert!(scene.remarks[0].contains("spec.ingress[0].ports[0].protocol"), "{:?}", scene.remarks);
    assert!(scene.remarks[0].contains(": the entry allows nothing"), "{:?}", scene.remarks);
    scene.seconds(60).await;
    assert!(scene.policies().is_empty());
    assert_eq!(scene.remarks[1], "notice: NetworkPolicy a/p: gone, with its errors");
}

#[tokio::test(start_paused = true)]
async fn r9_a_policy_that_does_not_fit_its_type_is_closed() {
    let spec = json!({
        "podSelector": {"matchLabels": {"app": "web"}},
        "ingress": [{"from": "everywhere"}],
    });
    let bad = [
        policy("p", 1, &spec),
        policy("q", 1, &json!(["podSelector"])),
        // What names it can be read, so it isolates, too.
        json!({
            "metadata": {"name": "r", "namespace": "a", "resourceVersion": "1", "labels": {"x": 1}},
            "spec": {"podSelector": {}, "policyTypes": ["Egress"]},
        }),
    ];
    let nameless = json!({"metadata": {"name": 3, "resourceVersion": "1"}, "spec": {}});
    let server = Server::default();
    server.on(
        "networkpolicies",
        [
            Answer::List(bad.iter().cloned().chain([nameless]).collect(), 1, None),
            Answer::After(
                Duration::from_secs(60),
                Box::new(Answer::watch(bad.iter().map(|it| event("DELETED", it)))),
            ),
        ],
    );
    let mut scene = Scene::start(server);
    scene.seconds(30).await;
    let closed: Vec<_> = scene.cluster.policies.values().collect();
    let shown: Vec<_> = closed
        .iter()
        .map(|it| {
            (
                &*it.id.name,
                it.subjects.requirements.len(),
                it.ingress.is_some(),
                it.egress.is_some(),
            )
        })
        .collect();
    assert_eq!(shown, [("p", 1, true, false), ("q", 0, true, true), ("r", 0, false, true)]);
    assert!(closed.iter().all(|it| it.ingress.iter().chain(&it.egress).all(Vec::is_empty)));
    assert!(
        scene.remarks[1].contains("it isolates the pods that it selects and allows nothing"),
        "{:?}",
        scene.remarks
    );
    scene.seconds(60).await;
    assert!(scene.policies().is_empty());
}

#[tokio::test(start_paused = true)]
async fn r9_an_unknown_field_of_a_policy_never_allows_more() {
    let spec = |from: &Value| json!({"podSelector": {}, "ingress": [{"from": [from]}, {"ports": [{"port": 1}]}]});
    let wide = policy("p", 1, &spec(&json!({"namespaceSelector": {}})));
    let narrow = json!({"namespaceSelector": {}, "sameNode": true});
    let narrow = policy("p", 2, &spec(&narrow));
    let mut whole =
        policy("q", 1, &json!({"podSelector": {}, "ingress": [{}], "schedule": "night"}));
    whole["metadata"]["annotations"] = json!({"enforcer.io/audit": "true", "else": "ignored"});
    whole["status"] = json!({"conditions": []});
    let server = Server::default();
    server.on(
        "networkpolicies",
        [
            Answer::List(vec![wide, whole], 1, None),
            Answer::After(
                Duration::from_secs(60),
                Box::new(Answer::watch([event("MODIFIED", &narrow)])),
            ),
        ],
    );
    let mut scene = Scene::start(server);
    scene.seconds(90).await;
    let rules = |policy: &enforcer_core::model::Policy| {
        [&policy.ingress, &policy.egress].map(|it| it.as_ref().map(Vec::len))
    };
    let shown: Vec<_> = scene.cluster.policies.values().map(|it| (rules(it), it.audit)).collect();
    // The new version counts, without the entry; not the last one without unknown fields.
    assert_eq!(shown, [([Some(1), None], false), ([Some(0), Some(0)], true)]);
    assert_eq!(scene.state(Kind::Policy).bad, 2);
    let remarks: Vec<_> = scene.remarks.iter().map(|it| it.split(" (").next().unwrap()).collect();
    assert_eq!(
        remarks,
        [
            "error: NetworkPolicy a/q: spec.schedule: unknown field, which may narrow what is allowed: \
             the policy isolates what it could select and allows nothing",
            "error: NetworkPolicy a/p: spec.ingress[0].from[0].sameNode: unknown field, which may narrow \
             what is allowed: the entry allows nothing",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn objects_with_warnings_take_effect() {
    let mut warned = policy("p", 1, &json!({"podSelector": {}}));
    warned["spec"] = json!(null);
    let server = Server::default();
    server.on("networkpolicies", [Answer::List(vec![warned], 1, None)]);
    let mut scene = Scene::start(server);
    scene.seconds(5).await;
    assert_eq!((scene.policies(), scene.state(Kind::Policy).bad), (vec!["p"], 0));
    assert!(scene.remarks[0].starts_with("warning: NetworkPolicy a/p: spec: missing"));
}

#[tokio::test(start_paused = true)]
async fn duplicate_events_change_nothing() {
    let server = Server::default();
    let two = event("ADDED", &pod("two", 2));
    server.on(
        "pods",
        [
            Answer::List(vec![pod("one", 1), pod("one", 1)], 1, None),
            Answer::watch([
                two.clone(),
                two,
                event("DELETED", &pod("one", 3)),
                event("DELETED", &pod("one", 3)),
            ]),
        ],
    );
    let mut scene = Scene::start(server);
    scene.seconds(5).await;
    assert_eq!(scene.pods(), ["two"]);
    assert_eq!(scene.cluster.pods[&PodId::new("a", "two")].uid, "uid-two");
}
