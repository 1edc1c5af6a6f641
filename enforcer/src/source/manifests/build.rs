//! Builds trees from the YAML parser's events, within bounds.

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, ScalarStyle, Tag};
use serde_json::Value;

use super::scalar;
use super::text::Place;
use super::tree::{Key, Kind, Node};
use super::yaml::{Documents, Fault};

/// Nodes a file may have, aliases expanded: a few lines of aliases could otherwise fill the memory.
pub(super) const MOST_NODES: usize = 500_000;
/// Levels a document may have: what reads the tree recurses.
const MOST_LEVELS: usize = 100;
/// The key that takes over the entries of another mapping.
const MERGE: &str = "<<";

enum Frame {
    List { anchor: usize, place: Place, items: Vec<Node> },
    Mapping(Open),
}

/// A mapping that is being read.
struct Open {
    anchor: usize,
    place: Place,
    entries: Vec<(Key, Node)>,
    key: Option<Key>,
    /// The lines of the keys so far.
    lines: HashMap<String, usize>,
}

/// Builds trees from events.
pub(super) struct Builder {
    budget: usize,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
    faults: Vec<Fault>,
    done: Documents,
}

impl Builder {
    /// For at most `budget` nodes.
    pub(super) fn new(budget: usize) -> Self {
        Self {
            budget,
            stack: Vec::new(),
            anchors: HashMap::new(),
            root: None,
            faults: Vec::new(),
            done: Documents::default(),
        }
    }

    /// Nodes that may still come.
    pub(super) fn budget(&self) -> usize {
        self.budget
    }

    /// Hands over the documents; one that is still open counts only if `complete`.
    pub(super) fn finish(mut self, complete: bool, into: &mut Documents) {
        if complete {
            self.close_document();
        }
        into.roots.append(&mut self.done.roots);
        into.faults.append(&mut self.done.faults);
        into.faults.append(&mut self.faults);
    }

    /// Takes an event.
    pub(super) fn event(&mut self, event: Event<'_>, place: Place) -> Result<(), Fault> {
        match event {
            Event::DocumentStart(_) | Event::DocumentEnd => self.close_document(),
            Event::Alias(id) => self.alias(id, place)?,
            Event::Scalar(text, style, anchor, tag) => {
                if self.expects_key() {
                    self.set_key(Key { name: text.into_owned(), place });
                    return Ok(());
                }
                let quoted = style != ScalarStyle::Plain || tag.is_some_and(|it| is_text(&it));
                let value =
                    if quoted { Value::String(text.into_owned()) } else { scalar::plain(&text) };
                self.add(Node { place, kind: Kind::Scalar(value) }, anchor)?;
            }
            Event::SequenceStart(anchor, _) => {
                self.open(Frame::List { anchor, place, items: Vec::new() })?;
            }
            Event::MappingStart(anchor, _) => {
                let (entries, lines) = (Vec::new(), HashMap::new());
                let open = Open { anchor, place, entries, key: None, lines };
                self.open(Frame::Mapping(open))?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close()?,
            Event::Nothing | Event::StreamStart | Event::StreamEnd => {}
        }
        Ok(())
    }

    fn close_document(&mut self) {
        let root = self.root.take();
        if self.faults.is_empty() {
            self.done.roots.extend(root);
        }
        self.done.faults.append(&mut self.faults);
    }

    fn expects_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame::Mapping(Open { key: None, .. })))
    }

    fn set_key(&mut self, new: Key) {
        let Some(Frame::Mapping(open)) = self.stack.last_mut() else { return };
        if new.name != MERGE
            && let Some(line) = open.lines.insert(new.name.clone(), new.place.line)
        {
            let message = format!("the key `{}` is already on line {line}", new.name);
            self.faults.push(Fault::new(new.place, message, "keep one of the two"));
        }
        open.key = Some(new);
    }

    fn open(&mut self, frame: Frame) -> Result<(), Fault> {
        let (Frame::List { place, .. } | Frame::Mapping(Open { place, .. })) = &frame;
        if self.stack.len() >= MOST_LEVELS {
            let message = format!("nested more than {MOST_LEVELS} levels deep");
            return Err(Fault::new(*place, message, ""));
        }
        self.stack.push(frame);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        match self.stack.pop() {
            Some(Frame::List { anchor, place, items }) => {
                self.add(Node { place, kind: Kind::List(items) }, anchor)
            }
            Some(Frame::Mapping(Open { anchor, place, entries, .. })) => {
                let entries = self.merge(entries);
                self.add(Node { place, kind: Kind::Mapping(entries) }, anchor)
            }
            None => Ok(()),
        }
    }

    /// Resolves `<<` entries: what is written directly wins, then the earlier source.
    fn merge(&mut self, entries: Vec<(Key, Node)>) -> Vec<(Key, Node)> {
        let (sources, mut own): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|(key, _)| key.name == MERGE);
        if sources.is_empty() {
            return own;
        }
        let mut names: HashSet<_> = own.iter().map(|(key, _)| key.name.clone()).collect();
        for (key, node) in sources {
            let nodes = match node.kind {
                Kind::List(items) => items,
                _ => vec![node],
            };
            for node in nodes {
                let Kind::Mapping(entries) = node.kind else {
                    let message = "`<<` needs a mapping, or a list of mappings";
                    self.faults.push(Fault::new(key.place, message, ""));
                    continue;
                };
                for entry in entries {
                    if names.insert(entry.0.name.clone()) {
                        own.push(entry);
                    }
                }
            }
        }
        own
    }

    fn alias(&mut self, id: usize, place: Place) -> Result<(), Fault> {
        let Some(node) = self.anchors.get(&id).cloned() else {
            return Err(Fault::new(place, "the alias stands inside of its own anchor", ""));
        };
        if self.stack.len() + node.depth() > MOST_LEVELS {
            let message = format!("with this alias, nested more than {MOST_LEVELS} levels deep");
            return Err(Fault::new(place, message, ""));
        }
        self.spend(node.size(), place)?;
        if self.expects_key() {
            let name = node.text().unwrap_or_default().to_owned();
            if name.is_empty() {
                self.faults.push(Fault::new(place, "a key must be a word", ""));
            }
            self.set_key(Key { name, place });
            return Ok(());
        }
        // A problem is shown where the alias is used: there its field path makes sense.
        self.add(Node { place, kind: node.kind }, 0)
    }

    fn spend(&mut self, nodes: usize, place: Place) -> Result<(), Fault> {
        if let Some(left) = self.budget.checked_sub(nodes) {
            self.budget = left;
            return Ok(());
        }
        self.budget = 0;
        let message = format!("more than {MOST_NODES} values, aliases expanded");
        Err(Fault::new(place, message, ""))
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        self.spend(1, node.place)?;
        if anchor > 0 {
            self.spend(node.size(), node.place)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Frame::List { items, .. }) => items.push(node),
            Some(Frame::Mapping(Open { key, entries, .. })) => match key.take() {
                Some(key) => entries.push((key, node)),
                None => {
                    let place = node.place;
                    self.faults.push(Fault::new(place, "a key must be a word", ""));
                    *key = Some(Key { name: String::new(), place });
                }
            },
        }
        Ok(())
    }
}

fn is_text(tag: &Tag) -> bool {
    tag.is_yaml_core_schema() && tag.suffix == "str"
}
