use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;

use super::stand_in::StandIn;
use super::*;
use crate::arch::Arch;
use crate::image::layout::{Annotations, Image, lay_out};
use crate::image::tarball::Entry;
use crate::{process, workspace};

const CYCLONEDX: &str = "application/vnd.cyclonedx+json";

/// A key in a file, made by openssl, and its public half.
fn key(folder: &TempDir) -> (PathBuf, PathBuf) {
    let [private, public] = ["key.pem", "key.pub"].map(|name| folder.path().join(name));
    let mut make = Command::new("openssl");
    make.args(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out"]);
    assert!(run(make.arg(&private)).status.success());
    let mut extract = Command::new("openssl");
    extract.args(["pkey", "-pubout", "-in"]).arg(&private).arg("-out").arg(&public);
    assert!(run(&mut extract).status.success());
    (private, public)
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Publishes a small image of these architectures; returns its name.
fn published(registry: &StandIn, archs: &[Arch], key: Option<&Key>) -> (Reference, Layout) {
    let name: Reference = format!("{}/team/enforcer:1.0", registry.address).parse().unwrap();
    let image = |arch: &Arch| {
        let program = format!("a program for {}", arch.name()).into_bytes();
        Image { arch: *arch, entries: vec![Entry::program("enforcer", program)] }
    };
    let images: Vec<_> = archs.iter().map(image).collect();
    let origin = Origin { revision: None, created: Timestamp::UNIX_EPOCH };
    let layout = lay_out(&images, &name, &Annotations::new(), &origin).unwrap();
    let sboms: Vec<_> =
        archs.iter().map(|arch| format!("{{\"for\":\"{}\"}}", arch.name())).collect();
    publish(&Publication {
        root: &workspace::root().unwrap(),
        layout: &layout,
        name: &name,
        sboms: sboms.iter().map(String::as_bytes).collect(),
        origin: &origin,
        source: None,
        key,
    })
    .unwrap();
    (name, layout)
}

fn manifest(registry: &StandIn, repository: &str, name: &str) -> Value {
    let key = (repository.to_owned(), name.to_owned());
    let content = registry.store(|store| store.manifests.get(&key).map(|(_, it)| it.clone()));
    serde_json::from_slice(&content.unwrap_or_else(|| panic!("no {key:?}"))).unwrap()
}

fn blob(registry: &StandIn, repository: &str, descriptor: &Value) -> Vec<u8> {
    let key = (repository.to_owned(), descriptor["digest"].as_str().unwrap().to_owned());
    registry.store(|store| store.blobs[&key].clone())
}

#[test]
fn the_tag_leads_to_every_architecture() {
    let registry = StandIn::start(true, None);
    let (_, layout) = published(&registry, &[Arch::Amd64, Arch::Arm64], None);
    let index = manifest(&registry, "team/enforcer", "1.0");
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
    for descriptor in index["manifests"].as_array().unwrap() {
        let digest = descriptor["digest"].as_str().unwrap();
        let manifest = manifest(&registry, "team/enforcer", digest);
        assert!(!blob(&registry, "team/enforcer", &manifest["layers"][0]).is_empty());
    }
    assert_eq!(index, manifest(&registry, "team/enforcer", &layout.digest));
    let tags = registry
        .store(|store| store.manifests.keys().filter(|(_, name)| name.contains(".sig")).count());
    assert_eq!(tags, 0, "nothing is signed without a key");
}

#[test]
fn one_architecture_is_its_own_top() {
    let registry = StandIn::start(true, None);
    let (_, layout) = published(&registry, &[Arch::Arm64], None);
    let top = manifest(&registry, "team/enforcer", "1.0");
    assert_eq!(top["config"], manifest(&registry, "team/enforcer", &layout.digest)["config"]);
}

/// The bills of materials that refer to an image, as a client finds them.
fn bills(registry: &StandIn, name: &Reference, subject: &Descriptor) -> Vec<Value> {
    let client = Registry::open(name).unwrap();
    let found = client.referrers(&by_digest(name, subject.digest().to_string())).unwrap();
    let read = |it: &Value| {
        let artifact = manifest(registry, name.repository(), it["digest"].as_str().unwrap());
        assert_eq!(artifact["artifactType"], CYCLONEDX);
        assert_eq!(artifact["layers"][0]["mediaType"], CYCLONEDX);
        assert_eq!(artifact["subject"]["digest"], subject.digest().to_string());
        serde_json::from_slice(&blob(registry, name.repository(), &artifact["layers"][0])).unwrap()
    };
    found.iter().map(read).collect()
}

#[test]
fn bills_of_materials_are_found_in_old_and_new_registries() {
    for lists_referrers in [false, true] {
        let registry = StandIn::start(lists_referrers, None);
        let archs = [Arch::Amd64, Arch::Arm64];
        published(&registry, &archs, None);
        // Again: nothing is there twice.
        let (name, layout) = published(&registry, &archs, None);
        for (subject, arch) in layout.manifests.iter().zip(archs) {
            let expected = serde_json::json!({"for": arch.name()});
            assert_eq!(bills(&registry, &name, subject), [expected], "{lists_referrers}");
        }
    }
}

/// Verifies a signature as cosign finds it, by openssl.
fn verified(registry: &StandIn, repository: &str, digest: &str, public: &PathBuf) -> bool {
    let tag = format!("{}.sig", digest.replace(':', "-"));
    let signature = manifest(registry, repository, &tag);
    let layer = &signature["layers"][0];
    assert_eq!(layer["mediaType"], "application/vnd.dev.cosign.simplesigning.v1+json");
    let statement = blob(registry, repository, layer);
    let read: Value = serde_json::from_slice(&statement).unwrap();
    assert_eq!(read["critical"]["type"], "cosign container image signature");
    assert_eq!(read["critical"]["image"]["docker-manifest-digest"], digest);
    let reference = read["critical"]["identity"]["docker-reference"].as_str().unwrap();
    assert_eq!(reference, format!("{}/{repository}", registry.address));
    let encoded = layer["annotations"]["dev.cosignproject.cosign/signature"].as_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let signature = file("signature", &STANDARD.decode(encoded).unwrap());
    let mut openssl = Command::new("openssl");
    openssl.args(["dgst", "-sha256", "-verify"]).arg(public).arg("-signature").arg(signature);
    run(openssl.arg(file("statement", &statement))).status.success()
}

#[test]
fn openssl_verifies_the_signatures_of_image_bills_and_chart() {
    let folder = tempfile::tempdir().unwrap();
    let (private, public) = key(&folder);
    let (_, stranger) = key(&tempfile::tempdir().unwrap());
    let other = tempfile::tempdir().unwrap();
    let (_, others) = key(&other);
    drop(stranger);
    let registry = StandIn::start(true, None);
    let (_, layout) =
        published(&registry, &[Arch::Amd64, Arch::Arm64], Some(&Key::read(&private).unwrap()));
    let mut digests = vec![("team/enforcer", layout.digest.clone())];
    digests.extend(layout.manifests.iter().map(|it| ("team/enforcer", it.digest().to_string())));
    let chart = ("team/charts/enforcer".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    let chart = registry.store(|store| digest(&store.manifests[&chart].1));
    digests.push(("team/charts/enforcer", chart));
    for (repository, digest) in digests {
        assert!(verified(&registry, repository, &digest, &public), "{repository} {digest}");
        assert!(!verified(&registry, repository, &digest, &others), "by another's key");
    }
    let count = registry
        .store(|store| store.manifests.keys().filter(|(_, name)| name.ends_with(".sig")).count());
    assert_eq!(count, 6, "the index, two images, two bills, the chart");
}

#[test]
fn other_keys_are_rejected_with_advice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    let mut rsa = Command::new("openssl");
    rsa.args(["genpkey", "-algorithm", "RSA", "-out"]).arg(&path);
    assert!(run(&mut rsa).status.success());
    let advice = |path: &PathBuf| format!("{:#}", Key::read(path).err().unwrap());
    assert!(advice(&path).contains("openssl genpkey"), "{}", advice(&path));
    fs::write(&path, "no key").unwrap();
    assert!(advice(&path).contains("openssl genpkey"));
    assert!(advice(&folder.path().join("none")).contains("can't read"));
}

#[test]
fn a_refusal_names_the_registry_and_the_remedy() {
    let registry = StandIn::start(true, Some("secret"));
    let name: Reference = format!("{}/enforcer:1", registry.address).parse().unwrap();
    let client = Registry::open(&name).unwrap();
    let error = format!("{:#}", client.blob(&name, b"x").unwrap_err());
    assert!(error.contains(&format!("docker login {}", registry.address)), "{error}");
}

#[test]
fn a_name_must_have_its_registry() {
    let check = |given: &str| with_registry(&given.parse().unwrap(), Some(given));
    assert!(check("r.example/enforcer:1").is_ok());
    assert!(check("localhost:5000/enforcer:1").is_ok());
    assert!(check("docker.io/team/enforcer:1").is_ok());
    assert!(check("enforcer:1").is_err());
    assert!(check("team/enforcer:1").is_err());
    assert!(with_registry(&"enforcer:1".parse().unwrap(), None).is_err());
}

/// Helm of `cargo xtask test`, or of this machine.
fn helm() -> Option<PathBuf> {
    std::env::var_os("ENFORCER_HELM").map(PathBuf::from).or_else(|| process::which("helm"))
}

#[test]
fn helm_installs_the_chart_from_the_registry() {
    // Only `cargo xtask test --quick` runs without.
    let Some(helm) = helm() else { return };
    let registry = StandIn::start(true, None);
    published(&registry, &[Arch::Amd64], None);
    let home = tempfile::tempdir().unwrap();
    let chart = format!("oci://{}/team/charts/enforcer", registry.address);
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&helm);
        command.args(arguments).args([&chart, "--plain-http"]).env("HOME", home.path());
        command.args(["--version", env!("CARGO_PKG_VERSION")]).current_dir(home.path());
        let output = run(&mut command);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(run(&["show", "chart"]).contains("appVersion"));
    let manifests = run(&["template", "enforcer"]);
    let image = format!("image: \"{}/team/enforcer:1.0\"", registry.address);
    assert!(manifests.contains(&image), "the chart knows its image");
    run(&["pull"]);
    let name = format!("enforcer-{}.tgz", env!("CARGO_PKG_VERSION"));
    assert!(home.path().join(name).is_file());
}
