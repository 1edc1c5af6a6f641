//! Policies in audit on real traffic: they deny nothing, and switching is a change like any other.

use enforcer::observe::Audit;
use enforcer_core::model::AUDIT_ANNOTATION;
use enforcer_tests::lab::{Party, Topology};

use crate::connection::{all_are_cut, all_resume, connect_all};
use crate::scene::{
    CLOSED, INGRESS_ISOLATED, OPEN, Scene, Setup, namespace, pod, policy, shop_of, until,
};

fn cluster(audit: bool) -> String {
    let annotation = format!("{AUDIT_ANNOTATION}: \"true\"");
    let metadata = if audit { annotation } else { String::new() };
    let shop = format!(
        "---\napiVersion: v1\nkind: Namespace\n\
         metadata: {{name: shop, annotations: {{{metadata}}}}}\n"
    );
    [
        shop,
        namespace("mall", ""),
        pod("shop", "server", "app: server", &["http/TCP/80"]),
        pod("mall", "client", "app: client", &["http/TCP/80"]),
    ]
    .concat()
}

/// A policy that isolates the server, and whether it is in audit.
fn deny(audit: bool) -> String {
    let annotated = format!("annotations: {{{AUDIT_ANNOTATION}: \"{audit}\"}}, name: deny");
    policy("shop", "deny", "podSelector: {}").replace("name: deny", &annotated)
}

/// Replies, and nothing else, pass from the server and to the client: the flow decides.
fn replies_only() -> String {
    policy("shop", "replies-only", "podSelector: {}, policyTypes: [Egress]")
        + &policy("mall", "replies-only", "podSelector: {}")
}

async fn are_listed(scene: &Scene, expected: &[&str]) {
    until("the status has the policies in audit", async || {
        scene.status().await.audit.iter().eq(expected)
    })
    .await;
    let series = scene.metric("enforcer_policies_in_audit").await;
    assert_eq!(series, expected.len() as u64);
}

async fn switched(scene: &mut Scene) {
    scene.write("cluster.yaml", &cluster(false));
    scene.write("base.yaml", &replies_only());
    scene.agree("before the policy").await;
    let (client, server) = (Party::pod("mall", "client"), Party::pod("shop", "server"));
    let mut connections = connect_all(scene.lab(), &client, &server).await;
    scene.write("deny.yaml", &deny(false));
    scene.agree("enforced").await;
    all_are_cut(&mut connections).await;
    are_listed(scene, &[]).await;
    // The policy's annotation, then the namespace's.
    for (what, of_policy, of_namespace, listed) in [
        ("policy", true, false, ["shop/deny"].as_slice()),
        ("namespace", false, true, &["shop/deny", "shop/replies-only"]),
    ] {
        scene.write("deny.yaml", &deny(of_policy));
        scene.write("cluster.yaml", &cluster(of_namespace));
        scene.agree(what).await;
        all_resume(&mut connections).await;
        are_listed(scene, listed).await;
        scene.write("deny.yaml", &deny(false));
        scene.write("cluster.yaml", &cluster(false));
        scene.agree("enforced again").await;
        all_are_cut(&mut connections).await;
    }
}

/// A policy in audit that denies all but clients, and an enforced one that denies what another in audit
/// would allow.
fn audited_shop(annotated: &str) -> String {
    let clients = "podSelector: {matchLabels: {app: server}}, \
                   ingress: [{from: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: 80}]}]";
    let open = "podSelector: {matchLabels: {app: closed}}, ingress: [{}]";
    let closed = "podSelector: {matchLabels: {app: closed}}";
    let audited = |name: &str, spec: &str| {
        policy("shop", name, spec)
            .replace("name: ", &format!("annotations: {{{annotated}}}, name: "))
    };
    audited("clients", clients) + &audited("open", open) + &policy("shop", "closed", closed)
}

async fn report(scene: &Scene) -> (Audit, Option<i32>) {
    let output = scene.enforcer(&["audit", "--output", "json", "--namespace", "shop"]).await;
    let text = String::from_utf8_lossy(&output.stderr);
    let audit = serde_json::from_slice(&output.stdout);
    (audit.unwrap_or_else(|error| panic!("{error}: {text}")), output.status.code())
}

/// What the report says of these ends.
fn effect(audit: &Audit, from: &str, to: &str) -> Option<(String, Vec<String>, u64)> {
    let found = audit.connections.iter().find(|it| (&*it.from, &*it.to) == (from, to));
    found.map(|it| (it.effect.clone(), it.policies.clone(), it.connections))
}

