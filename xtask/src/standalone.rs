//! Builds static programs, for this machine's architecture or another one.
//!
//! They are linked with glibc, not musl: every C compiler has it, for other architectures too, and
//! its memory allocator is faster. Since release 2.34 it resolves names without loading a library
//! at run time, as an image without other files requires.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::arch::Arch;
use crate::toolchain::{self, Toolchain};
use crate::ui::Step;
use crate::unfit::Unfit;
use crate::version::{self, Version};
use crate::workspace::{self, Profile};
use crate::{packages, process, remap};

/// The first glibc whose static library resolves names from files and by DNS.
const GLIBC: Version = [2, 34, 0];

/// The time limit for rustup to fetch a standard library.
const LIMIT: Duration = Duration::from_secs(5 * 60);

/// The compilers for static programs of one architecture.
pub(crate) struct Builder {
    root: PathBuf,
    arch: Arch,
    /// The C compiler, which is also the linker.
    compiler: PathBuf,
    /// Builds the standard library, if the compiler has none for the architecture.
    from_sources: Option<Toolchain>,
    /// The C library's release.
    glibc: String,
}

impl Builder {
    /// Finds the compilers, or installs them.
    ///
    /// # Errors
    /// Something is missing and can't be installed; [`Unfit`] if root is missing.
    pub(crate) fn obtain(root: &Path, arch: Arch) -> Result<Self> {
        let compiler = packages::obtain(arch.c_compiler())?;
        let glibc = glibc(&compiler, arch)?;
        let from_sources = if has_library(arch)? || rustup_adds_library(root, arch)? {
            None
        } else {
            Some(toolchain::obtain()?)
        };
        Ok(Self { root: root.to_path_buf(), arch, compiler, from_sources, glibc })
    }

    /// A cargo command that builds static programs. The unoptimised profile is changed so that they
    /// are small and fast enough for emulation.
    ///
    /// # Errors
    /// The compiler can't be run.
    pub(crate) fn cargo(&self, subcommand: &str, profile: Profile) -> Result<Command> {
        let mut command = workspace::cargo(&self.root);
        if let Some(toolchain) = &self.from_sources {
            toolchain.apply(&mut command);
        }
        let mut flags = remap::flags(&self.root, &mut self.rustc())?;
        flags.extend(["-C", "target-feature=+crt-static"].map(str::to_owned));
        command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f")).env_remove("RUSTFLAGS");
        command.args([subcommand, "--target", self.arch.target()]);
        if self.from_sources.is_some() {
            command.args(["-Z", "build-std"]);
        }
        let target = self.arch.target().replace('-', "_");
        command.env(format!("CC_{target}"), &self.compiler);
        let linker = format!("CARGO_TARGET_{}_LINKER", target.to_uppercase());
        command.env(linker, &self.compiler);
        match profile {
            Profile::Dev => {
                command.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1");
                command.env("CARGO_PROFILE_DEV_DEBUG", "none");
                command.env("CARGO_PROFILE_DEV_STRIP", "symbols");
            }
            Profile::Release => {
                command.arg("--release");
            }
        }
        Ok(command)
    }

    /// The folder of the built programs.
    pub(crate) fn folder(&self, profile: Profile) -> PathBuf {
        workspace::target(&self.root).join(self.arch.target()).join(profile.folder())
    }

    fn rustc(&self) -> Command {
        let Some(toolchain) = &self.from_sources else { return Command::new(rustc()) };
        let mut command = Command::new(&toolchain.rustc);
        toolchain.apply(&mut command);
        command
    }

    /// The releases of the libraries in every program: the C library, the C compiler's own one, and
    /// Rust's standard library.
    ///
    /// # Errors
    /// A compiler can't be run.
    pub(crate) fn releases(&self) -> Result<[String; 3]> {
        let gcc = process::output_of(Command::new(&self.compiler).arg("-dumpfullversion"))?;
        let rust = process::output_of(self.rustc().arg("--version"))?;
        let rust = rust.split_whitespace().nth(1).context("rustc prints no version")?;
        Ok([self.glibc.clone(), gcc.trim().to_owned(), rust.to_owned()])
    }

    /// The source of the standard library, for people.
    pub(crate) fn origin(&self) -> &str {
        if self.from_sources.is_some() { "standard library from its sources" } else { "" }
    }
}

/// The compiler that cargo uses.
fn rustc() -> PathBuf {
    std::env::var_os("RUSTC").map_or_else(|| PathBuf::from("rustc"), PathBuf::from)
}

/// The release of this compiler's C library.
fn glibc(compiler: &Path, arch: Arch) -> Result<String> {
    let packages = arch.c_compiler().package;
    let unfit = |what: &str| {
        Unfit(format!(
            "{} {what}: install glibc 2.34 or later and its static half (on Debian and Ubuntu: \
             sudo apt-get install {packages})",
            compiler.display()
        ))
    };
    let mut question = Command::new(compiler);
    let archive = process::output_of(question.arg("-print-file-name=libc.a"))?;
    // It repeats a name that it doesn't find.
    if !Path::new(archive.trim()).is_absolute() {
        return Err(unfit("has no static C library").into());
    }
    let mut question = Command::new(compiler);
    question.args(["-E", "-dM", "-include", "features.h", "-x", "c", "/dev/null"]);
    let found = release(&process::output_of(&mut question)?)
        .ok_or_else(|| unfit("has another C library than glibc"))?;
    if version::parse(&found).is_none_or(|it| it < GLIBC) {
        return Err(unfit("has a C library that can't resolve names in static programs").into());
    }
    Ok(found)
}

/// Reads glibc's release out of its macros.
fn release(macros: &str) -> Option<String> {
    let value = |name: &str| {
        let find =
            |line: &str| Some(line.strip_prefix("#define ")?.strip_prefix(name)?.trim().to_owned());
        macros.lines().find_map(find)
    };
    Some(format!("{}.{}", value("__GLIBC__ ")?, value("__GLIBC_MINOR__ ")?))
}

/// Whether the compiler has the standard library for an architecture.
fn has_library(arch: Arch) -> Result<bool> {
    let mut question = Command::new(rustc());
    question.args(["--print", "target-libdir", "--target", arch.target()]);
    let folder = process::output_of(&mut question).context("can't run the Rust compiler")?;
    let Ok(entries) = fs::read_dir(folder.trim()) else { return Ok(false) };
    let mut names = entries.filter_map(Result::ok).map(|entry| entry.file_name());
    Ok(names.any(|name| name.to_string_lossy().starts_with("libstd-")))
}

/// Has rustup add it; returns false if that fails.
fn rustup_adds_library(root: &Path, arch: Arch) -> Result<bool> {
    if process::which("rustup").is_none() {
        return Ok(false);
    }
    let mut command = Command::new("rustup");
    command.current_dir(root).args(["target", "add", arch.target()]);
    command.env("RUSTUP_MAX_RETRIES", "1").env("RUST_BACKTRACE", "0");
    let step = Step::start(format!("rustup: adding the standard library for {}", arch.name()));
    if process::run_limited(&mut command, &step, Some(LIMIT)).is_ok() && has_library(arch)? {
        step.done("");
        return Ok(true);
    }
    step.skipped("rustup failed; it is built from its sources");
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_c_librarys_release_is_read_from_its_macros() {
        let macros = "#define __GLIBC_USE(F) __GLIBC_USE_ ## F\n#define __GLIBC__ 2\n\
                      #define __GLIBC_MINOR__ 36\n#define __x86_64__ 1\n";
        assert_eq!(release(macros), Some("2.36".to_owned()));
        assert_eq!(release("#define __x86_64__ 1\n"), None);
    }
}
