//! Observed flows on real traffic: `enforcer flows`.

use enforcer::observe::{FlowRecord, Flows};
use enforcer_tests::lab::{Party, Topology};

use crate::scene::{CLOSED, OPEN, Scene, policy, shop_of, until, with_scene};

/// Lets the client reach the server's port 80.
fn server_policy() -> String {
    let spec = "podSelector: {matchLabels: {app: server}}, \
                ingress: [{from: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: 80}]}, \
                          {from: [{ipBlock: {cidr: 203.0.113.0/24}}]}]";
    policy("shop", "server", spec)
}

pub(crate) async fn flows(scene: &Scene) -> Flows {
    let output = scene.enforcer(&["flows", "--output", "json"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

pub(crate) fn find<'a>(
    flows: &'a Flows,
    from: &str,
    to: &str,
    verdict: &str,
) -> Option<&'a FlowRecord> {
    let is = |it: &&FlowRecord| (&*it.from, &*it.to, &*it.verdict) == (from, to, verdict);
    flows.flows.iter().find(is)
}

/// The reasons of the ends' decisions.
fn reasons(flow: &FlowRecord) -> Vec<&str> {
    flow.ends.iter().map(|it| it.reason.as_str()).collect()
}

async fn flows_are_seen(scene: &mut Scene) {
    scene.write("cluster.yaml", &shop_of(&["server", "client", "stranger"]));
    scene.write("policy.yaml", &server_policy());
    scene.run_pods().await;
    until("the policy is active", async || scene.metric(crate::scene::INGRESS_ISOLATED).await == 1)
        .await;
    let [server, client, stranger] =
        ["server", "client", "stranger"].map(|it| Party::pod("shop", it));
    scene.expect(&client, &server, OPEN).await;
    scene.expect(&client, &server, OPEN).await;
    scene.expect(&stranger, &server, CLOSED).await;
    // Neither of these is isolated.
    scene.expect(&client, &stranger, OPEN).await;
    until("all of it is seen", async || {
        let seen = flows(scene).await;
        let has = |from: &str, to: &str, verdict: &str, least: u64| {
            find(&seen, from, to, verdict).is_some_and(|it| it.connections >= least)
        };
        has("shop/client", "shop/server", "allowed", 4)
            && has("shop/stranger", "shop/server", "denied", 2)
            && has("shop/client", "shop/stranger", "allowed", 2)
    })
    .await;
    let seen = flows(scene).await;
    let allowed = find(&seen, "shop/client", "shop/server", "allowed").unwrap();
    assert_eq!((allowed.connections, allowed.port), (4, Some(80)), "{allowed:?}");
    // Both ends' interfaces are here: each connection is seen twice and counts once.
    assert_eq!((allowed.at_sender, allowed.at_receiver), (4, 4));
    assert_eq!(reasons(allowed), ["not-isolated", "allowed-by-rule"]);
    assert_eq!(allowed.ends[1].rules[0].policy, "shop/server");
    let denied = find(&seen, "shop/stranger", "shop/server", "denied").unwrap();
    assert_eq!(denied.ends[0].isolated_by, ["shop/server"], "{denied:?}");
    assert!(find(&seen, "shop/stranger", "shop/server", "allowed").is_none());
    let open = find(&seen, "shop/client", "shop/stranger", "allowed").unwrap();
    assert_eq!(reasons(open), ["not-isolated", "not-isolated"]);

    let used = |rule: Option<&str>| {
        let mut all = seen.policies.iter();
        all.find(|it| it.direction == "ingress" && it.rule.as_deref() == rule).unwrap()
    };
    assert_eq!(used(Some("spec.ingress[0]")).connections, 4);
    assert_eq!(used(Some("spec.ingress[1]")).last_used, None);
    assert!(used(None).denied >= 2);
    let text = scene.enforcer(&["flows", "--policies", "--namespace", "shop"]).await.stdout;
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(text.contains("ingress[1]") && text.contains("unused since"), "{text}");
    let text = scene.enforcer(&["flows", "--verdict", "denied", "--since", "1h"]).await.stdout;
    let text = String::from_utf8_lossy(&text).into_owned();
    let row = text.lines().find(|it| it.starts_with("shop/stranger")).unwrap_or_default();
    assert!(row.contains("ingress isolated by shop/server; nearest: shop/server"), "{text}");
    assert!(
        row.contains("has app=stranger instead of app=client") && !text.contains("allowed"),
        "{text}"
    );
}

#[test]
fn flows_of_workloads_are_seen_with_the_rules_that_decide() {
    with_scene(Topology::AzureCni, flows_are_seen);
}

#[test]
fn flows_on_a_bridge_are_seen_with_the_rules_that_decide() {
    with_scene(Topology::Kubenet, flows_are_seen);
}

/// Connections that a suggestion is made from, by name; all others are denied by it.
const WANTED: [(&str, &str); 2] = [("client", "server"), ("server", "stranger")];

#[test]
fn suggested_policies_allow_exactly_the_flows_that_they_are_made_from() {
    with_scene(Topology::Kubenet, async |scene| {
        const NAMES: [&str; 3] = ["server", "client", "stranger"];
        scene.write("cluster.yaml", &shop_of(&NAMES));
        scene.run_pods().await;
        let party = |name: &str| Party::pod("shop", name);
        for (from, to) in WANTED {
            scene.expect(&party(from), &party(to), OPEN).await;
        }
        until("the flows are seen", async || {
            let seen = flows(scene).await;
            let name = |name: &str| format!("shop/{name}");
            let found = |(from, to): &(&str, &str)| {
                find(&seen, &name(from), &name(to), "allowed").is_some_and(|it| it.connections >= 2)
            };
            WANTED.iter().all(found)
        })
        .await;
        let cluster = scene.manifests().join("cluster.yaml").display().to_string();
        let arguments = ["suggest", "shop", "--enforce", "--manifests", &cluster];
        let output = scene.enforcer(&arguments).await;
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{text}");
        assert_eq!(text.matches("kind: NetworkPolicy").count(), 3, "{text}");
        scene.write("suggested.yaml", &text);
        // Every pair, by the reference evaluator; and these by name.
        scene.agree("the suggested policies").await;
        for from in NAMES {
            for to in NAMES.into_iter().filter(|it| *it != from) {
                let wanted = WANTED.contains(&(from, to));
                let expected = if wanted { OPEN } else { CLOSED };
                scene.expect(&party(from), &party(to), expected).await;
            }
        }
    });
}
