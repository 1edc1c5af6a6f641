use std::io::Read as _;

use flate2::read::GzDecoder;
use jiff::Timestamp;
use oci_spec::image::{ImageIndex, ImageManifest};

use super::*;

fn image(arch: Arch) -> Image {
    let program = format!("a program for {}", arch.name());
    Image { arch, entries: vec![Entry::program("enforcer", program.into_bytes())] }
}

fn layout(archs: &[Arch], name: &str) -> Layout {
    let images: Vec<_> = archs.iter().map(|arch| image(*arch)).collect();
    let annotations = Annotations::from([("org.opencontainers.image.title", "enforcer".into())]);
    let origin = Origin { revision: None, created: Timestamp::UNIX_EPOCH };
    lay_out(&images, &name.parse().unwrap(), &annotations, &origin).unwrap()
}

const BOTH: [Arch; 2] = [Arch::Amd64, Arch::Arm64];

fn content<'a>(layout: &'a Layout, path: &str) -> &'a [u8] {
    let entry = layout.entries.iter().find(|entry| entry.path == path);
    entry.and_then(|entry| entry.content.as_deref()).unwrap_or_else(|| panic!("no {path}"))
}

/// The content of a descriptor; checks its size and hash.
fn blob<'a>(layout: &'a Layout, descriptor: &Descriptor) -> &'a [u8] {
    let found = content(layout, &blob_path(descriptor.digest().digest()));
    assert_eq!(u64::try_from(found.len()).unwrap(), descriptor.size());
    assert_eq!(hex(found), descriptor.digest().digest());
    found
}

/// The manifests in the indexes.
fn manifests(layout: &Layout) -> Vec<(Descriptor, ImageManifest)> {
    let top = ImageIndex::from_reader(content(layout, "index.json")).unwrap();
    let [top] = top.manifests().as_slice() else { panic!("not one name") };
    assert_eq!(top.digest().to_string(), layout.digest);
    let descriptors = match top.media_type() {
        MediaType::ImageIndex => {
            ImageIndex::from_reader(blob(layout, top)).unwrap().manifests().clone()
        }
        _ => vec![top.clone()],
    };
    let read = |it: Descriptor| {
        let manifest = ImageManifest::from_reader(blob(layout, &it)).unwrap();
        (it, manifest)
    };
    descriptors.into_iter().map(read).collect()
}

#[test]
fn each_architecture_leads_to_its_own_program() {
    let layout = layout(&BOTH, "enforcer:1");
    let manifests = manifests(&layout);
    for ((descriptor, manifest), arch) in manifests.iter().zip(BOTH) {
        let platform = descriptor.platform().as_ref().unwrap();
        assert_eq!(platform.architecture().to_string(), arch.name());
        assert_eq!(platform.variant().as_deref(), variant(arch));
        let config = ImageConfiguration::from_reader(blob(&layout, manifest.config())).unwrap();
        assert_eq!(config.architecture().to_string(), arch.name());
        let start = config.config().as_ref().unwrap();
        assert_eq!(start.entrypoint().as_ref().unwrap(), &["/enforcer"]);
        assert_eq!(start.cmd().as_ref().unwrap(), &["run"]);
        assert_eq!(start.labels().as_ref().unwrap().len(), 1);
        let mut layer = Vec::new();
        GzDecoder::new(blob(&layout, &manifest.layers()[0])).read_to_end(&mut layer).unwrap();
        assert_eq!(config.rootfs().diff_ids(), &[format!("sha256:{}", hex(&layer))]);
        let mut archive = tar::Archive::new(layer.as_slice());
        let mut file = archive.entries().unwrap().next().unwrap().unwrap();
        let mut program = String::new();
        file.read_to_string(&mut program).unwrap();
        assert_eq!(program, format!("a program for {}", arch.name()));
    }
    assert_eq!(manifests.len(), 2);
}

#[test]
fn a_single_architecture_needs_no_index_of_its_own() {
    let layout = layout(&[Arch::Arm64], "enforcer:1");
    let manifests = manifests(&layout);
    assert_eq!(manifests.len(), 1);
    assert_eq!(manifests[0].0.platform().as_ref().unwrap().architecture(), &OciArch::ARM64);
}

#[test]
fn docker_finds_the_first_architecture_under_the_name_it_shows() {
    let layout = layout(&BOTH, "enforcer:1");
    let json: serde_json::Value =
        serde_json::from_slice(content(&layout, "manifest.json")).unwrap();
    assert_eq!(json[0]["RepoTags"][0], "enforcer:1");
    let config = content(&layout, json[0]["Config"].as_str().unwrap());
    let config = ImageConfiguration::from_reader(config).unwrap();
    assert_eq!(config.architecture(), &OciArch::Amd64);
    assert!(!content(&layout, json[0]["Layers"][0].as_str().unwrap()).is_empty());
}

#[test]
fn names_are_whole_for_containerd_and_short_for_people() {
    for (given, whole, short) in [
        ("enforcer:1", "docker.io/library/enforcer:1", "enforcer:1"),
        ("team/enforcer:1", "docker.io/team/enforcer:1", "team/enforcer:1"),
        ("r.example:5000/a/b", "r.example:5000/a/b:latest", "r.example:5000/a/b:latest"),
    ] {
        let layout = layout(&[Arch::Amd64], given);
        let top = ImageIndex::from_reader(content(&layout, "index.json")).unwrap();
        let annotations = top.manifests()[0].annotations().clone().unwrap();
        assert_eq!(annotations[CONTAINERD_NAME], whole);
        assert_eq!(annotations[ANNOTATION_REF_NAME], whole.rsplit_once(':').unwrap().1);
        assert_eq!(familiar(&given.parse().unwrap()), short);
    }
}

#[test]
fn the_same_images_are_the_same_bytes() {
    let bytes = || {
        let mut out = Vec::new();
        tarball::write(&mut out, &layout(&BOTH, "enforcer:1").entries, 1).unwrap();
        out
    };
    // Hash maps of annotations and labels have another order each time.
    let first = bytes();
    assert!((0..8).all(|_| bytes() == first));
}
