//! A document as a tree that knows where everything was written.

use serde_json::{Map, Value};

use super::text::Place;

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) kind: Kind,
}

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// Neither a list nor a mapping.
    Scalar(Value),
    List(Vec<Node>),
    Mapping(Vec<(Key, Node)>),
}

/// A mapping's key.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) place: Place,
}

impl Node {
    /// The value under a key.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        match &self.kind {
            Kind::Mapping(entries) => {
                entries.iter().find(|(key, _)| key.name == name).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// The text, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// As JSON. The reader bounds the depth.
    pub(super) fn json(&self) -> Value {
        match &self.kind {
            Kind::Scalar(value) => value.clone(),
            Kind::List(items) => Value::Array(items.iter().map(Self::json).collect()),
            Kind::Mapping(entries) => {
                let entries = entries.iter().map(|(key, it)| (key.name.clone(), it.json()));
                Value::Object(entries.collect::<Map<_, _>>())
            }
        }
    }

    /// Nodes in the tree.
    pub(super) fn size(&self) -> usize {
        1 + match &self.kind {
            Kind::Scalar(_) => 0,
            Kind::List(items) => items.iter().map(Self::size).sum(),
            Kind::Mapping(entries) => entries.iter().map(|(_, it)| it.size()).sum(),
        }
    }

    /// Levels of the tree.
    pub(super) fn depth(&self) -> usize {
        1 + match &self.kind {
            Kind::Scalar(_) => 0,
            Kind::List(items) => items.iter().map(Self::depth).max().unwrap_or(0),
            Kind::Mapping(entries) => entries.iter().map(|(_, it)| it.depth()).max().unwrap_or(0),
        }
    }

    /// Where a field such as `spec.ingress[0].from` is, or the nearest thing around it: the value
    /// if it is a scalar, else its key.
    pub(super) fn locate(&self, path: &str) -> Place {
        let (mut node, mut place, mut rest) = (self, self.place, path);
        while let Some((step, next)) = node.step(rest) {
            (place, node, rest) = (step, next.0, next.1);
        }
        place
    }

    /// One step along a path: its place, the node there, and what is left of the path.
    fn step<'a, 'p>(&'a self, path: &'p str) -> Option<(Place, (&'a Self, &'p str))> {
        match &self.kind {
            Kind::Scalar(_) => None,
            Kind::List(items) => {
                let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
                let item = items.get(index.parse::<usize>().ok()?)?;
                Some((item.place, (item, rest)))
            }
            Kind::Mapping(entries) => {
                let path = path.strip_prefix('.').unwrap_or(path);
                // Keys may have dots: the longest that fits is meant.
                let fits = entries.iter().filter_map(|(key, value)| {
                    let rest = path.strip_prefix(key.name.as_str())?;
                    let ends = rest.is_empty() || rest.starts_with(['.', '[']);
                    (ends && !key.name.is_empty()).then_some((key, value, rest))
                });
                let (key, value, rest) = fits.max_by_key(|(key, ..)| key.name.len())?;
                let scalar = matches!(value.kind, Kind::Scalar(_)) && value.place.length > 0;
                let place = if scalar { value.place } else { key.place };
                Some((place, (value, rest)))
            }
        }
    }

    /// Where the key of a field is, or the nearest thing around it.
    pub(super) fn locate_key(&self, path: &str) -> Place {
        let place = self.locate(path);
        self.find_key(path).unwrap_or(place)
    }

    fn find_key(&self, path: &str) -> Option<Place> {
        let (mut node, mut rest) = (self, path);
        loop {
            let (_, (next, left)) = node.step(rest)?;
            if left.is_empty() {
                let Kind::Mapping(entries) = &node.kind else { return None };
                let name = rest.strip_prefix('.').unwrap_or(rest);
                return entries.iter().find(|(key, _)| key.name == name).map(|(key, _)| key.place);
            }
            (node, rest) = (next, left);
        }
    }
}
