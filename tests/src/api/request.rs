//! Parsed requests.

use axum::http::{HeaderMap, Method, Uri, header};

use super::key::Key;
use super::kinds::Kind;
use super::status::Refusal;

/// The verbs of RBAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// Reads one object.
    Get,
    /// Reads many objects.
    List,
    /// Follows changes of objects.
    Watch,
    /// Creates an object, or opens a connection into a pod.
    Create,
    /// Replaces an object.
    Update,
    /// Changes an object.
    Patch,
    /// Deletes one object.
    Delete,
    /// Deletes many objects.
    DeleteCollection,
}

/// A request about objects.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub verb: Verb,
    pub kind: &'static Kind,
    /// Empty: all namespaces, or none.
    pub namespace: String,
    /// Empty: all objects.
    pub name: String,
    /// The subresource; empty: the object itself.
    pub part: String,
    pub query: Query,
    pub shape: Shape,
}

/// The representation of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Shape {
    /// Complete objects.
    #[default]
    Whole,
    /// Rows of a table.
    Table,
    /// Metadata only.
    Metadata,
}

impl Shape {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let accept = text_of(headers, header::ACCEPT.as_str());
        // The client's order is its order of preference.
        let types = accept.split(',').map(|it| it.split(';').map(str::trim));
        for mut parameters in types {
            if parameters.next() != Some("application/json") {
                continue;
            }
            return match parameters.find_map(|it| it.strip_prefix("as=")) {
                Some("Table") => Self::Table,
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") => Self::Metadata,
                Some(_) => continue,
                None => Self::Whole,
            };
        }
        Self::Whole
    }
}

/// A header's value; empty if there is none.
pub(crate) fn text_of(headers: &HeaderMap, name: &str) -> String {
    let text = headers.get(name).and_then(|it| it.to_str().ok());
    text.unwrap_or_default().to_owned()
}

/// A request's parameters.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn of(uri: &Uri) -> Self {
        let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        Self(pairs.into_owned().collect())
    }

    /// A parameter's value; empty if it is missing.
    pub(crate) fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether a boolean parameter is true.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        matches!(self.get(name), "true" | "1")
    }

    /// A numeric parameter; an error if its value is not a number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        match self.get(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                Refusal::bad_request(format!("invalid {name}: {text:?} is not a number"))
            }),
        }
    }
}

struct Place<'a> {
    kind: &'static Kind,
    namespace: &'a str,
    name: &'a str,
    part: &'a str,
}

impl Request {
    /// Parses a request about objects; `None`: it is about something else.
    pub(crate) fn read(
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Option<Result<Self, Refusal>> {
        let place = place(uri.path())?;
        let query = Query::of(uri);
        let verb = match verb(method, &place, &query) {
            Some(verb) => verb,
            None => return Some(Err(Refusal::of_code(405, None))),
        };
        Some(Ok(Self {
            verb,
            kind: place.kind,
            namespace: place.namespace.to_owned(),
            name: place.name.to_owned(),
            part: place.part.to_owned(),
            query,
            shape: Shape::of(headers),
        }))
    }

    pub(crate) fn key(&self) -> Key {
        Key::new(self.namespace.as_str(), self.name.as_str())
    }
}

fn place(path: &str) -> Option<Place<'_>> {
    let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, version, rest) = match parts.as_mut_slice() {
        ["api", version, rest @ ..] => ("", *version, &*rest),
        ["apis", group, version, rest @ ..] => (*group, *version, &*rest),
        _ => return None,
    };
    let (namespace, rest) = match rest {
        // Objects in a namespace, as opposed to subresources of the namespace.
        ["namespaces", namespace, plural, ..]
            if Kind::of_path(group, version, plural).is_some_and(|it| it.namespaced) =>
        {
            (*namespace, rest.get(2..)?)
        }
        rest => ("", rest),
    };
    let [plural, rest @ ..] = rest else { return None };
    let kind = Kind::of_path(group, version, plural)?;
    let (name, part) = match rest {
        [] => ("", ""),
        [name] => (*name, ""),
        [name, part] => (*name, *part),
        _ => return None,
    };
    Some(Place { kind, namespace, name, part })
}

fn verb(method: &Method, place: &Place<'_>, query: &Query) -> Option<Verb> {
    let one = !place.name.is_empty();
    // Namespaced objects are written, and read by name, only with their namespace.
    let lacks_namespace = place.kind.namespaced && place.namespace.is_empty();
    Some(match (method.as_str(), one) {
        ("GET", _) if query.is_set("watch") => Verb::Watch,
        ("GET", true) if matches!(place.part, "exec" | "portforward") => Verb::Create,
        ("GET", false) => Verb::List,
        (_, _) if lacks_namespace => return None,
        ("GET", true) => Verb::Get,
        ("POST", false) => Verb::Create,
        ("POST", true) if !place.part.is_empty() => Verb::Create,
        ("PUT", true) => Verb::Update,
        ("PATCH", true) => Verb::Patch,
        ("DELETE", true) => Verb::Delete,
        ("DELETE", false) => Verb::DeleteCollection,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &str, uri: &str) -> Option<(Verb, String, String, String, String)> {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = Request::read(&method, &uri.parse().unwrap(), &HeaderMap::new())?.unwrap();
        let Request { verb, kind, namespace, name, part, .. } = request;
        Some((verb, kind.qualified(), namespace, name, part))
    }

    #[test]
    fn paths_name_objects() {
        let is = |verb, kind: &str, namespace: &str, name: &str, part: &str| {
            Some((verb, kind.to_owned(), namespace.to_owned(), name.to_owned(), part.to_owned()))
        };
        assert_eq!(read("GET", "/api/v1/pods"), is(Verb::List, "pods", "", "", ""));
        assert_eq!(
            read("GET", "/api/v1/namespaces/x/pods?watch=1"),
            is(Verb::Watch, "pods", "x", "", "")
        );
        assert_eq!(read("GET", "/api/v1/namespaces/x"), is(Verb::Get, "namespaces", "", "x", ""));
        assert_eq!(
            read("PUT", "/api/v1/namespaces/x/status"),
            is(Verb::Update, "namespaces", "", "x", "status")
        );
        let policies = "/apis/networking.k8s.io/v1/namespaces/x/networkpolicies";
        let kind = "networkpolicies.networking.k8s.io";
        assert_eq!(read("DELETE", policies), is(Verb::DeleteCollection, kind, "x", "", ""));
        assert_eq!(read("PATCH", &format!("{policies}/a")), is(Verb::Patch, kind, "x", "a", ""));
        assert_eq!(read("GET", "/apis/batch/v1/jobs"), None);
        assert_eq!(read("GET", "/version"), None);
    }

    #[test]
    fn kubectl_accepts_tables() {
        let shape = |accept: &str| {
            let headers = [(header::ACCEPT, accept.parse().unwrap())].into_iter().collect();
            Shape::of(&headers)
        };
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        assert_eq!(shape(kubectl), Shape::Table);
        assert_eq!(shape("application/json"), Shape::Whole);
        assert_eq!(shape("application/vnd.kubernetes.protobuf,application/json"), Shape::Whole);
        assert_eq!(
            shape("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"),
            Shape::Metadata
        );
    }
}
