//! The report: the same page in one file, without a server.

use enforcer::page::{Activity as _, Clusters as _, Report, report};
use serde_json::json;

use crate::axe::check;
use crate::browser::open;
use crate::estate::{ShopSeen, shop};

#[tokio::test(flavor = "multi_thread")]
async fn a_report_answers_without_a_server() {
    let state = shop().state(true).await.unwrap();
    let activity = ShopSeen.read().await;
    let at = "2026-11-27T01:00:00Z".to_owned();
    let text = report(Report { state: &state, source: "shop.yaml".to_owned(), at, activity });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    std::fs::write(&path, text.unwrap()).unwrap();
    open(&format!("file://{}", path.display()), async |tab| {
        tab.click("[aria-label^='shop/web (deploy) to shop/db']").await;
        tab.element(".explanation .end.denied").await;
        assert!(tab.text("#panel").await.contains("shop.yaml:120"));
        check(&tab, "report").await;
        tab.click("#panel button").await;
        tab.keys("/").await;
        tab.keys("web-from-office\u{e007}").await;
        tab.until("document.querySelector('.description')?.textContent.includes('198.18.0.0/16')")
            .await;
        tab.click("#panel button").await;
        tab.view("graph").await;
        tab.element(".line.denied").await;
        tab.view("what-if").await;
        assert!(tab.text(".what-if").await.contains("A report can't compare"));
        assert!(tab.text("#summary").await.contains("report of 2026-11-27T01:00:00Z"));
        let loaded = "performance.getEntriesByType('resource').length";
        assert_eq!(tab.value(loaded).await, json!(0));
    })
    .await;
}
