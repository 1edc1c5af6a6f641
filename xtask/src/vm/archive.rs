//! Kernels from Debian's archive: the current release of each series, fetched by apt with its own
//! lists.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::modules::{self, Module};
use crate::apt::{self, Apt, Mirror};
use crate::cli::Series;
use crate::ui::Step;
use crate::{cache, packages};

/// The package that depends on the current kernel. The cloud's kernels lack only drivers and are
/// smaller.
const META: &str = "linux-image-cloud-amd64";

/// Prefixes of a kernel's packages; newer kernels are split.
const PARTS: [&str; 3] = ["linux-image-", "linux-binary-", "linux-modules-"];

/// A kernel and its modules.
#[derive(Debug)]
pub(super) struct Kernel {
    /// The compressed kernel.
    pub(super) image: PathBuf,
    /// Its modules for the kernel tests, in the order of loading.
    pub(super) modules: Vec<Module>,
    /// Those that the lab needs in addition.
    pub(super) lab: Vec<Module>,
}

/// The mirror and the suite of a series. The security suites are small and have complete kernels.
fn place(series: Series) -> (Mirror, &'static str) {
    match series {
        Series::V5_10 => (apt::SECURITY, "bullseye-security"),
        Series::V6_1 => (apt::SECURITY, "bookworm-security"),
        Series::V6_12 => (apt::SECURITY, "trixie-security"),
        Series::Newest => (apt::MAIN, "trixie-backports"),
    }
}

/// The kernel of a series, from the cache folder or the archive.
///
/// # Errors
/// apt is missing or can't fetch it.
pub(super) fn obtain(series: Series, refresh: bool) -> Result<Kernel> {
    let name = format!("kernels/{}", place(series).1);
    // One that was kept by another version may lack modules.
    let is_good = |folder: &Path| {
        let kept = fs::read_to_string(folder.join(LIST)).unwrap_or_default();
        kept == list() && !refresh
    };
    read(&cache::folder_if(&name, is_good, |folder| fetch(series, folder))?)
}

/// The file that lists the modules which were looked for.
const LIST: &str = "wanted";

fn list() -> String {
    [modules::WANTED, modules::LAB, modules::LAB_OPTIONAL].map(|it| it.join("\n")).join("\n\n")
}

/// The folders of modules.
const FOLDERS: [&str; 2] = ["modules", "lab"];

fn fetch(series: Series, folder: &Path) -> Result<()> {
    let (mirror, suite) = place(series);
    let step = Step::start(format!("fetching the kernel of {suite}"));
    let apt = Apt::prepare(&folder.join("apt"), mirror, suite, "amd64")?;
    apt.update(&step)?;
    let downloaded = apt.download(parts(&apt)?.iter().map(String::as_str), &step)?;
    let unpacked = folder.join("unpacked");
    packages::unpack_all(&downloaded, &unpacked, &step)?;
    let release = keep(&unpacked, folder)?;
    fs::remove_dir_all(&unpacked).context("can't remove the unpacked packages")?;
    fs::remove_dir_all(folder.join("apt")).context("can't remove apt's lists")?;
    step.done(&release);
    Ok(())
}

/// Copies the kernel and the wanted modules into a folder; returns the kernel's release.
fn keep(unpacked: &Path, into: &Path) -> Result<String> {
    let of_modules = only_entry(&["lib/modules", "usr/lib/modules"].map(|it| unpacked.join(it)))?;
    let release = of_modules.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let images = [unpacked.join(format!("boot/vmlinuz-{release}")), of_modules.join("vmlinuz")];
    let image = images.iter().find(|it| it.is_file()).context("the packages have no kernel")?;
    fs::copy(image, into.join("vmlinuz")).context("can't copy the kernel")?;
    let tests = modules::collect(&of_modules, modules::WANTED, &[])?;
    let lab = modules::collect(&of_modules, modules::LAB, modules::LAB_OPTIONAL)?;
    for (name, modules) in FOLDERS.iter().zip([tests, lab]) {
        keep_modules(&into.join(name), &modules)?;
    }
    fs::write(into.join(LIST), list())?;
    Ok(release)
}

fn keep_modules(folder: &Path, modules: &[Module]) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
    for (number, module) in modules.iter().enumerate() {
        let path = folder.join(format!("{number:02}-{}", module.name));
        fs::write(&path, &module.content)
            .with_context(|| format!("can't write {}", path.display()))?;
    }
    Ok(())
}

fn only_entry(folders: &[PathBuf]) -> Result<PathBuf> {
    let entries = folders.iter().filter_map(|it| fs::read_dir(it).ok()).flatten();
    let paths: Vec<_> = entries.filter_map(Result::ok).map(|it| it.path()).collect();
    match paths.as_slice() {
        [path] => Ok(path.clone()),
        _ => bail!("expected one kernel's modules in the packages, found {}", paths.len()),
    }
}

