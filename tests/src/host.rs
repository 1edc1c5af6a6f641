//! Files and programs of this machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

/// Writes a file atomically: readers see the old contents or the new ones.
pub(crate) fn replace_file(path: &Path, text: &str) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = path.with_file_name(format!(".{name}.draft"));
    fs::write(&draft, text)?;
    fs::rename(&draft, path)
}

/// Finds an installed program. Administrators' programs are not on everybody's path.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    all.map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// The path of a compiled eBPF object: in the target folder that this program is in.
pub(crate) fn object(name: &str) -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe()?;
    let find = |folder: &Path| Some(folder.join("bpf").join(name)).filter(|it| it.exists());
    let what = || format!("no bpf/{name}: run `cargo xtask build-ebpf`");
    this.ancestors().find_map(find).with_context(what)
}

/// The path of another program of this workspace: in the folder that this program is in.
///
/// # Errors
/// It is not there, because Cargo was told to build this program only.
pub fn sibling(name: &str) -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe().context("find this program's path")?;
    sibling_of(&this, name)
}

fn sibling_of(this: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let path = this.with_file_name(name);
    let is_release = this.parent().is_some_and(|folder| folder.ends_with("release"));
    let release = if is_release { " --release" } else { "" };
    let remedy = format!("run `cargo build{release} -p enforcer -p enforcer-tests --bins`");
    ensure!(path.is_file(), "there is no {}: {remedy}", path.display());
    Ok(path)
}

/// How many times slower this machine is than others: `ENFORCER_SLOWNESS`, which `cargo xtask vm-test` sets in
/// machines whose processor is emulated.
fn slowness() -> u32 {
    let slowness = std::env::var("ENFORCER_SLOWNESS").ok().and_then(|it| it.parse().ok());
    slowness.unwrap_or(1).clamp(1, 50)
}

/// A time limit for this machine.
#[must_use]
pub fn patient(limit: std::time::Duration) -> std::time::Duration {
    limit * slowness()
}

/// A number of attempts at the same time for this machine: each has its time limit, and they share the
/// processor.
#[must_use]
pub fn at_once(number: usize) -> usize {
    (number / slowness() as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_its_remedy() {
        let folder = tempfile::tempdir().unwrap();
        for (profile, build) in
            [("debug", "cargo build -p"), ("release", "cargo build --release -p")]
        {
            let this = folder.path().join(profile).join("enforcer-bench");
            let error = sibling_of(&this, "enforcer-lab").unwrap_err().to_string();
            let path = this.with_file_name("enforcer-lab");
            let expected = format!("there is no {}: run `{build} enforcer -p", path.display());
            assert!(error.starts_with(&expected), "{error}");
        }
        let this = folder.path().join("enforcer-bench");
        fs::write(folder.path().join("enforcer"), "").unwrap();
        assert_eq!(sibling_of(&this, "enforcer").unwrap(), folder.path().join("enforcer"));
    }
}
