//! Scalars: where they end, and what `kubectl` refuses in them.

use super::{Scanner, TAB, USE_SPACES};

impl Scanner {
    pub(super) fn quoted(&mut self, quote: u8) {
        let start = self.at;
        self.at += 1;
        while let Some(byte) = self.peek(0) {
            match byte {
                b'\\' if quote == b'"' => self.escape(),
                b'\'' if quote == b'\'' && self.peek(1) == Some(b'\'') => self.at += 2,
                _ if byte == quote => {
                    self.at += 1;
                    break;
                }
                b'\n' | b'\r' => {
                    self.line_break();
                }
                _ => self.at += 1,
            }
        }
        self.key_follows(start);
    }

    fn escape(&mut self) {
        match self.peek(1) {
            Some(b'/') => self.fault("kubectl knows no escape `\\/`", Some("write `/`")),
            Some(b'u') if self.surrogate() => {
                let help = "write the character, or \\U and eight digits";
                self.fault("kubectl reads no pairs of escapes", Some(help));
            }
            Some(b'\'') => {
                self.at += 1;
                self.put(b'"');
                self.at -= 1;
            }
            Some(b'\n' | b'\r') => {
                self.at += 1;
                self.line_break();
                return;
            }
            _ => {}
        }
        self.at += 2;
    }

    /// Whether the escape here is half of a UTF-16 pair.
    fn surrogate(&self) -> bool {
        let digits =
            self.text.get(self.at + 2..self.at + 6).and_then(|it| std::str::from_utf8(it).ok());
        let number = digits.and_then(|it| u32::from_str_radix(it, 16).ok());
        number.is_some_and(|it| (0xd800..=0xdfff).contains(&it))
    }

    pub(super) fn plain(&mut self) {
        let start = self.at;
        loop {
            while let Some(byte) = self.peek(0) {
                let flow_ends = self.flow > 0 && b",?[]{}".contains(&byte);
                if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') || flow_ends && self.at > start {
                    break;
                }
                if byte == b':' && self.ends(1) {
                    break;
                }
                if byte == b':'
                    && self.flow > 0
                    && self.peek(1).is_some_and(|it| b",[]{}".contains(&it))
                {
                    self.fault("a blank is missing after `:`, or quotes around the word", None);
                }
                self.at += 1;
            }
            if self.at == start {
                // No plain scalar begins so: the library reports it.
                self.at += 1;
            }
            if self.line <= start {
                let fresh = self.fresh;
                self.key_follows(start);
                self.fresh = fresh;
            }
            if !self.continues() {
                break;
            }
        }
    }

    /// Skips the blanks and line breaks after a part of a plain scalar. Returns whether it continues.
    fn continues(&mut self) -> bool {
        let mut on_next_line = false;
        loop {
            match self.peek(0) {
                Some(b' ') => self.at += 1,
                Some(b'\t') => {
                    if on_next_line && self.column() <= self.indent {
                        self.fault(TAB, Some(USE_SPACES));
                    }
                    if on_next_line && (self.flow > 0 || self.column() <= self.indent) {
                        self.put(b' ');
                    }
                    self.at += 1;
                }
                Some(b'\n' | b'\r') => {
                    self.line_break();
                    on_next_line = true;
                }
                _ => break,
            }
        }
        self.fresh = on_next_line && self.flow == 0;
        let ends_document = self.column() == 0
            && self.text.get(self.at..self.at + 3) == Some(b"...")
            && self.ends(3);
        let ends = match self.peek(0) {
            None | Some(b'#') => true,
            Some(b':') => self.ends(1),
            Some(byte) => self.flow > 0 && b",?[]{}".contains(&byte),
        };
        let is_outside = self.flow == 0 && on_next_line && self.column() <= self.indent;
        !ends && !ends_document && !is_outside
    }

    pub(super) fn block_scalar(&mut self) {
        let start = self.at - self.origin;
        self.at += 1;
        let mut explicit = None;
        while let Some(it) = self.peek(0).filter(|it| it.is_ascii_digit() || b"+-".contains(it)) {
            explicit = explicit.or_else(|| it.is_ascii_digit().then(|| isize::from(it - b'0')));
            self.at += 1;
        }
        while matches!(self.peek(0), Some(b' ' | b'\t')) {
            self.at += 1;
        }
        if self.peek(0) == Some(b'#') {
            self.comment();
        }
        self.rest_of_line();
        self.line_break();
        let mut least = explicit.map(|it| self.indent.max(0) + it);
        let mut longest = (self.indent + 1).max(1);
        while self.at < self.text.len() {
            while self.peek(0) == Some(b' ') && least.is_none_or(|it| self.column() < it) {
                self.at += 1;
            }
            let is_before = least.is_none_or(|it| self.column() < it);
            if self.peek(0) == Some(b'\t') && is_before {
                self.fault(TAB, Some(USE_SPACES));
            }
            longest = longest.max(self.column());
            if self.line_break() {
                continue;
            }
            let least = *least.get_or_insert(longest);
            if self.column() < least {
                break;
            }
            self.rest_of_line();
            self.line_break();
        }
        self.properties.add_block(start..self.at - self.origin);
        self.fresh = true;
    }
}
