//! Runs other programs, either quietly or in the foreground.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::ui::Step;

/// How many of the last lines an error quotes.
const TAIL: usize = 40;

/// The command as in a shell, without its environment.
pub(crate) fn shown(command: &Command) -> String {
    let mut text = quoted(command.get_program());
    for argument in command.get_args() {
        let _ = write!(text, " {}", quoted(argument));
    }
    text
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Runs a command, shows its newest line as the step's detail, and returns all its lines.
///
/// # Errors
/// The command can't be started or fails; the error quotes the last lines of its output.
pub(crate) fn run_quietly(command: &mut Command, step: &Step) -> Result<Vec<String>> {
    run_limited(command, step, None)
}

/// [`run_quietly`] for a compiler: the error quotes the whole output, since all of it may matter.
pub(crate) fn run_everything(command: &mut Command, step: &Step) -> Result<Vec<String>> {
    let what = shown(command);
    let (status, lines) = collect(command, step, None)?;
    if !status.success() {
        bail!("`{what}` failed ({status})\n{}", lines.join("\n"));
    }
    Ok(lines)
}

/// [`run_quietly`], but the command is killed after `limit`.
pub(crate) fn run_limited(
    command: &mut Command,
    step: &Step,
    limit: Option<Duration>,
) -> Result<Vec<String>> {
    let what = shown(command);
    let (status, lines) = collect(command, step, limit)?;
    if !status.success() {
        bail!("`{what}` failed ({status}){}", tail(&lines));
    }
    Ok(lines)
}

/// Runs a command, shows its newest line as the step's detail, and returns its status and the lines
/// of both streams.
pub(crate) fn collect(
    command: &mut Command,
    step: &Step,
    limit: Option<Duration>,
) -> Result<(ExitStatus, Vec<String>)> {
    collect_with(command, |line| step.detail(line), limit)
}

/// [`collect`], but passes each line to `seen`.
pub(crate) fn collect_with(
    command: &mut Command,
    seen: impl FnMut(&str),
    limit: Option<Duration>,
) -> Result<(ExitStatus, Vec<String>)> {
    let (status, lines) = collect_until(command, seen, limit)?;
    let seconds = limit.unwrap_or_default().as_secs();
    let status =
        status.with_context(|| format!("`{}` did not end within {seconds} s", shown(command)))?;
    Ok((status, lines))
}

/// [`collect_with`], but a command that was killed is no error: it has no status.
pub(crate) fn collect_until(
    command: &mut Command,
    mut seen: impl FnMut(&str),
    limit: Option<Duration>,
) -> Result<(Option<ExitStatus>, Vec<String>)> {
    let what = shown(command);
    let (reader, writer) = io::pipe().context("can't make a pipe")?;
    let errors = writer.try_clone().context("can't make a pipe")?;
    command.stdin(Stdio::null()).stdout(writer).stderr(errors);
    let mut child = command.spawn().map_err(|error| not_started(command, &error))?;
    // Closes the pipe's writing ends in `command`: otherwise the reader never sees the end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
    let started = Instant::now();
    let mut lines = Vec::new();
    loop {
        match receiver.recv_timeout(Duration::from_millis(250)) {
            Ok(line) => {
                seen(&line);
                lines.push(line);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
        // Checked after each line, too, for a command that writes all the time.
        if limit.is_some_and(|limit| started.elapsed() > limit) {
            let _ = child.kill();
            let _ = child.wait();
            return Ok((None, lines));
        }
    }
    let status = child.wait().with_context(|| format!("can't wait for `{what}`"))?;
    Ok((Some(status), lines))
}

/// The standard output of a short command; its standard error becomes part of the error.
pub(crate) fn output_of(command: &mut Command) -> Result<String> {
    bytes_of(command).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// [`output_of`] for bytes.
pub(crate) fn bytes_of(command: &mut Command) -> Result<Vec<u8>> {
    let output =
        command.stdin(Stdio::null()).output().map_err(|error| not_started(command, &error))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<_> = errors.lines().map(str::to_owned).collect();
        bail!("`{}` failed ({}){}", shown(command), output.status, tail(&lines));
    }
    Ok(output.stdout)
}

/// Runs a command on this terminal and waits for it.
pub(crate) fn run_here(command: &mut Command) -> Result<ExitStatus> {
    command.status().map_err(|error| not_started(command, &error))
}

/// The path of a program on `PATH`.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok()
}

fn not_started(command: &Command, error: &io::Error) -> anyhow::Error {
    anyhow!("can't start `{}`: {error}", shown(command))
}

fn tail(lines: &[String]) -> String {
    let from = lines.len().saturating_sub(TAIL);
    let mut text = String::new();
    for line in lines.iter().skip(from) {
        let _ = write!(text, "\n    {line}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_in_a_shell() {
        let mut command = Command::new("sudo");
        command.args(["--", "a b", "it's", "", "x=1"]);
        assert_eq!(shown(&command), r"sudo -- 'a b' 'it'\''s' '' x=1");
    }

    #[test]
    fn both_streams_are_collected_and_quoted_on_failure() {
        let step = Step::start("test");
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; exit 3"]);
        let error = run_quietly(&mut command, &step).unwrap_err().to_string();
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.contains("\n    one") && error.contains("\n    two"), "{error}");
        step.done("");
    }

    #[test]
    fn a_command_that_hangs_is_ended() {
        let step = Step::start("test");
        let mut command = Command::new("sleep");
        command.arg("600");
        let error = run_limited(&mut command, &step, Some(Duration::from_millis(1))).unwrap_err();
        assert!(error.to_string().contains("did not end within"), "{error}");
        step.done("");
    }

    #[test]
    fn a_command_that_writes_all_the_time_is_ended_and_its_output_is_kept() {
        let mut command = Command::new("yes");
        let limit = Some(Duration::from_millis(1));
        let (status, lines) = collect_until(&mut command, |_| {}, limit).unwrap();
        assert_eq!(status, None);
        assert!(lines.iter().all(|line| line == "y"));
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = output_of(&mut Command::new("no-such-program-anywhere")).unwrap_err();
        assert!(error.to_string().contains("no-such-program-anywhere"), "{error}");
    }
}
