//! apt with its own lists and settings, for packages of another release than this system's.
//!
//! It checks the signature of the archive's index and the checksum of every package. This system's
//! own lists don't change.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::ui::Step;

/// The keys for the signatures, from the package `debian-archive-keyring`.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// An archive: the variable for another mirror, and the default one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mirror(&'static str, &'static str);

/// The main archive.
pub(crate) const MAIN: Mirror = Mirror("ENFORCER_DEBIAN_MIRROR", "http://deb.debian.org/debian");
/// The archive of security updates.
pub(crate) const SECURITY: Mirror =
    Mirror("ENFORCER_DEBIAN_SECURITY_MIRROR", "http://deb.debian.org/debian-security");

/// apt with its own lists and settings.
pub(crate) struct Apt {
    folder: PathBuf,
    architecture: String,
}

impl Apt {
    /// Writes the settings for one suite and architecture into a folder.
    ///
    /// # Errors
    /// Debian's keyring is missing, or the folder can't be made.
    pub(crate) fn prepare(
        folder: &Path,
        mirror: Mirror,
        suite: &str,
        architecture: &str,
    ) -> Result<Self> {
        if !Path::new(KEYRING).is_file() {
            bail!("{KEYRING} is missing: install the package debian-archive-keyring");
        }
        let Mirror(variable, default) = mirror;
        let mirror = std::env::var(variable).unwrap_or_else(|_| default.to_owned());
        for below in ["lists/partial", "cache/archives/partial", "packages"] {
            let path = folder.join(below);
            fs::create_dir_all(&path).with_context(|| format!("can't make {}", path.display()))?;
        }
        let source =
            format!("deb [arch={architecture} signed-by={KEYRING}] {mirror} {suite} main\n");
        for (file, content) in [("sources.list", source.as_str()), ("status", "")] {
            let path = folder.join(file);
            fs::write(&path, content).with_context(|| format!("can't write {}", path.display()))?;
        }
        Ok(Self { folder: folder.to_path_buf(), architecture: architecture.to_owned() })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.join("packages"));
        let own = [
            ("Dir::Etc::sourcelist", "sources.list"),
            ("Dir::Etc::sourceparts", "none"),
            ("Dir::State", ""),
            ("Dir::State::lists", "lists"),
            ("Dir::State::status", "status"),
            ("Dir::Cache", "cache"),
        ];
        for (option, below) in own {
            command.arg("-o").arg(format!("{option}={}", self.folder.join(below).display()));
        }
        let settings = [
            format!("APT::Architecture={}", self.architecture),
            format!("APT::Architectures={}", self.architecture),
            "Acquire::Languages=none".to_owned(),
            // The index of an unsupported suite keeps its old signature.
            "Acquire::Check-Valid-Until=false".to_owned(),
        ];
        for setting in settings {
            command.arg("-o").arg(setting);
        }
        if nix::unistd::geteuid().is_root() {
            // Else apt warns that its own user can't write into this user's folder.
            command.args(["-o", "APT::Sandbox::User=root"]);
        }
        command
    }

    /// Fetches the suite's index.
    ///
    /// # Errors
    /// apt fails or warns.
    pub(crate) fn update(&self, step: &Step) -> Result<()> {
        let mut update = self.command("apt-get");
        update.args(["-o", "APT::Update::Error-Mode=any", "update"]);
        process::run_quietly(&mut update, step).map(|_| ())
    }

    /// The package's entry in the index.
    ///
    /// # Errors
    /// The package doesn't exist.
    pub(crate) fn show(&self, package: &str) -> Result<String> {
        let mut question = self.command("apt-cache");
        process::output_of(question.args(["show", "--no-all-versions", package]))
    }

    /// Fetches packages; returns the folder of all packages that were fetched.
    ///
    /// # Errors
    /// apt fails.
    pub(crate) fn download<'a>(
        &self,
        packages: impl IntoIterator<Item = &'a str>,
        step: &Step,
    ) -> Result<PathBuf> {
        process::run_quietly(self.command("apt-get").arg("download").args(packages), step)?;
        Ok(self.folder.join("packages"))
    }
}
