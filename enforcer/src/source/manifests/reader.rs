//! Reads one object of a document, with reports on its fields.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::report::Report;
use super::text::{Place, Text};
use super::tree::Node;
use super::yaml::Root;
use super::{fields, kinds, nulls};
use crate::source::convert::{self, Converted, Naming};
use crate::source::remark::Severity;
use crate::source::typed::{self, Misfit};

/// Values without quotes that are read as text in one object.
const MOST_QUOTED: usize = 64;

/// A document, or an item of a list in one.
#[derive(Debug, Clone)]
pub(super) struct Document<'n> {
    root: &'n Root,
    pub(super) node: &'n Node,
    /// The prefix of its paths: `items[0].`, or nothing.
    prefix: String,
}

impl<'n> Document<'n> {
    pub(super) fn new(root: &'n Root) -> Self {
        Self { root, node: &root.node, prefix: String::new() }
    }

    /// An item of this list.
    pub(super) fn item(&self, index: usize, node: &'n Node) -> Self {
        Self { root: self.root, node, prefix: format!("{}items[{index}].", self.prefix) }
    }

    /// Whether `kubectl` refuses it for its YAML.
    pub(super) fn failed(&self) -> bool {
        self.root.failed
    }

    /// The place of a field, or of the nearest thing around it.
    pub(super) fn place(&self, text: &Text, path: &str) -> Place {
        self.root.place(text, self.node.locate(path))
    }

    /// What its paths begin with in the whole document.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// As JSON, with `null` where it is written.
    pub(super) fn raw(&self, text: &Text) -> Value {
        self.node.json(self.root.source(text))
    }

    /// As JSON, completed by what items of a list of this kind may leave out.
    pub(super) fn json(&self, text: &Text, kind: &str) -> Value {
        let mut json = kinds::complete(self.raw(text), kind);
        nulls::replace(&mut json, kind);
        json
    }
}

/// Reads objects of a text, and collects the reports on them.
#[derive(Debug)]
pub(super) struct Reader<'t> {
    pub(super) text: &'t Text,
    pub(super) reports: Vec<Report>,
}

impl Reader<'_> {
    /// Reads a Kubernetes type; reports values that don't fit and unknown fields. A string
    /// without the quotes that it needs is read as it is written, except in the spec of a policy.
    pub(super) fn typed<T: DeserializeOwned>(
        &mut self,
        document: &Document<'_>,
        kind: &str,
        json: &mut Value,
    ) -> Option<T> {
        let (mut result, mut unknown) = typed::read(json);
        for _ in 0..MOST_QUOTED {
            let Err(misfit) = &result else { break };
            if !self.quote(document, kind, misfit, json) {
                break;
            }
            (result, unknown) = typed::read(json);
        }
        for path in unknown {
            self.unknown_field(document, kind, &path);
        }
        match result {
            Ok(object) => Some(object),
            Err(misfit) => {
                // As written: `yes` should become "yes", not "true".
                let source = document.root.source(self.text);
                let written = document.node.written(&misfit.path, source);
                let quoted = misfit.wants_quotes.then(|| format!("write it as \"{written}\""));
                self.error(document, &misfit.path, &misfit.message, misfit.help.or(quoted));
                None
            }
        }
    }

    /// Makes a string of a number or boolean where a string is expected. Returns whether it did.
    ///
    /// A policy with such a value isolates what it selects in its namespace, and allows nothing. A pod that is
    /// left out is selected by no policy instead, so it is better to read what is written.
    fn quote(
        &mut self,
        document: &Document<'_>,
        kind: &str,
        misfit: &Misfit,
        json: &mut Value,
    ) -> bool {
        let is_policy = kind == "NetworkPolicy";
        if !misfit.wants_quotes || (is_policy && !misfit.path.starts_with("metadata.")) {
            return false;
        }
        let Some(value) = typed::at(json, &misfit.path) else { return false };
        let written = document.node.written(&misfit.path, document.root.source(self.text));
        *value = written.into();
        let help = Some(format!("write it as \"{written}\""));
        if is_policy {
            self.error(document, &misfit.path, &misfit.message, help);
        } else {
            let message = format!("{}, which Kubernetes refuses; read as text", misfit.message);
            self.warning(document, &misfit.path, &message, help);
        }
        true
    }

    /// An error in a policy, where a misspelt field changes what is allowed. A warning in other
    /// objects: they may have fields newer than this program.
    fn unknown_field(&mut self, document: &Document<'_>, kind: &str, path: &str) {
        let place = document.root.place(self.text, document.node.locate_key(path));
        if kind == "NetworkPolicy" && path == "status" {
            // `kubectl get -o yaml` of Kubernetes 1.24 to 1.27 wrote it; it never meant anything.
            let message = "a NetworkPolicy has no status since Kubernetes 1.28; the API server refuses it, \
                 unless validation is off, and the policy counts without it";
            let help = Some("remove it".to_owned());
            self.add(document, place, Severity::Warning, path, message, help);
            self.reports.iter_mut().next_back().into_iter().for_each(|it| it.refused = true);
            return;
        }
        let severity = if kind == "NetworkPolicy" { Severity::Error } else { Severity::Warning };
        let help = fields::suggestion(kind, path).map(|it| format!("did you mean `{it}`?"));
        let help =
            help.or_else(|| fields::home(kind, path).map(|it| format!("move it below `{it}`")));
        self.add(document, place, severity, path, "unknown field", help);
    }

    /// Returns the value of a conversion; reports its problems.
    pub(super) fn converted<M>(
        &mut self,
        document: &Document<'_>,
        converted: Converted<M>,
    ) -> Option<M> {
        for it in converted.problems {
            let place = document.place(self.text, &it.path);
            self.add(document, place, it.severity, &it.path, &it.message, it.help);
        }
        converted.value
    }

    /// Reports problems of the metadata. They are errors in a policy; other objects are used as they are.
    pub(super) fn metadata(
        &mut self,
        document: &Document<'_>,
        kind: &str,
        meta: &ObjectMeta,
        naming: Naming,
    ) {
        let is_policy = kind == "NetworkPolicy";
        let severity = if is_policy { Severity::Error } else { Severity::Warning };
        // The conversion of other objects checks their labels.
        let checked = |path: &str| !is_policy && path.starts_with("metadata.labels");
        for it in convert::metadata(meta, naming).into_iter().filter(|it| !checked(&it.path)) {
            let place = document.place(self.text, &it.path);
            self.add(document, place, severity, &it.path, &it.message, it.help);
        }
    }

    /// Reports a warning about a field.
    pub(super) fn warning(
        &mut self,
        document: &Document<'_>,
        path: &str,
        message: &str,
        help: Option<String>,
    ) {
        let place = document.place(self.text, path);
        self.add(document, place, Severity::Warning, path, message, help);
    }

    /// Reports an error of a field.
    pub(super) fn error(
        &mut self,
        document: &Document<'_>,
        path: &str,
        message: &str,
        help: Option<String>,
    ) {
        let place = document.place(self.text, path);
        self.add(document, place, Severity::Error, path, message, help);
    }

    fn add(
        &mut self,
        document: &Document<'_>,
        place: Place,
        severity: Severity,
        path: &str,
        message: &str,
        help: Option<String>,
    ) {
        let path = format!("{}{path}", document.prefix).trim_end_matches('.').to_owned();
        let report = Report::new(self.text, place, severity, message).at(path).help(help);
        self.reports.push(report);
    }
}
