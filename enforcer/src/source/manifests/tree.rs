//! A YAML document as a tree of values with their locations.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Location, Spanned};

/// The words that are booleans.
const BOOLEANS: [&str; 18] = [
    "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "false", "False", "FALSE", "no",
    "No", "NO", "off", "Off", "OFF",
];
/// The key that takes over the entries of other mappings.
const MERGE: &str = "<<";

/// The key of a mapping.
pub(super) type Key = Spanned<String>;

/// A value and its location.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Node(Spanned<Kind>);

/// A value.
#[derive(Debug)]
pub(super) enum Kind {
    /// Neither a list nor a mapping.
    Scalar(Value),
    List(Vec<Node>),
    Mapping(Vec<(Key, Node)>),
}

impl Node {
    pub(super) fn kind(&self) -> &Kind {
        &self.0.value
    }

    /// The value of a key.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        let Kind::Mapping(entries) = self.kind() else { return None };
        entries.iter().find(|(key, _)| key.value == name).map(|(_, value)| value)
    }

    /// The value, if it is a string.
    pub(super) fn text(&self) -> Option<&str> {
        match self.kind() {
            Kind::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The value as JSON, read from this source. The reader bounds the depth.
    pub(super) fn json(&self, source: &str) -> Value {
        match self.kind() {
            Kind::Scalar(value) => as_kubectl_reads(value, written(&self.0.defined, source)),
            Kind::List(items) => items.iter().map(|it| it.json(source)).collect(),
            Kind::Mapping(entries) => {
                let entries = entries.iter().map(|(key, it)| (key.value.clone(), it.json(source)));
                Value::Object(entries.collect::<Map<_, _>>())
            }
        }
    }

    /// The text of a field in the source.
    pub(super) fn written<'s>(&self, path: &str, source: &'s str) -> &'s str {
        written(self.find(path).map_or(&self.0.defined, |it| &it.value.0.defined), source)
    }

    /// The location of a field such as `spec.ingress[0].from`, or of the nearest thing around it:
    /// the value if it is a scalar, else its key. Where an alias is used, it is that of the alias:
    /// only there the path makes sense.
    pub(super) fn locate(&self, path: &str) -> &Location {
        self.steps(path).last().map_or(&self.0.referenced, |it| {
            let value = &it.value.0;
            let scalar =
                matches!(value.value, Kind::Scalar(_)) && !value.referenced.span().is_empty();
            it.key.filter(|_| !scalar).map_or(&value.referenced, |key| &key.referenced)
        })
    }

    /// The location of the key of a field, or of the nearest thing around it.
    pub(super) fn locate_key(&self, path: &str) -> &Location {
        let key = self.find(path).and_then(|it| it.key);
        key.map_or_else(|| self.locate(path), |key| &key.referenced)
    }

    /// Replaces each `<<` entry by the entries of its mappings, and adds what is wrong with keys.
    /// An entry that is written directly has priority, then one of an earlier mapping. The YAML
    /// library would ignore `<<: null`, which is a mistake.
    pub(super) fn merge(&mut self, faults: &mut Vec<KeyFault>) {
        let entries = match &mut self.0.value {
            Kind::Scalar(_) => return,
            Kind::List(items) => return items.iter_mut().for_each(|it| it.merge(faults)),
            Kind::Mapping(entries) => entries,
        };
        entries.iter_mut().for_each(|(_, it)| it.merge(faults));
        let (sources, mut own): (Vec<_>, Vec<_>) =
            std::mem::take(entries).into_iter().partition(|(key, _)| key.value == MERGE);
        let mut known = keys(&own, faults);
        for (key, node) in sources {
            let nodes = match node.0.value {
                Kind::List(items) => items,
                _ => vec![node],
            };
            for node in nodes {
                let Kind::Mapping(entries) = node.0.value else {
                    faults.push(KeyFault::Merge { location: key.referenced });
                    continue;
                };
                let new =
                    |(key, _): &(Key, Self)| known.insert(key.value.clone(), key.defined).is_none();
                own.extend(entries.into_iter().filter(new));
            }
        }
        *entries = own;
    }

    /// The last step of a path, if all of it exists.
    fn find(&self, path: &str) -> Option<Step<'_>> {
        self.steps(path).last().filter(|it| it.rest == path.len())
    }

    /// The steps along a path, as far as they exist.
    fn steps<'n>(&'n self, path: &str) -> impl Iterator<Item = Step<'n>> {
        let first = self.step(path, 0);
        std::iter::successors(first, move |it| it.value.step(path, it.rest))
    }

    /// The step that begins at this byte of the path.
    fn step<'a>(&'a self, path: &str, from: usize) -> Option<Step<'a>> {
        let left = path.get(from..)?;
        match self.kind() {
            Kind::Scalar(_) => None,
            Kind::List(items) => {
                let (index, rest) = left.strip_prefix('[')?.split_once(']')?;
                let value = items.get(index.parse::<usize>().ok()?)?;
                Some(Step { key: None, value, rest: path.len() - rest.len() })
            }
            Kind::Mapping(entries) => {
                let left = left.strip_prefix('.').unwrap_or(left);
                // Keys may have dots: the longest that fits is meant.
                let fits = entries.iter().filter_map(|(key, value)| {
                    let rest = left.strip_prefix(key.value.as_str())?;
                    let ends = rest.is_empty() || rest.starts_with(['.', '[']);
                    let step = Step { key: Some(key), value, rest: path.len() - rest.len() };
                    (ends && !key.value.is_empty()).then_some(step)
                });
                fits.max_by_key(|it| it.rest)
            }
        }
    }
}

