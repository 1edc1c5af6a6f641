//! The compiler and linker for the bpf target.
//!
//! The target has no ready-made standard library, so `core` is built from its sources: the
//! compiler must come with `rust-src`. rustup adds it to the pinned release; where rustup is
//! missing or can't reach its server, Debian's packages serve ([`debian`]).

mod compiler;
mod debian;
pub(crate) mod linker;
mod rustup;

use anyhow::{Error, Result, anyhow};

pub(crate) use compiler::Toolchain;

use crate::ui;

/// Finds or installs the toolchain.
///
/// # Errors
/// Neither rustup nor Debian provides one; the message has the command to install it.
pub(crate) fn obtain() -> Result<Toolchain> {
    // An unpacked toolchain is as good as one that rustup would have to download.
    if let Ok(toolchain) = rustup::existing().or_else(|_| debian::existing()) {
        return Ok(toolchain);
    }
    ui::print("  no compiler for the bpf target yet: it needs the sources of Rust's core library");
    rustup::install()
        .or_else(|by_rustup| debian::install().map_err(|by_debian| by_hand(&by_rustup, &by_debian)))
}

fn by_hand(by_rustup: &Error, by_debian: &Error) -> Error {
    anyhow!(
        "can't install a compiler for the bpf target\n\
         \n  by rustup: {by_rustup:#}\
         \n  from Debian's packages: {by_debian:#}\n\
         \ninstall it by hand and run this again:\
         \n  rustup toolchain install {} --profile minimal --component rust-src\
         \n  (rustup itself: https://rustup.rs)",
        rustup::RELEASE
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_has_both_reasons_and_the_command() {
        let text = by_hand(&anyhow!("no rustup"), &anyhow!("not a Debian"));
        let text = text.to_string();
        assert!(text.contains("no rustup") && text.contains("not a Debian"), "{text}");
        assert!(text.contains("--component rust-src"), "{text}");
    }
}
