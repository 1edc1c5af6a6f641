//! The Debian packages that make up a compiler, by version and checksum.
//!
//! To move to a newer version: change it here, and take the checksums from
//! `apt-cache show PACKAGE` for each architecture.

/// The Debian release that the packages are built for (`VERSION_CODENAME`).
pub(crate) const CODENAME: &str = "bookworm";

/// Names the unpacked folder: another set of packages goes into another folder.
pub(crate) const SET: &str = "1.96.0+dfsg1-1~deb12u2";

/// A package and its checksum per architecture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pin {
    /// The package's name.
    pub(crate) name: &'static str,
    /// Its version, as apt writes it.
    pub(crate) version: &'static str,
    /// SHA-256 of the `.deb` for each supported `dpkg --print-architecture`.
    sums: [(&'static str, &'static str); 2],
}

impl Pin {
    /// The checksum for one architecture, if the package is pinned for it.
    pub(crate) fn sum(&self, architecture: &str) -> Option<&'static str> {
        self.sums.iter().find(|(name, _)| *name == architecture).map(|(_, sum)| *sum)
    }
}

/// The compiler, the standard library for build scripts' sake, its sources, and LLVM. Cargo isn't
/// among them: the one that runs this task drives any compiler.
pub(crate) const PINS: [Pin; 5] = [
    Pin {
        name: "rustc-web",
        version: SET,
        sums: [
            ("amd64", "8fefe1d6377fe4082f5a9d2a47e095e2d20319eaab9754bd2f0275155c9adf90"),
            ("arm64", "0080dabbddce9c093e8d5cf65a1b0c71529ed322f1fea86d74f1e676554bfd83"),
        ],
    },
    Pin {
        name: "libstd-rust-web-dev",
        version: SET,
        sums: [
            ("amd64", "e38dbeaaad673fc63fb47c5140cf34da271ac71c3ecafc828b762c2fb01fe77a"),
            ("arm64", "02419380801b9f61391294823659b17b90f7a863ca3bbccb9140d2f0f8a2c910"),
        ],
    },
    Pin {
        name: "libstd-rust-web-1.96",
        version: SET,
        sums: [
            ("amd64", "3755f30434ae29574c91b0beb86632bee401607b0ac35c3e52810f9a53fae0d1"),
            ("arm64", "b4dc1a7ec2dba5fc6a71c3632e66b030dc6c609286e533505aaf89f53e8c6146"),
        ],
    },
    Pin {
        name: "rust-web-src",
        version: SET,
        sums: [
            ("amd64", "9de8597c464d0a9283672973ed7e50092b49a92b95861429043fe8b57468a208"),
            ("arm64", "9de8597c464d0a9283672973ed7e50092b49a92b95861429043fe8b57468a208"),
        ],
    },
    Pin {
        name: "libllvm22",
        version: "1:22.1.8-1~deb12u1",
        sums: [
            ("amd64", "729ec3e943d320515c2bbdc96acfffd7ce34861e62bd5c42726bf586d644dfe2"),
            ("arm64", "92440a30c46942145d738998ca57149fa0cc6809af90aa1c99d0a79c9a9c85d1"),
        ],
    },
];

/// Libraries that LLVM wants of the system, by the name the loader asks for, and the package
/// that has them. A small installation lacks some; they are then unpacked beside LLVM. They are
/// taken in whatever version the system's own archive offers (security updates replace them
/// often), on the strength of apt's signatures.
pub(crate) const SYSTEM_LIBRARIES: [(&str, &str); 9] = [
    ("libbsd.so.0", "libbsd0"),
    ("libedit.so.2", "libedit2"),
    ("libffi.so.8", "libffi8"),
    ("libicudata.so.72", "libicu72"),
    ("libicuuc.so.72", "libicu72"),
    ("libmd.so.0", "libmd0"),
    ("libstdc++.so.6", "libstdc++6"),
    ("libxml2.so.2", "libxml2"),
    ("libz3.so.4", "libz3-4"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pin_has_a_whole_checksum_for_both_architectures() {
        for pin in PINS {
            for architecture in ["amd64", "arm64"] {
                let sum = pin.sum(architecture).unwrap();
                assert_eq!(sum.len(), 64, "{}", pin.name);
                assert!(sum.bytes().all(|byte| byte.is_ascii_hexdigit()), "{}", pin.name);
            }
            assert_eq!(pin.sum("riscv64"), None);
        }
    }
}
