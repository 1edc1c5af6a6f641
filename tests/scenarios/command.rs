//! The lab's program: exit codes, JSON, messages, and the detection of policies that are not
//! enforced.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::host::{Host, Up, on_host};
use crate::scene::{namespace, pod, policy};
use crate::support::agent;

/// A policy that cuts some connections, and pods to cut.
fn manifests(host: &Host) -> PathBuf {
    let directory = host.directory("manifests");
    let cluster = [
        namespace("shop", ""),
        pod("shop", "server", "app: server", &["http/TCP/80"]),
        pod("shop", "client", "app: client", &["http/TCP/80"]),
    ];
    fs::write(directory.join("cluster.yaml"), cluster.concat()).unwrap();
    fs::write(directory.join("policy.yaml"), nothing_in("server")).unwrap();
    directory
}

fn nothing_in(app: &str) -> String {
    policy("shop", "nothing-in", &format!("podSelector: {{matchLabels: {{app: {app}}}}}"))
}

/// Runs the lab on [`manifests`] with another agent, and short patience: the result stays wrong.
fn once_with(host: &Host, agent: &str) -> (Output, Value) {
    let manifests = manifests(host);
    let fixed = ["run", "--once", "--output", "json", "--topology", "kubenet", "--settle", "300"];
    let own = ["--manifests", manifests.to_str().unwrap(), "--agent", agent];
    let output = host.run(&[fixed.as_slice(), own.as_slice()].concat());
    let report = serde_json::from_slice(&output.stdout).unwrap();
    (output, report)
}

fn script(host: &Host, text: &str) -> String {
    let path = host.directory("bin").join("agent");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_tutorial_is_as_expected_in_both_topologies() {
    on_host(|host| {
        let output = host.lab_with_agent(&["--once", "--output", "json"]).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{message}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["ok"], true);
        assert_eq!(report["cells"], report["as_expected"]);
        assert_eq!(report["problems"], Value::Array(Vec::new()));
        let steps = report["steps"].as_array().unwrap();
        let of = |topology: &str| steps.iter().filter(|step| step["topology"] == topology).count();
        let files = walk_length();
        assert_eq!((of("kubenet"), of("azure-cni")), (files, files));
        let measured = |verdict: &str| {
            let cells = steps.iter().flat_map(|step| step["matrix"].as_array().unwrap());
            cells.filter(|cell| cell["measured"] == verdict && cell["as_expected"] == true).count()
        };
        let (open, cut) = (measured("open"), measured("timed-out"));
        assert!(open > 100 && cut > 100, "{open} open, {cut} cut");
        assert_eq!(Some((open + cut) as u64), report["cells"].as_u64());
    });
}

/// A Service, on a machine without the programs that implement it.
#[test]
fn a_service_without_its_tools_is_refused_with_advice() {
    on_host(|host| {
        let none: Option<&str> = None;
        for folder in ["/usr/sbin", "/sbin"] {
            mount(Some("none"), folder, Some("tmpfs"), MsFlags::empty(), none).unwrap();
        }
        let directory = host.directory("manifests");
        let service = "---\napiVersion: v1\nkind: Service\nmetadata: {namespace: shop, name: web}\n\
             spec: {selector: {app: web}, clusterIPs: [10.0.0.10], ports: [{port: 80}]}\n";
        let cluster = [namespace("shop", ""), pod("shop", "web", "app: web", &["http/TCP/80"])];
        fs::write(directory.join("cluster.yaml"), cluster.concat() + service).unwrap();
        let manifests = directory.to_str().unwrap();
        let fixed = ["run", "--once", "--topology", "azure-cni", "--agent", "none"];
        for (proxy, program) in [("iptables", "iptables-restore"), ("nftables", "nft")] {
            let own = ["--manifests", manifests, "--proxy", proxy];
            let mut command = host.lab(&[fixed.as_slice(), own.as_slice()].concat());
            let output = command.env("PATH", "/usr/bin:/bin").output().unwrap();
            assert_eq!(output.status.code(), Some(1));
            let message = String::from_utf8_lossy(&output.stdout);
            assert!(message.contains(&format!("{program} is not installed")), "{message}");
            assert!(message.contains(&format!("apt-get install {proxy}")), "{message}");
        }
    });
}

