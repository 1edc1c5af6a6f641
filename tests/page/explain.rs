//! From a cell and from the search box to an explanation.

use fantoccini::key::Key;
use serde_json::json;

use crate::browser::with;
use crate::estate::shop;

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_is_explained() {
    with(shop(), async |tab| {
        tab.click("[aria-label^='shop/web (deploy) to shop/db']").await;
        tab.element(".explanation .end.denied").await;
        let text = tab.text("#panel").await;
        for part in [
            "shop/web (deploy) → shop/db:5432/TCP (sts)",
            "isolated by shop/db-clients, shop/default-deny",
            "spec.ingress[0].from[0].podSelector, ports[0]",
            "shop.yaml:120",
            "shop/web-0 has role=frontend instead of role=api",
            "enforcer explain shop/deploy/web shop/sts/db",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        tab.picture("explain").await;
        // A policy's name leads to its description and its manifest.
        tab.click(".end.denied button.link").await;
        tab.until(
            "document.querySelector('#panel .manifest pre')?.textContent.includes('role: api')",
        )
        .await;
        assert!(tab.text("#panel").await.contains("Selected pods: shop/db-0"));
        // The answer to another question, in the same panel.
        tab.key(Key::Escape).await;
        assert_eq!(tab.value("document.getElementById('panel').hidden").await, json!(true));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn search_finds_and_asks() {
    with(shop(), async |tab| {
        tab.element(".grid .cell").await;
        tab.keys("/").await;
        tab.keys("prom").await;
        tab.until("document.querySelector('#found [aria-selected=true]')?.textContent.includes('ops/prometheus')").await;
        tab.key(Key::Enter).await;
        tab.until("document.querySelector('.description')?.textContent.includes('not isolated')").await;
        tab.key(Key::Escape).await;
        tab.keys("/").await;
        tab.keys("shop/web-0 > shop/svc/db:5432").await;
        tab.key(Key::Enter).await;
        tab.until("document.querySelector('.explanation')?.textContent.includes('by Service shop/db:5432')").await;
        tab.key(Key::Escape).await;
        tab.keys("/").await;
        tab.keys("shop/web-0 > shop/deploy/wep").await;
        tab.key(Key::Enter).await;
        tab.until("document.querySelector('#panel .failure')?.textContent.includes('did you mean')").await;
        tab.key(Key::Escape).await;
        tab.keys("/").await;
        tab.keys("nothing-like-it").await;
        assert!(tab.text("#found").await.contains("Nothing is called"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_token_the_page_shows_nothing() {
    with(shop(), async |tab| {
        tab.element(".grid .cell").await;
        let url = tab.value("location.href").await;
        assert!(!url.as_str().unwrap().contains("token"), "{url}");
        let elsewhere = "performance.getEntriesByType('resource').filter((it) => !it.name.startsWith(location.origin)).length";
        assert_eq!(tab.value(elsewhere).await, json!(0));
        tab.value("sessionStorage.clear()").await;
        tab.0.refresh().await.unwrap();
        tab.until("document.querySelector('main .failure')?.textContent.includes('token is missing')").await;
    })
    .await;
}
