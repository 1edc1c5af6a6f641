//! A compiler out of Debian's packages, without root and without installing anything.
//!
//! The packages are fetched by `apt-get download`, compared with the pinned checksums and
//! unpacked by `dpkg -x` into the cache folder. A folder that bears its final name is complete:
//! unpacking happens beside it, and the rename comes last.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::debian_pins::{CODENAME, PINS, Pin, SET, SYSTEM_LIBRARIES};
use super::{Toolchain, lock, rustup, version::Compiler};
use crate::packages::download;
use crate::process;
use crate::ui::Step;
use crate::workspace;

/// How often libraries are added that the ones added before ask for.
const ROUNDS: usize = 3;

/// The unpacked toolchain, if a former run has made it.
pub(crate) fn existing() -> Result<Option<Toolchain>> {
    let Ok(architecture) = architecture() else { return Ok(None) };
    let folder = folder(&workspace::cache()?, &architecture);
    Ok(if folder.is_dir() { toolchain(&folder).ok() } else { None })
}

/// Downloads, checks and unpacks the packages.
///
/// # Errors
/// On another system than the packages are for, and when apt can't get them.
pub(crate) fn install() -> Result<Toolchain> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    check_release(&release)?;
    let architecture = architecture()?;
    let cache = workspace::cache()?;
    let _lock = lock::take(&cache)?;
    if let Some(toolchain) = existing()? {
        return Ok(toolchain);
    }
    let folder = folder(&cache, &architecture);
    let partial = folder.with_file_name(format!("{}.partial", file_name(&folder)));
    let _ = fs::remove_dir_all(&partial);
    fs::create_dir_all(&partial).with_context(|| format!("can't make {}", partial.display()))?;
    let packages = cache.join("packages");
    fs::create_dir_all(&packages).with_context(|| format!("can't make {}", packages.display()))?;
    fetch_all(&packages, &architecture)?;
    unpack_all(&packages, &partial, &architecture)?;
    add_missing_libraries(&partial, &packages)?;
    toolchain(&partial).context("the unpacked compiler doesn't work")?;
    let _ = fs::remove_dir_all(&folder);
    fs::rename(&partial, &folder)
        .with_context(|| format!("can't move the toolchain to {}", folder.display()))?;
    let _ = fs::remove_dir_all(&packages);
    toolchain(&folder)
}

