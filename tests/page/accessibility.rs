//! axe-core finds nothing, in every view, light and dark.

use fantoccini::key::Key;

use crate::axe::check;
use crate::browser::{with, with_activity};
use crate::estate::{ShopSeen, cluster, shop};

#[tokio::test(flavor = "multi_thread")]
async fn every_view_is_accessible() {
    with_activity(shop(), ShopSeen, async |tab| {
        tab.element(".grid .cell").await;
        for theme in ["light", "dark"] {
            tab.theme(theme).await;
            for view in ["matrix", "graph", "what-if", "audit", "coverage"] {
                tab.view(view).await;
                check(&tab, &format!("{view}, {theme}")).await;
            }
            tab.view("matrix").await;
            tab.click("[aria-label^='shop/web (deploy) to shop/db']").await;
            tab.element(".explanation").await;
            check(&tab, &format!("explanation, {theme}")).await;
            tab.key(Key::Escape).await;
            tab.keys("/").await;
            tab.keys("db").await;
            tab.element("#found li").await;
            check(&tab, &format!("search, {theme}")).await;
            tab.key(Key::Escape).await;
            tab.click("[aria-label='Keys']").await;
            check(&tab, &format!("keys, {theme}")).await;
            tab.click("dialog button").await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_and_large_pages_are_accessible() {
    with(cluster(0, 0), async |tab| {
        tab.element(".matrix .empty").await;
        for view in ["matrix", "graph", "what-if", "audit", "coverage"] {
            tab.view(view).await;
            check(&tab, &format!("empty {view}")).await;
        }
    })
    .await;
    with(cluster(20, 5), async |tab| {
        tab.element(".grid .cell").await;
        for view in ["matrix", "graph", "coverage"] {
            tab.view(view).await;
            check(&tab, &format!("large {view}")).await;
        }
    })
    .await;
}
