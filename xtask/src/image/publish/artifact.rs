//! What a registry stores.

use oci_spec::image::MediaType;

use super::super::layout;

/// A manifest, and the blobs that it names.
pub(super) struct Artifact {
    pub(super) blobs: Vec<Vec<u8>>,
    pub(super) media_type: MediaType,
    pub(super) manifest: Vec<u8>,
}

impl Artifact {
    /// The digest of its manifest.
    pub(super) fn digest(&self) -> String {
        digest(&self.manifest)
    }
}

/// The digest of some bytes, as registries write it.
pub(super) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", layout::hex(bytes))
}