/// The manifests of the tutorial, each a step.
fn walk_length() -> usize {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/tutorial");
    let scenarios = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let files = scenarios.filter(|path| path.is_dir()).flat_map(|path| fs::read_dir(path).unwrap());
    files.count()
}

#[test]
fn without_an_agent_the_lab_detects_that_nothing_is_enforced() {
    on_host(|host| {
        let (output, report) = once_with(host, "none");
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(report["ok"], false);
        let cells = report["steps"][0]["matrix"].as_array().unwrap();
        // Exactly the denied connections are wrong, by being open.
        for cell in cells {
            let wrong = cell["expected"] == "timed-out";
            assert_eq!(cell["as_expected"], !wrong, "{cell}");
            assert_eq!(cell["measured"], "open", "{cell}");
        }
        assert_ne!(report["cells"], report["as_expected"]);
    });
}

#[test]
fn a_ready_agent_that_enforces_nothing_is_detected() {
    on_host(|host| {
        // It gets no manifests but the lab's own: without the words `run --manifests DIR`.
        let deaf = format!("shift 3\nexec {} run \"$@\"", agent().display());
        let (output, report) = once_with(host, &script(host, &deaf));
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(report["problems"], Value::Array(Vec::new()));
        assert_eq!(report["steps"][0]["ok"], false);
    });
}

#[test]
fn an_agent_that_ends_is_detected_and_quoted() {
    on_host(|host| {
        let broken = script(host, "echo no programs to load >&2\nexit 7");
        let (output, report) = once_with(host, &broken);
        assert_eq!(output.status.code(), Some(1));
        let problem = report["problems"][0].as_str().unwrap();
        assert!(problem.contains("exit status: 7"), "{problem}");
        assert!(problem.contains("no programs to load"), "{problem}");
    });
}

#[test]
fn missing_paths_and_unknown_topologies_are_named() {
    on_host(|host| {
        let agent = agent();
        let agent = agent.to_str().unwrap();
        for (arguments, complaint) in [
            (["--manifests", "/no/such/directory", "--agent", agent], "the directory of manifests"),
            (["--topology", "kubenet", "--agent", "/no/such/agent"], "/no/such/agent"),
            (["--topology", "token-ring", "--agent", agent], "token-ring"),
        ] {
            let output = host.run(&[&["run", "--once"], arguments.as_slice()].concat());
            let message = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{message}");
            assert!(message.contains(complaint), "{message}");
            assert!(output.stdout.is_empty());
        }
    });
}

#[test]
fn errors_in_manifests_are_shown_with_their_position() {
    on_host(|host| {
        let directory = manifests(host);
        fs::write(directory.join("broken.yaml"), "kind: Pod\nspec: [\n").unwrap();
        let mut command =
            host.lab_with_agent(&["--once", "--topology", "azure-cni", "--manifests"]);
        let output = command.arg(directory).output().unwrap();
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(shown.contains("broken.yaml:"), "{shown}");
        assert_eq!(output.status.code(), Some(1), "something is not in effect");
    });
}

#[test]
fn an_edit_is_measured_while_the_lab_stays_up() {
    on_host(|host| {
        let directory = manifests(host);
        let folder = directory.to_str().unwrap();
        let mut up = host.start(&["--topology", "kubenet", "--manifests", folder]);
        let before = host.facts();
        fs::write(directory.join("policy.yaml"), nothing_in("client")).unwrap();
        let shown = up.read_until("connections match the policies");
        assert!(shown.contains("The manifests have changed."), "{shown}");
        let cut = |from: &str| {
            let line = shown.lines().find(|line| line.starts_with(&format!("{from} "))).unwrap();
            line.contains('✗')
        };
        // Now the server cannot reach the client, and the client reaches the server.
        assert!(cut("server") && !cut("client"), "{shown}");
        host.assert_unchanged(&before);
        let (status, rest) = up.end(Signal::SIGINT);
        assert_eq!(status.code(), Some(0), "{rest}");
        assert!(rest.contains("The lab ends."), "{rest}");
    });
}

#[test]
fn an_interrupted_walk_has_its_own_exit_code() {
    on_host(|host| {
        let mut up = Up::new(&mut host.lab_with_agent(&["--once"]));
        up.read_until("1/");
        let (status, rest) = up.end(Signal::SIGINT);
        assert_eq!(status.code(), Some(130), "{rest}");
    });
}
