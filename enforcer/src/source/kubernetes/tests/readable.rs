//! Objects that can be read in part.

use super::*;

/// The last good version of a pod has labels that policies may no longer allow.
#[tokio::test(start_paused = true)]
async fn r9_a_pod_with_an_unreadable_field_keeps_no_old_labels() {
    let odd = |name: &str, version, labels: Value| {
        let mut pod = pod(name, version);
        pod["metadata"]["labels"] = labels;
        pod["spec"]["containers"] = json!([{"name": "c", "ports": [
            {"name": "quic", "containerPort": 1, "protocol": "QUIC"},
            {"name": "none", "containerPort": 0},
            {"name": "text", "containerPort": "x"},
            {"name": "http", "containerPort": 80},
        ]}]);
        pod["status"]["podIPs"] = json!([{"ip": "10.0.0.256"}, {"ip": "010.0.0.1"}]);
        pod["status"]["podIP"] = json!("10.0.0.1");
        pod
    };
    let server = Server::default();
    server.on(
        "pods",
        [
            Answer::List(vec![pod("p", 1), odd("q", 1, json!({"app": "-new-"}))], 1, None),
            Answer::After(
                Duration::from_secs(60),
                Box::new(Answer::watch([event("MODIFIED", &odd("p", 2, json!({"app": "x"})))])),
            ),
        ],
    );
    let mut scene = Scene::start(server);
    scene.seconds(90).await;
    let shown: Vec<_> = scene
        .cluster
        .pods
        .values()
        .map(|it| {
            let ports: Vec<_> = it.ports.iter().map(|it| it.name.clone()).collect();
            let label = it.labels.get("app").map(ToString::to_string);
            (it.id.name.to_string(), label, it.addresses.len(), it.node.is_some(), ports)
        })
        .collect();
    let expected = |name: &str, label: &str| {
        (name.to_owned(), Some(label.to_owned()), 1, true, vec!["http".to_owned()])
    };
    assert_eq!(shown, [expected("p", "x"), expected("q", "-new-")]);
    assert_eq!(scene.state(Kind::Pod).bad, 2);
    let effects =
        scene.remarks.iter().filter(|it| it.contains("what can be read of it is in effect"));
    assert_eq!(effects.count(), 2, "{:?}", scene.remarks);
}

/// A cluster address that is not known to be one would be matched by `ipBlock` before translation, and the
/// backend by nothing.
#[tokio::test(start_paused = true)]
async fn n1_the_addresses_of_a_service_with_an_unreadable_field_are_known() {
    let service = |name: &str, spec: Value| {
        json!({
            "metadata": {"name": name, "namespace": "a", "uid": name, "resourceVersion": "1"},
            "spec": spec,
        })
    };
    let list = vec![
        service("zeros", json!({"clusterIP": "10.96.0.1", "externalIPs": ["192.0.2.010"]})),
        service("mapped", json!({"clusterIP": "10.96.0.2", "externalIPs": ["::ffff:192.0.2.11"]})),
        service(
            "protocol",
            json!({
                "clusterIP": "10.96.0.3", "externalIPs": ["192.0.2.12"],
                "ports": [{"port": 80, "protocol": "QUIC"}, {"port": 81}], "sessionAffinity": "Cookie",
            }),
        ),
        service(
            "type",
            json!({
                "clusterIP": "10.96.0.4", "externalIPs": ["192.0.2.13", 5], "ports": {"port": 80},
            }),
        ),
    ];
    let server = Server::default();
    server.on("services", [Answer::List(list, 1, None)]);
    let mut scene = Scene::start(server);
    scene.seconds(5).await;
    let shown: Vec<_> = scene
        .cluster
        .services
        .values()
        .map(|it| {
            let addresses: Vec<_> = it.addresses().map(|it| it.to_string()).collect();
            (it.id.name.to_string(), addresses.join(" "), it.ports.len())
        })
        .collect();
    let expected =
        |name: &str, addresses: &str, ports| (name.to_owned(), addresses.to_owned(), ports);
    assert_eq!(
        shown,
        [
            expected("mapped", "10.96.0.2 192.0.2.11", 0),
            expected("protocol", "10.96.0.3 192.0.2.12", 1),
            expected("type", "10.96.0.4 192.0.2.13", 0),
            expected("zeros", "10.96.0.1 192.0.2.10", 0),
        ]
    );
    assert_eq!(scene.state(Kind::Service).bad, 2);
}

#[tokio::test(start_paused = true)]
async fn r9_a_namespace_with_odd_labels_keeps_no_old_ones() {
    let namespace = |version: u32, labels: Value| {
        json!({"metadata": {
            "name": "a", "uid": "u", "resourceVersion": version.to_string(), "labels": labels,
        }})
    };
    let new = namespace(2, json!({"team": "b", "odd": "a b"}));
    let server = Server::default();
    server.on(
        "namespaces",
        [
            Answer::List(vec![namespace(1, json!({"team": "a"}))], 1, None),
            Answer::After(
                Duration::from_secs(60),
                Box::new(Answer::watch([event("MODIFIED", &new)])),
            ),
        ],
    );
    let mut scene = Scene::start(server);
    scene.seconds(90).await;
    let labels = &scene.cluster.namespaces["a"].labels;
    assert_eq!([&labels["team"], &labels["odd"]].map(ToString::to_string), ["b", "a b"]);
    assert_eq!(scene.state(Kind::Namespace).bad, 1);
}
