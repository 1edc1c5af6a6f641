//! What `kubectl`'s YAML scanner reads differently from the YAML library, removed from a text before the
//! library parses it.
//!
//! `kubectl` scans as libyaml does (`go.yaml.in/yaml/v2`, `scannerc.go`): tabs never indent, but are blanks
//! within `[]` and `{}`; comments need no blank before them; NEL, LS and PS break lines; `...` ends what is read.
//! The result has a byte for each byte of the text, so that places stay. Pure.

mod parts;
mod properties;
mod scalars;

pub(super) use properties::Properties;

/// A text as the YAML library has to read it.
#[derive(Debug, Default)]
pub(super) struct Rewritten {
    pub(super) text: String,
    /// Its first byte in the document. The other bytes count from there.
    pub(super) start: usize,
    /// The byte of the line `...` that ends it.
    pub(super) end: Option<usize>,
    /// Whether something is after that line.
    pub(super) more: bool,
    /// The first fault of each sort.
    pub(super) faults: Vec<Fault>,
    pub(super) properties: Properties,
}

/// Text that `kubectl` refuses and the YAML library may accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) message: &'static str,
    pub(super) help: Option<&'static str>,
}

const TAB: &str = "a tab in the indentation";
const USE_SPACES: &str = "YAML indents with spaces, never with tabs";

/// Rewrites a document, with or without its `---` line: what `kubectl` reads of it, then what is after each line
/// `...` up to the next one. Each byte is read once.
pub(super) fn rewrite(source: &str) -> impl Iterator<Item = Rewritten> {
    let text = with_known_characters(source).into_bytes();
    let mut scanner = Scanner {
        text,
        at: 0,
        origin: 0,
        line: 0,
        flow: 0,
        indent: -1,
        fresh: true,
        content: false,
        key: None,
        anchored: false,
        tagged: false,
        end: None,
        faults: Vec::new(),
        properties: Properties::default(),
    };
    let mut more = true;
    std::iter::from_fn(move || {
        let rewritten = std::mem::take(&mut more).then(|| scanner.part())?;
        more = rewritten.more;
        Some(rewritten)
    })
}

/// A JSON text as the YAML library has to read it.
pub(super) fn rewrite_json(source: &str) -> Rewritten {
    Rewritten { text: source.replace('\u{feff}', LIKE_BOM), ..Rewritten::default() }
}

/// A character of the same size that no name may have, either.
const LIKE_BOM: &str = "\u{fefe}";

/// Replaces line breaks that the YAML library does not know, and byte order marks.
fn with_known_characters(source: &str) -> String {
    if source.is_ascii() {
        return source.to_owned();
    }
    let mut text = String::with_capacity(source.len());
    for it in source.chars() {
        match it {
            '\u{feff}' => text.push_str(LIKE_BOM),
            '\u{85}' | '\u{2028}' | '\u{2029}' => {
                text.extend(std::iter::repeat_n(' ', it.len_utf8() - 1));
                text.push('\n');
            }
            _ => text.push(it),
        }
    }
    text
}

struct Scanner {
    text: Vec<u8>,
    at: usize,
    /// The start of the part that is being read.
    origin: usize,
    /// The start of the line.
    line: usize,
    /// Open brackets and braces.
    flow: usize,
    /// The column of the last key or dash.
    indent: isize,
    /// Whether a key or an entry may begin here, so that blanks before it are indentation.
    fresh: bool,
    /// Whether there was anything but blanks and comments.
    content: bool,
    /// The line of the scalar before, if one was the last token.
    key: Option<usize>,
    /// Whether an anchor is before, and no node yet.
    anchored: bool,
    /// Whether a tag is before, and no node yet.
    tagged: bool,
    end: Option<usize>,
    faults: Vec<Fault>,
    properties: Properties,
}

impl Scanner {
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    /// Whether a token ends before the byte so far ahead.
    fn ends(&self, ahead: usize) -> bool {
        self.peek(ahead).is_none_or(|it| matches!(it, b' ' | b'\t' | b'\n' | b'\r'))
    }

    fn column(&self) -> isize {
        isize::try_from(self.at - self.line).unwrap_or(isize::MAX)
    }

    /// Adds a fault, unless there is one of its sort.
    fn fault(&mut self, message: &'static str, help: Option<&'static str>) {
        if self.faults.iter().all(|it| it.message != message) {
            self.faults.push(Fault { at: self.at - self.origin, message, help });
        }
    }

    /// A node begins here: it has the tag before it.
    fn bind(&mut self) {
        self.anchored = false;
        if std::mem::take(&mut self.tagged) {
            self.properties.bind(self.at - self.origin, self.line.saturating_sub(self.origin));
        }
    }

    fn put(&mut self, byte: u8) {
        if let Some(it) = self.text.get_mut(self.at) {
            *it = byte;
        }
    }

    /// Skips a line break, if there is one here.
    fn line_break(&mut self) -> bool {
        match (self.peek(0), self.peek(1)) {
            (Some(b'\r'), Some(b'\n')) => self.at += 2,
            (Some(b'\n' | b'\r'), _) => self.at += 1,
            _ => return false,
        }
        self.line = self.at;
        true
    }

