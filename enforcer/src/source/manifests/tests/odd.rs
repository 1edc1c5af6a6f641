//! Documents in odd YAML, written from values that are known: what is read is what was written.

use std::fmt::Write as _;
use std::path::PathBuf;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::text::Text;
use super::super::yaml;
use crate::source::remark::Severity;

/// Decisions of the generator; the first alternative after the last one.
struct Choices<'c>(std::slice::Iter<'c, u8>);

impl Choices<'_> {
    fn below(&mut self, count: usize) -> usize {
        usize::from(*self.0.next().unwrap_or(&0)) % count
    }

    fn of(&mut self, texts: &[&'static str]) -> &'static str {
        texts[self.below(texts.len())]
    }
}

/// A writer of one document.
struct Writer<'c, 'b> {
    choices: &'c mut Choices<'b>,
    text: String,
    /// The anchors so far, and the values that they have.
    anchors: Vec<(String, Value)>,
}

/// Comments, which mean nothing.
const COMMENTS: [&str; 7] = ["", " # c", " # 'c", " # \"c: [", " #!!str", " # !<x>", " # |"];
/// What a line can have in a block scalar.
const LINES: [&str; 8] = ["x", "---", "...", "# x", "a: b", "'x \"", "\tx", "- !!int &a [{"];

impl Writer<'_, '_> {
    fn put(&mut self, text: &str) {
        self.text += text;
    }

    fn indent(&mut self, columns: usize) {
        let _ = write!(self.text, "{:columns$}", "");
    }

    /// Ends a line, after a comment, and adds lines without meaning.
    fn end_line(&mut self) {
        let comment = self.choices.of(&COMMENTS);
        self.put(comment);
        self.put("\n");
        let between =
            self.choices.of(&["", "", "", "\n", "# c\n", "        # - c: !!str\n", "   \n"]);
        self.put(between);
    }

    /// A mapping in block style, whose first line is already indented if `begun`.
    fn mapping(&mut self, indent: usize, mut begun: bool, depth: usize) -> Value {
        let mut entries = Map::new();
        for index in 0..=self.choices.below(4) {
            if !std::mem::take(&mut begun) {
                self.indent(indent);
            }
            let key = format!("k{index}");
            let style = self.choices.below(6);
            let written = match style {
                1 => format!("'{key}'"),
                2 => format!("\"k\\x3{index}\""),
                3 => format!("!!str {key}"),
                4 => format!("{key} "),
                5 => format!("? {key}\n{:indent$}", ""),
                _ => key.clone(),
            };
            self.put(&written);
            self.put(":");
            // After an explicit key, a tab indents.
            let blanks: &[_] = if style == 5 { &[" ", "  "] } else { &[" ", "\t", "  ", " \t"] };
            let value = self.value(indent, depth, blanks);
            entries.insert(key, value);
        }
        Value::Object(entries)
    }

    /// A value after the `:` of a key, and the end of its line.
    fn value(&mut self, indent: usize, depth: usize, blanks: &[&'static str]) -> Value {
        match self.choices.below(if depth < 3 { 6 } else { 4 }) {
            1 => self.block(indent),
            2 => self.flow_line(indent),
            3 => self.properties(indent),
            4 => {
                self.end_line();
                self.mapping(indent + 2, false, depth + 1)
            }
            5 => {
                self.end_line();
                self.list(indent, depth)
            }
            _ => {
                let blank = self.choices.of(blanks);
                self.put(blank);
                let value = self.scalar();
                self.end_line();
                value
            }
        }
    }

    fn scalar(&mut self) -> Value {
        let scalars: [(&str, Value); 16] = [
            ("x", json!("x")),
            ("5", json!(5)),
            ("'5'", json!("5")),
            ("yes", json!(true)),
            ("~", json!(null)),
            ("0x1f", json!(31)),
            ("x#y", json!("x#y")),
            ("x:y", json!("x:y")),
            ("'it''s # no: comment'", json!("it's # no: comment")),
            ("\"a\\tb\\\" # [\\x41\"", json!("a\tb\" # [A")),
            ("'---'", json!("---")),
            ("-1", json!(-1)),
            ("\"\"", json!("")),
            ("x\ty", json!("x\ty")),
            ("'a\n       b'", json!("a b")),
            ("\"a\\\n        b\"", json!("ab")),
        ];
        let at = self.choices.below(scalars.len());
        let (text, value) = scalars[at].clone();
        self.put(text);
        value
    }

    /// A literal or folded block scalar.
    fn block(&mut self, indent: usize) -> Value {
        let chomping = self.choices.of(&["", "-", "+"]);
        let tag = self.choices.of(&["", "", "!!str ", "&b ", "!!binary "]);
        let header = self.choices.of(&["", "", " # c", "\t", " # !!int"]);
        self.put(&format!(" {tag}|{chomping}{header}\n"));
        let mut lines = String::new();
        for _ in 0..=self.choices.below(if tag == "!!binary " { 1 } else { 3 }) {
            let line = if tag == "!!binary " { "eA==" } else { self.choices.of(&LINES) };
            // The first line sets the indentation, which is no tab.
            let line = if lines.is_empty() { line.trim_start() } else { line };
            self.indent(indent + 1);
            self.put(line);
            self.put("\n");
            lines += line;
            lines += "\n";
        }
        if tag == "!!binary " {
            lines = "x".to_owned();
        }
        let value = if chomping == "-" { lines.trim_end_matches('\n') } else { &lines };
        if tag.starts_with('&') {
            self.anchors.retain(|it| it.0 != "b");
            self.anchors.push(("b".to_owned(), json!(value)));
        }
        json!(value)
    }

    /// A scalar with an anchor, a tag, or both, or an alias.
    fn properties(&mut self, indent: usize) -> Value {
        if let Some((name, value)) =
            self.anchors.last().cloned().filter(|_| self.choices.below(3) == 2)
        {
            self.put(&format!(" *{name}"));
            self.end_line();
            return value;
        }
        let next_line = format!("\n{:1$}", "", indent + 1);
        let gap = match self.choices.below(4) {
            1 => next_line,
            2 => format!(" # !!int{next_line}"),
            3 => "\t".to_owned(),
            _ => " ".to_owned(),
        };
        let name = format!("a{}", self.anchors.len());
        let (before, value): (String, Value) = match self.choices.below(7) {
            1 => (format!("!!str{gap}5"), json!("5")),
            2 => (format!("!other{gap}yes"), json!("yes")),
            3 => (format!("!!int{gap}'5'"), json!(5)),
            4 => (format!("&{name} !!str{gap}5"), json!("5")),
            5 => (format!("!!str{gap}&{name} 5"), json!("5")),
            6 => (format!("! {gap}5"), json!("5")),
            _ => (format!("&{name}{gap}5"), json!(5)),
        };
        self.put(" ");
        self.put(&before);
        if before.contains('&') {
            self.anchors.push((name, value.clone()));
        }
        self.end_line();
        value
    }

    /// A list in block style, at the column of its key or more.
    fn list(&mut self, indent: usize, depth: usize) -> Value {
        let indent = indent + self.choices.below(3);
        let mut items = Vec::new();
        for _ in 0..=self.choices.below(3) {
            self.indent(indent);
            self.put("- ");
            items.push(if self.choices.below(3) == 2 {
                self.mapping(indent + 2, true, depth + 1)
            } else {
                let value = self.scalar();
                self.end_line();
                value
            });
        }
        Value::Array(items)
    }

    fn flow_line(&mut self, indent: usize) -> Value {
        self.put(" ");
        let value = self.flow(indent, 0);
        self.end_line();
        value
    }

    /// Brackets, perhaps over several lines.
    fn flow(&mut self, indent: usize, depth: usize) -> Value {
        let is_list = self.choices.below(2) == 0;
        self.put(if is_list { "[" } else { "{" });
        let (mut items, mut entries) = (Vec::new(), Map::new());
        for index in 0..self.choices.below(4) {
            let gap = match self.choices.below(5) {
                1 => format!("\n{:1$}", "", indent + 1),
                2 => format!(" # [,\n{:1$}", "", indent + 1),
                3 => format!("\n{:1$}\t", "", indent + 1),
                4 => "\t".to_owned(),
                _ => " ".to_owned(),
            };
            self.put(&gap);
            if !is_list {
                let colon = self.choices.of(&[": ", ": ", ":\t", ": !!str "]);
                let quote = self.choices.of(&["", "'", "\""]);
                self.put(&format!("{quote}k{index}{quote}{colon}"));
                if colon.contains('!') {
                    self.put("7");
                    entries.insert(format!("k{index}"), json!("7"));
                    self.put(",");
                    continue;
                }
            }
            let value = match self.choices.below(3) {
                1 if depth < 2 => self.flow(indent, depth + 1),
                2 => {
                    self.put("'x, [y: '");
                    json!("x, [y: ")
                }
                _ => {
                    let (text, value) = [("x", json!("x")), ("5", json!(5)), ("\"5\"", json!("5"))]
                        [self.choices.below(3)]
                    .clone();
                    self.put(text);
                    value
                }
            };
            self.put(",");
            items.push(value.clone());
            entries.insert(format!("k{index}"), value);
        }
        self.put(if is_list { "]" } else { "}" });
        if is_list { Value::Array(items) } else { Value::Object(entries) }
    }
}

/// A file, and the values of its documents.
fn file(choices: &mut Choices<'_>) -> (String, Vec<Value>) {
    let (mut text, mut values) = (String::new(), Vec::new());
    let start = choices.of(&["", "", "---\n", "# c\n---\n", "\u{feff}", "\n\n"]);
    text += start;
    let break_at = choices.below(4);
    if choices.below(5) == 4 && !start.contains(['-', '#', '\u{feff}']) {
        // One JSON value, and YAML after it.
        text += "{\"k\": [5, \"---\", \"a\\u0041\"]}";
        text += choices.of(&["\n", " \n", " # c\n"]);
        text += "---\n";
        values.push(json!({"k": [5, "---", "aA"]}));
    }
    let count = 1 + choices.below(3);
    for index in 0..count {
        let mut writer = Writer { choices, text: String::new(), anchors: Vec::new() };
        let value = writer.mapping(0, false, 0);
        let document = writer.text;
        // Of these, only the first two separate documents.
        text += &match break_at {
            1 => document.replace('\n', "\r\n"),
            2 => document.trim_end_matches('\n').replace('\n', "\u{85}") + "\n",
            _ => document,
        };
        values.push(value);
        text += choices.of(&["", "", "", "...\n", "... # c\n[ {\n\tignored\n"]);
        if index + 1 < count {
            text += choices.of(&[
                "---\n",
                "--- \t\n",
                "--- # c\n",
                "---#c\n",
                "---\r\n",
                "---\n---\n",
                "---\n\u{feff}",
            ]);
        }
    }
    (text, values)
}

/// What is read, and the errors.
fn read(source: &str) -> (Vec<Value>, Vec<String>) {
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let text = Text::new(PathBuf::from("f.yaml"), source);
    let (roots, reports) = yaml::read(&text, true);
    let errors = reports.iter().filter(|it| it.severity == Severity::Error);
    let values = roots.iter().map(|it| it.node.json(it.source(&text)));
    (values.filter(|it| !it.is_null()).collect(), errors.map(ToString::to_string).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_oddly_is_read(choices in vec(any::<u8>(), 0..160)) {
        let (text, values) = file(&mut Choices(choices.iter()));
        let (found, errors) = read(&text);
        prop_assert!(errors.is_empty(), "{:?} in {:?}\n{}", errors, text, text);
        prop_assert_eq!(found, values, "{:?}\n{}", text, text);
    }
}
