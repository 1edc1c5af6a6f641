//! kubectl, as new as the tests want it: from the path, or Debian 13's, unpacked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result};

use crate::apt::{self, Apt};
use crate::toolchain::lock;
use crate::ui::Step;
use crate::{Unfit, process, workspace};

/// The variable by which tests learn where it is.
pub(crate) const VARIABLE: &str = "ENFORCER_KUBECTL";

/// From this minor version of 1 on, `kubectl exec` speaks WebSocket.
const OLDEST: u32 = 30;

/// The first Debian release with such a package.
const SUITE: &str = "trixie";
const PACKAGE: &str = "kubectl";

static FOUND: OnceLock<PathBuf> = OnceLock::new();

/// Where it is, once it was obtained.
pub(crate) fn found() -> Option<&'static Path> {
    FOUND.get().map(PathBuf::as_path)
}

/// Finds it, or fetches it into the cache folder.
///
/// # Errors
/// [`Unfit`] if it is missing and can't be fetched.
pub(crate) fn obtain() -> Result<&'static Path> {
    if let Some(path) = found() {
        return Ok(path);
    }
    let own = process::which("kubectl").filter(|path| is_new_enough(path));
    let path = match own {
        Some(path) => path,
        None => kept().map_err(|error| {
            Unfit(format!("kubectl 1.{OLDEST} or later is missing, which the lab's tests drive it by: put one on the path ({error:#})"))
        })?,
    };
    Ok(FOUND.get_or_init(|| path))
}

fn is_new_enough(program: &Path) -> bool {
    let mut command = Command::new(program);
    command.args(["version", "--client", "--output=json"]);
    process::output_of(&mut command)
        .ok()
        .and_then(|said| minor(&said))
        .is_some_and(|it| it >= OLDEST)
}

/// The minor version, of what `kubectl version --client --output=json` says.
fn minor(said: &str) -> Option<u32> {
    let (_, version) = said.split_once("\"gitVersion\"")?;
    let (_, rest) = version.split_once("\"v1.")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// The one in the cache folder, fetched now if it was not before.
fn kept() -> Result<PathBuf> {
    let cache = workspace::cache()?;
    let folder = cache.join("kubectl");
    let program = folder.join("kubectl");
    let _lock = lock::take(&cache)?;
    if !program.is_file() {
        fetch(&folder)?;
    }
    Ok(program)
}

fn fetch(folder: &Path) -> Result<()> {
    let architecture = process::output_of(Command::new("dpkg").arg("--print-architecture"))
        .context("this is no Debian system")?;
    let step = Step::start(format!("fetching kubectl of {SUITE}"));
    let partial = folder.with_extension("partial");
    let _ = fs::remove_dir_all(&partial);
    let apt = Apt::prepare(&partial.join("apt"), apt::MAIN, SUITE, architecture.trim())?;
    apt.update(&step)?;
    let unpacked = partial.join("unpacked");
    for package in apt.download([PACKAGE], &step)? {
        let mut command = Command::new("dpkg");
        process::run_quietly(command.arg("-x").arg(package).arg(&unpacked), &step)?;
    }
    let made = partial.join("made");
    fs::create_dir_all(&made).with_context(|| format!("can't make {}", made.display()))?;
    fs::copy(unpacked.join("usr/bin/kubectl"), made.join("kubectl"))
        .context("the package has no kubectl")?;
    if !is_new_enough(&made.join("kubectl")) {
        anyhow::bail!("the package's kubectl doesn't run here");
    }
    let _ = fs::remove_dir_all(folder);
    fs::rename(&made, folder).with_context(|| format!("can't make {}", folder.display()))?;
    let _ = fs::remove_dir_all(&partial);
    step.done("");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_in_every_dialect() {
        let said = "{\n  \"clientVersion\": {\n    \"gitVersion\": \"v1.32.4-dispatcher\"\n  }\n}";
        assert_eq!(minor(said), Some(32));
        assert_eq!(minor("{\"clientVersion\": {\"gitVersion\": \"v1.20.2\"}}"), Some(20));
        assert_eq!(minor("{\"gitVersion\": \"v2.0.0\"}"), None);
        assert_eq!(minor("no version"), None);
    }
}
