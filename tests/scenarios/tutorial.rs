//! The documents' commands for kubectl, as they are written there, against the lab.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use enforcer_tests::documents::{Step, agrees, document, steps};
use nix::sys::signal::Signal;

use crate::host::on_host;
use crate::scene::PATIENCE;
use crate::support::agent;

/// A shell that keeps its variables from one command to the next.
struct Shell {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

const END: &str = "--- the command has ended";

impl Shell {
    /// In the repository, with kubectl for the lab.
    fn new(kubeconfig: &str, home: &Path, agent: &Path) -> Self {
        let kubectl = enforcer_tests::api::kubectl();
        let kubectl = kubectl.expect("kubectl is missing: cargo xtask test installs it");
        let programs = home.join("bin");
        fs::create_dir_all(&programs).unwrap();
        symlink(kubectl, programs.join("kubectl")).unwrap();
        symlink(agent, programs.join("kubectl-enforcer")).unwrap();
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new("bash");
        command.env("PATH", format!("{}:{path}", programs.display()));
        command.env("KUBECONFIG", kubeconfig).env("HOME", home);
        command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    /// The lines that a command prints, on either stream, and whether it succeeds.
    fn run(&mut self, command: &str) -> (Vec<String>, bool) {
        writeln!(
            self.input,
            "{{ {command}\n}} </dev/null 2>&1; status=$?; echo; echo \"{END} $status\""
        )
        .unwrap();
        writeln!(self.input).unwrap();
        let mut lines = Vec::new();
        let is_ok = loop {
            let mut line = String::new();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "the shell has ended");
            if let Some(status) = line.trim_end().strip_prefix(END) {
                break status.trim() == "0";
            }
            lines.push(line.trim_end().to_owned());
        };
        // The line of the first `echo`, or the end of an incomplete one.
        if lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        (lines, is_ok)
    }

    /// Runs the commands in order. A policy takes effect a moment after kubectl has ended, so what only
    /// looks is repeated.
    fn follow(&mut self, steps: &[Step]) {
        for step in steps {
            let started_at = Instant::now();
            let looks = [" exec ", " get ", " describe ", " logs ", "kubectl enforcer "];
            let looks = looks.iter().any(|it| step.command.contains(it));
            loop {
                let (lines, is_ok) = self.run(&step.command);
                // Without documented output, success is all that is documented.
                if agrees(&step.output, &lines) || step.output.is_empty() && is_ok {
                    break;
                }
                let is_late = started_at.elapsed() > PATIENCE;
                assert!(looks && !is_late, "{}:\n{}", step.command, lines.join("\n"));
            }
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The part of a document between two texts.
fn between<'a>(text: &'a str, first: &str, last: &str) -> &'a str {
    let (_, rest) = text.split_once(first).unwrap();
    rest.split_once(last).unwrap().0
}

#[test]
fn the_documents_commands_work_in_the_lab() {
    let guide = document("deploy/README.md").unwrap();
    let aks = steps(between(&guide, "**3. Start two pods", "**5. Remove it**"));
    let tutorial = steps(&document("deploy/tutorial/README.md").unwrap());
    assert!(aks.len() >= 6 && tutorial.len() >= 20, "{aks:?} {tutorial:?}");
    on_host(move |host| {
        let mut up = host.start(&["--api", "--topology", "kubenet"]);
        let line = up.read_until("KUBECONFIG=");
        let (_, kubeconfig) = line.trim_end().rsplit_once("KUBECONFIG=").unwrap();
        let mut shell = Shell::new(kubeconfig, &host.directory("home"), &agent());
        shell.follow(&aks);
        shell.run("kubectl delete namespace demo");
        shell.follow(&tutorial);
        let (status, rest) = up.end(Signal::SIGINT);
        assert_eq!(status.code(), Some(0), "{rest}");
    });
}
