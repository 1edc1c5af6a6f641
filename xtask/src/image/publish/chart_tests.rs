use std::io::Read as _;

use flate2::read::GzDecoder;
use jiff::Timestamp;

use super::*;
use crate::workspace;

fn packed(image: &str) -> Chart {
    let origin = Origin { revision: None, created: Timestamp::UNIX_EPOCH };
    let root = workspace::root().unwrap();
    let source = Some("https://git.example/enforcer");
    Chart::pack(&root, &image.parse().unwrap(), source, &origin).unwrap()
}

fn files(chart: &Chart) -> Vec<(String, String)> {
    let mut archive = tar::Archive::new(GzDecoder::new(chart.archive.as_slice()));
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        assert!(entry.header().entry_type().is_file(), "no links");
        let path = entry.path().unwrap().display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (path, text)
    });
    entries.collect()
}

#[test]
fn the_archive_is_complete_and_names_the_image() {
    let chart = packed("r.example:5000/team/enforcer:1.2");
    let files = files(&chart);
    let file = |name: &str| {
        let found = files.iter().find(|(path, _)| path == &format!("enforcer/{name}"));
        &found.unwrap_or_else(|| panic!("no {name}")).1
    };
    assert!(file("files/alerts.yaml").contains("EnforcerAgentDown"));
    assert!(file("files/dashboard.json").starts_with('{'));
    for name in ["LICENSE", "README.md", "values.schema.json", "templates/tests/agents.yaml"] {
        assert!(!file(name).is_empty());
    }
    let values: Value = serde_saphyr::from_str(file("values.yaml")).unwrap();
    assert_eq!(values["image"]["repository"], "r.example:5000/team/enforcer");
    assert_eq!(values["image"]["tag"], "1.2");
    let described: Value = serde_saphyr::from_str(file("Chart.yaml")).unwrap();
    assert_eq!(described, chart.metadata);
    assert_eq!(described["sources"][0], "https://git.example/enforcer");
    let images = described["annotations"]["artifacthub.io/images"].as_str().unwrap();
    assert!(images.contains("image: r.example:5000/team/enforcer:1.2"), "{images}");
    assert_eq!(chart.archive, packed("r.example:5000/team/enforcer:1.2").archive);
}

#[test]
fn it_stands_beside_the_image() {
    let place = |image: &str| packed(image).place(&image.parse().unwrap()).whole();
    let version = env!("CARGO_PKG_VERSION");
    for (image, chart) in [
        ("r.example/enforcer:1", "r.example/charts/enforcer"),
        ("r.example/a/b/enforcer:1", "r.example/a/b/charts/enforcer"),
    ] {
        assert_eq!(place(image), format!("{chart}:{version}"));
    }
}

#[test]
fn values_that_were_renamed_are_noticed() {
    assert!(set("image:\n  repositry: \"\"\n", "repository", "x").is_err());
    assert!(set("a:\n  tag: \"\"\nb:\n  tag: \"\"\n", "tag", "x").is_err());
}
