//! Get and list.

use std::sync::Arc;

use serde_json::{Value, json};

use super::key::Key;
use super::kinds::Kind;
use super::object::{self, metadata_only};
use super::request::{Query, Request, Shape};
use super::selector::Selection;
use super::status::Refusal;
use super::store::Store;
use super::table;

/// The objects that a request selects.
pub(crate) fn selection(request: &Request) -> Result<Selection, Refusal> {
    let query = &request.query;
    let (labels, fields) = (query.get("labelSelector"), query.get("fieldSelector"));
    if request.name.is_empty() {
        return Selection::new(request.kind, &request.namespace, labels, fields);
    }
    // A watch of one object by its path.
    let by_name = format!("metadata.name={},{fields}", request.name);
    Selection::new(request.kind, &request.namespace, labels, &by_name)
}

pub(crate) fn get(store: &Store, request: &Request) -> Result<Value, Refusal> {
    let found = store.get(request.kind, &request.key());
    let found = found.ok_or_else(|| Refusal::not_found(request.kind, &request.name))?;
    Ok(shaped(request.kind, request.shape, &[found], None))
}

/// Objects as one object of the requested shape; `list`: the metadata of a list.
fn shaped(kind: &Kind, shape: Shape, objects: &[Arc<Value>], list: Option<Value>) -> Value {
    let shown = |it: &Arc<Value>| match shape {
        Shape::Metadata => metadata_only(it),
        _ => object::show(kind, Value::clone(it)),
    };
    match (shape, list, objects) {
        (Shape::Table, list, objects) => {
            table::table(kind, objects.iter().map(|it| &**it), list, true)
        }
        (_, None, [one, ..]) => shown(one),
        (_, list, objects) => {
            let items = objects.iter().map(|it| {
                let mut item = shown(it);
                if let Some(map) = item.as_object_mut().filter(|_| shape == Shape::Whole) {
                    // The real server omits these in items of typed lists.
                    map.remove("kind");
                    map.remove("apiVersion");
                }
                item
            });
            let items: Vec<Value> = items.collect();
            let (name, version) = match shape {
                Shape::Metadata => {
                    ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned())
                }
                _ => (format!("{}List", kind.kind), kind.api_version()),
            };
            json!({ "kind": name, "apiVersion": version, "metadata": list, "items": items })
        }
    }
}

/// The position of the next page of a list: its version, and the last object before it.
#[derive(Debug, PartialEq)]
struct Page {
    version: u64,
    after: Key,
}

impl Page {
    fn token(&self) -> String {
        let Key { namespace, name } = &self.after;
        format!("v1:{}:{namespace}:{name}", self.version)
    }

    fn read(token: &str) -> Option<Self> {
        let mut parts = token.strip_prefix("v1:")?.splitn(3, ':');
        let version = parts.next()?.parse().ok()?;
        let after = Key::new(parts.next()?, parts.next()?);
        Some(Self { version, after })
    }
}

/// Many objects in the requested shape.
pub(crate) fn list(store: &Store, request: &Request) -> Result<Value, Refusal> {
    let selection = selection(request)?;
    let page = match request.query.get("continue") {
        "" => None,
        token => Some(Page::read(token).ok_or_else(|| {
            Refusal::bad_request("continue key is not valid: encoded in another way")
        })?),
    };
    let at = match &page {
        Some(page) => Some(page.version),
        None => version(store, &request.query)?,
    };
    let (objects, version) = store.list(request.kind, at).map_err(|refusal| match &page {
        Some(_) if refusal.code == 410 => {
            let message =
                "The provided continue parameter is too old to display a consistent list result.";
            Refusal { message: message.to_owned(), ..refusal }
        }
        _ => refusal,
    })?;
    let after = page.map(|page| page.after);
    let rest = objects.iter().filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after));
    let selected: Vec<&Arc<Value>> =
        rest.map(|(_, object)| object).filter(|it| selection.matches(it)).collect();
    let limit = limit(&request.query)?;
    let shown: Vec<Arc<Value>> = selected.iter().take(limit).map(|it| Arc::clone(it)).collect();
    let mut metadata = json!({ "resourceVersion": version.to_string() });
    if let (true, Some(last)) = (selected.len() > shown.len(), shown.last()) {
        metadata["continue"] = Page { version, after: object::key(last) }.token().into();
        if request.query.get("labelSelector").is_empty()
            && request.query.get("fieldSelector").is_empty()
        {
            metadata["remainingItemCount"] = (selected.len() - shown.len()).into();
        }
    }
    Ok(shaped(request.kind, request.shape, &shown, Some(metadata)))
}

/// The requested version; `None`: the newest.
fn version(store: &Store, query: &Query) -> Result<Option<u64>, Refusal> {
    let asked = query.number("resourceVersion")?;
    let bad = |message: &str| Err(Refusal::bad_request(message));
    match (query.get("resourceVersionMatch"), asked) {
        ("Exact", None | Some(0)) => {
            bad("resourceVersionMatch Exact is forbidden for resourceVersion 0 or unset")
        }
        ("Exact", Some(asked)) => Ok(Some(asked)),
        ("NotOlderThan", None) => {
            bad("resourceVersionMatch is forbidden unless resourceVersion is provided")
        }
        ("" | "NotOlderThan", Some(asked)) if asked > store.version() => Ok(Some(asked)),
        ("" | "NotOlderThan", _) => Ok(None),
        (other, _) => bad(&format!("resourceVersionMatch {other:?} is not supported")),
    }
}

/// The page size. For version 0 (its cache) the real server ignores the limit.
fn limit(query: &Query) -> Result<usize, Refusal> {
    let limit = query.number("limit")?.filter(|it| *it > 0 && query.get("resourceVersion") != "0");
    Ok(limit.and_then(|it| usize::try_from(it).ok()).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_survives_its_token() {
        let page = Page { version: 7, after: Key::new("", "a.b-c") };
        assert_eq!(Page::read(&page.token()), Some(page));
        assert_eq!(Page::read("v1:x:y:z"), None);
        assert_eq!(Page::read("v1:1:y"), None);
    }
}
