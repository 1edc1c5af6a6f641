//! `image`: builds the container image of the agent, without Docker.
//!
//! The image has the agent's static program, its licences and its bill of materials, and no other
//! file. The same commit and the same compilers give the same bytes. [`publish`] pushes it.

mod contents;
mod layout;
mod notices;
mod origin;
mod parts;
mod publish;
mod sbom;
mod tarball;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use oci_spec::distribution::Reference;
use oci_spec::image::{
    ANNOTATION_CREATED, ANNOTATION_DESCRIPTION, ANNOTATION_LICENSES, ANNOTATION_REVISION,
    ANNOTATION_SOURCE, ANNOTATION_TITLE, ANNOTATION_VERSION,
};

use crate::arch::Arch;
use crate::cli;
use crate::standalone::Builder;
use crate::ui::{self, Step};
use crate::workspace::{self, Profile};
use crate::{ebpf, process};
use layout::{Annotations, Image};
use origin::Origin;
use parts::{Part, Parts};
use publish::{Key, Publication};

/// Builds the image and writes the archive, or the image's files.
///
/// # Errors
/// Something can't be built or written.
pub(crate) fn run(root: &Path, options: &cli::Image) -> Result<ExitCode> {
    let archs = architectures(options)?;
    let name = options.tag.as_deref().unwrap_or(concat!("enforcer:", env!("CARGO_PKG_VERSION")));
    let name: Reference = name.parse().with_context(|| {
        format!("--tag {name}: expected a name such as registry.example/team/enforcer:1.0")
    })?;
    // Before the long build.
    if options.push {
        publish::with_registry(&name, options.tag.as_deref())?;
    }
    let key = options.sign.as_deref().map(Key::read).transpose()?;
    let origin = Origin::of(root)?;
    ebpf::build(root)?;
    let mut made = Vec::new();
    for arch in archs {
        made.push(make(root, arch, options.quick, &origin)?);
    }
    if let Some(folder) = &options.rootfs {
        let [only] = made.as_slice() else {
            bail!("--rootfs takes one architecture: add --arch amd64 or --arch arm64");
        };
        contents::unpack(&only.image.entries, folder)?;
        ui::print(format_args!("  {}", folder.display()));
        return Ok(ExitCode::SUCCESS);
    }
    let published = options.push.then_some(Publishing { key, source: options.source.as_deref() });
    write(root, made, &name, &origin, options, published.as_ref())?;
    Ok(ExitCode::SUCCESS)
}

/// How to publish.
struct Publishing<'a> {
    key: Option<Key>,
    source: Option<&'a str>,
}

/// An image and its bill of materials, which is also written beside the archive.
struct Made {
    image: Image,
    annotations: Annotations,
    sbom: Vec<u8>,
}

/// The chosen architectures, each once, in the archive's order.
fn architectures(options: &cli::Image) -> Result<Vec<Arch>> {
    if options.rootfs.is_some() && options.archs.is_empty() {
        let host = Arch::HOST.context("this machine's architecture isn't supported")?;
        return Ok(vec![host]);
    }
    let mut archs = options.archs.clone();
    if archs.is_empty() {
        archs = vec![Arch::Amd64, Arch::Arm64];
    }
    archs.sort_unstable();
    archs.dedup();
    Ok(archs)
}

fn make(root: &Path, arch: Arch, quick: bool, origin: &Origin) -> Result<Made> {
    let builder = Builder::obtain(root, arch)?;
    let profile = if quick { Profile::Dev } else { Profile::Release };
    let program = build(&builder, arch, profile, origin)?;
    let step = Step::start(format!("listing the parts for {}", arch.name()));
    let parts = Parts::of(root, arch, &from_compilers(&builder)?)?;
    let sbom = sbom::write(&parts, origin)?;
    let notices = notices::write(&parts)?;
    let licence = root.join("LICENSE");
    let licence =
        fs::read(&licence).with_context(|| format!("can't read {}", licence.display()))?;
    step.done(&format!("{} parts", parts.others.len()));
    let entries = contents::entries(program, licence, notices, sbom.clone());
    let annotations = annotations(&parts.agent, origin);
    Ok(Made { image: Image { arch, entries }, annotations, sbom })
}

/// Builds the agent; its metrics have the revision.
fn build(builder: &Builder, arch: Arch, profile: Profile, origin: &Origin) -> Result<Vec<u8>> {
    let optimised = if profile == Profile::Release { ", optimised" } else { "" };
    let step = Step::start(format!("building the agent for {}{optimised}", arch.name()));
    let mut command = builder.cargo("build", profile)?;
    command.args(["--locked", "--package", parts::AGENT, "--bin", parts::AGENT]);
    if let Some(revision) = &origin.revision {
        command.env("ENFORCER_REVISION", revision);
    }
    process::run_everything(&mut command, &step)?;
    let path = builder.folder(profile).join(parts::AGENT);
    let program = fs::read(&path).with_context(|| format!("can't read {}", path.display()))?;
    step.done(builder.origin());
    Ok(program)
}

