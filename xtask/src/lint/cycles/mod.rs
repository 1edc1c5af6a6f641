//! Import cycles between the files of a crate.
//!
//! A file imports the file that defines an item which it names: by `use`, or by a path in its code.
//! Re-exports are followed to the definition, so that `crate::policy::Compiled` is an import of
//! `policy/compile.rs`. A parent that re-exports its children (`pub use child::Item`) does not
//! import them; a child that uses an item of its parent does import the parent.

mod modules;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cargo_metadata::MetadataCommand;

use modules::{Module, Reference};

/// The imports of a crate: which file imports which, and the first line that does.
type Imports = BTreeMap<PathBuf, BTreeMap<PathBuf, usize>>;

/// Checks every target of the workspace's packages; returns a line for each import in a cycle.
///
/// # Errors
/// Cargo doesn't answer, or a source file can't be read.
pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let mut command = MetadataCommand::new();
    command.current_dir(root).no_deps();
    let metadata = command.exec().context("can't read the workspace's metadata")?;
    let mut mistakes = Vec::new();
    for package in &metadata.packages {
        let folder = package.manifest_path.parent().context("a manifest without a folder")?;
        let prefix = folder.strip_prefix(&metadata.workspace_root).unwrap_or(folder);
        let mut lines = BTreeSet::new();
        for target in &package.targets {
            let Ok(file) = target.src_path.strip_prefix(folder) else { continue };
            let modules = modules::read(folder.as_std_path(), file.as_std_path())?;
            for cycle in cycles(&imports(&modules)) {
                lines.extend(cycle.lines(prefix.as_std_path()));
            }
        }
        mistakes.extend(lines);
    }
    Ok(mistakes)
}

/// Files that import each other, directly or through others of them.
#[derive(Debug, PartialEq, Eq)]
struct Cycle {
    /// Each import: file, line, imported file.
    imports: Vec<(PathBuf, usize, PathBuf)>,
}

impl Cycle {
    fn lines(&self, prefix: &Path) -> impl Iterator<Item = String> {
        let files: BTreeSet<_> = self.imports.iter().map(|(from, ..)| from).collect();
        let count = files.len();
        self.imports.iter().map(move |(from, line, to)| {
            let (from, to) = (prefix.join(from), prefix.join(to));
            let (from, to) = (from.display(), to.display());
            format!("{from}:{line}: imports {to}, in an import cycle of {count} files")
        })
    }
}

/// Which file imports which.
fn imports(modules: &[Module]) -> Imports {
    let mut imports = Imports::new();
    for (index, module) in modules.iter().enumerate() {
        for reference in &module.references {
            let Some(target) = imported(modules, index, reference) else { continue };
            let target = &modules[target].file;
            if *target != module.file {
                let lines = imports.entry(module.file.clone()).or_default();
                let line = lines.entry(target.clone()).or_insert(reference.line);
                *line = reference.line.min(*line);
            }
        }
    }
    imports
}

/// The module that a reference imports an item of.
fn imported(modules: &[Module], from: usize, reference: &Reference) -> Option<usize> {
    let target = match resolve(modules, from, &reference.path, 0)? {
        Target::Item(module) => module,
        // The paths that begin with the module's name count, not its name alone.
        Target::Module(_) => return None,
    };
    let is_own_child = ancestors(modules, target).any(|it| it == from);
    (!(reference.exported && is_own_child)).then_some(target)
}

fn ancestors(modules: &[Module], module: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(module), |&it| (it != 0).then(|| modules[it].parent)).skip(1)
}

/// What a path leads to in this crate.
#[derive(Clone, Copy)]
enum Target {
    Module(usize),
    /// An item of this module.
    Item(usize),
}

/// Paths that lead through more imports than this one are cyclic imports of each other.
const DEEPEST: usize = 16;

fn resolve(modules: &[Module], from: usize, path: &[String], depth: usize) -> Option<Target> {
    let (first, rest) = path.split_first()?;
    let mut target = match first.as_str() {
        "crate" => Target::Module(0),
        "self" => Target::Module(from),
        "super" => Target::Module(modules[from].parent),
        name => named(modules, from, name, depth)?,
    };
    for name in rest {
        target = match target {
            Target::Module(module) if name == "super" => Target::Module(modules[module].parent),
            // Names that macros define are not seen: they are the module's own.
            Target::Module(module) => {
                named(modules, module, name, depth).unwrap_or(Target::Item(module))
            }
            // A variant, or an associated item.
            Target::Item(_) => break,
        };
    }
    Some(target)
}

/// What a name means in a module: another crate's name is none.
fn named(modules: &[Module], module: usize, name: &str, depth: usize) -> Option<Target> {
    let here = &modules[module];
    if depth > DEEPEST {
        return None;
    }
    if let Some(&child) = here.children.get(name) {
        return Some(Target::Module(child));
    }
    // A crate that is imported by its own name is no module.
    if let Some(path) = here.imports.get(name).filter(|it| it[..] != [name]) {
        return resolve(modules, module, path, depth + 1);
    }
    if here.defined.iter().any(|it| it == name) {
        return Some(Target::Item(module));
    }
    here.globs.iter().find_map(|path| match resolve(modules, module, path, depth + 1)? {
        Target::Module(other) => named(modules, other, name, depth + 1),
        Target::Item(_) => None,
    })
}

