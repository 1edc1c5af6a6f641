//! The archive: an OCI image layout, with the index of older versions of Docker beside it.
//! Source: <https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md>

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use oci_spec::distribution::Reference;
use oci_spec::image::{
    ANNOTATION_REF_NAME, Arch as OciArch, Config, ConfigBuilder, Descriptor, DescriptorBuilder,
    HistoryBuilder, ImageConfiguration, ImageConfigurationBuilder, ImageIndexBuilder,
    ImageManifestBuilder, MediaType, OciLayoutBuilder, Os, Platform, PlatformBuilder,
    RootFsBuilder, SCHEMA_VERSION, Sha256Digest,
};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::contents;
use super::origin::Origin;
use super::tarball::{self, Entry};
use crate::arch::Arch;

/// The annotation from which containerd, and Docker on top of it, takes the name.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// The program's default argument.
const DEFAULT_COMMAND: &str = "run";

/// An image for one architecture.
pub(super) struct Image {
    pub(super) arch: Arch,
    pub(super) entries: Vec<Entry>,
}

/// The annotations and labels of all images, by OCI's names.
pub(super) type Annotations = BTreeMap<&'static str, String>;

/// An archive's contents.
pub(super) struct Layout {
    /// Its files.
    pub(super) entries: Vec<Entry>,
    /// The digest for registries.
    pub(super) digest: String,
    /// The manifest or index that the name stands for.
    pub(super) top: Descriptor,
    /// The manifest of each architecture.
    pub(super) manifests: Vec<Descriptor>,
}

impl Layout {
    /// The content of everything that is named by its hash.
    pub(super) fn blobs(&self) -> impl Iterator<Item = &[u8]> {
        let blobs = self.entries.iter().filter(|entry| entry.path.starts_with(BLOBS));
        blobs.filter_map(|entry| entry.content.as_deref()).filter(|content| !content.is_empty())
    }

    /// The content of a descriptor.
    ///
    /// # Errors
    /// It is of another layout.
    pub(super) fn blob(&self, descriptor: &Descriptor) -> Result<&[u8]> {
        let path = blob_path(descriptor.digest().digest());
        let entry = self.entries.iter().find(|entry| entry.path == path);
        entry.and_then(|entry| entry.content.as_deref()).with_context(|| format!("no {path}"))
    }
}

/// Lays out the images of all architectures under one name.
///
/// # Errors
/// There is no image, or one can't be packed.
pub(super) fn lay_out(
    images: &[Image],
    name: &Reference,
    annotations: &Annotations,
    origin: &Origin,
) -> Result<Layout> {
    let mut blobs = Blobs::default();
    let mut packed = Vec::new();
    for image in images {
        packed.push(pack(image, annotations, origin, &mut blobs)?);
    }
    let first = packed.first().context("there is no image to lay out")?;
    let for_docker = for_docker(first, name);
    let manifests: Vec<_> = packed.iter().map(|image| image.manifest.clone()).collect();
    let top = match manifests.as_slice() {
        [only] => only.clone(),
        _ => {
            let index = ImageIndexBuilder::default()
                .schema_version(SCHEMA_VERSION)
                .media_type(MediaType::ImageIndex)
                .manifests(manifests.clone())
                .annotations(hash_map(annotations))
                .build()?;
            blobs.add_json(&index, MediaType::ImageIndex)?
        }
    };
    let names = [
        (ANNOTATION_REF_NAME, name.tag().unwrap_or_default().to_owned()),
        (CONTAINERD_NAME, name.whole()),
    ];
    let mut named = top.clone();
    named.set_annotations(Some(names.map(|(key, value)| (key.to_owned(), value)).into()));
    let digest = top.digest().to_string();
    let index = ImageIndexBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageIndex)
        .manifests(vec![named])
        .build()?;
    let version = OciLayoutBuilder::default().image_layout_version("1.0.0").build()?;
    let mut entries = blobs.entries;
    entries.extend(["blobs", "blobs/sha256"].map(Entry::folder));
    entries.push(Entry::file("index.json", json(&index)?));
    entries.push(Entry::file("manifest.json", json(&for_docker)?));
    entries.push(Entry::file("oci-layout", json(&version)?));
    Ok(Layout { entries, digest, top, manifests })
}

/// Files that are named by their hashes.
#[derive(Default)]
struct Blobs {
    entries: Vec<Entry>,
}

impl Blobs {
    fn add(&mut self, content: Vec<u8>, media_type: MediaType) -> Result<Descriptor> {
        let descriptor = descriptor(media_type, &content)?;
        let path = blob_path(descriptor.digest().digest());
        if !self.entries.iter().any(|entry| entry.path == path) {
            self.entries.push(Entry::file(path, content));
        }
        Ok(descriptor)
    }

    fn add_json(&mut self, content: &impl Serialize, media_type: MediaType) -> Result<Descriptor> {
        self.add(json(content)?, media_type)
    }
}