/// What is wrong with a key.
#[derive(Debug)]
pub(super) enum KeyFault {
    /// Its mapping has it already.
    Duplicate { key: String, location: Location, first: Location },
    /// A `<<` without a mapping.
    Merge { location: Location },
}

/// One step along a path.
struct Step<'n> {
    /// The key, if it is a step into a mapping.
    key: Option<&'n Key>,
    value: &'n Node,
    /// The byte of the path after it.
    rest: usize,
}

/// The keys of a mapping, each with its first location; the others are faults.
fn keys(entries: &[(Key, Node)], faults: &mut Vec<KeyFault>) -> HashMap<String, Location> {
    let mut known = HashMap::new();
    for (key, _) in entries {
        match known.entry(key.value.clone()) {
            Entry::Vacant(entry) => _ = entry.insert(key.defined),
            Entry::Occupied(first) => {
                let (key, location, first) = (key.value.clone(), key.defined, *first.get());
                faults.push(KeyFault::Duplicate { key, location, first });
            }
        }
    }
    known
}

/// The text at a location.
fn written<'s>(location: &Location, source: &'s str) -> &'s str {
    let span = location.span();
    let range = span.byte_offset().zip(span.byte_len()).and_then(|(start, length)| {
        let start = usize::try_from(start).ok()?;
        source.get(start..start.checked_add(usize::try_from(length).ok()?)?)
    });
    range.unwrap_or_default()
}

/// The value of a scalar as `kubectl` reads it, where the YAML library differs.
fn as_kubectl_reads(value: &Value, written: &str) -> Value {
    match value {
        // `y`, `n` and `tRue` are strings.
        Value::Bool(_) if !BOOLEANS.contains(&written) => written.into(),
        // `08` is no octal number, but still an integer.
        Value::Number(it) if it.is_f64() => {
            written.parse::<i64>().map_or_else(|_| value.clone(), Value::from)
        }
        // `1e400` is too large for a number, so it is a string: it may be a commit.
        Value::String(it) if matches!(it.as_str(), ".inf" | "-.inf" | ".nan") => {
            written.trim_end().trim_matches(['"', '\'']).into()
        }
        _ => value.clone(),
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Kind, E> {
        Ok(Kind::Scalar(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Kind, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("not a finite number"))?;
        Ok(Kind::Scalar(number.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Scalar(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Kind, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Kind::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Kind::Mapping(entries))
    }
}
