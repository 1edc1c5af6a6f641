//! Answers about manifests.

use serde_json::Value;

use super::words;

/// A command about the shop, its exit code and output.
async fn shop(line: &str) -> String {
    let (text, code) = words(&format!("{line} --manifests inspect/shop")).await;
    format!("$ enforcer {line}\n{text}exit code {code}\n")
}

async fn all(lines: &[&str]) -> String {
    let mut text = String::new();
    for line in lines {
        text += &shop(line).await;
        text += "\n";
    }
    text
}

#[tokio::test]
async fn explanations() {
    let text = all(&[
        "explain shop/deploy/web shop/sts/db:5432",
        "explain shop/deploy/api svc/db --namespace shop",
        "explain shop/deploy/api 10.0.0.10:5432",
        "explain shop/deploy/api 10.0.0.10:5433",
        "explain shop/deploy/api shop/db-0:5433",
        "explain shop/deploy/api shop/db-0:5432/UDP",
        "explain shop/deploy/api shop/db-0/ICMP",
        "explain ops/prometheus shop/sts/db:9187 --all",
        "explain ops/prometheus shop/sts/db",
        "explain outside shop/deploy/web",
        "explain 198.18.7.9 shop/deploy/web:http",
        "explain 198.18.6.9 shop/deploy/web:8080",
        "explain node shop/deploy/web",
        "explain shop/web-0 shop/web-0",
        "explain shop ops",
        "explain shop shop",
        "explain shop/deploy/web 203.0.113.9:443",
        "explain shop/web-0 shop/db-0:5432 --what-if inspect/changed",
    ])
    .await;
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn policies_in_audit() {
    let text = all(&[
        "explain ops/prometheus shop/sts/db:9187 --what-if inspect/audited",
        "explain outside ops/prometheus:9090 --what-if inspect/audited --output json",
        "describe ops/default-deny --manifests inspect/audited",
        "describe ops/prometheus --manifests inspect/audited",
        "describe ops --manifests inspect/audited",
    ])
    .await;
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn ends_that_do_not_exist() {
    let text = all(&[
        "explain shop/web-0 shop/dp-0",
        "explain shop/deploy/wbe shop/db-0",
        "explain shop/web-0 shop/svc/bd",
        "explain shop/web-0 shop/svc/db:80",
        "explain shop/svc/db shop/web-0",
        "explain shopp shop",
        "explain ops/node-exporter shop/db-0:nope",
        "explain a/b/c/d shop",
        "describe shop/nothing",
        "describe ns/nothing",
    ])
    .await;
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn descriptions() {
    let text = all(&[
        "describe",
        "describe shop",
        "describe ops/netpol/forgotten",
        "describe pod/web-0 --namespace shop",
        "describe ops/node-exporter",
        "describe ops/prometheus",
    ])
    .await;
    insta::assert_snapshot!(text);
}

/// Scripts rely on these fields: `docs/json.md`.
#[tokio::test]
async fn documents() {
    let lines = [
        "explain ops/prometheus shop/sts/db:9187 --all",
        "explain shop/deploy/api shop/svc/db",
        "describe shop",
        "describe shop/web-0",
    ];
    let mut text = String::new();
    for line in lines {
        let json = words(&format!("{line} --manifests inspect/shop --output json")).await.0;
        let yaml = words(&format!("{line} --manifests inspect/shop --output yaml")).await.0;
        let value: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), value, "{yaml}");
        assert_eq!(value["version"], 1);
        text += &format!("$ enforcer {line} --output json\n{json}\n");
    }
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn diffs() {
    let mut text = String::new();
    for line in [
        "diff inspect/shop/policies.yaml inspect/shop",
        "diff inspect/shop inspect/changed",
        "diff inspect/shop/app.yaml inspect/shop",
        "diff inspect/shop/app.yaml inspect/shop --output markdown",
        "diff inspect/shop inspect/changed --output json",
        "diff inspect/shop inspect/nothing",
    ] {
        let (output, code) = words(line).await;
        text += &format!("$ enforcer {line}\n{output}exit code {code}\n\n");
    }
    insta::assert_snapshot!(text);
}

/// The suggested policies are manifests, which the other commands read.
#[tokio::test]
async fn suggestions() {
    let mut text = String::new();
    for line in ["suggest shop", "suggest ops --enforce"] {
        text += &shop(&format!("{line} --from inspect/flows.jsonl")).await;
        text += "\n";
    }
    let (manifests, _) =
        words("suggest shop --from inspect/flows.jsonl --manifests inspect/shop").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("suggested.yaml");
    std::fs::write(&file, manifests).unwrap();
    let only = format!("--manifests inspect/shop/app.yaml --manifests {}", file.display());
    for line in [
        "explain shop/deploy/web shop/deploy/api:8000",
        "explain shop/deploy/web shop/sts/db:5432",
        "explain 198.18.7.200 shop/deploy/web:8080",
        "explain 203.0.113.8 shop/deploy/web:8080",
    ] {
        let (output, code) = words(&format!("{line} {only}")).await;
        let output = output.replace(&file.display().to_string(), "suggested.yaml");
        text += &format!("$ enforcer {line}\n{output}exit code {code}\n\n");
    }
    insta::assert_snapshot!(text);
}

/// As the agent: a policy with errors isolates the pods that it selects, and allows nothing.
#[tokio::test]
async fn manifests_with_errors_are_answered_as_they_are_enforced() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.yaml");
    let bad = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: clients, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress: [{form: []}]
";
    std::fs::write(&file, bad).unwrap();
    let changed = format!("--what-if {}", file.display());
    let text = all(&[
        &format!("explain outside shop/deploy/web:8080 {changed}"),
        &format!("describe shop/netpol/clients {changed}"),
        &format!("describe shop/pod/web-0 {changed}"),
    ])
    .await;
    let (diff, code) = words(&format!("diff inspect/shop {}", file.display())).await;
    let text = format!("{text}$ enforcer diff inspect/shop bad.yaml\n{diff}exit code {code}\n");
    insta::assert_snapshot!(text.replace(&file.display().to_string(), "bad.yaml"));
}

/// What is written for others to apply is not made of manifests with errors.
#[tokio::test]
async fn suggestions_need_manifests_without_errors() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.yaml");
    std::fs::write(&file, "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n").unwrap();
    let line = format!("suggest --from inspect/flows.jsonl --manifests {}", file.display());
    let (text, code) = words(&line).await;
    assert_eq!(code, 2);
    assert!(text.contains("bad.yaml:1:1: error: metadata.name: missing"), "{text}");
}
