//! The Helm chart as an archive, and as an OCI artifact.
//! Source: helm/helm, pkg/registry/constants.go and chart.go

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use oci_spec::distribution::Reference;
use oci_spec::image::{
    ANNOTATION_CREATED, ANNOTATION_DESCRIPTION, ANNOTATION_SOURCE, ANNOTATION_TITLE,
    ANNOTATION_VERSION, ImageManifestBuilder, MediaType, SCHEMA_VERSION,
};
use serde_json::Value;

use super::super::layout;
use super::super::origin::Origin;
use super::super::tarball::{self, Entry};
use super::artifact::Artifact;

/// The chart's folder in the workspace.
const FOLDER: &str = "deploy/helm/enforcer";

/// The folder's name in the archive, which is the chart's.
const NAME: &str = "enforcer";

/// Helm's type of a chart's metadata.
const CONFIG: &str = "application/vnd.cncf.helm.config.v1+json";

/// Helm's type of a chart's archive.
const CONTENT: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";

/// A packed chart.
pub(super) struct Chart {
    /// `Chart.yaml`.
    metadata: Value,
    archive: Vec<u8>,
}

impl Chart {
    /// Packs the chart; its values name the image.
    ///
    /// # Errors
    /// A file can't be read, or is not as expected.
    pub(super) fn pack(
        root: &Path,
        image: &Reference,
        source: Option<&str>,
        origin: &Origin,
    ) -> Result<Self> {
        let pack = || -> Result<Self> {
            let mut entries = Vec::new();
            collect(&root.join(FOLDER), NAME, &mut entries)?;
            let licence = fs::read(root.join("LICENSE")).context("can't read LICENSE")?;
            entries.push(Entry::file(format!("{NAME}/LICENSE"), licence));
            change(&mut entries, "values.yaml", |text| with_image(text, image))?;
            change(&mut entries, "Chart.yaml", |text| Ok(described(text, image, source)))?;
            let metadata = text(&entries, "Chart.yaml")?;
            let metadata = serde_saphyr::from_str(metadata).context("Chart.yaml")?;
            let mut archive = Vec::new();
            tarball::write(&mut archive, &entries, origin.seconds())?;
            Ok(Self { metadata, archive: layout::compress(&archive)? })
        };
        pack().context("can't pack the chart")
    }

    /// Its name in a registry: `charts/enforcer` beside the image.
    pub(super) fn place(&self, image: &Reference) -> Reference {
        let folder = image.repository().rsplit_once('/').map(|(folder, _)| format!("{folder}/"));
        let repository = format!("{}charts/{NAME}", folder.unwrap_or_default());
        // Tags can't have a plus sign; helm writes and reads them so.
        let tag = self.version().replace('+', "_");
        Reference::with_tag(image.registry().to_owned(), repository, tag)
    }

    fn version(&self) -> &str {
        self.metadata["version"].as_str().unwrap_or_default()
    }

    /// The artifact that `helm pull oci://…` reads.
    ///
    /// # Errors
    /// A value has no place in the format.
    pub(super) fn artifact(&self, origin: &Origin) -> Result<Artifact> {
        let config = layout::json(&self.metadata)?;
        let content = MediaType::Other(CONTENT.to_owned());
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let annotations = [
            (ANNOTATION_TITLE, text(&self.metadata["name"])),
            (ANNOTATION_VERSION, text(&self.metadata["version"])),
            (ANNOTATION_DESCRIPTION, text(&self.metadata["description"])),
            (ANNOTATION_SOURCE, text(&self.metadata["sources"][0])),
            (ANNOTATION_CREATED, Some(origin.created.to_string())),
        ];
        let annotations =
            annotations.into_iter().filter_map(|(key, it)| Some((key.to_owned(), it?)));
        let manifest = ImageManifestBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageManifest)
            .config(layout::descriptor(MediaType::Other(CONFIG.to_owned()), &config)?)
            .layers(vec![layout::descriptor(content, &self.archive)?])
            .annotations(annotations.collect::<std::collections::HashMap<_, _>>())
            .build()?;
        Ok(Artifact {
            blobs: vec![config, self.archive.clone()],
            media_type: MediaType::ImageManifest,
            manifest: layout::json(&manifest)?,
        })
    }
}

/// Reads all files of a folder. Links become files, as in helm's own archives.
fn collect(folder: &Path, place: &str, entries: &mut Vec<Entry>) -> Result<()> {
    let shown = folder.display();
    for entry in fs::read_dir(folder).with_context(|| format!("can't read {shown}"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let place = format!("{place}/{name}");
        if path.is_dir() {
            collect(&path, &place, entries)?;
        } else {
            let content =
                fs::read(&path).with_context(|| format!("can't read {}", path.display()))?;
            entries.push(Entry::file(place, content));
        }
    }
    Ok(())
}

/// A file's text.
fn text<'a>(entries: &'a [Entry], name: &str) -> Result<&'a str> {
    let path = format!("{NAME}/{name}");
    let entry = entries.iter().find(|it| it.path == path).with_context(|| format!("no {name}"))?;
    Ok(std::str::from_utf8(entry.content.as_deref().unwrap_or_default())?)
}

fn change(
    entries: &mut [Entry],
    name: &str,
    change: impl FnOnce(&str) -> Result<String>,
) -> Result<()> {
    let changed = change(text(entries, name)?).with_context(|| name.to_owned())?;
    let path = format!("{NAME}/{name}");
    for entry in entries.iter_mut().filter(|it| it.path == path) {
        entry.content = Some(changed.clone().into_bytes());
    }
    Ok(())
}

/// The values, with the image instead of none.
fn with_image(values: &str, image: &Reference) -> Result<String> {
    let repository = format!("{}/{}", image.registry(), image.repository());
    let values = set(values, "repository", &repository)?;
    set(&values, "tag", image.tag().unwrap_or_default())
}

/// Sets an empty value of the section `image`.
fn set(values: &str, name: &str, value: &str) -> Result<String> {
    let empty = format!("\n  {name}: \"\"\n");
    if values.matches(&empty).count() != 1 {
        bail!("one line should be: {}", empty.trim());
    }
    Ok(values.replace(&empty, &format!("\n  {name}: \"{value}\"\n")))
}

/// The chart's description with the address of the sources and the image, which are known only now.
/// The section `annotations` is the last one.
fn described(chart: &str, image: &Reference, source: Option<&str>) -> String {
    let mut text = chart.trim_end().to_owned();
    text += &format!(
        "\n  artifacthub.io/images: |\n    - name: {NAME}\n      image: {}\n",
        image.whole()
    );
    if let Some(source) = source {
        text += &format!("home: {source}\nsources: [{source}]\n");
    }
    text
}

#[cfg(test)]
#[path = "chart_tests.rs"]
mod tests;
