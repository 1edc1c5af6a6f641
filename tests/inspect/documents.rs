//! The documents' commands about files: each prints what is written there.

use clap::Parser as _;
use enforcer::cli::{Cli, Command, check};
use enforcer_tests::documents::{agrees, document, steps};

use super::run;

/// The policy of README's first question.
const SPLIT: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: api
  namespace: backend
spec:
  podSelector: {matchLabels: {app: api}}
  ingress:
  - from:
    - namespaceSelector: {matchLabels: {team: shop}}
    - podSelector: {matchLabels: {role: api}}
";

async fn output(arguments: &[&str]) -> String {
    if arguments.first() != Some(&"check") {
        return run(arguments).await.0;
    }
    let arguments = ["enforcer"].iter().chain(arguments);
    let Command::Check(arguments) = Cli::try_parse_from(arguments).unwrap().command else {
        panic!("not check");
    };
    let mut out = Vec::new();
    check::run(&arguments, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[tokio::test]
async fn documented_answers_are_real() {
    let folder = tempfile::tempdir().unwrap();
    let policies = folder.path().join("policies.yaml").display().to_string();
    std::fs::write(&policies, SPLIT).unwrap();
    let mut asked = 0;
    for path in ["README.md", "docs/policies.md"] {
        for step in steps(&document(path).unwrap()) {
            let of_files = ["explain --manifests deploy", "describe --manifests deploy"];
            let of_files = of_files.iter().any(|it| step.command.contains(it))
                || ["enforcer diff deploy", "enforcer check policies.yaml"]
                    .iter()
                    .any(|it| step.command.starts_with(it));
            if !of_files {
                continue;
            }
            asked += 1;
            // Tests run beside the repository's folders.
            let real = |word: &str| {
                word.replace("policies.yaml", &policies).replace("deploy/", "../deploy/")
            };
            let words: Vec<String> = step.command.split_whitespace().skip(1).map(real).collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let text = output(&words).await;
            let text = text.replace(&policies, "policies.yaml").replace("../deploy/", "deploy/");
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            assert!(agrees(&step.output, &lines), "{path}: {}\n{text}", step.command);
        }
    }
    assert!(asked >= 6, "{asked}");
}
