//! The revision of an image's sources, and their time.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, anyhow};
use jiff::Timestamp;

use crate::process;

/// The variable with the time that a build writes, in seconds since 1970.
/// Source: <https://reproducible-builds.org/specs/source-date-epoch/>
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// The revision and time of the sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// The commit, followed by `-dirty` if files have changed since; none outside of git.
    pub(super) revision: Option<String>,
    /// The time of everything in the image.
    pub(super) created: Timestamp,
}

impl Origin {
    /// Reads both from git, and the time from the environment if it is set there.
    ///
    /// # Errors
    /// The time is unknown or isn't a number of seconds.
    pub(super) fn of(root: &Path) -> Result<Self> {
        let set = std::env::var(EPOCH).ok().filter(|value| !value.is_empty());
        let created = match set {
            Some(value) => time(&value).with_context(|| format!("{EPOCH}={value}")),
            None => commit_time(root),
        };
        Ok(Self { revision: revision(root), created: created? })
    }

    /// The time in seconds since 1970.
    pub(super) fn seconds(&self) -> u64 {
        u64::try_from(self.created.as_second()).unwrap_or_default()
    }
}

fn commit_time(root: &Path) -> Result<Timestamp> {
    let output = git(root, &["log", "-1", "--format=%ct"])
        .map_err(|error| anyhow!("git has no time for the sources: set {EPOCH} ({error:#})"))?;
    time(output.trim())
}

fn time(seconds: &str) -> Result<Timestamp> {
    let expected = "expected seconds since 1970, as `git log -1 --format=%ct` prints them";
    let number: u32 = seconds.parse().context(expected)?;
    Timestamp::from_second(number.into()).context(expected)
}

fn revision(root: &Path) -> Option<String> {
    let commit = git(root, &["rev-parse", "HEAD"]).ok()?;
    let clean = git(root, &["status", "--porcelain"]).is_ok_and(|changes| changes.is_empty());
    Some(format!("{}{}", commit.trim(), if clean { "" } else { "-dirty" }))
}

fn git(root: &Path, arguments: &[&str]) -> Result<String> {
    process::output_of(Command::new("git").arg("-C").arg(root).args(arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_a_date_and_other_text_is_an_error() {
        assert_eq!(time("1700000000").unwrap().to_string(), "2023-11-14T22:13:20Z");
        for wrong in ["yesterday", "-1", "", "1e9"] {
            let error = format!("{:#}", time(wrong).unwrap_err());
            assert!(error.contains("seconds since 1970"), "{error}");
        }
    }

    #[test]
    fn outside_of_git_the_variable_is_required() {
        let folder = tempfile::tempdir().unwrap();
        let error = commit_time(folder.path()).unwrap_err().to_string();
        assert!(error.contains(EPOCH), "{error}");
        assert_eq!(revision(folder.path()), None);
    }
}
