//! Converts objects of the API server while they are read.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::marker::PhantomData;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::de::DeserializeSeed as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::key::Key;
use super::kind::Watch;
use crate::source::convert::Problem;
use crate::source::remark::{Remark, Severity};
use crate::source::typed;
use enforcer_core::model::Change;

/// An object's name and its meaning for the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) key: Key,
    /// `metadata.uid`
    pub(super) uid: String,
    pub(super) outcome: Outcome,
    /// The remarks on it.
    pub(super) remarks: Vec<Remark>,
}

/// An object's meaning for the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Converted; to no change if the model has no such objects.
    Good(Option<Change>),
    /// Has errors. The change takes effect; without one, the last good version stays.
    Bad(Option<Change>),
}

/// An object of kind `K`, converted while it is read, so that a page of a list holds only model
/// values. Reading fails for invalid JSON only, never for the contents of an object: one bad object
/// must not block the others.
#[derive(Debug, Clone)]
pub(super) struct Watched<K> {
    /// Only name, namespace and resource version.
    meta: ObjectMeta,
    pub(super) seen: Seen,
    kind: PhantomData<fn() -> K>,
}

impl<K: Watch> Watched<K> {
    fn read(mut value: Value) -> Self {
        let mut closed = K::without_unknown(&mut value);
        let (mut outcome, mut more) = outcome::<K>(&value);
        if let Outcome::Bad(_) = &outcome {
            let bad = K::without_bad_entries(&mut value);
            if !bad.is_empty() {
                closed.extend(bad);
                (outcome, more) = self::outcome::<K>(&value);
            }
        }
        let value = &value;
        let meta = value.get("metadata");
        let text = |field| meta?.get(field)?.as_str().map(ToOwned::to_owned);
        let (name, namespace) = (text("name"), text("namespace"));
        let key =
            Key::new(namespace.as_deref().unwrap_or_default(), name.as_deref().unwrap_or_default());
        let remarks = closed.iter().map(remark).chain(more).collect();
        let resource_version = text("resourceVersion");
        Self {
            meta: ObjectMeta { name, namespace, resource_version, ..ObjectMeta::default() },
            seen: Seen { key, uid: text("uid").unwrap_or_default(), outcome, remarks },
            kind: PhantomData,
        }
    }
}

fn outcome<K: Watch>(value: &Value) -> (Outcome, Vec<Remark>) {
    // The path of a misfit costs more than all else, and nearly no object has any.
    let read = K::deserialize(value).or_else(|_| typed::read::<K>(value).0);
    let object = match read {
        Ok(object) => object,
        Err(misfit) => {
            let help = misfit.help.map(|it| format!(" ({it})")).unwrap_or_default();
            let path = if misfit.path.is_empty() { "the object" } else { &*misfit.path };
            let text = format!("{path}: {}{help}", misfit.message);
            let remark = Remark { severity: Severity::Error, text };
            return (Outcome::Bad(K::fallback(value)), vec![remark]);
        }
    };
    let converted = object.convert();
    let outcome = converted.value.map_or_else(|| Outcome::Bad(K::fallback(value)), Outcome::Good);
    (outcome, converted.problems.iter().map(remark).collect())
}

fn remark(problem: &Problem) -> Remark {
    Remark { severity: problem.severity, text: problem.to_string() }
}

impl<'de, K: Watch> Deserialize<'de> for Watched<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::read(K::KEEP.deserialize(deserializer)?))
    }
}

impl<K: Watch> Resource for Watched<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

impl Seen {
    /// A hash that distinguishes objects with the same name, one after the other.
    pub(super) fn identity(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.uid.hash(&mut hasher);
        hasher.finish()
    }
}
