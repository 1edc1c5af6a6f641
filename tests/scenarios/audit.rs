//! Policies in audit on real traffic: they deny nothing, and switching is a change like any other.

use enforcer_core::model::AUDIT_ANNOTATION;
use enforcer_tests::lab::{Party, Topology};

use crate::connection::{all_are_cut, all_resume, connect_all};
use crate::scene::{Scene, Setup, namespace, pod, policy, until};

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

async fn everything(scene: &mut Scene) {
    scene.write("cluster.yaml", &cluster(false));
    scene.write("base.yaml", &(replies_only() + &deny(false)));
    scene.run_pods().await;
    until("the agent knows the pods", async || scene.status().await.endpoints.len() == 2).await;
    let (client, server) = (Party::pod("mall", "client"), Party::pod("shop", "server"));
    scene.expect(&client, &server, crate::scene::OPEN).await;
    scene.expect(&server, &client, crate::scene::OPEN).await;
    let status = scene.status().await;
    assert!(status.audit_all && status.audit.len() == 3, "{:?}", status.audit);
}

scenarios! {
    c2_open_connections_follow_switches_of_audit: Topology::Kubenet => switched;
    with_audit_nothing_is_denied: Setup::with(Topology::AzureCni, &["--audit"]) => everything;
}