/// The descriptor of some bytes.
pub(super) fn descriptor(media_type: MediaType, content: &[u8]) -> Result<Descriptor> {
    let digest: Sha256Digest = hex(content).parse()?;
    Ok(Descriptor::new(media_type, u64::try_from(content.len())?, digest))
}

/// The folder of blobs.
const BLOBS: &str = "blobs/sha256/";

fn blob_path(digest: &str) -> String {
    format!("{BLOBS}{digest}")
}

/// The descriptors of an image's parts.
struct Packed {
    manifest: Descriptor,
    config: Descriptor,
    layer: Descriptor,
}

fn pack(
    image: &Image,
    annotations: &Annotations,
    origin: &Origin,
    blobs: &mut Blobs,
) -> Result<Packed> {
    let mut layer = Vec::new();
    tarball::write(&mut layer, &image.entries, origin.seconds())?;
    let config = configuration(image.arch, &hex(&layer), annotations, origin)?;
    let layer = blobs.add(compress(&layer)?, MediaType::ImageLayerGzip)?;
    let config = blobs.add_json(&config, MediaType::ImageConfig)?;
    let manifest = ImageManifestBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageManifest)
        .config(config.clone())
        .layers(vec![layer.clone()])
        .annotations(hash_map(annotations))
        .build()?;
    let manifest = blobs.add_json(&manifest, MediaType::ImageManifest)?;
    let manifest = DescriptorBuilder::default()
        .media_type(MediaType::ImageManifest)
        .digest(manifest.digest().clone())
        .size(manifest.size())
        .platform(platform(image.arch)?)
        .build()?;
    Ok(Packed { manifest, config, layer })
}

fn configuration(
    arch: Arch,
    layer: &str,
    annotations: &Annotations,
    origin: &Origin,
) -> Result<ImageConfiguration> {
    let created = origin.created.to_string();
    let history = HistoryBuilder::default().created(&*created).created_by("cargo xtask image");
    let root = RootFsBuilder::default().typ("layers").diff_ids(vec![format!("sha256:{layer}")]);
    let mut configuration = ImageConfigurationBuilder::default()
        .created(created)
        .architecture(architecture(arch))
        .os(Os::Linux)
        .config(start(annotations)?)
        .rootfs(root.build()?)
        .history(vec![history.build()?])
        .build()?;
    configuration.set_variant(variant(arch).map(str::to_owned));
    Ok(configuration)
}

/// The start of the program, as root: it needs capabilities to load programs into the kernel, and
/// the pod gives it only those.
fn start(annotations: &Annotations) -> Result<Config> {
    let config = ConfigBuilder::default()
        .entrypoint(vec![format!("/{}", contents::AGENT)])
        .cmd(vec![DEFAULT_COMMAND.to_owned()])
        .working_dir("/")
        .labels(hash_map(annotations));
    Ok(config.build()?)
}

fn platform(arch: Arch) -> Result<Platform> {
    let platform = PlatformBuilder::default().architecture(architecture(arch)).os(Os::Linux);
    let mut platform = platform.build()?;
    platform.set_variant(variant(arch).map(str::to_owned));
    Ok(platform)
}

fn architecture(arch: Arch) -> OciArch {
    match arch {
        Arch::Amd64 => OciArch::Amd64,
        Arch::Arm64 => OciArch::ARM64,
    }
}

fn variant(arch: Arch) -> Option<&'static str> {
    match arch {
        Arch::Amd64 => None,
        Arch::Arm64 => Some("v8"),
    }
}

/// Docker's own index, for versions that don't support OCI's. It can't have several architectures
/// under one name, so it has the first.
fn for_docker(image: &Packed, name: &Reference) -> serde_json::Value {
    let path = |descriptor: &Descriptor| blob_path(descriptor.digest().digest());
    json!([{
        "Config": path(&image.config),
        "RepoTags": [familiar(name)],
        "Layers": [path(&image.layer)],
    }])
}

/// The name as Docker shows it: without the default registry.
pub(super) fn familiar(name: &Reference) -> String {
    let whole = name.whole();
    let short = ["docker.io/library/", "docker.io/"].iter().find_map(|it| whole.strip_prefix(it));
    short.map_or_else(|| whole.clone(), str::to_owned)
}

/// JSON with sorted keys, so that its bytes are always the same.
pub(super) fn json(content: &impl Serialize) -> Result<Vec<u8>> {
    let mut value = serde_json::to_value(content)?;
    value.sort_all_objects();
    Ok(serde_json::to_vec(&value)?)
}

pub(super) fn compress(layer: &[u8]) -> Result<Vec<u8>> {
    // The header has neither a time nor a system, so that its bytes are the same everywhere.
    let unknown_system = 255;
    let header = GzBuilder::new().mtime(0).operating_system(unknown_system);
    let mut writer = header.write(Vec::new(), Compression::best());
    writer.write_all(layer)?;
    Ok(writer.finish()?)
}

/// The SHA-256 of some bytes, as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hash_map(annotations: &Annotations) -> HashMap<String, String> {
    annotations.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
}

#[cfg(test)]
mod tests;
