//! Versions: which releases are used, and how they compare.

use std::fmt;
use std::str::FromStr;

/// The release that rustup is asked for: the workspace's own (`rust-toolchain.toml`).
pub(crate) const PINNED: Version = Version::new(1, 95, 0);

/// The releases whose output has been tried. Another one may miscompile for so small a target
/// without anyone noticing, so it is never picked up just because it is there.
pub(crate) const TESTED: [Version; 2] = [PINNED, Version::new(1, 96, 0)];

/// The LLVM that the linker was built for. The compiler must use the same: the object goes from
/// one to the other as LLVM bitcode.
pub(crate) const LLVM_MAJOR: u32 = 22;

/// A version of three numbers; a suffix such as `-nightly` is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

impl Version {
    /// The version `major.minor.patch`.
    pub(crate) const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// Whether Cargo's caret rule lets `self` stand in for `wanted`.
    pub(crate) fn is_compatible_with(self, wanted: Self) -> bool {
        let same = if wanted.major == 0 {
            self.major == 0 && self.minor == wanted.minor
        } else {
            self.major == wanted.major
        };
        same && self >= wanted
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers = text.trim().split(['-', '+', '~']).next().unwrap_or_default();
        let mut parts = numbers.split('.').map(str::parse::<u32>);
        let mut next = || match parts.next() {
            None => Ok(0),
            Some(Ok(number)) => Ok(number),
            Some(Err(error)) => Err(anyhow::anyhow!("`{text}` is no version: {error}")),
        };
        Ok(Self { major: next()?, minor: next()?, patch: next()? })
    }
}

/// What `rustc -vV` says of a compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compiler {
    /// Its release, without a channel's suffix.
    release: Version,
    /// The first number of its LLVM's version.
    llvm_major: u32,
    /// Whether it is a nightly or a beta: not a release, though it may bear its number.
    preview: bool,
}

impl Compiler {
    /// Whether this compiler's output has been tried and fits the linker.
    pub(crate) fn fits(self) -> bool {
        !self.preview && self.llvm_major == LLVM_MAJOR && TESTED.contains(&self.release)
    }

    /// Reads the output of `rustc -vV`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let field =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let release = field("release:")?;
        let llvm: Version = field("LLVM version:")?.parse().ok()?;
        Some(Self {
            release: release.parse().ok()?,
            llvm_major: llvm.major,
            preview: release.contains('-'),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn versions_compare_by_number_not_by_letter() {
        assert!(version("0.10.3") > version("0.9.15"));
        assert_eq!(version("22.1"), Version::new(22, 1, 0));
        assert_eq!(version("1.97.0-nightly"), Version::new(1, 97, 0));
        assert!("x.1".parse::<Version>().is_err());
    }

    #[test]
    fn compatible_means_cargos_caret() {
        let wanted = version("0.10.3");
        for (found, expected) in [
            ("0.10.3", true),
            ("0.10.9", true),
            ("0.10.2", false),
            ("0.11.0", false),
            ("1.0.0", false),
        ] {
            assert_eq!(version(found).is_compatible_with(wanted), expected, "{found}");
        }
        assert!(version("1.9.0").is_compatible_with(version("1.2.0")));
    }

    #[test]
    fn only_a_tested_release_with_the_linkers_llvm_fits() {
        let text = |release: &str, llvm: &str| {
            format!("rustc x\nbinary: rustc\nhost: h\nrelease: {release}\nLLVM version: {llvm}\n")
        };
        let fits = |release, llvm| Compiler::parse(&text(release, llvm)).unwrap().fits();
        assert!(fits("1.95.0", "22.1.2"));
        assert!(fits("1.96.0", "22.1.8"));
        assert!(!fits("1.95.0", "21.1.0"), "another LLVM");
        assert!(!fits("1.97.0", "22.1.8"), "never tried");
        assert!(!fits("1.96.0-nightly", "22.1.8"), "not the release of that number");
        assert!(Compiler::parse("rustc 1.95.0").is_none());
    }
}
