//! A bill of materials as an artifact that refers to an image.
//! Source: <https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md>

use anyhow::Result;
use oci_spec::image::{
    ANNOTATION_CREATED, ANNOTATION_TITLE, Descriptor, DescriptorBuilder, ImageManifestBuilder,
    MediaType, SCHEMA_VERSION,
};
use serde_json::{Value, json};

use super::super::layout;
use super::super::origin::Origin;
use super::artifact::{Artifact, digest};

/// CycloneDX in JSON (IANA's media types).
const CYCLONEDX: &str = "application/vnd.cyclonedx+json";

/// The content of a configuration that has none.
const EMPTY: &[u8] = b"{}";

/// The bill of materials of the image with the manifest `subject`.
pub(super) fn artifact(subject: &Descriptor, sbom: &[u8], origin: &Origin) -> Result<Artifact> {
    let kind = MediaType::Other(CYCLONEDX.to_owned());
    let mut layer = descriptor(kind.clone(), sbom)?;
    let title = (ANNOTATION_TITLE.to_owned(), "sbom.cdx.json".to_owned());
    layer.set_annotations(Some([title].into()));
    let subject = DescriptorBuilder::default()
        .media_type(subject.media_type().clone())
        .digest(subject.digest().clone())
        .size(subject.size())
        .build()?;
    let created = (ANNOTATION_CREATED.to_owned(), origin.created.to_string());
    let manifest = ImageManifestBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageManifest)
        .artifact_type(kind)
        .config(descriptor(MediaType::EmptyJSON, EMPTY)?)
        .layers(vec![layer])
        .subject(subject)
        .annotations([created])
        .build()?;
    Ok(Artifact {
        blobs: vec![EMPTY.to_vec(), sbom.to_vec()],
        media_type: MediaType::ImageManifest,
        manifest: layout::json(&manifest)?,
    })
}

fn descriptor(media_type: MediaType, content: &[u8]) -> Result<Descriptor> {
    layout::descriptor(media_type, content)
}

/// The index of everything that refers to an image, with one more artifact.
pub(super) fn index(mut known: Vec<Value>, artifact: &Artifact) -> Result<Vec<u8>> {
    known.push(json!({
        "mediaType": artifact.media_type.to_string(),
        "artifactType": CYCLONEDX,
        "digest": digest(&artifact.manifest),
        "size": artifact.manifest.len(),
    }));
    layout::json(&json!({
        "schemaVersion": SCHEMA_VERSION,
        "mediaType": MediaType::ImageIndex.to_string(),
        "manifests": known,
    }))
}
