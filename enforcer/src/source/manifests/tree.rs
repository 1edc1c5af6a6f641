//! A YAML document as a tree of values with their locations.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Location, Spanned};

use super::scalar::Plain;
use super::written::{self, Source, written};

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
    Mapping(Mapping),
}

/// The entries of a mapping, each key once, after [`Node::settle`].
#[derive(Debug, Default)]
pub(super) struct Mapping {
    entries: Vec<(Key, Node)>,
    /// The index of each key, and whether its entry comes from a `<<`.
    known: HashMap<String, (usize, bool)>,
    /// Bytes of the longest key, up to [`LONGEST_KEY`].
    longest: usize,
}

/// Bytes of a key within a path: longer keys are found only at its end.
const LONGEST_KEY: usize = 1024;

impl Node {
    pub(super) fn kind(&self) -> &Kind {
        &self.0.value
    }

    /// The value of a key.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        let Kind::Mapping(entries) = self.kind() else { return None };
        Some(&entries.entry(name)?.1)
    }

    /// The value, if it is a string.
    pub(super) fn text(&self) -> Option<&str> {
        match self.kind() {
            Kind::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The value as JSON, read from this source. The reader bounds the depth.
    pub(super) fn json(&self, source: Source<'_>) -> Value {
        match self.kind() {
            Kind::Scalar(value) => as_json(value, &self.0.defined, source),
            Kind::List(items) => items.iter().map(|it| it.json(source)).collect(),
            Kind::Mapping(entries) => {
                let entries = entries.entries.iter();
                let entries = entries.map(|(key, it)| (key.value.clone(), it.json(source)));
                Value::Object(entries.collect::<Map<_, _>>())
            }
        }
    }

    /// The text of a field in the source.
    pub(super) fn written<'s>(&self, path: &str, source: Source<'s>) -> &'s str {
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

    /// Brings mappings into the form that `kubectl` reads (`mapping` and `merge` in
    /// `go.yaml.in/yaml/v2`, `decode.go`), and adds what is wrong with them: keys are words, `<<` entries
    /// are replaced by the entries of their mappings, and the last entry of a key counts, wherever it
    /// comes from. Of the mappings of one `<<`, the first has priority.
    pub(super) fn settle(&mut self, source: Source<'_>, faults: &mut Vec<Fault>) {
        let location = self.0.defined;
        let entries = match &mut self.0.value {
            Kind::Scalar(value) => {
                return match written::read(value, &location, source) {
                    Plain::NotFinite => faults.push(Fault::NotFinite { location }),
                    Plain::Misfit => faults.push(Fault::Tag { location }),
                    Plain::Value(_) | Plain::Text => {}
                };
            }
            Kind::List(items) => return items.iter_mut().for_each(|it| it.settle(source, faults)),
            Kind::Mapping(entries) => entries,
        };
        let mut settled = Mapping::default();
        for (mut key, mut value) in std::mem::take(&mut entries.entries) {
            value.settle(source, faults);
            if written::is_merge(&key.value, &key.defined, source) {
                settled.merge(&key, value, faults);
                continue;
            }
            match written::key(&key.value, &key.defined, source) {
                None => faults.push(Fault::NoKey { location: key.referenced }),
                Some(word) => {
                    key.value = word;
                    settled.put(key, value, faults);
                }
            }
        }
        *entries = settled;
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
                let (key, value) =
                    candidates(left, entries.longest).find_map(|it| entries.entry(it))?;
                let rest = left.len() - key.value.len();
                Some(Step { key: Some(key), value, rest: path.len() - rest })
            }
        }
    }
}

/// What is wrong with a mapping or a scalar.
#[derive(Debug)]
pub(super) enum Fault {
    /// The mapping has the key already. The last one counts.
    Duplicate { key: String, location: Location, first: Location },
    /// A `<<` without a mapping.
    Merge { location: Location },
    /// A key that is `null`.
    NoKey { location: Location },
    /// A number that JSON does not have.
    NotFinite { location: Location },
    /// A tag that does not fit its scalar.
    Tag { location: Location },
}

