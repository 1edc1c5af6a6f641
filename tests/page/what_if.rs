//! Policies to try.

use serde_json::json;

use crate::browser::with;
use crate::estate::shop;

const SET: &str = "(() => { const it = document.getElementById('load'); it.value = 'shop/db-clients'; \
                   it.dispatchEvent(new Event('change')); })()";

#[tokio::test(flavor = "multi_thread")]
async fn a_change_shows_what_it_opens_and_closes() {
    with(shop(), async |tab| {
        tab.element(".grid .cell").await;
        tab.keys("3").await;
        tab.value(SET).await;
        tab.until("document.getElementById('manifests').value.includes('role: api')").await;
        let replace = |old: &str, new: &str| {
            format!("(() => {{ const it = document.getElementById('manifests'); it.value = it.value.replace('{old}', '{new}'); }})()")
        };
        tab.value(&replace("role: api", "role: frontend")).await;
        tab.click("#compare").await;
        tab.element(".difference").await;
        let text = tab.text("#what-if-result").await;
        assert!(text.contains("Closed connections: 1") && text.contains("Opened connections: 1"), "{text}");
        tab.theme("light").await;
        tab.picture("what-if").await;
        // The explanation is that of the changed policy.
        tab.click("[aria-label='Explain shop/web (deploy) to shop/db (sts)']").await;
        tab.until("document.querySelector('#panel .verdict')?.textContent.includes('allowed with the change')").await;
        assert!(tab.text("#panel").await.contains("what-if:12"));
        tab.click("#panel button").await;
        tab.value(&replace("podSelector", "podSelectors")).await;
        tab.click("#compare").await;
        tab.until("document.querySelector('#what-if-result .failure')?.textContent.includes('what-if:')").await;
        tab.click("#what-if-result .actions button").await;
        let selected = "(() => { const it = document.getElementById('manifests'); \
                        return it.value.slice(it.selectionStart, it.selectionEnd); })()";
        assert_eq!(tab.value(selected).await, json!("  podSelectors:"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_may_be_removed_and_kept_again() {
    with(shop(), async |tab| {
        tab.view("what-if").await;
        tab.value(&SET.replace("load", "remove")).await;
        tab.element(".chips li").await;
        tab.click("#compare").await;
        tab.element(".difference").await;
        assert!(tab.text("#what-if-result").await.contains("Closed connections: 1"));
        tab.click("[aria-label='Keep shop/db-clients']").await;
        tab.click("#compare").await;
        tab.until(
            "document.querySelector('#what-if-result')?.textContent.includes('What would change?')",
        )
        .await;
    })
    .await;
}
