//! `image`.

use std::path::PathBuf;

use clap::Args;

use crate::arch::Arch;

/// `image`.
#[derive(Debug, Default, Args)]
pub(crate) struct Image {
    /// Only this architecture; repeatable [default: all]
    #[arg(long = "arch", value_enum, value_name = "ARCH")]
    pub(crate) archs: Vec<Arch>,
    /// Name of the image [default: enforcer:VERSION]
    #[arg(long, value_name = "NAME:TAG")]
    pub(crate) tag: Option<String>,
    /// Path of the archive [default: target/image/enforcer-VERSION.tar]
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Write the files of one architecture into this empty folder instead of an archive
    #[arg(long, value_name = "DIR", conflicts_with_all = ["tag", "output"])]
    pub(crate) rootfs: Option<PathBuf>,
    /// Build with little optimisation: faster to build, larger and slower to run
    #[arg(long)]
    pub(crate) quick: bool,
    /// Push the image, its bills of materials and the Helm chart to the registry in --tag
    #[arg(long, requires = "tag")]
    pub(crate) push: bool,
    /// Sign what is pushed with this ECDSA P-256 key (PKCS #8 in PEM), as cosign does
    #[arg(long, value_name = "FILE", requires = "push")]
    pub(crate) sign: Option<PathBuf>,
    /// Address of the sources, for the chart's description
    #[arg(long, value_name = "URL", requires = "push")]
    pub(crate) source: Option<String>,
}

/// Examples and explanations.
pub(super) const HELP: &str = "\
Examples:
  cargo xtask image               # both architectures in one file
  cargo xtask image --arch amd64
  cargo xtask image --tag registry.example/team/enforcer:1.0
  cargo xtask image --arch arm64 --rootfs ./root  # only the files
  docker load --input target/image/enforcer-0.1.0.tar
  cargo xtask image --push --tag registry.example/enforcer:0.1.0 --sign key.pem

--push uses the credentials of `docker login`. The chart goes to charts/enforcer beside the image
(registry.example/charts/enforcer:0.1.0), and its values name the image.

The archive is an OCI image layout. `ctr images import`, skopeo, crane, oras and newer versions of
Docker read it; older versions of Docker find its first architecture. Prints the digest. A bill of
materials for each architecture (CycloneDX) is written beside the archive and into the image. The
same commit and the same compilers give the same bytes; SOURCE_DATE_EPOCH overrides the commit's
time.
Requires glibc 2.34 or later with its static libraries and, for the other architecture, a C
compiler, which root installs automatically. rustup adds Rust's standard library for it, or it is
built.";