/// Reads a kernel from its folder in the cache.
fn read(folder: &Path) -> Result<Kernel> {
    let [modules, lab] = FOLDERS.map(|name| read_modules(&folder.join(name)));
    Ok(Kernel { image: folder.join("vmlinuz"), modules: modules?, lab: lab? })
}

fn read_modules(from: &Path) -> Result<Vec<Module>> {
    let entries = fs::read_dir(from).with_context(|| format!("can't read {}", from.display()))?;
    let mut paths: Vec<_> = entries.filter_map(Result::ok).map(|it| it.path()).collect();
    paths.sort();
    let module = |path: &PathBuf| -> Result<Module> {
        let content = fs::read(path).with_context(|| format!("can't read {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Module { name, content })
    };
    paths.iter().map(module).collect()
}

/// The packages of the current kernel.
fn parts(apt: &Apt) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut next = vec![META.to_owned()];
    while let Some(package) = next.pop() {
        if found.contains(&package) {
            continue;
        }
        next.extend(parts_of(&apt.show(&package)?));
        found.insert(package);
    }
    found.retain(|package| is_versioned(package));
    Ok(found)
}

/// The other parts of a kernel that a package depends on, from `apt-cache show`.
fn parts_of(shown: &str) -> Vec<String> {
    let lists = shown.lines().filter_map(|line| line.strip_prefix("Depends: "));
    let names =
        lists.flat_map(|list| list.split(',')).filter_map(|it| it.split_whitespace().next());
    let is_part = |name: &&str| PARTS.iter().any(|part| name.starts_with(part));
    names.filter(is_part).map(str::to_owned).collect()
}

/// Whether a package belongs to one kernel; the others only depend on such packages.
fn is_versioned(package: &str) -> bool {
    let rest = PARTS.iter().find_map(|part| package.strip_prefix(part));
    rest.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_one_kernel_differ_from_those_that_depend_on_them() {
        assert!(is_versioned("linux-image-5.10.0-46-cloud-amd64"));
        assert!(is_versioned("linux-modules-7.3.4+deb13-cloud-amd64"));
        assert!(!is_versioned(META));
        assert!(!is_versioned("linux-modules-cloud-amd64"));
    }

    #[test]
    fn a_kernels_parts_are_followed_and_nothing_else() {
        let old = "Package: linux-image-cloud-amd64\nVersion: 5.10.262-1\n\
                   Depends: linux-image-5.10.0-46-cloud-amd64 (= 5.10.262-1)\n";
        assert_eq!(parts_of(old), ["linux-image-5.10.0-46-cloud-amd64"]);
        let new = "Package: linux-image-7.3-cloud-amd64\n\
                   Depends: dracut | initramfs-tools (>= 0.120), linux-base-7.3 (= 1), \
                   linux-binary-7.3 (= 1), linux-modules-7.3 (= 1)\nSuggests: linux-image-x\n";
        assert_eq!(parts_of(new), ["linux-binary-7.3", "linux-modules-7.3"]);
        assert!(parts_of("Depends: kmod, initramfs-tools | linux-initramfs-tool\n").is_empty());
    }

    #[test]
    fn the_kernel_is_found_in_either_layout() {
        let folder = std::env::temp_dir().join(format!("enforcer-vm-{}", std::process::id()));
        for (modules, image) in [
            ("lib/modules/5.10", "boot/vmlinuz-5.10"),
            ("usr/lib/modules/7.3", "usr/lib/modules/7.3/vmlinuz"),
        ] {
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(folder.join("from/boot")).unwrap();
            fs::create_dir_all(folder.join("from").join(modules).join("kernel")).unwrap();
            fs::create_dir_all(folder.join("into")).unwrap();
            let wanted = modules::WANTED.iter().chain(modules::LAB);
            let builtin: String = wanted.map(|name| format!("kernel/{name}.ko\n")).collect();
            let file = folder.join("from").join(modules).join("modules.builtin");
            fs::write(file, builtin).unwrap();
            assert!(keep(&folder.join("from"), &folder.join("into")).is_err(), "no image");
            fs::write(folder.join("from").join(image), "image").unwrap();
            let release = keep(&folder.join("from"), &folder.join("into")).unwrap();
            assert!(modules.ends_with(&release));
            let kernel = read(&folder.join("into")).unwrap();
            assert_eq!(fs::read(kernel.image).unwrap(), b"image");
            assert!(kernel.modules.is_empty() && kernel.lab.is_empty());
            assert_eq!(fs::read_to_string(folder.join("into").join(LIST)).unwrap(), list());
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
