//! Why an operation failed, with the kernel's answer by its name.

use std::error::Error;
use std::io;

use nix::errno::Errno;

/// The error and what caused it, in a line. A library's error often names only the system call, and
/// its source the answer.
pub(super) fn reason(error: &(dyn Error + 'static)) -> String {
    let mut text = one(error);
    let mut next = error.source();
    while let Some(cause) = next {
        // Some errors contain the text of their source.
        let (plain, named) = (cause.to_string(), one(cause));
        if text.contains(&plain) {
            text = text.replacen(&plain, &named, 1);
        } else if !text.contains(&named) {
            text = format!("{text}: {named}");
        }
        next = cause.source();
    }
    text
}

/// One error; an answer of the kernel with its name.
fn one(error: &(dyn Error + 'static)) -> String {
    let answer = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
    match answer.map(Errno::from_raw) {
        None | Some(Errno::UnknownErrno) => error.to_string(),
        Some(errno) => format!("{} ({errno:?})", errno.desc()),
    }
}
