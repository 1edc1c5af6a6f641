//! `enforcer trace` on real traffic: it says what happens to a new connection, and changes nothing.

use enforcer::inspect::Trace;
use enforcer_tests::lab::{Party, Topology};

use crate::agent::isolate_server;
use crate::connection::{connect_all, exchange_all};
use crate::drift::turn_verdicts;
use crate::scene::{CLOSED, OPEN, Scene, Setup, namespace, pod, policy, until};

/// Without the drift check, which also runs programs.
const NO_DRIFT: &[&str] = &["--drift-interval", "0"];

fn cluster() -> String {
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: {namespace: shop, name: front}\n\
        spec:\n  clusterIP: 10.0.0.20\n  clusterIPs: [10.0.0.20, \"fd00:10::20\"]\n  \
        selector: {app: server}\n  ports: [{port: 8080, targetPort: 80}]\n";
    let http = ["http/TCP/80"];
    [
        namespace("shop", ""),
        pod("shop", "server", "app: server", &http),
        pod("shop", "client", "app: client", &http),
        pod("shop", "stranger", "app: stranger", &http),
        service.to_owned(),
        // Clients may reach the server, and strangers reach nothing by TCP.
        policy(
            "shop",
            "server",
            "podSelector: {matchLabels: {app: server}}, \
             ingress: [{from: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: 80}]}]",
        ),
        policy(
            "shop",
            "strangers",
            "podSelector: {matchLabels: {app: stranger}}, policyTypes: [Egress], \
             egress: [{ports: [{port: 53, protocol: UDP}]}]",
        ),
    ]
    .concat()
}

/// The document of a trace, and its exit code.
async fn trace(scene: &Scene, from: &str, to: &str) -> (Trace, i32) {
    let output = scene.enforcer(&["trace", from, to, "--output", "json"]).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let trace = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{from} → {to}: {error}"));
    (trace, output.status.code().unwrap())
}

/// The programs on the way of each connection, and whether the packet passes there.
fn ways(trace: &Trace) -> Vec<String> {
    let way = trace.connections.iter().map(|it| {
        let steps = it.steps.iter().map(|step| {
            let reason = step.reason.as_deref().unwrap_or("-");
            format!("{}{} {reason}", if step.reached { "" } else { "!" }, step.program)
        });
        steps.collect::<Vec<_>>().join(", ")
    });
    way.collect()
}

async fn agrees_with_reality(scene: &mut Scene) {
    scene.write("cluster.yaml", &cluster());
    scene.run_pods().await;
    until("all is enforced", async || {
        scene.metric(crate::scene::INGRESS_ISOLATED).await == 1
            && scene.get("/readyz").await.contains("200")
    })
    .await;
    let [server, client, stranger] =
        ["server", "client", "stranger"].map(|it| Party::pod("shop", it));
    let outside = Party::outside("internet");
    for (from, to, names, way) in [
        (&client, &server, ["shop/client", "shop/server"], "from_pod not-isolated, to_pod policy"),
        (&stranger, &server, ["shop/stranger", "shop/server"], "from_pod denied, !to_pod denied"),
        (
            &stranger,
            &client,
            ["shop/stranger", "shop/client"],
            "from_pod denied, !to_pod not-isolated",
        ),
        (
            &server,
            &client,
            ["shop/server", "shop/client"],
            "from_pod not-isolated, to_pod not-isolated",
        ),
        (&Party::Node, &server, ["node", "shop/server"], "to_pod node"),
        (&outside, &server, ["outside", "shop/server"], "from_wire -, to_pod denied"),
        (&client, &outside, ["shop/client", "outside"], "from_pod not-isolated, to_wire -"),
    ] {
        let (trace, code) = trace(scene, names[0], &format!("{}:80", names[1])).await;
        let allowed = !way.contains("denied");
        assert_eq!(ways(&trace), [way; 2], "both families: {trace}");
        assert_eq!(code, i32::from(!allowed), "{trace}");
        assert!(trace.connections.iter().all(|it| it.differences.is_empty()), "{trace}");
        scene.expect(from, to, if allowed { OPEN } else { CLOSED }).await;
    }
    // The sender's hook sees the Service's address and port, the receiver's the pod's.
    for (from, way, code) in [
        ("shop/client", "from_pod not-isolated, to_pod policy", 0),
        ("shop/stranger", "from_pod service, to_pod denied, !to_pod denied", 1),
    ] {
        let (trace, found) = trace(scene, from, "shop/svc/front:8080").await;
        assert_eq!((ways(&trace), found), (vec![way.to_owned(); 2], code), "{trace}");
        let [first, last] = [0, 1].map(|at| trace.connections[0].steps[at].packet.clone());
        assert!(first.ends_with("10.0.0.20:8080 TCP") && last.ends_with(":80 TCP"), "{trace}");
    }
    let text = scene.enforcer(&["trace", "shop/stranger", "shop/server:80"]).await;
    let text = String::from_utf8(text.stdout).unwrap();
    for line in ["by the kernel denied, by the policies denied", "isolated by shop/strangers (S4)"]
    {
        assert!(text.contains(line), "{text}");
    }
    let unknown = scene.enforcer(&["trace", "shop/nobody", "shop/server:80"]).await;
    assert_eq!(unknown.status.code(), Some(2));
}

/// Everything that packets change: counters of pods, flows, and drops.
async fn counted(scene: &Scene) -> (Vec<u64>, Vec<String>, usize) {
    let status = scene.status().await;
    let interesting = ["denied", "policy", "not-isolated", "service", "reply", "node"];
    let packets = status.endpoints.iter().flat_map(|it| &it.counters);
    let packets =
        packets.filter(|it| interesting.contains(&it.reason.as_str())).map(|it| it.packets);
    let flows = crate::flows::flows(scene).await.flows.into_iter();
    let flows = flows.map(|it| format!("{} {} {} {}", it.from, it.to, it.verdict, it.connections));
    (packets.collect(), flows.collect(), status.drops.len())
}

async fn changes_nothing(scene: &mut Scene) {
    scene.write("cluster.yaml", &cluster());
    scene.run_pods().await;
    let (server, client) = (Party::pod("shop", "server"), Party::pod("shop", "client"));
    let stranger = Party::pod("shop", "stranger");
    until("all is enforced", async || scene.metric(crate::scene::INGRESS_ISOLATED).await == 1)
        .await;
    // Replies of a stranger pass although a new connection would not.
    let mut replies = connect_all(scene.lab(), &server, &stranger).await;
    exchange_all(&mut replies).await;
    scene.expect(&client, &server, OPEN).await;
    until("flows are seen", async || !counted(scene).await.1.is_empty()).await;
    let before = counted(scene).await;
    for _ in 0..5 {
        for (from, to, code) in [
            ("shop/client", "shop/server:80", 0),
            ("shop/stranger", "shop/server:80", 1),
            ("shop/stranger", "outside:443", 1),
        ] {
            assert_eq!(trace(scene, from, to).await.1, code, "a reply is not assumed");
        }
    }
    assert_eq!(counted(scene).await, before);
    exchange_all(&mut replies).await;
}

async fn a_changed_word_is_a_difference(scene: &mut Scene) {
    isolate_server(scene).await;
    let (known, code) = trace(scene, "shop/client", "shop/server:80").await;
    assert_eq!(code, 1, "{known}");
    turn_verdicts(scene);
    let (found, code) = trace(scene, "shop/client", "shop/server:80").await;
    assert_eq!(code, 4, "{found}");
    let expected = "ingress of shop/server: the programs allow it (policy), the policies deny it";
    assert!(found.connections.iter().all(|it| it.differences == [expected]), "{found}");
    turn_verdicts(scene);
    assert_eq!(trace(scene, "shop/client", "shop/server:80").await, (known, 1));
}

async fn explained(scene: &mut Scene) {
    isolate_server(scene).await;
    let output = scene.enforcer(&["explain", "--agent", "shop/client", "shop/server:80"]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("isolated by shop/nothing-in (S4)"), "{text}");
}

// Both topologies: marks, origins and uplinks differ.
scenarios! {
    a_trace_agrees_with_reality_on_kubenet: Topology::Kubenet => agrees_with_reality;
    a_trace_agrees_with_reality_on_azure_cni: Topology::AzureCni => agrees_with_reality;
    a_trace_changes_nothing: Setup::with(Topology::Kubenet, NO_DRIFT) => changes_nothing;
    a_changed_word_is_shown_by_a_trace: Topology::AzureCni => a_changed_word_is_a_difference;
    the_agent_explains_by_its_own_state: Topology::Kubenet => explained;
}
