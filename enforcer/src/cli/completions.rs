//! `enforcer completions`.

use std::io::Write;

use clap::CommandFactory as _;

use super::Cli;

/// Prints a completion script.
///
/// # Errors
/// `out` can't be written.
pub fn completions(shell: clap_complete::Shell, out: &mut impl Write) -> std::io::Result<()> {
    // The generator ends the program if it can't write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "enforcer", &mut script);
    out.write_all(&script)
}
