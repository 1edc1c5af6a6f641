//! Anchors, tags and block scalars: where they are, and what `kubectl` refuses in them.

use std::ops::Range;

use super::Scanner;

/// The tags and block scalars of a document, in their order. Bytes count from its start.
#[derive(Debug, Default)]
pub(in super::super) struct Properties {
    tags: Vec<Tag>,
    blocks: Vec<Range<usize>>,
}

#[derive(Debug)]
struct Tag {
    /// Its text.
    text: Range<usize>,
    /// The first byte of its node, the last of it if that is a block. An empty node is before.
    until: usize,
    /// Whether no line break is between.
    same_line: bool,
}

impl Properties {
    /// The text of the tag of a scalar that begins at a byte. That of a key is on the same line: before a value, it may
    /// be on an earlier one.
    pub(in super::super) fn tag(&self, at: usize, is_key: bool) -> Option<Range<usize>> {
        let after = self.tags.partition_point(|it| it.text.end <= at);
        let tag = self.tags.get(after.checked_sub(1)?)?;
        (at <= tag.until && (tag.same_line || !is_key)).then(|| tag.text.clone())
    }

    /// Whether the byte is within a block scalar.
    pub(in super::super) fn is_block(&self, at: usize) -> bool {
        let after = self.blocks.partition_point(|it| it.start <= at);
        after.checked_sub(1).and_then(|it| self.blocks.get(it)).is_some_and(|it| it.contains(&at))
    }

    pub(super) fn add_tag(&mut self, text: Range<usize>) {
        let until = text.end;
        self.tags.push(Tag { text, until, same_line: true });
    }

    /// The text of the last tag.
    pub(super) fn last_tag(&self) -> Option<Range<usize>> {
        self.tags.last().map(|it| it.text.clone())
    }

    /// The last tag's node begins at a byte of the line that begins at another one.
    pub(super) fn bind(&mut self, at: usize, line: usize) {
        if let Some(tag) = self.tags.last_mut() {
            tag.until = at;
            tag.same_line = line <= tag.text.start;
        }
    }

    pub(super) fn add_block(&mut self, range: Range<usize>) {
        if let Some(tag) = self.tags.last_mut().filter(|it| it.until == range.start) {
            // A key after it is on another line.
            (tag.until, tag.same_line) = (range.end, false);
        }
        self.blocks.push(range);
    }
}

impl Scanner {
    /// A node begins here: it has the tag before it.
    pub(super) fn bind(&mut self) {
        self.anchored = false;
        if std::mem::take(&mut self.tagged) {
            self.properties.bind(self.at - self.origin, self.line.saturating_sub(self.origin));
        }
    }

    /// An anchor or an alias: its name has ASCII letters, digits, `_` and `-`.
    pub(super) fn anchor(&mut self) {
        let start = self.at;
        if self.text.get(start) == Some(&b'&') {
            self.anchored = true;
            // The anchor that stands for the tag would be a second one.
            let tag = self.properties.last_tag().filter(|it| self.tagged && it.len() > 1);
            for at in tag.unwrap_or_default() {
                if let Some(it) = self.text.get_mut(self.origin + at) {
                    *it = b' ';
                }
            }
        }
        self.at += 1;
        while self.peek(0).is_some_and(|it| it.is_ascii_alphanumeric() || b"_-".contains(&it)) {
            self.at += 1;
        }
        let follows = self.peek(0).is_none_or(|it| b" \t\n\r?:,]}%@`".contains(&it));
        if !follows || self.at == start + 1 {
            let message = "the name of an anchor has letters, digits, `_` and `-` only";
            self.fault(message, None);
        } else if self.peek(0) == Some(b':') && self.text.get(start) == Some(&b'&') {
            self.fault("a blank is missing after the name of the anchor", None);
        }
        let flow = self.flow > 0;
        let ends = |it: u8| flow && b",[]{}".contains(&it);
        while !self.ends(0) && !self.peek(0).is_some_and(ends) {
            self.at += 1;
        }
        self.key_follows(start);
    }

    /// A tag: this program gives it its meaning. The library gets an anchor instead, which keeps the place.
    pub(super) fn tag(&mut self) {
        let start = self.at;
        while !self.ends(0) {
            self.at += 1;
        }
        let word = self.text.get(start..self.at).unwrap_or_default().to_vec();
        let (handle, rest) = match word.get(1..) {
            Some([b'!', rest @ ..]) => (true, rest),
            Some([b'<', rest @ ..]) => {
                (rest.ends_with(b">"), rest.strip_suffix(b">").unwrap_or(&[]))
            }
            Some(rest) => (!rest.contains(&b'!'), rest),
            None => (true, &[][..]),
        };
        let is_uri = |it: &u8| it.is_ascii_alphanumeric() || b"-_;/?:@&=+$,.!~*'()[]%".contains(it);
        let at = std::mem::replace(&mut self.at, start);
        if !handle {
            self.fault("the handle of this tag is not declared", None);
        } else if (rest.is_empty() && word.len() > 1) || !rest.iter().all(is_uri) {
            self.fault("not a tag", None);
        }
        let has_anchor = self.anchored || self.tagged;
        if self.tagged {
            self.properties.bind(start - self.origin, self.line.saturating_sub(self.origin));
        }
        self.tagged = true;
        let from = start - self.origin;
        self.properties.add_tag(from..from + word.len());
        for (index, it) in self.text.iter_mut().take(at).skip(start).enumerate() {
            *it = match index {
                _ if word.len() == 1 => b'!',
                _ if has_anchor => b' ',
                0 => b'&',
                _ => b'_',
            };
        }
        self.at = at;
        self.fresh = false;
    }
}
