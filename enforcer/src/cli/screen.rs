//! Standard output. A reader that ends early, as `head` does, is no error of the program.

use std::fmt;
use std::io::{self, Write};

/// Standard output, which reports a reader that has ended as such.
#[derive(Debug)]
pub struct Screen<W = io::Stdout>(W);

/// Standard output.
#[must_use]
pub fn screen() -> Screen {
    Screen(io::stdout())
}

/// The reader of the output has ended.
#[derive(Debug)]
struct Ended;

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reader of the output has ended")
    }
}

impl std::error::Error for Ended {}

/// Whether an error is only that the reader of the output has ended.
#[must_use]
pub fn is_reader_gone(error: &anyhow::Error) -> bool {
    let inner = error.root_cause().downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    inner.is_some_and(<dyn std::error::Error + Send + Sync>::is::<Ended>)
}

fn named(error: io::Error) -> io::Error {
    match error.kind() {
        kind @ io::ErrorKind::BrokenPipe => io::Error::new(kind, Ended),
        _ => error,
    }
}

impl<W: Write> Write for Screen<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(named)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(named)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    struct Pipe;

    impl Write for Pipe {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_the_outputs_reader_may_end() {
        let written = Screen(Pipe).write_all(b"x").context("cannot print the answer");
        assert!(is_reader_gone(&written.unwrap_err()));
        // A connection to an agent that breaks is an error.
        let asked = Pipe.write_all(b"x").context("cannot ask the agent");
        assert!(!is_reader_gone(&asked.unwrap_err()));
    }
}