/// The libraries that the compilers add to every program.
fn from_compilers(builder: &Builder) -> Result<Vec<Part>> {
    let part = |name: &str, version: String, licence: &str, home: &str| Part {
        id: (name.to_owned(), version),
        is_crate: false,
        licence: Some(licence.to_owned()),
        home: Some(home.to_owned()),
        description: None,
        folder: None,
        needs: Vec::new(),
    };
    let [glibc, gcc, rust] = builder.releases()?;
    let with_exception = "GPL-3.0-or-later WITH GCC-exception-3.1";
    let of_rust = "https://github.com/rust-lang/rust";
    Ok(vec![
        part("glibc", glibc, "LGPL-2.1-or-later", "https://sourceware.org/git/glibc.git"),
        part("libgcc", gcc, with_exception, "https://gcc.gnu.org/git/gcc.git"),
        part("rust-std", rust, "MIT OR Apache-2.0", of_rust),
    ])
}

fn annotations(agent: &Part, origin: &Origin) -> Annotations {
    let mut annotations = Annotations::from([
        (ANNOTATION_TITLE, agent.id.0.clone()),
        (ANNOTATION_VERSION, agent.id.1.clone()),
        (ANNOTATION_CREATED, origin.created.to_string()),
    ]);
    let known = [
        (ANNOTATION_DESCRIPTION, &agent.description),
        (ANNOTATION_LICENSES, &agent.licence),
        (ANNOTATION_SOURCE, &agent.home),
        (ANNOTATION_REVISION, &origin.revision),
    ];
    let known = known.into_iter().filter_map(|(key, value)| Some((key, value.clone()?)));
    annotations.extend(known);
    annotations
}

fn write(
    root: &Path,
    made: Vec<Made>,
    name: &Reference,
    origin: &Origin,
    options: &cli::Image,
    publishing: Option<&Publishing<'_>>,
) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let default = || workspace::target(root).join(format!("image/enforcer-{version}.tar"));
    let archive = options.output.clone().unwrap_or_else(default);
    let step = Step::start("writing the archive");
    let annotations = made.first().map(|made| made.annotations.clone()).unwrap_or_default();
    let mut sboms = Vec::new();
    let mut images = Vec::new();
    for made in made {
        let path = archive.with_extension(format!("{}.cdx.json", made.image.arch.name()));
        sboms.push((path, made.sbom));
        images.push(made.image);
    }
    let layout = layout::lay_out(&images, name, &annotations, origin)?;
    save(&archive, |file| tarball::write(file, &layout.entries, origin.seconds()))?;
    for (path, sbom) in &sboms {
        save(path, |file| Ok(file.write_all(sbom)?))?;
    }
    let size = fs::metadata(&archive).map(|data| data.len()).unwrap_or_default();
    step.done(&format!("{} kB", size / 1000));
    writeln!(io::stdout(), "{}", layout.digest)?;
    ui::print(advice(&archive, name, sboms.iter().map(|(path, _)| path)));
    let Some(Publishing { key, source }) = publishing else { return Ok(()) };
    let sboms = sboms.iter().map(|(_, sbom)| sbom.as_slice()).collect();
    let source = *source;
    let key = key.as_ref();
    let what = Publication { root, layout: &layout, name, sboms, origin, source, key };
    for line in publish::publish(&what)? {
        ui::print(format_args!("  {line}"));
    }
    Ok(())
}

/// Writes a file under another name first, so that it is complete once it exists.
fn save(path: &Path, content: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let write = || -> Result<()> {
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        let partial = path.with_extension("partial");
        let mut file = BufWriter::new(File::create(&partial)?);
        content(&mut file)?;
        file.flush()?;
        Ok(fs::rename(&partial, path)?)
    };
    write().with_context(|| format!("can't write {}", path.display()))
}

/// The files, and commands for the archive.
fn advice<'a>(
    archive: &Path,
    name: &Reference,
    sboms: impl Iterator<Item = &'a PathBuf>,
) -> String {
    let shown = archive.display();
    let familiar = layout::familiar(name);
    // A name without a registry isn't meant for Docker's own one.
    let place = if familiar == name.whole() { familiar } else { format!("REGISTRY/{familiar}") };
    let sboms: Vec<_> = sboms.map(|path| path.display().to_string()).collect();
    format!(
        "  archive: {shown}\n  bill of materials: {}\n  \
         docker load --input {shown}\n  \
         ctr --namespace k8s.io images import {shown}\n  \
         skopeo copy --all oci-archive:{shown} docker://{place}",
        sboms.join(", "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A crate of version 1.0.0, without sources.
    pub(super) fn part(name: &str, licence: &str, needs: &[&str]) -> Part {
        let id = |name: &str| (name.to_owned(), "1.0.0".to_owned());
        Part {
            id: id(name),
            is_crate: true,
            licence: Some(licence.to_owned()),
            home: None,
            description: None,
            folder: None,
            needs: needs.iter().map(|name| id(name)).collect(),
        }
    }
}
