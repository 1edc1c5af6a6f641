//! Signatures in cosign's format: an ECDSA signature over a statement that names a digest.
//! Source: sigstore/cosign, specs/SIGNATURE_SPEC.md

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_spec::distribution::Reference;
use oci_spec::image::{ImageManifestBuilder, MediaType, SCHEMA_VERSION};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use serde_json::json;

use super::super::layout;
use super::artifact::{Artifact, digest};

/// The type of the signed statement.
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// The annotation with the signature.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// A private key.
pub(crate) struct Key(EcdsaKeyPair);

impl Key {
    /// Reads an ECDSA P-256 key (PKCS #8 in PEM).
    ///
    /// # Errors
    /// The file can't be read, or has no such key.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let text = fs::read(path).with_context(|| format!("can't read {shown}"))?;
        Self::parse(&text).with_context(|| {
            format!(
                "{shown} has no ECDSA P-256 key in PKCS #8 (PEM): make one with `openssl genpkey \
                 -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {shown}`"
            )
        })
    }

    fn parse(text: &[u8]) -> Result<Self> {
        let block = pem::parse(text)?;
        if block.tag() != "PRIVATE KEY" {
            return Err(anyhow!("it is a {}", block.tag().to_lowercase()));
        }
        let random = SystemRandom::new();
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, block.contents(), &random)
            .map(Self)
            .map_err(|error| anyhow!("{error}"))
    }

    /// The signature over the SHA-256 of some bytes, in DER.
    fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        let signature = self.0.sign(&SystemRandom::new(), bytes);
        Ok(signature.map_err(|_| anyhow!("no random numbers for a signature"))?.as_ref().to_vec())
    }
}

/// The signature of a manifest, and its tag beside the manifest.
pub(super) fn artifact(key: &Key, place: &Reference, of: &str) -> Result<(String, Artifact)> {
    let statement = statement(place, of)?;
    let signature = STANDARD.encode(key.sign(&statement)?);
    let mut layer = layout::descriptor(MediaType::Other(SIMPLE_SIGNING.to_owned()), &statement)?;
    layer.set_annotations(Some([(SIGNATURE.to_owned(), signature)].into()));
    let config = layout::json(&json!({
        "architecture": "",
        "os": "",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [digest(&statement)]},
    }))?;
    let manifest = ImageManifestBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageManifest)
        .config(layout::descriptor(MediaType::ImageConfig, &config)?)
        .layers(vec![layer])
        .build()?;
    let artifact = Artifact {
        blobs: vec![config, statement],
        media_type: MediaType::ImageManifest,
        manifest: layout::json(&manifest)?,
    };
    Ok((format!("{}.sig", of.replace(':', "-")), artifact))
}

/// The signed bytes. The creator is there because some verifiers require the object `optional`.
fn statement(place: &Reference, of: &str) -> Result<Vec<u8>> {
    let name = format!("{}/{}", place.registry(), place.repository());
    layout::json(&json!({
        "critical": {
            "identity": {"docker-reference": name},
            "image": {"docker-manifest-digest": of},
            "type": "cosign container image signature",
        },
        "optional": {"creator": "cargo xtask image"},
    }))
}
