//! The graph, and what agents saw.

use fantoccini::key::Key;
use serde_json::json;

use crate::browser::{with, with_activity};
use crate::estate::{ShopSeen, cluster, shop};

#[tokio::test(flavor = "multi_thread")]
async fn flows_and_drops_are_edges() {
    with_activity(shop(), ShopSeen, async |tab| {
        tab.theme("light").await;
        tab.view("graph").await;
        tab.element(".line.denied").await;
        let count =
            |kind: &str| format!("document.querySelectorAll('.canvas .line.{kind}').length");
        assert_eq!(tab.value(&count("seen")).await, json!(2));
        assert_eq!(tab.value(&count("denied")).await, json!(2));
        let first = tab.text(".edges tbody tr").await;
        assert!(first.contains("shop/web (deploy)") && first.contains("✕ 31 denied"), "{first}");
        tab.picture("graph").await;
        // By keys: a node alone, then an explanation from the table.
        tab.value("document.querySelector('.node[data-name^=\"shop/db\"]').focus()").await;
        tab.key(Key::Enter).await;
        tab.element(".node[aria-pressed=true][data-name^='shop/db']").await;
        assert_eq!(
            tab.value("document.querySelector('.edges caption').textContent").await,
            json!("Connections of shop/db (sts)")
        );
        tab.click("[aria-label='Explain shop/web (deploy) to shop/db (sts)']").await;
        tab.element(".explanation .end.denied").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_shows_what_would_change_and_what_was_denied() {
    with_activity(shop(), ShopSeen, async |tab| {
        tab.theme("light").await;
        tab.view("audit").await;
        let text = tab.text(".activity").await;
        for part in [
            "1 agent did not answer",
            "node-2: connection refused",
            "Would-be verdicts: 1",
            "✕ would deny",
            "shop/web (deploy):8080/TCP",
            "Denied: 2",
            "shop/web-0 has role=frontend instead of role=api",
            "spec.ingress[1]",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(!text.contains("spec.ingress[0]"), "this rule was used: {text}");
        tab.picture("audit").await;
        tab.click("[aria-label='Explain shop/web (deploy) to shop/db (sts):5432/TCP']").await;
        tab.element(".explanation .end.denied").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_workloads_are_drawn_as_namespaces() {
    with(cluster(20, 5), async |tab| {
        tab.view("graph").await;
        tab.element(".node.namespace").await;
        assert_eq!(tab.value("document.querySelectorAll('.node').length").await, json!(21));
        let choose = "(() => { const it = document.getElementById('scope'); it.value = 'team-02'; \
                      it.dispatchEvent(new Event('change')); })()";
        tab.value(choose).await;
        assert_eq!(tab.value("document.querySelectorAll('.node.workload').length").await, json!(5));
        tab.view("coverage").await;
        assert!(tab.text(".coverage").await.contains("125 pods isolated in no direction"));
    })
    .await;
}
