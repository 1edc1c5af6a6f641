//! The error for a machine that lacks something, as opposed to a failure of the project.

use std::fmt;

use crate::ui;

/// This machine can't do the task; the text names what is missing.
#[derive(Debug)]
pub(crate) struct Unfit(pub(crate) String);

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unfit {}

/// Reports why a task failed; returns whether the machine is the reason.
pub(crate) fn report(error: &anyhow::Error) -> bool {
    let is_unfit = error.is::<Unfit>();
    if is_unfit {
        ui::print(format_args!("xtask: {error}"));
    } else {
        ui::print(format_args!("xtask: error: {error:#}"));
    }
    is_unfit
}
