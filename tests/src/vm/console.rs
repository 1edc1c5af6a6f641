//! The lines that report to `cargo xtask vm-test` on the console.

use std::io::{self, Write as _};

/// The prefix of these lines; xtask's `vm/console.rs` looks for it.
const MARK: &str = "@@vm";

/// Prints one line of the protocol. Line breaks in `rest` would end it too early.
pub(super) fn mark(word: &str, rest: &str) {
    let rest = rest.replace(['\r', '\n'], " ");
    // The console may be in the middle of a line that a test program did not end.
    let _ = writeln!(io::stdout(), "\n{MARK} {word} {rest}");
}
