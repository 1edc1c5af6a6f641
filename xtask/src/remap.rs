//! Replaces the paths in panic messages and line tables by ones that are the same on every machine.
//! A program then doesn't reveal a home folder, and builds in different folders are the same bytes.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::{process, workspace};

/// The compiler's flags for a build of the workspace at `root` by the compiler of `rustc`.
///
/// # Errors
/// The compiler can't be run.
pub(crate) fn flags(root: &Path, rustc: &mut Command) -> Result<Vec<String>> {
    let sysroot = process::output_of(rustc.args(["--print", "sysroot"]))?;
    let places = [
        (cargo_home(), "/cargo"),
        (Some(PathBuf::from(sysroot.trim())), "/rust"),
        // The sources are still found by this path: BTF quotes their lines.
        (Some(root.to_path_buf()), "."),
        // The last prefix that matches is used: this folder is mostly within the one before.
        (Some(workspace::target(root)), "./target"),
    ];
    let known = places.into_iter().filter_map(|(from, to)| Some((from?, to)));
    Ok(known.map(|(from, to)| flag(&from, to)).collect())
}

fn flag(from: &Path, to: &str) -> String {
    format!("--remap-path-prefix={}={to}", from.display())
}

/// The folder of the dependencies' sources.
fn cargo_home() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("CARGO_HOME").or_else(|| set("HOME").map(|home| home.join(".cargo")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_specific_folder_comes_later() {
        let root = workspace::root().unwrap();
        let flags = flags(&root, &mut Command::new("rustc")).unwrap();
        let position = |to: &str| flags.iter().position(|flag| flag.ends_with(to)).unwrap();
        assert!(position("=.") < position("=./target"), "{flags:?}");
        assert!(position("=/rust") < position("=."), "{flags:?}");
    }
}
