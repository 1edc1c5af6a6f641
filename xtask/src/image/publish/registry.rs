//! A registry that takes blobs and manifests.
//! Source: <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md>

use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use docker_credential::{CredentialRetrievalError, DockerCredential};
use http::HeaderValue;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, RegistryOperation};
use oci_spec::distribution::Reference;
use oci_spec::image::MediaType;
use serde_json::Value;
use tokio::runtime::{self, Runtime};

use super::artifact::{Artifact, digest};

/// The name that `docker login` gives to Docker's own registry.
const DOCKER: (&str, &str) = ("docker.io", "https://index.docker.io/v1/");

/// A registry, with this user's credentials.
pub(super) struct Registry {
    name: String,
    auth: RegistryAuth,
    client: Client,
    runtime: Runtime,
}

impl Registry {
    /// The registry of a name.
    ///
    /// # Errors
    /// The credentials can't be read.
    pub(super) fn open(name: &Reference) -> Result<Self> {
        // Both providers may be compiled in, so rustls has no default. It is one already if this is not the
        // first registry.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let registry = name.registry().to_owned();
        let exceptions = if is_loopback(&registry) { vec![registry.clone()] } else { Vec::new() };
        let config = ClientConfig {
            protocol: ClientProtocol::HttpsExcept(exceptions),
            use_monolithic_push: true,
            user_agent: concat!("enforcer-xtask/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        Ok(Self {
            auth: credentials(&registry)?,
            name: registry,
            client: Client::new(config),
            runtime: runtime::Builder::new_current_thread().enable_all().build()?,
        })
    }

    /// Pushes an artifact's blobs, then its manifest.
    ///
    /// # Errors
    /// The registry refuses it.
    pub(super) fn push(&self, place: &Reference, artifact: &Artifact) -> Result<()> {
        for blob in &artifact.blobs {
            self.blob(place, blob)?;
        }
        self.manifest(place, &artifact.media_type, &artifact.manifest)
    }

    /// Pushes a blob, unless the registry has it.
    ///
    /// # Errors
    /// The registry refuses it.
    pub(super) fn blob(&self, place: &Reference, content: &[u8]) -> Result<()> {
        let digest = digest(content);
        self.runtime
            .block_on(async {
                self.client.auth(place, &self.auth, RegistryOperation::Push).await?;
                if self.client.blob_exists(place, &digest).await.unwrap_or(false) {
                    return Ok(());
                }
                self.client.push_blob(place, content.to_vec(), &digest).await.map(|_| ())
            })
            .with_context(|| self.refusal(place))
    }

    /// Pushes a manifest by the name's tag or digest.
    ///
    /// # Errors
    /// The registry refuses it.
    pub(super) fn manifest(
        &self,
        place: &Reference,
        media_type: &MediaType,
        content: &[u8],
    ) -> Result<()> {
        let media_type = HeaderValue::from_str(media_type.as_ref())?;
        self.runtime
            .block_on(async {
                self.client.auth(place, &self.auth, RegistryOperation::Push).await?;
                self.client.push_manifest_raw(place, content.to_vec(), media_type).await
            })
            .with_context(|| self.refusal(place))?;
        Ok(())
    }

    /// The descriptors of the manifests that refer to this one.
    ///
    /// # Errors
    /// The registry does not answer, or not as specified.
    pub(super) fn referrers(&self, subject: &Reference) -> Result<Vec<Value>> {
        let index = self
            .runtime
            .block_on(self.client.pull_referrers(subject, None))
            .with_context(|| format!("can't list what refers to {}", subject.whole()))?;
        index.manifests.into_iter().map(|it| Ok(serde_json::to_value(it)?)).collect()
    }

    fn refusal(&self, place: &Reference) -> String {
        let name = &self.name;
        format!("can't push to {}: is this user logged in (docker login {name})?", place.whole())
    }
}

/// Whether the registry is on this machine: without TLS, as Docker assumes, too.
fn is_loopback(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|it| it.is_loopback())
}

/// The credentials of `docker login`; nobody's if there are none.
fn credentials(registry: &str) -> Result<RegistryAuth> {
    let server = if registry == DOCKER.0 { DOCKER.1 } else { registry };
    use CredentialRetrievalError as Error;
    match docker_credential::get_credential(server) {
        Ok(DockerCredential::UsernamePassword(user, password)) => {
            Ok(RegistryAuth::Basic(user, password))
        }
        Ok(DockerCredential::IdentityToken(_)) => {
            bail!("docker has an identity token for {registry}: log in with a user and a password")
        }
        Err(Error::ConfigNotFound | Error::ConfigReadError | Error::NoCredentialConfigured) => {
            Ok(RegistryAuth::Anonymous)
        }
        Err(error) => Err(error).context(format!("can't read the credentials for {registry}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_registries_on_this_machine_need_no_tls() {
        for name in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.1.2.3", "[::1]:5000"] {
            assert!(is_loopback(name), "{name}");
        }
        for name in ["registry.example", "localhost.example:80", "10.0.0.1:5000", "127.0.0.1.nip"] {
            assert!(!is_loopback(name), "{name}");
        }
    }
}
