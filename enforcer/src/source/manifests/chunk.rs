//! The documents of a text, as `kubectl` separates them. Pure.
//!
//! `kubectl` splits a file at its lines that begin with `---`, wherever they are, and parses each part by
//! itself. A text that begins with `{` is read as JSON values first. If what follows them is no JSON, it is YAML
//! after one value, and an error after more (`YAMLReader` and `YAMLOrJSONDecoder` in
//! `staging/src/k8s.io/apimachinery/pkg/util/yaml/decoder.go`).

use serde::de::IgnoredAny;

/// A document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk<'t> {
    /// Its first byte in the text.
    pub(super) start: usize,
    pub(super) source: &'t str,
    /// Whether it is valid JSON.
    pub(super) json: bool,
    /// Why `kubectl` does not read it.
    pub(super) refused: Option<Refused>,
}

/// Why `kubectl` does not read a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Text follows the `---` that it begins with.
    Crowded,
    /// It follows JSON values.
    AfterJson,
}

/// The documents of a text.
pub(super) fn chunks(source: &str) -> Vec<Chunk<'_>> {
    let mut chunks = Vec::new();
    if !source.trim_start().starts_with('{') {
        documents(source, 0, &mut chunks);
        return chunks;
    }
    let end = values(source, &mut chunks);
    let rest = source.get(end..).unwrap_or_default();
    if rest.bytes().all(|it| matches!(it, b' ' | b'\t' | b'\r' | b'\n')) {
        return chunks;
    }
    match yaml_from(rest).filter(|_| chunks.len() < 2) {
        Some(at) => documents(source, end + at, &mut chunks),
        // It may still be meant to isolate, so it is read (semantics R9).
        None => chunks.push(Chunk {
            start: end,
            source: rest,
            json: false,
            refused: Some(Refused::AfterJson),
        }),
    }
    chunks
}

/// Adds the leading values of a stream of JSON values. Returns the byte after them.
fn values<'t>(source: &'t str, chunks: &mut Vec<Chunk<'t>>) -> usize {
    let mut end = 0;
    let mut stream = serde_json::Deserializer::from_str(source).into_iter::<IgnoredAny>();
    while let Some(Ok(_)) = stream.next() {
        let start = std::mem::replace(&mut end, stream.byte_offset());
        let source = source.get(start..end).unwrap_or_default();
        chunks.push(Chunk { start, source, json: true, refused: None });
    }
    end
}

/// The byte at which YAML begins after JSON: after the blanks, up to the end of the line. `kubectl` looks at four
/// bytes at a time, and reads no YAML where fewer are left (`consumeWhitespace`).
fn yaml_from(rest: &str) -> Option<usize> {
    for (at, it) in rest.char_indices() {
        if rest.len() - at < 4 {
            return None;
        }
        match it {
            '\n' => return Some(at + 1),
            it if it.is_whitespace() => {}
            _ => return Some(at),
        }
    }
    None
}

/// Adds the documents from a byte on.
fn documents<'t>(source: &'t str, from: usize, chunks: &mut Vec<Chunk<'t>>) {
    let mut begin: Option<(usize, bool)> = None;
    let mut add = |(start, crowded): (usize, bool), end| {
        let source = source.get(start..end).unwrap_or_default();
        let refused = crowded.then_some(Refused::Crowded);
        chunks.push(Chunk { start, source, json: false, refused });
    };
    let mut at = from;
    for line in source.get(from..).unwrap_or_default().split_inclusive('\n') {
        let start = at;
        at += line.len();
        let Some(after) = line.strip_prefix("---").map(str::trim) else {
            begin.get_or_insert((start, false));
            continue;
        };
        let crowded = !after.is_empty() && !after.starts_with('#');
        match begin.take() {
            // The separator belongs to neither.
            Some(before) if !crowded => add(before, start),
            Some(before) => {
                add(before, start);
                begin = Some((start, crowded));
            }
            None => begin = Some((start, crowded)),
        }
    }
    if let Some(last) = begin {
        add(last, source.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(text: &str) -> Vec<&str> {
        chunks(text).into_iter().map(|it| it.source).collect()
    }

    #[test]
    fn documents_are_separated_by_lines_that_begin_with_three_dashes() {
        assert_eq!(sources("a\n---\nb\n--- # c\nc\n---#d\n"), ["a\n", "b\n", "c\n"]);
        assert_eq!(sources("---\na\n---\n---\nb"), ["---\na\n", "---\nb"]);
        assert_eq!(sources("a: |\n ---\n"), ["a: |\n ---\n"]);
        assert_eq!(sources("a: '\n---\n'"), ["a: '\n", "'"]);
        assert_eq!(sources(""), Vec::<&str>::new());
        assert!(chunks("--- {}\n").iter().all(|it| it.refused == Some(Refused::Crowded)));
    }

    #[test]
    fn json_values_follow_each_other() {
        assert_eq!(sources("{}{\"a\":1}\n"), ["{}", "{\"a\":1}"]);
        assert_eq!(sources("{}\n---\na: b\n"), ["{}", "---\na: b\n"]);
        assert_eq!(sources("{a: b}\n"), ["{a: b}\n"]);
        let last = |text| chunks(text).pop().unwrap();
        assert_eq!((last("{} a: b\n").source, last("{} a: b\n").refused), ("a: b\n", None));
        // After several values there is no YAML, nor in three bytes.
        for text in ["{}{}\n---\na: b\n", "{}\u{85}", "{}\u{feff}", "{} x\n"] {
            assert_eq!(last(text).refused, Some(Refused::AfterJson), "{text:?}");
        }
    }
}
