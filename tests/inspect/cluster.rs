//! Answers about an API server.

use std::path::Path;

use enforcer_tests::api::{ApiServer, write_kubeconfig};

use super::run;

/// A server with the tutorial's `least-privilege`, and a kubeconfig.
struct Desk {
    _server: ApiServer,
    _listening: enforcer_tests::api::Listening,
    home: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let server = ApiServer::new().unwrap();
        let listening = server.listen_on_loopback(0).unwrap();
        let home = tempfile::tempdir().unwrap();
        write_kubeconfig(&home.path().join("config"), listening.address()).unwrap();
        let folder =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/tutorial/least-privilege");
        for file in ["00-pods.yaml", "10-api-z.yaml"] {
            let text = std::fs::read_to_string(folder.join(file)).unwrap();
            server.store().apply(&text).unwrap();
        }
        Self { _server: server, _listening: listening, home }
    }

    async fn run(&self, line: &str) -> (String, u8) {
        let config = self.home.path().join("config").display().to_string();
        let mut arguments: Vec<&str> = line.split_whitespace().collect();
        arguments.extend(["--kubeconfig", &config]);
        run(&arguments).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_explained() {
    let desk = Desk::new();
    let mut text = String::new();
    for line in [
        "explain apps/client-x backend/api-z:api",
        "explain apps/other backend/api-z:8080",
        "explain backend/api-z apps/client-x:80",
        "describe",
        "describe backend",
        "describe backend/api-z",
        "suggest backend --from inspect/flows.jsonl",
        "diff cluster inspect/changed",
    ] {
        let (output, code) = desk.run(line).await;
        text += &format!("$ enforcer {line}\n{output}exit code {code}\n\n");
    }
    insta::assert_snapshot!(text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_cluster_is_shown() {
    let desk = Desk::new();
    let open = desk.home.path().join("open.yaml");
    let policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {namespace: backend, name: api-z}\nspec: {podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}\n";
    std::fs::write(&open, policy).unwrap();
    let (text, code) = desk.run(&format!("diff cluster {}", open.display())).await;
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("opened  apps/other → backend/api-z: everything\n"), "{text}");
    assert!(text.contains("opened  backend/api-z → apps/other: everything\n"), "{text}");
    let what_if = format!("explain apps/other backend/api-z:8080 --what-if {}", open.display());
    let (text, code) = desk.run(&what_if).await;
    assert!(code == 0 && text.contains("open.yaml:4"), "{text}");
}