async fn reported(scene: &mut Scene) {
    scene.write("cluster.yaml", &shop_of(&["server", "client", "stranger", "closed"]));
    scene.write("policy.yaml", &audited_shop(&format!("{AUDIT_ANNOTATION}: \"true\"")));
    scene.run_pods().await;
    until("the policies are active", async || {
        scene.status().await.audit.len() == 2 && scene.metric(INGRESS_ISOLATED).await == 1
    })
    .await;
    let [server, client, stranger, closed] =
        ["server", "client", "stranger", "closed"].map(|it| Party::pod("shop", it));
    assert_eq!(report(scene).await.1, Some(0), "nothing has happened");
    scene.expect(&client, &server, OPEN).await;
    scene.expect(&stranger, &server, OPEN).await;
    scene.expect(&client, &closed, CLOSED).await;
    until("all of it is reported", async || {
        let (audit, _) = report(scene).await;
        let counts = |from, to| effect(&audit, from, to).map_or(0, |it| it.2);
        counts("shop/stranger", "shop/server") >= 2 && counts("shop/client", "shop/closed") >= 2
    })
    .await;
    let (audit, code) = report(scene).await;
    assert_eq!(code, Some(1));
    assert_eq!(audit.policies, ["shop/clients", "shop/open"]);
    let denied = effect(&audit, "shop/stranger", "shop/server");
    assert_eq!(denied, Some(("would-deny".to_owned(), vec!["shop/clients".to_owned()], 2)));
    let allowed = effect(&audit, "shop/client", "shop/closed").unwrap();
    assert_eq!((&*allowed.0, allowed.1), ("would-allow", vec!["shop/open".to_owned()]));
    assert_eq!(effect(&audit, "shop/client", "shop/server"), None, "it would pass all the same");
    let line = "shop/stranger → shop/server 80/TCP would be denied at ingress by \
                shop/clients (in audit); nearest: shop/clients spec.ingress[0].from[0].podSelector";
    assert!(scene.log().contains(line), "{}", scene.log());
    let labels = "namespace=\"shop\",workload=\"server\",direction=\"ingress\"";
    let series = format!(
        "enforcer_audit_connections_total{{{labels},effect=\"would-deny\",policy=\"shop/clients\"}}"
    );
    assert_eq!(scene.metric(&series).await, 2);

    let rules = rules(scene).await;
    assert!(
        rules.contains("name: allow-server") && rules.contains("policyTypes: [Ingress]"),
        "{rules}"
    );
    assert!(!rules.contains("closed"), "{rules}");

    // Enforced, the report is what happens.
    scene.write("policy.yaml", &audited_shop(""));
    until("the policies are enforced", async || scene.status().await.audit.is_empty()).await;
    scene.expect(&client, &server, OPEN).await;
    scene.expect(&stranger, &server, CLOSED).await;
    scene.expect(&client, &closed, OPEN).await;

    // The rules that the report would have needed.
    scene.write("rules.yaml", &rules.replace("\"true\"", "\"false\""));
    until("the rule is enforced", async || {
        let endpoints = scene.status().await.endpoints;
        let server = endpoints.iter().find(|it| it.pod == "shop/server").unwrap();
        server.protection.ingress_by == ["shop/allow-server", "shop/clients"]
    })
    .await;
    scene.expect(&stranger, &server, OPEN).await;
}

/// Policies that would allow what would be denied.
async fn rules(scene: &Scene) -> String {
    let manifests = scene.manifests().to_str().unwrap();
    let arguments = ["audit", "--output", "rules", "--namespace", "shop", "--manifests", manifests];
    let output = scene.enforcer(&arguments).await;
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

async fn everything(scene: &mut Scene) {
    scene.write("cluster.yaml", &cluster(false));
    scene.write("base.yaml", &(replies_only() + &deny(false)));
    scene.run_pods().await;
    until("the agent knows the pods", async || scene.status().await.endpoints.len() == 2).await;
    let (client, server) = (Party::pod("mall", "client"), Party::pod("shop", "server"));
    scene.expect(&client, &server, OPEN).await;
    scene.expect(&server, &client, OPEN).await;
    let status = scene.status().await;
    assert!(status.audit_all && status.audit.len() == 3, "{:?}", status.audit);
    // The policies that are compared with the tables are in audit, too.
    until("verdicts are compared", async || {
        scene.metric("enforcer_drift_checks_total").await >= 20
    })
    .await;
    assert_eq!(scene.metric("enforcer_drift_found_total").await, 0);
}

scenarios! {
    what_policies_in_audit_would_change_is_reported: Topology::Kubenet => reported;
    what_policies_in_audit_would_change_is_reported_without_a_bridge: Topology::AzureCni => reported;
    c2_open_connections_follow_switches_of_audit: Topology::Kubenet => switched;
    with_audit_nothing_is_denied: Setup::with(Topology::AzureCni, &["--audit"]) => everything;
}
