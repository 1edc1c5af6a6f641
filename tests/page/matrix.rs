//! The matrix: by mouse, by keys, by port, and with 500 pods.

use fantoccini::key::Key;
use serde_json::json;

use crate::browser::with;
use crate::estate::{cluster, shop};

const CURRENT: &str = "document.querySelector('.grid .current')?.getAttribute('aria-label')";

#[tokio::test(flavor = "multi_thread")]
async fn keys_move_expand_and_explain() {
    with(shop(), async |tab| {
        tab.element(".grid .cell").await;
        tab.value("document.getElementById('grid').focus()").await;
        tab.key(Key::Right).await;
        tab.key(Key::Down).await;
        assert_eq!(
            tab.value(CURRENT).await,
            json!("ops/prometheus to ops/prometheus: the pod itself")
        );
        // To the header of the row of a Deployment with two pods, which the space bar expands.
        tab.value("document.querySelector('[aria-label^=\"shop/web (deploy) to ops:\"]').click()")
            .await;
        tab.key(Key::Escape).await;
        tab.value("document.getElementById('grid').focus()").await;
        tab.key(Key::Left).await;
        assert_eq!(tab.value(CURRENT).await, json!("workload shop/web (deploy), 2 pods"));
        tab.keys(" ").await;
        assert_eq!(
            tab.value("document.querySelector('.side.current').ariaExpanded").await,
            json!("true")
        );
        tab.key(Key::Down).await;
        tab.key(Key::End).await;
        let cell = tab.value(CURRENT).await;
        assert!(cell.as_str().unwrap().starts_with("shop/web-0 to outside: denied"), "{cell}");
        tab.key(Key::Enter).await;
        tab.until(
            "document.querySelector('.explanation')?.textContent.includes('egress of shop/web-0')",
        )
        .await;
        tab.key(Key::Escape).await;
        assert_eq!(
            tab.value("document.activeElement.id").await,
            json!("grid"),
            "the focus returns"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_narrows_the_cells() {
    with(shop(), async |tab| {
        let label = |to: &str| {
            format!(
                "document.querySelector('[aria-label^=\"shop/api (deploy) to {to}\"]').ariaLabel"
            )
        };
        tab.element(".grid .cell").await;
        let cell = tab.value(&label("shop/db")).await;
        assert_eq!(cell, json!("shop/api (deploy) to shop/db (sts): TCP 5432"));
        tab.click("#port").await;
        tab.keys("5432").await;
        assert_eq!(
            tab.value(&label("shop/db")).await,
            json!("shop/api (deploy) to shop/db (sts): allowed")
        );
        tab.keys("/udp").await;
        assert_eq!(
            tab.value(&label("shop/db")).await,
            json!("shop/api (deploy) to shop/db (sts): denied")
        );
        tab.keys("x").await;
        assert_eq!(tab.value("document.getElementById('port').ariaInvalid").await, json!("true"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_pods_have_few_elements() {
    with(cluster(20, 5), async |tab| {
        tab.element(".grid .cell").await;
        tab.theme("light").await;
        tab.picture("matrix-namespaces").await;
        tab.click("[data-level='2']").await;
        // 20 namespaces, 100 workloads, 500 pods, and outside.
        assert_eq!(tab.value("document.getElementById('grid').ariaRowCount").await, json!("622"));
        let few = "document.querySelectorAll('.cell').length < 6000";
        assert_eq!(tab.value(few).await, json!(true));
        tab.value("document.getElementById('grid').focus()").await;
        let end = "document.getElementById('grid').dispatchEvent(new KeyboardEvent('keydown', \
                   { key: 'End', ctrlKey: true, bubbles: true }))";
        tab.value(end).await;
        assert_eq!(tab.value(CURRENT).await, json!("outside to outside: the pod itself"));
        let seen = "(() => { const [a, b] = [document.querySelector('.grid .current'), document.getElementById('grid')]\
                    .map((it) => it.getBoundingClientRect()); return a.right <= b.right && a.bottom <= b.bottom; })()";
        assert_eq!(tab.value(seen).await, json!(true));
        assert_eq!(tab.value(few).await, json!(true));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn light_and_dark_follow_the_switch() {
    with(cluster(4, 2), async |tab| {
        tab.element(".grid .cell").await;
        let scheme = "getComputedStyle(document.documentElement).colorScheme";
        let background = "getComputedStyle(document.body).backgroundColor";
        assert_eq!(tab.value(scheme).await, json!("light dark"), "as the system has it");
        tab.theme("light").await;
        assert_eq!(tab.value(background).await, json!("rgb(247, 248, 250)"));
        tab.picture("matrix").await;
        tab.theme("dark").await;
        assert_eq!(tab.value(background).await, json!("rgb(15, 18, 22)"));
        tab.picture("matrix-dark").await;
        // It is remembered.
        tab.0.refresh().await.unwrap();
        tab.element(".grid .cell").await;
        assert_eq!(tab.value(background).await, json!("rgb(15, 18, 22)"));
    })
    .await;
}
