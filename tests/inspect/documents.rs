//! The documents' commands: each has arguments that exist, and those about files print what is written there.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{CommandFactory as _, Parser as _};
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
    fs::write(&policies, SPLIT).unwrap();
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

/// The words of each program in a command, quotes removed, up to a comment or a file that takes the output.
fn programs(command: &str) -> Vec<Vec<String>> {
    let mut programs = vec![Vec::new()];
    for (at, part) in command.replace("\\\n", "").split('\'').enumerate() {
        if at % 2 == 1 {
            programs.last_mut().unwrap().push(part.to_owned());
            continue;
        }
        for word in part.split_whitespace() {
            match word {
                "#" | ">" => return programs,
                "|" | "&&" => programs.push(Vec::new()),
                "…" => {}
                _ => programs.last_mut().unwrap().push(word.to_owned()),
            }
        }
    }
    programs
}

/// The arguments of `enforcer`, as it is called by its name, as kubectl's plugin, or in the agent's pod.
fn arguments(words: &[String]) -> Option<Vec<&str>> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["enforcer", rest @ ..] => Some(rest.to_vec()),
        ["kubectl", "enforcer", rest @ ..] => Some([&["agents"], rest].concat()),
        _ => {
            let at = words.windows(2).position(|it| it == ["--", "/enforcer"])?;
            Some(words.iter().skip(at + 2).copied().collect())
        }
    }
}

fn mistake(command: &str) -> Option<String> {
    let errors = programs(command).into_iter().filter_map(|words| {
        let arguments = arguments(&words)?;
        Cli::try_parse_from(["enforcer"].iter().chain(&arguments)).err()
    });
    errors.map(|error| format!("{command}: {error}")).next()
}

/// All documents for users.
fn all_documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut documents = Vec::new();
    for folder in ["", "docs", "deploy", "deploy/tutorial", "deploy/helm/enforcer"] {
        let files = fs::read_dir(root.join(folder)).unwrap().map(|it| it.unwrap().path());
        documents.extend(files.filter(|it| it.extension().is_some_and(|it| it == "md")));
    }
    documents
}

#[test]
fn documented_commands_have_valid_arguments() {
    let mut seen = 0;
    for path in all_documents() {
        for step in steps(&fs::read_to_string(&path).unwrap()) {
            seen += programs(&step.command).iter().filter(|it| arguments(it).is_some()).count();
            assert_eq!(mistake(&step.command), None, "{}", path.display());
        }
    }
    assert!(seen > 50, "only {seen} commands were found");
}

#[test]
fn examples_in_the_help_have_valid_arguments() {
    let mut seen = 0;
    for command in Cli::command().get_subcommands() {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for example in help.replace("\\\n", "").lines().map(str::trim) {
            if programs(example).iter().any(|it| arguments(it).is_some()) {
                seen += 1;
                assert_eq!(mistake(example), None);
            }
        }
    }
    assert!(seen > 20, "only {seen} examples were found");
}

#[test]
fn a_wrong_argument_is_found() {
    for wrong in [
        "enforcer status --nod x",
        "kubectl enforcer droops",
        "kubectl -n a exec b -- /enforcer drops --since 1h --folow",
        "helm template . | enforcer check --strickt -",
        "enforcer audit -n a && enforcer audit --nodes",
        "enforcer explain \\\n  --manifest deploy a b",
    ] {
        assert!(mistake(wrong).is_some(), "{wrong}");
    }
    for right in ["enforcer check - # --no", "kubectl enforcer top > x", "kubectl get pods --no"] {
        assert_eq!(mistake(right), None);
    }
}
