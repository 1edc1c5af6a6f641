//! Where tags and block scalars are.

use std::ops::Range;

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
            tag.until = range.end;
        }
        self.blocks.push(range);
    }
}
