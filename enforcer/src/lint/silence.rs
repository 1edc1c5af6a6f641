//! Comments that silence lints.

use std::collections::{BTreeMap, BTreeSet};

use super::NAMES;

/// Begins a comment that silences lints on its line, or on the line after a line of comments.
const ON_LINE: &str = "# enforcer:ignore ";
/// Begins a comment that silences lints in the whole file.
const IN_FILE: &str = "# enforcer:ignore-file ";

/// The lints that the comments of a file silence.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Silence {
    file: BTreeSet<String>,
    lines: BTreeMap<usize, BTreeSet<String>>,
}

impl Silence {
    /// Reads the comments in the lines of a file.
    pub fn new<'t>(lines: impl Iterator<Item = &'t str>) -> Self {
        let mut silence = Self::default();
        // Of the comments right above a line.
        let mut above: BTreeSet<String> = BTreeSet::new();
        for (index, line) in lines.enumerate() {
            silence.file.extend(names(line, IN_FILE));
            let here = names(line, ON_LINE);
            if line.trim_start().starts_with('#') {
                above.extend(here);
                continue;
            }
            let mut all = std::mem::take(&mut above);
            all.extend(here);
            if !all.is_empty() {
                silence.lines.insert(index + 1, all);
            }
        }
        silence
    }

    /// Whether a lint is silenced on a line, counted from 1.
    #[must_use]
    pub fn covers(&self, lint: &str, line: usize) -> bool {
        self.file.contains(lint) || self.lines.get(&line).is_some_and(|it| it.contains(lint))
    }
}

/// The names in comments that are no lints', each with its line.
pub fn unknown_names<'t>(lines: impl Iterator<Item = &'t str>) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, line) in lines.enumerate() {
        let all = names(line, IN_FILE).into_iter().chain(names(line, ON_LINE));
        found.extend(all.filter(|it| !NAMES.contains(&it.as_str())).map(|it| (index + 1, it)));
    }
    found
}

/// The names after a marker; none if the line lacks it. What follows ` -- ` is a reason.
fn names(line: &str, marker: &str) -> Vec<String> {
    let Some((before, rest)) = line.split_once(marker) else { return Vec::new() };
    if !(before.is_empty() || before.ends_with(char::is_whitespace)) {
        return Vec::new();
    }
    let list = rest.split(" -- ").next().unwrap_or_default();
    list.split([',', ' ']).filter(|it| !it.is_empty()).map(ToOwned::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_silence_their_line_or_the_next() {
        let text = "a: # enforcer:ignore duplicate\n\
                    # enforcer:ignore split-peer, split-rule -- as agreed\n\
                    # another comment\n\
                    b:\n\
                    c:#enforcer:ignore action\n\
                    # enforcer:ignore-file protocol\n";
        let silence = Silence::new(text.lines());
        for (lint, line, is) in [
            ("duplicate", 1, true),
            ("duplicate", 2, false),
            ("split-peer", 4, true),
            ("split-rule", 4, true),
            ("as", 4, false),
            ("split-peer", 5, false),
            ("action", 5, false),
            ("protocol", 99, true),
        ] {
            assert_eq!(silence.covers(lint, line), is, "{lint} {line}");
        }
        assert_eq!(unknown_names(text.lines()), []);
        let unknown = unknown_names("# enforcer:ignore dupliacte\n".lines());
        assert_eq!(unknown, [(1, "dupliacte".to_owned())]);
    }
}
