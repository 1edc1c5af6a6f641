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
    let mut scanner = Scanner::new(source);
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
                text.extend(std::iter::repeat_n(' ', it.len_utf8() - 2));
                text.push_str("\r\n");
            }
            _ => text.push(it),
        }
    }
    text
}

#[derive(Default)]
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
    /// The first anchor or tag of the node, if a key may begin there.
    first: Option<usize>,
    /// Whether an anchor is before, and no node yet.
    anchored: bool,
    /// Whether a tag is before, and no node yet.
    tagged: bool,
    end: Option<usize>,
    faults: Vec<Fault>,
    properties: Properties,
    /// The bytes that were looked at.
    #[cfg(test)]
    steps: std::cell::Cell<usize>,
}

impl Scanner {
    fn new(source: &str) -> Self {
        let text = with_known_characters(source).into_bytes();
        Self { text, indent: -1, fresh: true, ..Self::default() }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        #[cfg(test)]
        self.steps.set(self.steps.get() + 1);
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

    fn put(&mut self, byte: u8) {
        if let Some(it) = self.text.get_mut(self.at) {
            *it = byte;
        }
    }

    /// A token that begins an entry of a block is here: it indents what is in the entry.
    fn indents(&mut self) {
        if self.fresh && self.flow == 0 {
            self.indent = self.column();
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
        if self.peek(3) == Some(b'#') {
            // Before the first document, kubectl's parser sees this line, too.
            let help = Some("write `--- #`");
            self.fault("a blank is missing between `---` and the comment", help);
        }
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
        self.first = self.first.filter(|_| self.anchored || self.tagged);
        if matches!(byte, b'&' | b'!') {
            self.first = self.first.or_else(|| (self.fresh && block).then_some(self.at));
        } else {
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
                self.indents();
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
        self.indents();
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
        // After an explicit key.
        self.indents();
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

    /// After a scalar that begins at `start`: a key's column is the indentation of what follows.
    fn key_follows(&mut self, start: usize) {
        self.key = Some(if start < self.line { usize::MAX } else { self.line });
        let mut ahead = 0;
        while matches!(self.peek(ahead), Some(b' ' | b'\t')) {
            ahead += 1;
        }
        let is_key = self.peek(ahead) == Some(b':') && self.ends(ahead + 1);
        let first = self.first.filter(|it| *it >= self.line);
        if is_key && (self.fresh || first.is_some()) && self.flow == 0 && start >= self.line {
            let column = first.unwrap_or(start) - self.line;
            self.indent = isize::try_from(column).unwrap_or(isize::MAX);
        }
        self.fresh = false;
    }
}

#[cfg(test)]
mod tests;