/// The keys that a path may begin with, longest first: keys may have dots, and the longest that fits is
/// meant.
fn candidates(path: &str, longest: usize) -> impl Iterator<Item = &str> {
    let ends = |&(_, it): &(usize, char)| matches!(it, '.' | '[');
    let within = path.char_indices().take_while(move |(at, _)| *at <= longest).filter(ends);
    let within: Vec<&str> = within.filter_map(|(at, _)| path.get(..at)).collect();
    std::iter::once(path).chain(within.into_iter().rev()).filter(|it| !it.is_empty())
}

impl Mapping {
    fn entry(&self, name: &str) -> Option<&(Key, Node)> {
        self.entries.get(self.known.get(name)?.0)
    }

    /// Adds an entry that is written here. It may replace one of an earlier `<<`.
    fn put(&mut self, key: Key, value: Node, faults: &mut Vec<Fault>) {
        if let Some((first, false)) = self.set(key.clone(), value, false) {
            let (location, key) = (key.defined, key.value);
            faults.push(Fault::Duplicate { key, location, first });
        }
    }

    /// Returns the location of the key's former entry, and whether that came from a `<<`.
    fn set(&mut self, key: Key, value: Node, merged: bool) -> Option<(Location, bool)> {
        match self.known.entry(key.value.clone()) {
            Entry::Vacant(entry) => {
                entry.insert((self.entries.len(), merged));
                self.longest = self.longest.max(key.value.len().min(LONGEST_KEY));
                self.entries.push((key, value));
                None
            }
            Entry::Occupied(mut entry) => {
                let (index, was_merged) = entry.insert((entry.get().0, merged));
                let place = self.entries.get_mut(index)?;
                Some((std::mem::replace(place, (key, value)).0.defined, was_merged))
            }
        }
    }

    /// Adds the entries of the mappings of a `<<`. They replace those before it.
    fn merge(&mut self, merge: &Key, value: Node, faults: &mut Vec<Fault>) {
        let nodes = match value.0.value {
            Kind::List(items) => items,
            _ => vec![value],
        };
        for node in nodes.into_iter().rev() {
            let Kind::Mapping(entries) = node.0.value else {
                faults.push(Fault::Merge { location: merge.referenced });
                continue;
            };
            for (key, value) in entries.entries {
                let name = key.value.clone();
                if let Some((first, false)) = self.set(key, value, true) {
                    let (key, location) = (name, merge.defined);
                    faults.push(Fault::Duplicate { key, location, first });
                }
            }
        }
    }
}

/// One step along a path.
struct Step<'n> {
    /// The key, if it is a step into a mapping.
    key: Option<&'n Key>,
    value: &'n Node,
    /// The byte of the path after it.
    rest: usize,
}

/// The value of a scalar in JSON. Those that JSON does not have are reported when the tree is settled.
fn as_json(value: &Value, location: &Location, source: Source<'_>) -> Value {
    match written::read(value, location, source) {
        Plain::Value(value) => value,
        Plain::Text | Plain::NotFinite | Plain::Misfit => written(location, source).into(),
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
        Ok(Kind::Mapping(Mapping { entries, ..Mapping::default() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(path: &str, longest: usize) -> Vec<&str> {
        candidates(path, longest).collect()
    }

    #[test]
    fn few_keys_are_tried_for_a_path() {
        assert_eq!(tried("a.b/c[0].d", 5), ["a.b/c[0].d", "a.b/c", "a"]);
        assert_eq!(tried("a", 9), ["a"]);
        assert_eq!(tried("", 9), Vec::<&str>::new());
        assert_eq!(tried(&"a.".repeat(100_000), LONGEST_KEY).len(), 1 + LONGEST_KEY / 2);
    }
}
