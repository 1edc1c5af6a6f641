//! Tests with the real kubectl.

use std::path::Path;
use std::process::Command;

use enforcer_tests::api::{ApiServer, Key, Listening, Verb, kinds, write_kubeconfig};
use serde_json::Value;
use tempfile::TempDir;

/// A server, and a home directory for kubectl.
struct Desk {
    server: ApiServer,
    _listening: Listening,
    home: TempDir,
}

impl Desk {
    fn new() -> Self {
        let server = ApiServer::new().unwrap();
        let listening = server.listen_on_loopback(0).unwrap();
        let home = tempfile::tempdir().unwrap();
        write_kubeconfig(&home.path().join("config"), listening.address()).unwrap();
        Self { server, _listening: listening, home }
    }

    /// kubectl's output, and whether it succeeded.
    async fn run(&self, arguments: &str) -> (String, bool) {
        let program = enforcer_tests::api::kubectl()
            .expect("kubectl is missing: cargo xtask test installs it");
        let mut command = Command::new(program);
        command.args(arguments.split_whitespace());
        command.env("KUBECONFIG", self.home.path().join("config")).env("HOME", self.home.path());
        command.env("NO_PROXY", "*");
        let output = tokio::process::Command::from(command).output().await.unwrap();
        let text =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (text.into_owned(), output.status.success())
    }

    async fn ok(&self, arguments: &str) -> String {
        let (output, is_ok) = self.run(arguments).await;
        assert!(is_ok, "kubectl {arguments}: {output}");
        output
    }

    async fn refused(&self, arguments: &str) -> String {
        let (output, is_ok) = self.run(arguments).await;
        assert!(!is_ok, "kubectl {arguments}: {output}");
        output
    }
}

fn tutorial(scenario: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy/tutorial")
        .join(scenario)
        .display()
        .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tutorials_manifests_are_applied_changed_and_deleted() {
    let desk = Desk::new();
    for scenario in ["hello-world", "ip-block", "least-privilege", "zones", "services"] {
        let output = desk.ok(&format!("apply -f {}", tutorial(scenario))).await;
        assert!(output.lines().all(|line| line.ends_with(" created")), "{output}");
        let again = desk.ok(&format!("apply -f {}", tutorial(scenario))).await;
        assert!(again.lines().all(|line| line.ends_with(" unchanged")), "{again}");
    }
    let pods = desk.ok("get pods -n demo -o wide").await;
    assert!(pods.starts_with("NAME   READY   STATUS"), "{pods}");
    assert!(pods.contains("NODE") && pods.contains("\npod1   0/1     Pending"), "{pods}");
    let policies = desk.ok("get netpol -n demo").await;
    assert!(policies.contains("backend-policy         app=hello-world,role=backend"), "{policies}");
    desk.ok("label pod -n demo pod1 role=frontend --overwrite").await;
    let names = desk.ok("get pods -n demo -l role=frontend -o name").await;
    assert_eq!(names, "pod/pod1\npod/pod3\n");
    desk.ok("delete pod -n demo pod1").await;
    desk.ok("delete ns demo").await;
    assert!(desk.server.store().get(&kinds::PODS, &Key::new("demo", "pod2")).is_none());
    let patches = desk.server.journal().count(Verb::Patch, "pods");
    assert_eq!(patches, 1, "kubectl label sends a patch, apply without changes none");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_without_manifests_work() {
    let desk = Desk::new();
    desk.ok("run web --image=nginx --port=80 --labels=app=web").await;
    desk.ok("expose pod web --port=80").await;
    let service: Value = serde_json::from_str(&desk.ok("get svc web -o json").await).unwrap();
    assert_eq!(service["spec"]["clusterIPs"][0], service["spec"]["clusterIP"]);
    assert!(service["spec"]["clusterIP"].as_str().unwrap().starts_with("10.0."));
    assert!(desk.ok("get all").await.contains("service/web"));
    assert!(desk.ok("describe pod web").await.contains("Labels:           app=web"));
    desk.ok("annotate svc web a=b").await;
    desk.ok("create namespace shop").await;
    assert!(desk.ok("get ns shop -o name").await.contains("namespace/shop"));
    desk.ok("delete pods,services --all").await;
    assert!(desk.ok("get pods").await.contains("No resources found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_explained() {
    let desk = Desk::new();
    let file = desk.home.path().join("wrong.yaml");
    let wrong = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: c, image: i, prts: []}]}\n";
    std::fs::write(&file, wrong).unwrap();
    let output = desk.refused(&format!("apply -f {}", file.display())).await;
    assert!(output.contains("unknown field \"spec.containers.0.prts\""), "{output}");
    let output = desk.ok(&format!("apply --validate=warn -f {}", file.display())).await;
    assert!(output.contains("unknown field") && output.contains("pod/a created"), "{output}");
    assert!(desk.refused("get pods nope").await.contains("pods \"nope\" not found"));
    assert!(desk.refused("get jobs").await.contains("jobs: not in this lab"));
    assert!(desk.refused("get nonsense").await.contains("doesn't have a resource type"));
    let renamed = wrong.replace("prts: []", "ports: []").replace("name: a", "name: A");
    std::fs::write(&file, renamed).unwrap();
    let output = desk.refused(&format!("apply -f {}", file.display())).await;
    assert!(output.contains("is invalid: metadata.name: Invalid value: \"A\""), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn server_side_apply_and_dry_runs() {
    let desk = Desk::new();
    let zones = tutorial("zones");
    let web = tutorial("ip-block/00-web.yaml");
    desk.run(&format!("apply --dry-run=server -f {web}")).await;
    assert!(desk.server.store().all(&kinds::PODS).is_empty());
    let output = desk.ok(&format!("apply --server-side -f {zones}")).await;
    assert!(output.lines().all(|line| line.ends_with(" serverside-applied")), "{output}");
    let output = desk.ok("delete netpol -A --all --dry-run=server").await;
    assert!(output.contains("(server dry run)"), "{output}");
    assert!(!desk.server.store().all(&kinds::NETWORK_POLICIES).is_empty());
}
