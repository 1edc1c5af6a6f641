//! The parts of a document: a line `...` ends each.

use super::{Rewritten, Scanner};

impl Scanner {
    /// The rest of the text, up to its end or a line `...`.
    pub(super) fn part(&mut self) -> Rewritten {
        self.origin = self.at;
        if self.at == 0 {
            self.marker();
        }
        while self.end.is_none() && self.blanks() {
            self.token();
        }
        self.bind();
        let end = self.end.take();
        let text = self.text.get(self.origin..end.unwrap_or(self.text.len()));
        // Only ASCII was replaced, by ASCII.
        let text = String::from_utf8_lossy(text.unwrap_or_default()).into_owned();
        let more = end.is_some() && self.skip_empty_lines();
        (self.flow, self.indent, self.fresh, self.content) = (0, -1, true, false);
        self.key = None;
        Rewritten {
            text,
            start: self.origin,
            end: end.map(|it| it - self.origin),
            more,
            faults: std::mem::take(&mut self.faults),
            properties: std::mem::take(&mut self.properties),
        }
    }

    /// Skips the line here, and those after it that are blank, comments or `...`. Returns whether others follow.
    fn skip_empty_lines(&mut self) -> bool {
        loop {
            self.rest_of_line();
            if !self.line_break() {
                return false;
            }
            let line = self.text.get(self.at..).unwrap_or_default();
            let line = line.split(|it| matches!(it, b'\n' | b'\r')).next().unwrap_or_default();
            let line = line.trim_ascii();
            if !(line.is_empty() || line == b"..." || line.starts_with(b"#")) {
                return true;
            }
        }
    }
}
