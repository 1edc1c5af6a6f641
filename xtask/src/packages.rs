//! Debian's packages: installed, or downloaded and unpacked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::privilege;
use crate::process;
use crate::ui::{self, Step};
use crate::unfit::Unfit;

/// A program and its Debian package, perhaps with other packages that it needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) program: &'static str,
    /// Several names are separated by spaces.
    pub(crate) package: &'static str,
    /// Its purpose, after "needed".
    pub(crate) why: &'static str,
}

/// Finds a program, or installs it as root or by sudo.
///
/// # Errors
/// It is missing and can't be installed; [`Unfit`] if root or apt is missing.
pub(crate) fn obtain(wanted: Wanted) -> Result<PathBuf> {
    if let Some(path) = find(wanted.program) {
        return Ok(path);
    }
    let Wanted { program, package, why } = wanted;
    let advice =
        || Unfit(format!("{program} is needed {why} but missing: sudo apt-get install {package}"));
    let is_root = nix::unistd::geteuid().is_root();
    if process::which("apt-get").is_none() || !(is_root || process::which("sudo").is_some()) {
        return Err(advice().into());
    }
    if !is_root {
        ui::print(format_args!("  {program} is needed {why} but missing"));
    }
    install(package)?;
    find(program).ok_or_else(|| advice().into())
}

fn install(package: &str) -> Result<()> {
    let step = Step::start(format!("installing {package}"));
    let apt = |arguments: &[&str]| {
        let mut command = privilege::as_root("env");
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        command.args(["-o", "DPkg::Lock::Timeout=120"]).args(arguments);
        process::run_quietly(&mut command, &step)
    };
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(package.split(' '));
    let install = || apt(&arguments);
    if install().is_err() {
        step.detail("apt-get update");
        apt(&["update"])?;
        install()?;
    }
    step.done("");
    Ok(())
}

/// Downloads packages (`NAME` or `NAME=VERSION`) into a folder, without root and without installing
/// them. Root updates apt's lists if that fails.
///
/// # Errors
/// apt does not have one of them.
pub(crate) fn download<'a>(
    folder: &Path,
    wanted: impl IntoIterator<Item = &'a str>,
    step: &Step,
) -> Result<()> {
    let is_root = nix::unistd::geteuid().is_root();
    let mut download = Command::new("apt-get");
    download.current_dir(folder);
    if is_root {
        // Else apt warns that its own user can't write into this user's folder.
        download.args(["-o", "APT::Sandbox::User=root"]);
    }
    download.arg("download").args(wanted);
    let result = process::run_quietly(&mut download, step);
    if result.is_err() && is_root {
        process::run_quietly(Command::new("apt-get").arg("update"), step)?;
        return process::run_quietly(&mut download, step).map(|_| ());
    }
    result.map(|_| ())
}

/// Unpacks all packages of a folder into another one.
///
/// # Errors
/// dpkg fails.
pub(crate) fn unpack_all(packages: &Path, into: &Path, step: &Step) -> Result<()> {
    let entries =
        fs::read_dir(packages).with_context(|| format!("can't read {}", packages.display()))?;
    for path in entries.filter_map(Result::ok).map(|it| it.path()) {
        if path.extension().is_some_and(|it| it == "deb") {
            process::run_quietly(Command::new("dpkg").arg("-x").arg(&path).arg(into), step)?;
        }
    }
    Ok(())
}

/// The path of a program. Administrators' programs are not on every user's `PATH`.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let elsewhere = ["/usr/sbin", "/sbin"].map(|folder| Path::new(folder).join(program));
    process::which(program).or_else(|| elsewhere.into_iter().find(|path| path.is_file()))
}
