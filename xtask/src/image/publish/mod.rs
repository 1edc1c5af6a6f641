//! `image --push`: publishes the image, its bills of materials and the Helm chart in an OCI registry,
//! and signs them.
//!
//! | what | where |
//! |---|---|
//! | image | the name of `--tag` |
//! | bill of materials | refers to the manifest of its architecture (OCI 1.1) |
//! | chart | `charts/enforcer` beside the image, its version as the tag |
//! | signature of DIGEST | the tag `sha256-DIGEST.sig`, as cosign expects it |

mod artifact;
mod bill;
mod chart;
mod registry;
mod signature;

use std::path::Path;

use anyhow::{Result, bail};
use oci_spec::distribution::Reference;
use oci_spec::image::{Descriptor, MediaType};

use super::layout::Layout;
use super::origin::Origin;
use crate::ui::Step;
use artifact::{Artifact, digest};
use chart::Chart;
use registry::Registry;
pub(super) use signature::Key;

/// What is published.
pub(super) struct Publication<'a> {
    /// The workspace, with the chart.
    pub(super) root: &'a Path,
    pub(super) layout: &'a Layout,
    /// The image's name, with its registry.
    pub(super) name: &'a Reference,
    /// The bill of materials of each architecture, in the layout's order.
    pub(super) sboms: Vec<&'a [u8]>,
    pub(super) origin: &'a Origin,
    /// Address of the sources.
    pub(super) source: Option<&'a str>,
    /// Signs everything.
    pub(super) key: Option<&'a Key>,
}

/// Returns the name with its registry.
///
/// # Errors
/// The name has no registry.
pub(super) fn with_registry(name: &Reference, given: Option<&str>) -> Result<()> {
    let Some(given) = given else {
        bail!("--push needs the image's name: add --tag registry.example/team/enforcer:1.0");
    };
    // Without a registry it would be Docker's own one.
    if !given.starts_with(name.registry()) {
        bail!("--push --tag {given}: the name has no registry, such as registry.example/");
    }
    if name.tag().is_none() {
        bail!("--push --tag {given}: the name has no tag");
    }
    Ok(())
}

/// Publishes everything; returns what was published, for people.
///
/// # Errors
/// The chart can't be packed, or the registry refuses something.
pub(super) fn publish(what: &Publication<'_>) -> Result<Vec<String>> {
    let chart = Chart::pack(what.root, what.name, what.source, what.origin)?;
    let step = Step::start(format!("pushing to {}", what.name.registry()));
    let registry = Registry::open(what.name)?;
    let mut published = Vec::new();
    let top = image(&registry, what)?;
    published.push(format!("{}@{top}", what.name.whole()));
    let mut signed = vec![(what.name.clone(), top)];
    for manifest in &what.layout.manifests {
        signed.push((what.name.clone(), manifest.digest().to_string()));
    }
    for (subject, sbom) in what.layout.manifests.iter().zip(&what.sboms) {
        let artifact = bill::artifact(subject, sbom, what.origin)?;
        refer(&registry, what.name, subject, &artifact)?;
        signed.push((what.name.clone(), artifact.digest()));
    }
    let place = chart.place(what.name);
    let artifact = chart.artifact(what.origin)?;
    registry.push(&place, &artifact)?;
    published.push(format!("oci://{}@{}", place.whole(), artifact.digest()));
    signed.push((place, artifact.digest()));
    if let Some(key) = what.key {
        for (place, digest) in signed {
            let (tag, artifact) = signature::artifact(key, &place, &digest)?;
            registry.push(&tagged(&place, tag), &artifact)?;
        }
    }
    step.done(if what.key.is_some() { "signed" } else { "not signed" });
    Ok(published)
}

/// Pushes the image: the manifest of each architecture, then the one with the tag.
fn image(registry: &Registry, what: &Publication<'_>) -> Result<String> {
    let layout = what.layout;
    let mut manifests: Vec<_> = layout.manifests.iter().collect();
    if !manifests.iter().any(|it| it.digest() == layout.top.digest()) {
        manifests.push(&layout.top);
    }
    let is_manifest = |content: &[u8]| {
        let digest = digest(content);
        manifests.iter().any(|it| it.digest().to_string() == digest)
    };
    for blob in layout.blobs().filter(|content| !is_manifest(content)) {
        registry.blob(what.name, blob)?;
    }
    for descriptor in &manifests {
        let content = layout.blob(descriptor)?;
        let digest = descriptor.digest().to_string();
        registry.manifest(&by_digest(what.name, digest), descriptor.media_type(), content)?;
    }
    let content = layout.blob(&layout.top)?;
    registry.manifest(what.name, layout.top.media_type(), content)?;
    Ok(layout.top.digest().to_string())
}

/// Pushes an artifact that refers to another manifest.
fn refer(
    registry: &Registry,
    place: &Reference,
    subject: &Descriptor,
    artifact: &Artifact,
) -> Result<()> {
    registry.push(&by_digest(place, artifact.digest()), artifact)?;
    let subject = subject.digest().to_string();
    let known = registry.referrers(&by_digest(place, subject.clone()))?;
    if known.iter().any(|it| it["digest"] == artifact.digest().as_str()) {
        return Ok(());
    }
    // The registry knows no referrers: clients look them up in an index with this tag.
    let index = bill::index(known, artifact)?;
    let tag = subject.replace(':', "-");
    registry.manifest(&tagged(place, tag), &MediaType::ImageIndex, &index)
}

fn by_digest(place: &Reference, digest: String) -> Reference {
    let (registry, repository) = (place.registry().to_owned(), place.repository().to_owned());
    Reference::with_digest(registry, repository, digest)
}

fn tagged(place: &Reference, tag: String) -> Reference {
    Reference::with_tag(place.registry().to_owned(), place.repository().to_owned(), tag)
}

#[cfg(test)]
mod stand_in;
#[cfg(test)]
mod tests;