/// The strongly connected components of more than one file.
fn cycles(imports: &Imports) -> Vec<Cycle> {
    let reached: BTreeMap<_, _> =
        imports.keys().map(|file| (file, reachable(imports, file))).collect();
    let reaches =
        |from: &PathBuf, to: &PathBuf| reached.get(from).is_some_and(|it| it.contains(to));
    let mut cycles = Vec::new();
    let mut seen = BTreeSet::new();
    for file in imports.keys().filter(|file| reaches(file, file)) {
        if seen.contains(file) {
            continue;
        }
        let members: BTreeSet<_> =
            imports.keys().filter(|it| reaches(file, it) && reaches(it, file)).collect();
        let inner = members.iter().flat_map(|&from| {
            let targets = imports[from].iter().filter(|(to, _)| members.contains(to));
            targets.map(|(to, &line)| (from.clone(), line, to.clone()))
        });
        cycles.push(Cycle { imports: inner.collect() });
        seen.extend(members);
    }
    cycles
}

fn reachable<'a>(imports: &'a Imports, file: &PathBuf) -> BTreeSet<&'a PathBuf> {
    let mut found = BTreeSet::new();
    let mut open: Vec<_> = imports.get(file).into_iter().flat_map(BTreeMap::keys).collect();
    while let Some(next) = open.pop() {
        if found.insert(next) {
            open.extend(imports.get(next).into_iter().flat_map(BTreeMap::keys));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The imports in cycles of a crate with these files: `a.rs:1 b.rs`.
    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let modules = modules::read(folder.path(), Path::new("lib.rs")).unwrap();
        let cycles = cycles(&imports(&modules));
        let imports = cycles.iter().flat_map(|it| &it.imports);
        imports
            .map(|(from, line, to)| format!("{}:{line} {}", from.display(), to.display()))
            .collect()
    }

    const LIB: (&str, &str) = ("lib.rs", "mod a;\nmod b;\n");

    #[test]
    fn imports_in_both_directions_are_a_cycle() {
        let a = ("a.rs", "use std::fmt;\n\nuse crate::b::{B, C as D};\npub struct A;\n");
        let b = ("b.rs", "pub struct B;\npub struct C;\n\n\nuse super::a::A;\n");
        assert_eq!(found(&[LIB, a, b]), ["a.rs:3 b.rs", "b.rs:5 a.rs"]);
        let b = ("b.rs", "pub struct B;\npub struct C;\n");
        assert!(found(&[LIB, a, b]).is_empty());
    }

    #[test]
    fn paths_in_code_and_in_macro_calls_are_imports() {
        let a = ("a.rs", "pub fn one() { println!(\"{}\", crate::b::two()); }\n");
        let b = ("b.rs", "use crate::a;\npub fn two() -> u8 {\n    a::one();\n    2\n}\n");
        assert_eq!(found(&[LIB, a, b]), ["a.rs:1 b.rs", "b.rs:3 a.rs"]);
        let b = ("b.rs", "use crate::a;\npub fn two(it: u8) -> u8 { it.a::<u8>() }\n");
        assert!(found(&[LIB, a, b]).is_empty(), "a module's name alone is no import");
    }

    #[test]
    fn types_of_arguments_are_imports() {
        let a = ("a.rs", "pub struct A;\nfn one(it: crate::b::B) {}\n");
        let b = ("b.rs", "pub struct B { a:crate::a::A }\n");
        assert_eq!(found(&[LIB, a, b]), ["a.rs:2 b.rs", "b.rs:1 a.rs"]);
    }

    #[test]
    fn a_parent_imports_no_child_that_it_re_exports() {
        let own = "pub struct Own;\n";
        let child = ("a/child.rs", "use super::Own;\npub struct Child(Own);\n");
        let lib = ("lib.rs", "mod a;\n");
        let parent = format!("mod child;\npub(crate) use child::Child;\n{own}");
        assert!(found(&[lib, ("a/mod.rs", &parent), child]).is_empty());
        let parent = format!("mod child;\nuse child::Child;\n{own}");
        assert_eq!(
            found(&[lib, ("a/mod.rs", &parent), child]),
            ["a/child.rs:1 a/mod.rs", "a/mod.rs:2 a/child.rs"]
        );
    }

    #[test]
    fn re_exports_are_followed_to_the_definition() {
        let lib = ("lib.rs", "mod a;\nmod b;\n");
        let parent = ("a/mod.rs", "mod one;\nmod two;\npub use one::One;\npub use two::*;\n");
        let one = ("a/one.rs", "use super::Two;\npub struct One;\n");
        let two = ("a/two.rs", "use crate::b::B;\npub struct Two;\n");
        let b = ("b.rs", "use crate::a::One;\npub struct B;\n");
        assert_eq!(
            found(&[lib, parent, one, two, b]),
            ["a/one.rs:1 a/two.rs", "a/two.rs:1 b.rs", "b.rs:1 a/one.rs"]
        );
    }

    #[test]
    fn code_for_tests_is_exempt() {
        let a = (
            "a.rs",
            "pub struct A;\n#[cfg(test)]\nuse crate::b::{B, C};\n#[cfg(test)]\n\
             mod tests { use crate::b::B; }\n#[cfg(test)]\nmod files;\nmod tests;\n",
        );
        let b = ("b.rs", "use crate::a::A;\npub struct B;\npub struct C;\n");
        // `a/files.rs` and `a/tests/mod.rs` need not even be there.
        assert!(found(&[LIB, a, b]).is_empty());
    }

    #[test]
    fn modules_may_be_inline_and_elsewhere() {
        let lib = ("lib.rs", "mod a { mod b; pub struct A; }\n#[path = \"x.rs\"]\nmod c;\n");
        let b = ("a/b.rs", "pub use super::super::c::C;\npub struct B;\n");
        let c = ("x.rs", "use crate::a::A;\npub struct C(crate::a::b::B);\n");
        assert_eq!(found(&[lib, b, c]), ["a/b.rs:1 x.rs", "x.rs:2 a/b.rs"]);
    }
}
