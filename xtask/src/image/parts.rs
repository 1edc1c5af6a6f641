//! The parts of the agent's program: the crates in it and in its eBPF object, and the compilers'
//! libraries.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

use crate::arch::Arch;
use crate::process;
use crate::workspace;

/// The agent's package.
pub(super) const AGENT: &str = "enforcer";

/// The feature that adds the eBPF programs' own dependencies.
const WITH_PROGRAMS: &str = "enforcer-ebpf/program";

/// A name and a version, which identify a crate.
pub(super) type Id = (String, String);

/// A crate, or a library that comes with a compiler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Its name and version.
    pub(super) id: Id,
    /// Whether it is a crate.
    pub(super) is_crate: bool,
    /// Its authors' SPDX expression.
    pub(super) licence: Option<String>,
    /// Its authors' repository.
    pub(super) home: Option<String>,
    /// Its authors' description.
    pub(super) description: Option<String>,
    /// The folder of its sources on this machine.
    pub(super) folder: Option<PathBuf>,
    /// Its dependencies.
    pub(super) needs: Vec<Id>,
}

/// Everything that is in the program, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    /// The agent's own crate.
    pub(super) agent: Part,
    /// All others.
    pub(super) others: Vec<Part>,
}

impl Parts {
    /// Reads them from cargo and adds the compilers' libraries.
    ///
    /// # Errors
    /// Cargo fails, or its outputs don't match.
    pub(super) fn of(root: &Path, arch: Arch, from_compilers: &[Part]) -> Result<Self> {
        let metadata = MetadataCommand::new()
            .cargo_path(workspace::cargo(root).get_program())
            .current_dir(root)
            .other_options(
                ["--filter-platform", arch.target(), "--features", WITH_PROGRAMS]
                    .map(str::to_owned),
            )
            .exec()
            .context("cargo can't list the agent's parts")?;
        let compiled = compiled(&tree(root, arch)?);
        let mut parts = join(&metadata, &compiled);
        let agent = parts.iter().position(|part| part.id.0 == AGENT);
        let mut agent = parts.remove(agent.context("cargo doesn't list the agent")?);
        agent.needs.extend(from_compilers.iter().map(|part| part.id.clone()));
        parts.extend(from_compilers.iter().cloned());
        Ok(Self { agent, others: parts })
    }
}

/// The crates in the program, one per line. Unlike the metadata, which describe the whole
/// workspace, it only has the features of these packages.
fn tree(root: &Path, arch: Arch) -> Result<String> {
    let mut command: Command = workspace::cargo(root);
    command.args(["tree", "--package", AGENT, "--package", "enforcer-ebpf"]);
    command.args(["--features", WITH_PROGRAMS, "--edges", "normal,no-proc-macro"]);
    command.args(["--target", arch.target(), "--prefix", "none", "--format", "{p}"]);
    process::output_of(&mut command)
}

/// Reads lines such as `aya v0.14.0` and `enforcer v0.1.0 (/folder)`.
fn compiled(tree: &str) -> BTreeSet<Id> {
    let id = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
        Some((name.to_owned(), version.to_owned()))
    };
    tree.lines().filter_map(id).collect()
}

/// The compiled crates with their metadata.
fn join(metadata: &Metadata, compiled: &BTreeSet<Id>) -> Vec<Part> {
    let packages: BTreeMap<_, _> =
        metadata.packages.iter().map(|package| (&package.id, package)).collect();
    let nodes = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes);
    let mut parts: Vec<_> = nodes
        .filter_map(|node| {
            let package = packages.get(&node.id)?;
            let used = node
                .deps
                .iter()
                .filter(|it| it.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal));
            let needs: BTreeSet<_> = used
                .filter_map(|it| packages.get(&it.pkg))
                .map(|package| id(package))
                .filter(|id| compiled.contains(id))
                .collect();
            Some(part(package, needs)).filter(|part| compiled.contains(&part.id))
        })
        .collect();
    parts.sort_by(|one, other| one.id.cmp(&other.id));
    parts
}

fn id(package: &Package) -> Id {
    (package.name.to_string(), package.version.to_string())
}

fn part(package: &Package, needs: BTreeSet<Id>) -> Part {
    Part {
        id: id(package),
        is_crate: true,
        licence: package.license.clone(),
        home: package.repository.clone(),
        description: package.description.clone(),
        folder: package.manifest_path.parent().map(|folder| folder.as_std_path().to_path_buf()),
        needs: needs.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_read_line_by_line() {
        let tree = "enforcer v0.1.0 (/a b/enforcer)\naya v0.14.0 (*)\n\nring v0.17.14+x\n";
        let ids: Vec<_> = compiled(tree).into_iter().map(|(name, _)| name).collect();
        assert_eq!(ids, ["aya", "enforcer", "ring"]);
    }

    #[test]
    fn the_agents_parts_are_those_it_is_linked_with() {
        let root = workspace::root().unwrap();
        let parts = Parts::of(&root, Arch::Arm64, &[]).unwrap();
        let find = |name: &str| parts.others.iter().find(|part| part.id.0 == name);
        assert!(parts.agent.needs.iter().any(|(name, _)| name == "aya"));
        // The kernel programs' dependencies are parts; those of tests and tasks and of the compiler
        // are not.
        assert!(find("aya-ebpf").unwrap().licence.is_some());
        for absent in ["insta", "indicatif", "serde_derive", "syn", "xtask"] {
            assert_eq!(find(absent), None);
        }
        for part in &parts.others {
            for needed in &part.needs {
                assert!(find(&needed.0).is_some(), "{} needs {}", part.id.0, needed.0);
            }
        }
    }
}
