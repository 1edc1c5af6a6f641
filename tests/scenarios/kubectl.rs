//! The lab driven by the real kubectl: the tutorial's steps.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::host::{Host, Up, on_host};
use crate::scene::PATIENCE;

/// A lab, and kubectl with the lab's configuration.
struct Lab {
    up: Up,
    kubeconfig: PathBuf,
    home: PathBuf,
}

impl Lab {
    fn start(host: &Host, topology: &str) -> Self {
        let mut up = host.start(&["--api", "--topology", topology]);
        let line = up.read_until("KUBECONFIG=");
        let (_, path) = line.trim_end().rsplit_once("KUBECONFIG=").unwrap();
        let home = host.directory("home");
        Self { up, kubeconfig: path.into(), home }
    }

    fn output(&self, arguments: &[&str]) -> Output {
        let program = enforcer_tests::api::kubectl();
        let program = program.expect("kubectl is missing: cargo xtask test installs it");
        let mut command = Command::new(program);
        command.env("KUBECONFIG", &self.kubeconfig).env("HOME", &self.home).args(arguments);
        command.output().unwrap()
    }

    #[track_caller]
    fn ok(&self, line: &str) -> String {
        let output = self.output(&line.split(' ').collect::<Vec<_>>());
        assert!(output.status.success(), "kubectl {line}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Whether one pod receives another's page.
    fn gets(&self, from: &str, to: &str) -> bool {
        let address = self.ok(&format!("get pod -n demo {to} -o jsonpath={{.status.podIP}}"));
        let shell = format!(
            "exec 3<>/dev/tcp/{address}/80; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"
        );
        let fetch = ["timeout", "0.5", "bash", "-c", &shell];
        let output = self.output(&[["exec", "-n", "demo", from, "--"].as_slice(), &fetch].concat());
        let page = String::from_utf8_lossy(&output.stdout);
        let arrived = page.contains(&format!("Hello from demo/{to}"));
        assert_eq!(arrived, output.status.success(), "{output:?}");
        arrived
    }

    /// Waits until it does, or does not.
    #[track_caller]
    fn until_gets(&self, from: &str, to: &str, expected: bool) {
        let started_at = Instant::now();
        while self.gets(from, to) != expected {
            assert!(started_at.elapsed() < PATIENCE, "{from} to {to} never became {expected}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn tutorial(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/tutorial").join(file);
    path.to_str().unwrap().to_owned()
}

#[test]
fn kubectl_drives_the_lab() {
    on_host(|host| {
        let mut lab = Lab::start(host, "azure-cni");
        let apply = |lab: &Lab, file: &str| lab.ok(&format!("apply -f {}", tutorial(file)));
        apply(&lab, "hello-world/00-no-policy.yaml");
        lab.ok("wait -n demo --for=condition=Ready pod/pod1 pod/pod2 --timeout=20s");
        let pods = lab.ok("get pods -n demo -o wide");
        assert!(pods.contains("1/1     Running") && pods.contains("lab-node"), "{pods}");
        assert!(lab.gets("pod1", "pod2"));
        apply(&lab, "hello-world/10-restrict-all-traffic.yaml");
        lab.until_gets("pod1", "pod2", false);
        lab.up.read_until("connections match the policies");
        apply(&lab, "hello-world/20-backend-policy.yaml");
        lab.ok("wait -n demo --for=condition=Ready pod/pod3 --timeout=20s");
        lab.until_gets("pod3", "pod2", true);
        // Its label lets it in.
        lab.ok("label pod -n demo pod3 role=stranger --overwrite");
        lab.until_gets("pod3", "pod2", false);
        lab.ok("delete netpol -n demo restrict-all-traffic backend-policy");
        lab.until_gets("pod3", "pod2", true);
        lab.ok("delete pod -n demo pod2");
        assert!(!lab.ok("get pods -n demo").contains("pod2"));
        exec_carries_streams_and_exit_codes(&lab);
        lab.ok("delete ns demo");
        assert_eq!(lab.ok("get pods -A -o name"), "");
        let (status, rest) = lab.up.end(Signal::SIGINT);
        assert_eq!(status.code(), Some(0), "{rest}");
    });
}

fn exec_carries_streams_and_exit_codes(lab: &Lab) {
    let output =
        lab.output(&["exec", "-n", "demo", "pod1", "--", "sh", "-c", "echo a; echo b >&2; exit 3"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(output.stdout, b"a\n");
    assert!(output.stderr.starts_with(b"b\n"), "{output:?}");
    let missing = lab.output(&["exec", "-n", "demo", "nobody", "--", "true"]);
    assert!(String::from_utf8_lossy(&missing.stderr).contains("pods \"nobody\" not found"));
}
