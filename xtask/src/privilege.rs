//! Runs programs as root, in the foreground.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::process;
use crate::ui;

/// Prefixes of the variables that a program gets through sudo, which drops all others: they
/// configure the tests and their tools.
const KEPT: [&str; 7] =
    ["CARGO", "ENFORCER_", "INSTA_", "NO_COLOR", "PROPTEST_", "RUST_", "XTASK_"];

/// A command for `program` as root, through sudo if needed.
pub(crate) fn as_root(program: impl AsRef<OsStr>) -> Command {
    if nix::unistd::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg("--");
    let kept = |name: &str| KEPT.iter().any(|prefix| name.starts_with(prefix)) || name == "CI";
    let variables: Vec<_> = std::env::vars_os()
        .filter(|(name, _)| name.to_str().is_some_and(kept))
        .map(|(name, value)| {
            let mut pair = name;
            pair.push("=");
            pair.push(value);
            pair
        })
        .collect();
    if !variables.is_empty() {
        // Whether sudo passes variables depends on its configuration; env(1) always does.
        command.arg("env").args(variables);
    }
    command.arg(program);
    command
}

/// Announces sudo's password prompt, with the reason and the command.
pub(crate) fn announce(command: &Command, why: &str) {
    if command.get_program() == "sudo" {
        ui::print(format_args!("  root is needed {why}. The command:"));
        ui::print(format_args!("    {}", process::shown(command)));
    }
}

/// Runs a command on this terminal until it ends. Signals don't end this process: the command
/// handles them.
///
/// The terminal sends Ctrl-C to the whole foreground group, which includes the command. Any other
/// signal was sent to this process only and is passed on.
pub(crate) fn run_in_foreground(command: &mut Command) -> Result<ExitStatus> {
    // Before the start, so that no signal ends this process and leaves the command running.
    let mut signals =
        Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM]).context("can't handle signals")?;
    let handle = signals.handle();
    let what = process::shown(command);
    let mut child = command.spawn().with_context(|| format!("can't start `{what}`"))?;
    let pid = pid(&child);
    let passing = thread::spawn(move || {
        for signal in &mut signals {
            let from_terminal = signal != SIGTERM && in_foreground();
            if let Some(pid) = pid.filter(|_| !from_terminal) {
                pass_on(pid, signal);
            }
        }
    });
    let status = child.wait().with_context(|| format!("can't wait for `{what}`"));
    handle.close();
    let _ = passing.join();
    status
}

/// The exit code of a process, as in a shell.
pub(crate) fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

fn pid(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().map(Pid::from_raw)
}

/// Whether the terminal sends its signals to this process's group.
fn in_foreground() -> bool {
    nix::unistd::tcgetpgrp(io::stdin()).is_ok_and(|group| group == nix::unistd::getpgrp())
}

fn pass_on(pid: Pid, signal: i32) {
    let Ok(signal) = Signal::try_from(signal) else { return };
    if kill(pid, signal).is_ok() {
        return;
    }
    // sudo runs as root, so this user may not signal it. Root may, while sudo remembers the
    // password.
    let mut command = Command::new("sudo");
    command.args(["-n", "kill", "-s", signal.as_str().trim_start_matches("SIG")]);
    command.arg(pid.to_string()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _ = command.status();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_and_signals_become_a_shells_code() {
        assert_eq!(code(ExitStatus::from_raw(0)), 0);
        assert_eq!(code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(code(ExitStatus::from_raw(15)), 143);
    }

    #[test]
    fn a_signal_to_us_alone_reaches_the_command() {
        let mut command = Command::new("sh");
        // It sends a signal to its parent, this process, and waits until it gets one itself.
        command.args(["-c", "trap 'exit 42' TERM; kill -TERM $PPID; while :; do sleep 0.05; done"]);
        let status = run_in_foreground(&mut command).unwrap();
        assert_eq!(code(status), 42);
    }
}
