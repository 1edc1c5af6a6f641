//! JSON → a Kubernetes type, with the paths of misfits and of ignored fields.

use serde::de::DeserializeOwned;
use serde_ignored::Path;
use serde_json::Value;
use serde_path_to_error::{Deserializer, Track};

/// A value that does not fit its field.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::source) struct Misfit {
    pub(in crate::source) path: String,
    pub(in crate::source) message: String,
    pub(in crate::source) help: Option<String>,
    /// Whether quotes around the value would help.
    pub(in crate::source) wants_quotes: bool,
}

/// Reads a value; also returns the paths of fields that the type doesn't have.
pub(in crate::source) fn read<T: DeserializeOwned>(
    value: &Value,
) -> (Result<T, Misfit>, Vec<String>) {
    let mut ignored = Vec::new();
    let mut track = Track::new();
    let deserializer = Deserializer::new(value, &mut track);
    let result = serde_ignored::deserialize(deserializer, |path| ignored.push(written(&path)));
    let result = result.map_err(|error: serde_json::Error| {
        let path = track.path().to_string();
        misfit(if path == "." { String::new() } else { path }, &error.to_string())
    });
    (result, ignored)
}

/// Misfits that are removed from an object one by one.
const MOST_MISFITS: usize = 16;

/// Reads a value without what does not fit the type. `None` if one of these fields does not, or nothing does.
pub(in crate::source) fn read_fitting<T: DeserializeOwned>(
    value: &Value,
    fixed: &[&str],
) -> Option<T> {
    let mut value = value.clone();
    for round in 0.. {
        let misfit = match read(&value).0 {
            Ok(object) => return Some(object),
            Err(misfit) => misfit,
        };
        let mut path = misfit.path.as_str();
        if fixed.iter().any(|it| path.starts_with(it) || it.starts_with(path)) {
            return None;
        }
        if round >= MOST_MISFITS {
            path = path.split(['.', '[']).next().unwrap_or_default();
        }
        remove(&mut value, path)?;
    }
    None
}

/// Removes the value at a path: an entry of a list, or else the field's value. Where that is `null` already, what is
/// around it goes.
fn remove(value: &mut Value, mut path: &str) -> Option<()> {
    loop {
        let entry = path.strip_suffix(']').and_then(|it| it.rsplit_once('['));
        if let Some((list, index)) = entry
            && let Value::Array(list) = at(value, list)?
        {
            let index = index.parse::<usize>().ok().filter(|it| *it < list.len())?;
            list.remove(index);
            return Some(());
        }
        let found = at(value, path)?;
        if !found.is_null() {
            *found = Value::Null;
            return Some(());
        }
        path = path.rfind('.').and_then(|end| path.get(..end))?;
    }
}

/// The value at the path of a [`Misfit`].
pub(in crate::source) fn at<'v>(value: &'v mut Value, path: &str) -> Option<&'v mut Value> {
    if path.is_empty() {
        return Some(value);
    }
    match value {
        Value::Object(fields) => {
            let path = path.strip_prefix('.').unwrap_or(path);
            let rest = |key: &str| {
                path.strip_prefix(key).filter(|it| it.is_empty() || it.starts_with(['.', '[']))
            };
            // Keys of labels contain dots.
            let key = fields.keys().filter(|it| rest(it).is_some()).max_by_key(|it| it.len())?;
            let (key, rest) = (key.clone(), rest(key)?);
            at(fields.get_mut(&key)?, rest)
        }
        Value::Array(items) => {
            let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
            at(items.get_mut(index.parse::<usize>().ok()?)?, rest)
        }
        _ => None,
    }
}

/// Returns a path as Kubernetes writes it: `a[0].b`, not `a.0.?.b`.
fn written(path: &Path<'_>) -> String {
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", written(parent)),
        Path::Map { parent, key } => match written(parent) {
            parent if parent.is_empty() => key.clone(),
            parent => format!("{parent}.{key}"),
        },
        Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => written(parent),
    }
}

/// Translates a message of serde into the words of manifests.
fn misfit(path: String, text: &str) -> Misfit {
    let invalid =
        text.strip_prefix("invalid type: ").or_else(|| text.strip_prefix("invalid value: "));
    let Some((found, wanted)) = invalid.and_then(|it| it.rsplit_once(", expected ")) else {
        return if is_time(&path) {
            let help = Some("write it as \"2026-01-31T12:00:00Z\"".to_owned());
            Misfit { path, message: "not a time".to_owned(), help, wants_quotes: false }
        } else {
            Misfit { path, message: text.to_owned(), help: None, wants_quotes: false }
        };
    };
    let wanted = wanted_in_words(wanted);
    let (sort, shown) = found_in_words(found);
    let wants_quotes = matches!(
        (sort, wanted.as_str()),
        ("the number" | "the boolean", "a string") | ("the boolean", "a whole number or a string")
    );
    let help = match (sort, wanted.as_str()) {
        ("the string", "a whole number" | "a boolean") => {
            let fits = if wanted == "a boolean" {
                shown.parse::<bool>().is_ok()
            } else {
                shown.parse::<i64>().is_ok()
            };
            fits.then(|| format!("write it without quotes: {shown}"))
        }
        ("a mapping", "a list") => Some("start each entry with `- `".to_owned()),
        ("the string" | "the number" | "the boolean", "a list") => {
            Some(format!("write it as an entry of a list: [{shown}]"))
        }
        ("a list", "a string") => Some("remove the brackets or the `- `: one value".to_owned()),
        ("the number", "a mapping") if path.contains(".ports[") => {
            Some(format!("write it as `port: {shown}`"))
        }
        ("the string", "a mapping") if shown.contains(':') => {
            Some("a blank must follow the `:` of a key".to_owned())
        }
        ("the string", "a mapping") => Some("write `:` and a blank after each key".to_owned()),
        ("a list", "a mapping") => Some("remove the `- `".to_owned()),
        _ => None,
    };
    let found = if shown.is_empty() { sort.to_owned() } else { format!("{sort} `{shown}`") };
    Misfit { path, message: format!("expected {wanted}, found {found}"), help, wants_quotes }
}

/// Whether a field of this path has a time.
fn is_time(path: &str) -> bool {
    path.ends_with("Timestamp") || (path.contains("managedFields") && path.ends_with(".time"))
}

fn wanted_in_words(wanted: &str) -> String {
    match wanted {
        "i8" | "i16" | "i32" | "i64" | "u8" | "u16" | "u32" | "u64" => "a whole number",
        "a sequence" => "a list",
        "a map" | "map" => "a mapping",
        "IntOrString" | "enum IntOrString" => "a whole number or a string",
        it if it.starts_with("struct ") => "a mapping",
        // k8s-openapi names its types.
        it if it.starts_with(|it: char| it.is_ascii_uppercase()) => "a mapping",
        it => it,
    }
    .to_owned()
}

/// The type of a value and its text, from serde's description.
fn found_in_words(found: &str) -> (&str, String) {
    let sorts = [
        ("integer `", "the number"),
        ("floating point `", "the number"),
        ("boolean `", "the boolean"),
        ("string \"", "the string"),
    ];
    for (prefix, sort) in sorts {
        if let Some(rest) = found.strip_prefix(prefix) {
            let mut shown: String = rest.chars().take(80).collect();
            if shown.len() == rest.len() {
                shown.pop();
            }
            return (sort, shown);
        }
    }
    match found {
        "null" | "unit value" => ("nothing", String::new()),
        "sequence" => ("a list", String::new()),
        "map" => ("a mapping", String::new()),
        other => (other, String::new()),
    }
}
