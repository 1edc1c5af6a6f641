//! Manifests, applied to the store like by `kubectl apply`.

use serde_json::Value;

use super::key::Key;
use super::kinds::{Kind, NAMESPACES};
use super::object;
use super::server::FIRST_NAMESPACES;
use super::status::Refusal;
use super::store::Store;
use super::write::Manner;

/// Why manifests can't be applied.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The text is not YAML.
    #[error("the manifests are not YAML: {0}")]
    Yaml(String),
    /// The server does not support the kind.
    #[error("the server does not support {kind} of {api_version}")]
    Kind {
        /// The object's kind.
        kind: String,
        /// The object's API version.
        api_version: String,
    },
    /// The server refuses the object.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl Store {
    /// Creates or replaces the manifests' objects.
    ///
    /// # Errors
    /// The first object that is refused; those before it are stored.
    pub fn apply(&self, manifests: &str) -> Result<(), ManifestError> {
        let options = serde_saphyr::options! { strict_booleans: true };
        let documents = serde_saphyr::from_multiple_with_options::<Value>(manifests, options);
        for document in documents.map_err(|error| ManifestError::Yaml(error.to_string()))? {
            self.apply_object(document)?;
        }
        Ok(())
    }

    /// Creates or replaces one object.
    pub fn apply_object(&self, mut object: Value) -> Result<(), ManifestError> {
        let (api_version, name) =
            (object::text(&object, "/apiVersion"), object::text(&object, "/kind"));
        let kind = Kind::of_object(api_version, name).ok_or_else(|| ManifestError::Kind {
            kind: name.to_owned(),
            api_version: api_version.to_owned(),
        })?;
        if let Some(meta) = object.get_mut("metadata").filter(|_| kind.namespaced) {
            object::default(meta, "namespace", "default");
        }
        let key = object::key(&object);
        let manner = Manner::default();
        if self.get(kind, &key).is_some() {
            self.update(kind, &key, object, &manner)?;
        } else {
            self.create_in(kind, &key.namespace, object, &manner)?;
        }
        Ok(())
    }

    /// Deletes all namespaces except those of every cluster, with everything in them.
    pub fn clear(&self) {
        let names = self.all(&NAMESPACES).into_iter().map(|it| object::key(&it).name);
        for name in names.filter(|it| !FIRST_NAMESPACES.contains(&it.as_str())) {
            self.with(|contents| super::delete::empty(contents, &name));
            self.remove(&NAMESPACES, &Key::new("", name));
        }
    }
}
