//! Scalars as they are written → what `kubectl` reads. Pure.

use serde_json::Value;
use serde_saphyr::Location;

use super::scalar::{self, Plain};

/// The text at a location.
pub(super) fn written<'s>(location: &Location, source: &'s str) -> &'s str {
    let span = location.span();
    let range = span.byte_offset().zip(span.byte_len()).and_then(|(start, length)| {
        let start = usize::try_from(start).ok()?;
        source.get(start..start.checked_add(usize::try_from(length).ok()?)?)
    });
    range.unwrap_or_default()
}

/// The value of a scalar that the YAML library read as `value`.
pub(super) fn read(value: &Value, location: &Location, source: &str) -> Plain {
    let as_it_is = || Plain::Value(value.clone());
    let text = unquoted(location, source);
    match (tag(location, source, false), text) {
        (Some(tag), text) => {
            let text = text.unwrap_or_else(|| value.as_str().unwrap_or_default());
            scalar::tagged(tag, text)
        }
        // A block without lines is a string; nothing at all is null.
        (None, Some("")) if value.is_string() => as_it_is(),
        (None, Some(text)) => match scalar::resolve(text) {
            Plain::Text if !is_word(value) => Plain::Value(text.into()),
            Plain::Text => as_it_is(),
            resolved => resolved,
        },
        (None, None) => as_it_is(),
    }
}

/// The text of a key that the YAML library read as `key`. `None` if there can be no such key.
pub(super) fn key(key: &str, location: &Location, source: &str) -> Option<String> {
    let text = unquoted(location, source);
    match (tag(location, source, true), text) {
        (None, None) => Some(key.to_owned()),
        (Some(tag), text) => scalar::key(scalar::tagged(tag, text.unwrap_or(key)), key),
        (None, Some(text)) => scalar::key(scalar::resolve(text), text),
    }
}

/// Whether a key takes over the entries of other mappings.
pub(super) fn is_merge(key: &str, location: &Location, source: &str) -> bool {
    match tag(location, source, true) {
        None => unquoted(location, source) == Some("<<"),
        Some(tag) => scalar::own(tag) == Some("merge") && key == "<<",
    }
}

/// The tag of a scalar; `None`: it has none. Before a value, it may be on an earlier line.
fn tag<'s>(location: &Location, source: &'s str, same_line: bool) -> Option<&'s str> {
    let start = location.span().byte_offset().and_then(|it| usize::try_from(it).ok())?;
    let text = source.get(..start)?;
    let mut before = block_header(text).unwrap_or(text).trim_end();
    if same_line && text.get(before.len()..)?.contains(['\n', '\r']) {
        return None;
    }
    // The properties of the scalar: its anchor and its tag.
    loop {
        let at = before.rfind(|it: char| it.is_whitespace() || matches!(it, '[' | '{' | ','));
        let word = before.get(at.map_or(0, |at| at + 1)..)?;
        // After a key in quotes, no blank is needed: `{"port":!!int 80}`.
        let word =
            word.rsplit(['"', '\'']).next().and_then(|it| it.strip_prefix(':')).unwrap_or(word);
        match word.chars().next() {
            // A verbatim tag may have a comma.
            Some('!') => return Some(word),
            _ if word.ends_with('>') => return before.rfind("!<").and_then(|at| before.get(at..)),
            Some('&') => before = before.get(..before.len() - word.len())?.trim_end(),
            _ => return None,
        }
    }
}

/// What is before the header of a block scalar, such as `|-`, if the text ends with one.
fn block_header(before: &str) -> Option<&str> {
    let header = before.trim_end();
    if header.len() == before.len() || !before.get(header.len()..)?.contains(['\n', '\r']) {
        // The scalar itself begins with the header.
        return None;
    }
    let line = header.rfind(['\n', '\r']).map_or(0, |at| at + 1);
    let comment = header.get(line..)?.find(" #").map(|at| line + at);
    let header = header.get(..comment.unwrap_or(header.len()))?.trim_end();
    let word = header.rfind([' ', '\t', '\n']).map_or(0, |at| at + 1);
    let options = header.get(word..)?.strip_prefix(['|', '>'])?;
    let fits = options.bytes().all(|it| it.is_ascii_digit() || matches!(it, b'+' | b'-'));
    if fits { header.get(..word) } else { None }
}

/// The text of a scalar without quotes; `None`: it has quotes, or is a block.
fn unquoted<'s>(location: &Location, source: &'s str) -> Option<&'s str> {
    let text = written(location, source);
    let start = location.span().byte_offset().and_then(|it| usize::try_from(it).ok());
    let is_block =
        || start.and_then(|it| source.get(..it)).is_some_and(|it| block_header(it).is_some());
    let blank = [' ', '\t', '\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];
    (!text.starts_with(['"', '\'', '|', '>', '!', '&', '*']) && !is_block())
        .then(|| text.trim_end_matches(blank))
}

/// Whether the YAML library read a string: it writes infinities as strings, too, and takes numbers that
/// are too large for those.
fn is_word(value: &Value) -> bool {
    value.as_str().is_some_and(|it| !matches!(it, ".inf" | "-.inf" | ".nan"))
}
