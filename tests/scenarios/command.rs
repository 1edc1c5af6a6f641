//! The lab's program: exit codes, JSON, what it says, and that it notices what is not enforced.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::host::{Host, on_host};
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

/// Runs the lab on [`manifests`] with another agent, and a short patience: it will not come right.
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
        let agent = agent();
        // A busy machine may need longer than people's patience.
        let output = host.run(&[
            "run",
            "--once",
            "--output",
            "json",
            "--settle",
            "20000",
            "--agent",
            agent.to_str().unwrap(),
        ]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
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

/// A Service, on a machine where nothing is installed that could make it work.
#[test]
fn without_its_tools_a_service_is_refused_and_said_how_to_get_them() {
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
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(said.contains(&format!("{program} is not installed")), "{said}");
            assert!(said.contains(&format!("apt-get install {proxy}")), "{said}");
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
fn without_an_agent_the_lab_notices_that_nothing_is_enforced() {
    on_host(|host| {
        let (output, report) = once_with(host, "none");
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(report["ok"], false);
        let cells = report["steps"][0]["matrix"].as_array().unwrap();
        // Exactly what the policy forbids is wrong, and it is wrong by being open.
        for cell in cells {
            let wrong = cell["expected"] == "timed-out";
            assert_eq!(cell["as_expected"], !wrong, "{cell}");
            assert_eq!(cell["measured"], "open", "{cell}");
        }
        assert_ne!(report["cells"], report["as_expected"]);
    });
}

#[test]
fn an_agent_that_is_ready_but_enforces_nothing_is_noticed() {
    on_host(|host| {
        // It is told of no manifests but the lab's own: three words are gone, `run --manifests DIR`.
        let deaf = format!("shift 3\nexec {} run \"$@\"", agent().display());
        let (output, report) = once_with(host, &script(host, &deaf));
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(report["problems"], Value::Array(Vec::new()));
        assert_eq!(report["steps"][0]["ok"], false);
    });
}

#[test]
fn an_agent_that_ends_is_noticed_and_quoted() {
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
fn what_does_not_exist_is_named() {
    on_host(|host| {
        let agent = agent();
        let agent = agent.to_str().unwrap();
        for (arguments, complaint) in [
            (["--manifests", "/no/such/directory", "--agent", agent], "the directory of manifests"),
            (["--topology", "kubenet", "--agent", "/no/such/agent"], "/no/such/agent"),
            (["--topology", "token-ring", "--agent", agent], "token-ring"),
        ] {
            let output = host.run(&[&["run", "--once"], arguments.as_slice()].concat());
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert!(said.contains(complaint), "{said}");
            assert!(output.stdout.is_empty());
        }
    });
}

#[test]
fn mistakes_in_manifests_are_shown_with_their_place() {
    on_host(|host| {
        let directory = manifests(host);
        fs::write(directory.join("broken.yaml"), "kind: Pod\nspec: [\n").unwrap();
        let agent = agent();
        let output = host.run(&[
            "run",
            "--once",
            "--topology",
            "azure-cni",
            "--manifests",
            directory.to_str().unwrap(),
            "--agent",
            agent.to_str().unwrap(),
        ]);
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(shown.contains("broken.yaml:"), "{shown}");
    });
}

#[test]
fn an_edit_is_measured_while_the_lab_stays_up() {
    on_host(|host| {
        let (directory, agent) = (manifests(host), agent());
        let mut up = host.start(&[
            "run",
            "--topology",
            "kubenet",
            "--settle",
            "20000",
            "--metrics",
            "127.0.0.1:0",
            "--manifests",
            directory.to_str().unwrap(),
            "--agent",
            agent.to_str().unwrap(),
        ]);
        let before = host.facts();
        fs::write(directory.join("policy.yaml"), nothing_in("client")).unwrap();
        let shown = up.read_until("connections match the policies");
        assert!(shown.contains("The manifests have changed."), "{shown}");
        let cut = |from: &str| {
            let line = shown.lines().find(|line| line.starts_with(&format!("│ {from} "))).unwrap();
            line.contains('✗')
        };
        // Now the client gets nothing from the server, and the server all from the client.
        assert!(cut("server") && !cut("client"), "{shown}");
        host.is_as(&before);
        let (status, rest) = up.end(Signal::SIGINT);
        assert_eq!(status.code(), Some(0), "{rest}");
        assert!(rest.contains("The lab ends."), "{rest}");
    });
}

#[test]
fn an_interrupted_walk_has_an_exit_code_of_its_own() {
    on_host(|host| {
        let agent = agent();
        let mut command = host.lab(&["run", "--once", "--agent", agent.to_str().unwrap()]);
        let mut up = crate::host::Up::new(&mut command);
        up.read_until("1/");
        let (status, rest) = up.end(Signal::SIGINT);
        assert_eq!(status.code(), Some(130), "{rest}");
    });
}
