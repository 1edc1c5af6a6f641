//! The splitting, compared with a transcript of what `kubectl` does, line by line
//! (`staging/src/k8s.io/apimachinery/pkg/util/yaml/decoder.go` in kubernetes/kubernetes).

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

use super::chunks;

/// What `kubectl` reads before it ends or refuses the rest.
#[derive(Debug, Default, PartialEq)]
struct Read {
    documents: Vec<String>,
    refused: bool,
}

/// `YAMLOrJSONDecoder`
fn decoder(text: &str) -> Read {
    let mut read = Read::default();
    if !text.trim_start().starts_with('{') {
        yaml_reader(text, &mut read);
        return read;
    }
    let mut rest = text;
    loop {
        if rest.trim_start_matches([' ', '\t', '\r', '\n']).is_empty() {
            return read;
        }
        let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        if !matches!(stream.next(), Some(Ok(_))) {
            break;
        }
        let (value, after) = rest.split_at(stream.byte_offset());
        read.documents.push(value.to_owned());
        rest = after;
    }
    if read.documents.len() > 1 {
        read.refused = true;
        return read;
    }
    // `consumeWhitespace`
    while let Some(first) = rest.chars().next().filter(|it| it.is_whitespace()) {
        read.refused |= rest.len() < 4;
        rest = &rest[first.len_utf8()..];
        if first == '\n' {
            break;
        }
    }
    // Its first four bytes are read before a character other than a blank is found, too.
    let ended_with_line =
        rest.len() < text.len() && text[..text.len() - rest.len()].ends_with('\n');
    read.refused |= !ended_with_line && rest.len() < 4;
    if !read.refused {
        yaml_reader(rest, &mut read);
    }
    read
}

/// `YAMLReader`
fn yaml_reader(text: &str, read: &mut Read) {
    let mut buffer = String::new();
    let lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
    for line in lines.filter(|_| !text.is_empty()) {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if let Some(after) = line.strip_prefix("---") {
            let after = after.trim();
            if !after.is_empty() && !after.starts_with('#') {
                read.refused = true;
                return;
            }
            if !buffer.is_empty() {
                read.documents.push(std::mem::take(&mut buffer));
                continue;
            }
        }
        buffer.push_str(line);
        buffer.push('\n');
    }
    if !buffer.is_empty() {
        read.documents.push(buffer);
    }
}

/// Lines end alike for `kubectl`.
fn plain(document: &str, json: bool) -> String {
    if json {
        return document.to_owned();
    }
    let document = document.strip_suffix('\n').unwrap_or(document);
    let lines = document.split('\n').map(|it| it.strip_suffix('\r').unwrap_or(it));
    lines.map(|it| format!("{it}\n")).collect()
}

const PARTS: [&str; 36] = [
    "---",
    "--- ",
    "---\t",
    "--- # c",
    "---#",
    "--- x",
    "----",
    " ---",
    "- --",
    "...",
    "%YAML 1.1",
    "# c",
    "a: |",
    "a: b",
    "'",
    "\"",
    "{}",
    "{\"a\": 1}",
    "{\"a\": \"---\"}",
    "{\"a\":\n1}",
    "[]",
    "{a: b}",
    "{",
    "}",
    "null",
    "5",
    "x",
    "",
    " ",
    "\t",
    "\r",
    "\u{85}",
    "\u{a0}",
    "\u{feff}",
    "\u{2028}",
    "\u{c}",
];

fn text() -> impl Strategy<Value = String> {
    let ends = select(vec!["\n", "\n", "\n", "\r\n", "", " "]);
    let start = select(vec!["", "", "\u{feff}", "{}", "{\"a\": 1}\n", "\n\n"]);
    (start, vec((select(&PARTS[..]), ends), 0..10)).prop_map(|(start, lines)| {
        let lines = lines.into_iter().map(|(line, end)| format!("{line}{end}"));
        start.to_owned() + &lines.collect::<String>()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn documents_are_those_of_kubectl(text in text()) {
        let expected = decoder(&text);
        let found = chunks(&text);
        prop_assert_eq!(found.iter().any(|it| it.refused.is_some()), expected.refused, "{:?}", &found);
        let sources: Vec<_> = found.iter().map(|it| plain(it.source, it.json)).collect();
        let sources: Vec<&str> = sources.iter().zip(&found).map(|(source, it)| {
            // Values after white space.
            if it.json { source.trim_start() } else { source.as_str() }
        }).collect();
        let expected: Vec<_> = expected.documents.iter().map(|it| it.trim_start_matches([' ', '\t', '\r', '\n']))
            .zip(&expected.documents).enumerate()
            .map(|(at, (value, whole))| if found.get(at).is_some_and(|it| it.json) { value } else { whole.as_str() })
            .collect();
        prop_assert!(sources.starts_with(&expected), "{:?} and {:?}", sources, expected);
        for it in &found {
            prop_assert_eq!(&text[it.start..it.start + it.source.len()], it.source);
        }
    }
}