    fn rest_of_line(&mut self) {
        while self.peek(0).is_some_and(|it| !matches!(it, b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Removes the `---`, and the rest of its line unless that is content.
    fn marker(&mut self) {
        if !self.text.starts_with(b"---") {
            return;
        }
        self.content = true;
        let line = self.text.split(|&it| it == b'\n').next().unwrap_or_default();
        let after = line.get(3..).unwrap_or_default().trim_ascii();
        let is_content = !after.is_empty() && !after.starts_with(b"#");
        for _ in 0..if is_content { 3 } else { line.len() } {
            self.put(b' ');
            self.at += 1;
        }
    }

    /// Skips blanks, comments and line breaks. Returns whether a token follows.
    fn blanks(&mut self) -> bool {
        loop {
            match self.peek(0) {
                None => return false,
                Some(b' ') => self.at += 1,
                Some(b'\t') => {
                    if self.flow > 0 {
                        self.put(b' ');
                    } else if self.fresh {
                        self.fault(TAB, Some(USE_SPACES));
                        self.put(b' ');
                    }
                    self.at += 1;
                }
                Some(b'#') => self.comment(),
                Some(b'\n' | b'\r') => {
                    self.line_break();
                    self.fresh |= self.flow == 0;
                }
                Some(_) => return true,
            }
        }
    }

    fn comment(&mut self) {
        let before = self.at.checked_sub(1).and_then(|it| self.text.get(it));
        let is_apart = before.is_none_or(|it| matches!(it, b' ' | b'\t' | b'\n' | b'\r'));
        while self.peek(0).is_some_and(|it| !matches!(it, b'\n' | b'\r')) {
            if !is_apart {
                self.put(b' ');
            }
            self.at += 1;
        }
    }

    fn token(&mut self) {
        let Some(byte) = self.peek(0) else { return };
        let block = self.flow == 0;
        let at_start = self.column() == 0;
        if at_start && self.text.get(self.at..self.at + 3) == Some(b"...") && self.ends(3) {
            if !self.content {
                self.fault("nothing is before this `...`", Some("remove this line"));
            }
            self.end = Some(self.at);
            return;
        }
        let had_content = std::mem::replace(&mut self.content, true);
        if !matches!(byte, b'&' | b'!') {
            self.bind();
        }
        match byte {
            b'%' if at_start && block => {
                // After an object, a directive ends what is read.
                if !had_content || !self.is_directive() {
                    self.fault("kubectl reads no YAML directives", Some("remove this line"));
                }
                self.end = Some(self.at);
            }
            b'-' if block && self.ends(1) => {
                self.indent = if self.fresh { self.column() } else { self.indent };
                self.at += 1;
            }
            b'?' if !block || self.ends(1) => self.question_mark(),
            // After a key on the same line, blanks are no indentation.
            b':' if !block || self.ends(1) => self.colon(),
            b'[' | b'{' => self.bracket(1),
            b']' | b'}' => self.bracket(-1),
            b',' if !block => {
                self.key = None;
                self.at += 1;
            }
            b'&' | b'*' => self.anchor(),
            b'!' => self.tag(),
            b'|' | b'>' if block => self.block_scalar(),
            b'"' | b'\'' => self.quoted(byte),
            _ => self.plain(),
        }
    }

    /// Within brackets, a `?` begins an entry, and ends any word.
    fn question_mark(&mut self) {
        let before = self.text.get(..self.at).unwrap_or_default().trim_ascii_end().last();
        if self.flow > 0 && !before.is_some_and(|it| b"[{,".contains(it)) {
            self.fault("a `?` within brackets must be in quotes", None);
        } else if !self.ends(1) {
            self.put(b' ');
        }
        self.at += 1;
    }

    /// Whether a directive is here, such as `%YAML`.
    fn is_directive(&self) -> bool {
        let is_letter = |it: u8| it.is_ascii_alphanumeric() || b"_-".contains(&it);
        let length = (1..).take_while(|at| self.peek(*at).is_some_and(is_letter)).count();
        length > 0 && self.ends(length + 1)
    }

    fn colon(&mut self) {
        if self.flow > 0 && self.key.take().is_some_and(|it| it != self.line) {
            self.fault("a key and its `:` must be on the same line", None);
        }
        self.at += 1;
    }

    fn bracket(&mut self, change: isize) {
        self.fresh = false;
        self.key = None;
        self.flow = self.flow.saturating_add_signed(change);
        self.at += 1;
    }

    /// An anchor or an alias: its name has ASCII letters, digits, `_` and `-`.
    fn anchor(&mut self) {
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
    fn tag(&mut self) {
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

    /// After a scalar that begins at `start`: a key's column is the indentation of what follows.
    fn key_follows(&mut self, start: usize) {
        self.key = Some(if start < self.line { usize::MAX } else { self.line });
        let mut ahead = 0;
        while matches!(self.peek(ahead), Some(b' ' | b'\t')) {
            ahead += 1;
        }
        let is_key = self.peek(ahead) == Some(b':') && self.ends(ahead + 1);
        if is_key && self.fresh && self.flow == 0 && start >= self.line {
            self.indent = isize::try_from(start - self.line).unwrap_or(isize::MAX);
        }
        self.fresh = false;
    }
}

#[cfg(test)]
mod tests;
