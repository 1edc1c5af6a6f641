//! The arguments in the manifests are valid arguments of the agent.

use clap::Parser as _;
use enforcer::cli::Cli;
use serde_json::Value;

use crate::render::{self, containers, of_kind, strings};

/// Expands an argument like the kubelet.
fn expand(argument: &str, container: &Value) -> String {
    let mut expanded = argument.to_owned();
    for variable in container["env"].as_array().into_iter().flatten() {
        let name = variable["name"].as_str().unwrap();
        let value = variable["value"].as_str().unwrap_or("10.224.0.4");
        expanded = expanded.replace(&format!("$({name})"), value);
    }
    assert!(!expanded.contains("$("), "{argument}: no such variable");
    expanded
}

fn parses(arguments: &[String]) -> Result<(), String> {
    let line = std::iter::once("enforcer").chain(arguments.iter().map(String::as_str));
    Cli::try_parse_from(line).map(|_| ()).map_err(|error| error.to_string())
}

#[test]
fn the_agent_accepts_all_arguments() {
    let mut seen = 0;
    for (name, objects) in render::everything() {
        for container in containers(of_kind(objects, "DaemonSet")[0]) {
            let arguments = strings(&container["args"]);
            let arguments: Vec<_> = arguments.iter().map(|it| expand(it, container)).collect();
            if let Err(error) = parses(&arguments) {
                panic!("{name}: {arguments:?}\n{error}");
            }
            seen += 1;
        }
    }
    let tests = render::helm_tests(&["nameOverride=guard"]);
    let pod = of_kind(&tests, "Pod")[0];
    let arguments = strings(&pod["spec"]["containers"][0]["args"]);
    let arguments: Vec<_> = arguments.into_iter().map(str::to_owned).collect();
    parses(&arguments).unwrap();
    assert!(seen > 5, "only {seen} command lines were checked");
}

#[test]
fn misspelt_arguments_are_rejected() {
    for wrong in ["--metric=127.0.0.1:1", "--unknown-pod=ask", "--flow-timeouts=upd=3"] {
        let line = ["run".to_owned(), wrong.to_owned()];
        assert!(parses(&line).is_err(), "{wrong}");
    }
}

#[test]
fn the_image_is_of_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    let image = format!("enforcer:{version}");
    for overlay in render::OVERLAYS {
        let objects = render::kustomize(&format!("overlays/{overlay}"));
        assert_eq!(containers(of_kind(&objects, "DaemonSet")[0])[0]["image"], image, "{overlay}");
    }
    // Private clusters have no other image, such as registry.k8s.io/pause.
    let uninstall = render::kustomize("uninstall");
    for container in containers(of_kind(&uninstall, "DaemonSet")[0]) {
        assert_eq!(container["image"], image);
    }
    let chart = &render::documents(&render::file("helm/enforcer/Chart.yaml"))[0];
    assert_eq!(chart["version"], version);
    assert_eq!(chart["appVersion"], version);
    let digest =
        "image.digest=sha256:0000000000000000000000000000000000000000000000000000000000000000";
    let by_digest = render::helm(&[digest, "image.repository=r.example/e"]);
    let named = containers(of_kind(&by_digest, "DaemonSet")[0])[0]["image"].as_str().unwrap();
    assert!(named.starts_with("r.example/e@sha256:0000"), "{named}");
}
