//! The documents of a text, as `kubectl` separates them. Pure.
//!
//! `kubectl` splits a file at its lines that begin with `---`, wherever they are, and parses each part by
//! itself; a text that begins with `{` is a stream of JSON values as long as these are valid (`YAMLReader` and
//! `YAMLOrJSONDecoder` in `staging/src/k8s.io/apimachinery/pkg/util/yaml/decoder.go`).

use serde::de::IgnoredAny;

/// A document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk<'t> {
    /// Its first byte in the text.
    pub(super) start: usize,
    pub(super) source: &'t str,
    /// Whether it is valid JSON.
    pub(super) json: bool,
    /// Whether text follows the `---` that it begins with.
    pub(super) crowded: bool,
}

/// The documents of a text.
pub(super) fn chunks(source: &str) -> Vec<Chunk<'_>> {
    let mut chunks = Vec::new();
    let rest = values(source, &mut chunks);
    documents(source, rest, &mut chunks);
    chunks
}

/// Adds the leading values of a stream of JSON values. Returns the byte after them.
fn values<'t>(source: &'t str, chunks: &mut Vec<Chunk<'t>>) -> usize {
    let mut end = 0;
    if !source.trim_start().starts_with('{') {
        return end;
    }
    let mut stream = serde_json::Deserializer::from_str(source).into_iter::<IgnoredAny>();
    while let Some(Ok(_)) = stream.next() {
        let start = std::mem::replace(&mut end, stream.byte_offset());
        let source = source.get(start..end).unwrap_or_default();
        chunks.push(Chunk { start, source, json: true, crowded: false });
    }
    end
}

/// Adds the documents from a byte on.
fn documents<'t>(source: &'t str, from: usize, chunks: &mut Vec<Chunk<'t>>) {
    let mut begin: Option<(usize, bool)> = None;
    let mut add = |(start, crowded), end| {
        let source = source.get(start..end).unwrap_or_default();
        chunks.push(Chunk { start, source, json: false, crowded });
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
        assert!(chunks("--- {}\n").iter().all(|it| it.crowded));
    }

    #[test]
    fn json_values_follow_each_other() {
        assert_eq!(sources("{}{\"a\":1}\n"), ["{}", "{\"a\":1}", "\n"]);
        assert_eq!(sources("{}\n---\na: b\n"), ["{}", "\n", "a: b\n"]);
        assert_eq!(sources("{a: b}\n"), ["{a: b}\n"]);
    }
}