fn folder(cache: &Path, architecture: &str) -> PathBuf {
    cache.join(format!("toolchain/debian-{SET}-{architecture}"))
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn architecture() -> Result<String> {
    let said = process::output_of(Command::new("dpkg").arg("--print-architecture"))
        .context("this is no Debian system")?;
    let architecture = said.trim().to_owned();
    if PINS.iter().any(|pin| pin.sum(&architecture).is_none()) {
        bail!("the packages are pinned for amd64 and arm64, this machine is {architecture}");
    }
    Ok(architecture)
}

/// Refuses systems that the packages aren't built for.
fn check_release(os_release: &str) -> Result<()> {
    let field = |name: &str| {
        let value = os_release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_default().trim_matches('"')
    };
    let (id, codename) = (field("ID"), field("VERSION_CODENAME"));
    if id == "debian" && codename == CODENAME {
        return Ok(());
    }
    let here = match field("PRETTY_NAME") {
        "" => "an unknown system",
        name => name,
    };
    bail!("the packages are for Debian {CODENAME}, this is {here}")
}

/// The unpacked compiler, after it has answered.
fn toolchain(folder: &Path) -> Result<Toolchain> {
    let rustc = folder.join("usr/bin/rustc");
    let libraries = libraries(folder)?;
    let mut question = Command::new(&rustc);
    question.arg("-vV").env("LD_LIBRARY_PATH", &libraries);
    let said = process::output_of(&mut question)?;
    if !Compiler::parse(&said).is_some_and(Compiler::fits) {
        bail!("{} isn't the expected compiler:\n{said}", rustc.display());
    }
    let sources = folder.join("usr").join(rustup::CORE_SOURCES);
    if !sources.is_file() {
        bail!("{} is missing", sources.display());
    }
    Ok(Toolchain { rustc, libraries, origin: format!("Debian's packages {SET}, unpacked") })
}

/// The folder of LLVM's library: `usr/lib/x86_64-linux-gnu` and the like.
fn libraries(folder: &Path) -> Result<PathBuf> {
    let lib = folder.join("usr/lib");
    let entries = fs::read_dir(&lib).with_context(|| format!("can't read {}", lib.display()))?;
    let found = entries.filter_map(Result::ok).map(|entry| entry.path());
    found
        .into_iter()
        .find(|path| rustup::has_llvm(path))
        .with_context(|| format!("there is no LLVM library below {}", lib.display()))
}

fn fetch_all(packages: &Path, architecture: &str) -> Result<()> {
    let mut refreshed = false;
    for (index, pin) in PINS.iter().enumerate() {
        let step = Step::start(format!(
            "Debian package {} of {}: {} {}",
            index + 1,
            PINS.len(),
            pin.name,
            pin.version
        ));
        if deb(packages, pin.name).is_some_and(|path| verify(&path, pin, architecture).is_ok()) {
            step.done("downloaded before");
            continue;
        }
        let wanted = format!("{}={}", pin.name, pin.version);
        let mut result = download(packages, &wanted, &step);
        if result.is_err() && !refreshed && nix::unistd::geteuid().is_root() {
            refreshed = true;
            step.detail("apt-get update");
            process::run_quietly(Command::new("apt-get").arg("update"), &step)?;
            result = download(packages, &wanted, &step);
        }
        result.map_err(|error| unavailable(pin, packages, &error))?;
        let path = deb(packages, pin.name).context("apt-get said nothing and fetched nothing")?;
        verify(&path, pin, architecture)?;
        step.done("checksum as pinned");
    }
    Ok(())
}

/// The downloaded file of a package. Its name has the version too, with `:` written `%3a`.
fn deb(packages: &Path, name: &str) -> Option<PathBuf> {
    let prefix = format!("{name}_");
    let mut entries = fs::read_dir(packages).ok()?.filter_map(Result::ok);
    entries.find_map(|entry| {
        let file = entry.file_name();
        let file = file.to_str()?;
        (file.starts_with(&prefix) && file.ends_with(".deb")).then(|| entry.path())
    })
}

/// Why a package can't be had, and what to do about it.
fn unavailable(pin: &Pin, packages: &Path, error: &anyhow::Error) -> anyhow::Error {
    let offered = process::output_of(Command::new("apt-cache").args(["madison", pin.name]))
        .map(|text| offered(&text))
        .unwrap_or_default();
    let advice = advice(pin, &offered, packages);
    anyhow::anyhow!("{advice}\n{error:#}")
}

fn advice(pin: &Pin, offered: &[String], packages: &Path) -> String {
    let Pin { name, version, .. } = pin;
    if offered.is_empty() {
        return format!(
            "apt knows no package {name}. Run `sudo apt-get update`, and see that \
             {CODENAME}-security is among apt's sources"
        );
    }
    if offered.iter().any(|found| found == version) {
        return format!("apt knows {name} {version} but could not fetch it");
    }
    format!(
        "apt offers {name} only as {}, not as the pinned {version}. Run `sudo apt-get update`; if \
         that changes nothing, put the pinned .deb from https://snapshot.debian.org into {}, or \
         move the pins in xtask/src/toolchain/debian_pins.rs",
        offered.join(", "),
        packages.display()
    )
}

/// The versions in the output of `apt-cache madison`.
fn offered(madison: &str) -> Vec<String> {
    let version = |line: &str| Some(line.split('|').nth(1)?.trim().to_owned());
    let versions: BTreeSet<_> = madison.lines().filter_map(version).collect();
    versions.into_iter().collect()
}

fn verify(path: &Path, pin: &Pin, architecture: &str) -> Result<()> {
    let said = process::output_of(Command::new("sha256sum").arg("--").arg(path))?;
    // A name with a backslash would put one before the sum.
    let found = said.split_whitespace().next().unwrap_or_default().trim_start_matches('\\');
    if Some(found) == pin.sum(architecture) {
        return Ok(());
    }
    // Kept, it would be found again by the next run.
    let _ = fs::remove_file(path);
    bail!("{} is not the pinned file (its SHA-256 is {found}); removed it", path.display())
}

fn unpack_all(packages: &Path, into: &Path, architecture: &str) -> Result<()> {
    for pin in PINS {
        let step = Step::start(format!("unpacking {} for {architecture}", pin.name));
        let path = deb(packages, pin.name).context("a downloaded package has gone")?;
        unpack(&path, into, &step)?;
        step.done("");
    }
    Ok(())
}

fn unpack(deb: &Path, into: &Path, step: &Step) -> Result<()> {
    process::run_quietly(Command::new("dpkg").arg("-x").arg(deb).arg(into), step).map(|_| ())
}

/// Adds the libraries that this system lacks, until the loader finds all of them.
fn add_missing_libraries(folder: &Path, packages: &Path) -> Result<()> {
    let libraries = libraries(folder)?;
    for _ in 0..ROUNDS {
        let mut question = Command::new("ldd");
        question.arg(folder.join("usr/bin/rustc")).env("LD_LIBRARY_PATH", &libraries);
        let missing = missing_libraries(&process::output_of(&mut question)?);
        let mut wanted = BTreeSet::new();
        for library in &missing {
            let package = SYSTEM_LIBRARIES.iter().find(|(name, _)| name == library);
            let (_, package) = package.with_context(|| {
                format!("the compiler wants {library}: install the package that has it")
            })?;
            wanted.insert(*package);
        }
        if wanted.is_empty() {
            return Ok(());
        }
        for package in wanted {
            let step = Step::start(format!("this system lacks {package}: unpacking it too"));
            download(packages, package, &step)
                .with_context(|| format!("by hand: sudo apt-get install {package}"))?;
            let path =
                deb(packages, package).context("apt-get said nothing and fetched nothing")?;
            unpack(&path, folder, &step)?;
            step.done("");
        }
    }
    bail!("the unpacked compiler still lacks libraries: `ldd` on its rustc names them")
}

/// The libraries that `ldd` says it didn't find.
fn missing_libraries(ldd: &str) -> BTreeSet<String> {
    let missing = |line: &str| {
        let (name, rest) = line.trim().split_once(" => ")?;
        rest.starts_with("not found").then(|| name.to_owned())
    };
    ldd.lines().filter_map(missing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_release_the_packages_are_for_is_taken() {
        let bookworm =
            "PRETTY_NAME=\"Debian GNU/Linux 12\"\nVERSION_CODENAME=bookworm\nID=debian\n";
        assert!(check_release(bookworm).is_ok());
        let trixie = "PRETTY_NAME=\"Debian GNU/Linux 13\"\nVERSION_CODENAME=trixie\nID=debian\n";
        let error = check_release(trixie).unwrap_err().to_string();
        assert!(error.contains("Debian GNU/Linux 13"), "{error}");
        let ubuntu =
            "PRETTY_NAME=\"Ubuntu 24.04\"\nID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n";
        assert!(check_release(ubuntu).is_err());
        assert!(check_release("").is_err());
    }

    #[test]
    fn a_pin_that_is_gone_is_told_from_an_archive_that_was_never_listed() {
        let pin = &PINS[0];
        let cache = Path::new("/cache/packages");
        let madison = " rustc-web | 1.97.0-1 | http://x bookworm-security/main amd64 Packages\n \
                       rustc-web | 1.85.0-3 | http://x bookworm/main amd64 Packages\n";
        let found = offered(madison);
        assert_eq!(found, ["1.85.0-3", "1.97.0-1"]);
        let moved = advice(pin, &found, cache);
        assert!(moved.contains("snapshot.debian.org into /cache/packages"), "{moved}");
        assert!(moved.contains("1.85.0-3, 1.97.0-1"), "{moved}");
        let unlisted = advice(pin, &[], cache);
        assert!(unlisted.contains("sudo apt-get update"), "{unlisted}");
        let unreachable = advice(pin, &[pin.version.to_owned()], cache);
        assert!(unreachable.contains("could not fetch"), "{unreachable}");
    }

    #[test]
    fn missing_libraries_are_read_from_ldd() {
        let ldd = "\tlinux-vdso.so.1 (0x7)\n\tlibz3.so.4 => not found\n\
                   \tlibc.so.6 => /lib/libc.so.6 (0x7)\n\tlibz3.so.4 => not found\n";
        let missing: Vec<_> = missing_libraries(ldd).into_iter().collect();
        assert_eq!(missing, ["libz3.so.4"]);
    }
}
