//! axe-core in the page.

use sha2::{Digest as _, Sha256};

use crate::browser::Tab;

const AXE: &str = include_str!("vendor/axe.min.js");
const SHA256: &str = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c";

#[test]
fn axe_is_as_published() {
    let sum: String = Sha256::digest(AXE).iter().map(|it| format!("{it:02x}")).collect();
    assert_eq!(sum, SHA256);
}

/// Fails with every violation, and the elements that have it.
pub(crate) async fn check(tab: &Tab, what: &str) {
    if tab.value("typeof window.axe").await == "undefined" {
        tab.0.execute(AXE, Vec::new()).await.unwrap();
    }
    let script = "const done = arguments[0];
        window.axe.run(document, { resultTypes: ['violations'] }).then(
            (it) => done(it.violations.map((one) => one.id + ': ' + one.help + '\\n' +
                one.nodes.slice(0, 4).map((node) => '  ' + node.html.slice(0, 240) + '\\n  ' +
                    node.failureSummary.replaceAll('\\n', '\\n  ')).join('\\n'))),
            (error) => done(['' + error]));";
    let found = tab.0.execute_async(script, Vec::new()).await.unwrap();
    let found: Vec<String> = serde_json::from_value(found).unwrap();
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}
