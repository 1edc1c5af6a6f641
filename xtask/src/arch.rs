//! The supported processor architectures.

use clap::ValueEnum;

use crate::packages::Wanted;

/// An architecture, with the name that images and Debian's packages use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Arch {
    /// x86-64
    Amd64,
    /// 64-bit ARM, version 8 and later
    Arm64,
}

impl Arch {
    /// This machine's, if it is one of them.
    pub(crate) const HOST: Option<Self> = if cfg!(target_arch = "x86_64") {
        Some(Self::Amd64)
    } else if cfg!(target_arch = "aarch64") {
        Some(Self::Arm64)
    } else {
        None
    };

    /// Its name on the command line, in images and in Debian.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The compiler's target for programs that run on it.
    pub(crate) fn target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// The C compiler for it, with the C library.
    pub(crate) fn c_compiler(self) -> Wanted {
        let (program, package) = match self {
            _ if Self::HOST == Some(self) => ("cc", "gcc libc6-dev"),
            Self::Amd64 => ("x86_64-linux-gnu-gcc", "gcc-x86-64-linux-gnu libc6-dev-amd64-cross"),
            Self::Arm64 => ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu libc6-dev-arm64-cross"),
        };
        Wanted { program, package, why: "to link programs" }
    }

    /// The emulator that runs its programs on another architecture.
    pub(crate) fn emulator(self) -> Wanted {
        let program = match self {
            Self::Amd64 => "qemu-x86_64-static",
            Self::Arm64 => "qemu-aarch64-static",
        };
        Wanted {
            program,
            package: "qemu-user-static",
            why: "to run another architecture's programs",
        }
    }
}
