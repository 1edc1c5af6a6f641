//! Scalars as they are written → what `kubectl` reads. Pure.

use serde_json::Value;
use serde_saphyr::Location;

use super::dialect::Properties;
use super::scalar::{self, Plain};

/// The text of a document, from the byte that its locations count from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'s> {
    pub(super) text: &'s str,
    pub(super) properties: &'s Properties,
}

/// The text at a location.
pub(super) fn written<'s>(location: &Location, source: Source<'s>) -> &'s str {
    let span = location.span();
    let range = span.byte_offset().zip(span.byte_len()).and_then(|(start, length)| {
        let start = usize::try_from(start).ok()?;
        source.text.get(start..start.checked_add(usize::try_from(length).ok()?)?)
    });
    range.unwrap_or_default()
}

/// The value of a scalar that the YAML library read as `value`.
pub(super) fn read(value: &Value, location: &Location, source: Source<'_>) -> Plain {
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
pub(super) fn key(key: &str, location: &Location, source: Source<'_>) -> Option<String> {
    let text = unquoted(location, source);
    match (tag(location, source, true), text) {
        (None, None) => Some(key.to_owned()),
        (Some(tag), text) => scalar::key(scalar::tagged(tag, text.unwrap_or(key)), key),
        (None, Some(text)) => scalar::key(scalar::resolve(text), text),
    }
}

/// Whether a key takes over the entries of other mappings.
pub(super) fn is_merge(key: &str, location: &Location, source: Source<'_>) -> bool {
    match tag(location, source, true) {
        None => unquoted(location, source) == Some("<<"),
        Some(tag) => scalar::own(tag) == Some("merge") && key == "<<",
    }
}

/// The tag of a scalar; `None`: it has none.
fn tag<'s>(location: &Location, source: Source<'s>, is_key: bool) -> Option<&'s str> {
    source.text.get(source.properties.tag(start(location)?, is_key)?)
}

/// The first byte of a scalar.
fn start(location: &Location) -> Option<usize> {
    location.span().byte_offset().and_then(|it| usize::try_from(it).ok())
}

/// The text of a scalar without quotes; `None`: it has quotes, or is a block.
fn unquoted<'s>(location: &Location, source: Source<'s>) -> Option<&'s str> {
    let text = written(location, source);
    let is_block = || start(location).is_some_and(|it| source.properties.is_block(it));
    let blank = [' ', '\t', '\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];
    (!text.starts_with(['"', '\'', '|', '>', '!', '&', '*']) && !is_block())
        .then(|| text.trim_end_matches(blank))
}

/// Whether the YAML library read a string: it writes infinities as strings, too, and takes numbers that
/// are too large for those.
fn is_word(value: &Value) -> bool {
    value.as_str().is_some_and(|it| !matches!(it, ".inf" | "-.inf" | ".nan"))
}
