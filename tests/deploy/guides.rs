//! The commands and files of the installation and migration guides, rendered as they are written there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use enforcer_tests::documents::{Step, steps};
use serde_json::Value;
use tempfile::TempDir;

use crate::render::{self, containers, file, of_kind, strings};

const GUIDES: [&str; 2] = ["README.md", "helm/enforcer/README.md"];

/// The values that a command of helm sets; `None`: it renders nothing.
fn values(step: &Step) -> Option<Vec<String>> {
    let command = step.command.replace("\\\n", "").replace('\'', "");
    let words: Vec<&str> = command.split_whitespace().collect();
    let ["helm", "install" | "upgrade", ..] = words.as_slice() else { return None };
    let set = words.windows(2).filter(|it| it[0] == "--set");
    Some(set.map(|it| it[1].to_owned()).collect())
}

#[test]
fn documented_helm_commands_render() {
    let mut seen = 0;
    for guide in GUIDES {
        for step in steps(&file(guide)) {
            let Some(values) = values(&step) else { continue };
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let objects = render::helm(&values);
            let sets = of_kind(&objects, "DaemonSet");
            assert_eq!(sets.len(), 1, "{guide}: {}", step.command);
            let arguments = strings(&containers(sets[0]).last().unwrap()["args"]);
            let is_audit = arguments.contains(&"--audit");
            assert_eq!(is_audit, values.contains(&"agent.audit=true"), "{}", step.command);
            seen += 1;
        }
    }
    assert!(seen >= 6, "only {seen} commands were found");
}

/// The block of the guide that begins with a line.
fn block<'a>(guide: &'a str, first: &str) -> &'a str {
    let at = guide.find(first).unwrap_or_else(|| panic!("the guide has no {first}"));
    guide[at..].split("```").next().unwrap()
}

/// A user's directory beside a checkout, with a `kustomization.yaml`.
fn beside_a_checkout(folder: &str, kustomization: &str) -> (TempDir, Vec<Value>) {
    let root = TempDir::new().unwrap();
    symlink(render::deploy().join(".."), root.path().join("enforcer")).unwrap();
    let own = root.path().join(folder);
    fs::create_dir_all(&own).unwrap();
    fs::write(own.join("kustomization.yaml"), kustomization).unwrap();
    let objects = render::build(&own);
    (root, objects)
}

fn images(objects: &[Value]) -> Vec<&str> {
    let sets = of_kind(objects, "DaemonSet");
    sets.iter().flat_map(|it| containers(it)).map(|it| it["image"].as_str().unwrap()).collect()
}

#[test]
fn the_documented_kustomization_renders() {
    let guide = file("README.md");
    let whole = block(&guide, "# kustomization.yaml, beside a checkout of this repository");
    let patches = block(&guide, "patches:\n  - target: {kind: DaemonSet, name: enforcer}");
    let (_root, objects) = beside_a_checkout(".", &format!("{whole}{patches}"));
    let image = "example.azurecr.io/enforcer:0.1.0";
    assert!(images(&objects).iter().all(|it| *it == image), "{:?}", images(&objects));
    let sets = of_kind(&objects, "DaemonSet");
    let arguments = strings(&containers(sets[0]).last().unwrap()["args"]);
    for argument in ["--events", "--flows=524288"] {
        assert!(arguments.contains(&argument), "{arguments:?}");
    }
    // In audit, as the migration guide says.
    let component = "enforcer/deploy/kustomize/components/";
    let audit = whole.replace("components/events", "components/audit");
    assert!(whole.contains(component) && audit != whole);
    let (_root, objects) = beside_a_checkout(".", &audit);
    let sets = of_kind(&objects, "DaemonSet");
    let arguments = strings(&containers(sets[0]).last().unwrap()["args"]);
    assert!(arguments.contains(&"--audit"), "{arguments:?}");
    // "A directory like that of the installation, with `uninstall` as its only resource."
    let resources = block(whole, "resources:").lines().nth(1).unwrap();
    let images_of = block(whole, "images:");
    let uninstall = "resources:\n  - ../enforcer/deploy/kustomize/uninstall\n";
    assert!(resources.contains("overlays/"), "{resources}");
    let (_root, objects) = beside_a_checkout("uninstall", &format!("{uninstall}{images_of}"));
    assert!(images(&objects).iter().all(|it| *it == image), "{:?}", images(&objects));
}

/// Every path that a command of the guide applies exists.
#[test]
fn documented_files_exist() {
    let root = render::deploy().join("..");
    let mut seen = 0;
    for guide in ["README.md", "tutorial/README.md"] {
        for step in steps(&file(guide)) {
            for word in step.command.split_whitespace().filter(|it| it.starts_with("deploy/")) {
                assert!(root.join(Path::new(word)).exists(), "{guide}: {}", step.command);
                seen += 1;
            }
        }
    }
    assert!(seen >= 8, "{seen}");
}
