//! The compiler of Debian's packages, unpacked into the cache folder: needs no root, installs
//! nothing.
//!
//! apt checks the archive's signature; the compiler's packages must have the pinned checksums, too.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::compiler::Toolchain;
use crate::arch::Arch;
use crate::ui::Step;
use crate::{cache, packages, process};

/// The compiler's release.
pub(super) const RELEASE: &str = "1.96.0";

/// The Debian release that the packages are built for.
const CODENAME: &str = "bookworm";

/// The compiler, the standard library for build scripts, its sources, and LLVM, as `sha256sum`
/// writes them. To move to newer ones, take them from `apt-cache show PACKAGE`.
const AMD64: &str = "\
8fefe1d6377fe4082f5a9d2a47e095e2d20319eaab9754bd2f0275155c9adf90  rustc-web_1.96.0+dfsg1-1~deb12u2_amd64.deb
e38dbeaaad673fc63fb47c5140cf34da271ac71c3ecafc828b762c2fb01fe77a  libstd-rust-web-dev_1.96.0+dfsg1-1~deb12u2_amd64.deb
3755f30434ae29574c91b0beb86632bee401607b0ac35c3e52810f9a53fae0d1  libstd-rust-web-1.96_1.96.0+dfsg1-1~deb12u2_amd64.deb
9de8597c464d0a9283672973ed7e50092b49a92b95861429043fe8b57468a208  rust-web-src_1.96.0+dfsg1-1~deb12u2_all.deb
729ec3e943d320515c2bbdc96acfffd7ce34861e62bd5c42726bf586d644dfe2  libllvm22_1%3a22.1.8-1~deb12u1_amd64.deb
";
const ARM64: &str = "\
0080dabbddce9c093e8d5cf65a1b0c71529ed322f1fea86d74f1e676554bfd83  rustc-web_1.96.0+dfsg1-1~deb12u2_arm64.deb
02419380801b9f61391294823659b17b90f7a863ca3bbccb9140d2f0f8a2c910  libstd-rust-web-dev_1.96.0+dfsg1-1~deb12u2_arm64.deb
b4dc1a7ec2dba5fc6a71c3632e66b030dc6c609286e533505aaf89f53e8c6146  libstd-rust-web-1.96_1.96.0+dfsg1-1~deb12u2_arm64.deb
9de8597c464d0a9283672973ed7e50092b49a92b95861429043fe8b57468a208  rust-web-src_1.96.0+dfsg1-1~deb12u2_all.deb
92440a30c46942145d738998ca57149fa0cc6809af90aa1c99d0a79c9a9c85d1  libllvm22_1%3a22.1.8-1~deb12u1_arm64.deb
";

/// Libraries that LLVM loads, which a small installation lacks. They are taken in the archive's
/// current version, since security updates replace them often.
const LIBRARIES: [&str; 7] =
    ["libbsd0", "libedit2", "libffi8", "libicu72", "libmd0", "libxml2", "libz3-4"];

/// The unpacked compiler of an earlier run.
///
/// # Errors
/// There is none.
pub(super) fn existing() -> Result<Toolchain> {
    toolchain(&cache::root()?.join(folder()?))
}

/// Downloads, checks and unpacks the packages.
///
/// # Errors
/// This is another system than the packages are for, or apt can't get them.
pub(super) fn install() -> Result<Toolchain> {
    check_release(&fs::read_to_string("/etc/os-release").unwrap_or_default())?;
    toolchain(&cache::folder(&folder()?, fill)?)
}

fn folder() -> Result<String> {
    let arch = Arch::HOST.context("the packages are for amd64 and arm64")?;
    Ok(format!("toolchain/debian-{RELEASE}-{}", arch.name()))
}

fn toolchain(folder: &Path) -> Result<Toolchain> {
    Toolchain::in_folder(&folder.join("usr"), RELEASE, "Debian's Rust")
}

/// Rejects systems that the packages aren't built for.
fn check_release(os_release: &str) -> Result<()> {
    let line = format!("VERSION_CODENAME={CODENAME}");
    if os_release.lines().any(|it| it == "ID=debian") && os_release.lines().any(|it| it == line) {
        return Ok(());
    }
    bail!("the packages are for Debian {CODENAME}, not for this system")
}

fn fill(folder: &Path) -> Result<()> {
    let step = Step::start(format!("Debian's packages of Rust {RELEASE} (about 200 MB)"));
    let sums = if Arch::HOST == Some(Arch::Arm64) { ARM64 } else { AMD64 };
    let downloaded = folder.join("packages");
    fs::create_dir_all(&downloaded)?;
    let pinned: Vec<_> = pinned(sums).collect();
    let wanted = pinned.iter().map(String::as_str).chain(LIBRARIES);
    packages::download(&downloaded, wanted, &step).with_context(|| {
        format!(
            "apt can't fetch {}: check that {CODENAME}-security is among its sources and run \
             `sudo apt-get update`; a newer version needs new checksums in {}",
            pinned.join(", "),
            file!()
        )
    })?;
    fs::write(downloaded.join("SHA256SUMS"), sums)?;
    let mut check = Command::new("sha256sum");
    check.args(["--check", "--strict", "--quiet", "SHA256SUMS"]).current_dir(&downloaded);
    process::run_quietly(&mut check, &step)?;
    packages::unpack_all(&downloaded, folder, &step)?;
    fs::remove_dir_all(&downloaded)?;
    toolchain(folder).context("the unpacked compiler doesn't work")?;
    step.done("checksums as pinned");
    Ok(())
}

/// What apt is asked for, `NAME=VERSION`. In the names of files, `:` is written `%3a`.
fn pinned(sums: &str) -> impl Iterator<Item = String> {
    sums.lines().filter_map(|line| {
        let (_, file) = line.split_once("  ")?;
        let (name, rest) = file.split_once('_')?;
        let (version, _) = rest.split_once('_')?;
        Some(format!("{name}={}", version.replace("%3a", ":")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_only_for_their_own_debian_release() {
        let bookworm = "NAME=\"Debian GNU/Linux\"\nVERSION_CODENAME=bookworm\nID=debian\n";
        assert!(check_release(bookworm).is_ok());
        assert!(check_release(&bookworm.replace("bookworm", "trixie")).is_err());
        assert!(check_release("ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n").is_err());
        assert!(check_release("").is_err());
    }

    #[test]
    fn both_architectures_pin_the_same_versions_with_whole_checksums() {
        let names: Vec<_> = pinned(AMD64).collect();
        assert_eq!(names.len(), 5);
        assert!(names[0].starts_with(&format!("rustc-web={RELEASE}+")), "{names:?}");
        assert_eq!(names[4], "libllvm22=1:22.1.8-1~deb12u1");
        assert_eq!(names, pinned(ARM64).collect::<Vec<_>>());
        for line in AMD64.lines().chain(ARM64.lines()) {
            let sum = line.split(' ').next().unwrap();
            assert!(sum.len() == 64 && sum.bytes().all(|it| it.is_ascii_hexdigit()), "{line}");
        }
    }
}
