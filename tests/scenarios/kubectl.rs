//! The lab driven by the real kubectl: the tutorial's steps.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
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
        // The agent's.
        assert_eq!(lab.ok("get pods -A -o name").lines().count(), 1);
        let (status, rest) = lab.up.end(Signal::SIGINT);
        assert_eq!(status.code(), Some(0), "{rest}");
    });
}

#[test]
fn workloads_run_and_every_other_kind_is_refused_by_name() {
    on_host(|host| {
        let lab = Lab::start(host, "kubenet");
        lab.ok("-n enforcer-system rollout status daemonset/enforcer --timeout=20s");
        lab.ok("create deployment web --image=nginx:alpine --replicas=2 --port=80");
        lab.ok("rollout status deployment/web --timeout=20s");
        assert_eq!(lab.ok("get pods -l app=web -o name").lines().count(), 2);
        lab.ok("expose deployment web --port=80 --type=LoadBalancer");
        let address = "get service web -o jsonpath={.status.loadBalancer.ingress[0].ip}";
        let started_at = Instant::now();
        while lab.ok(address) != "192.0.2.128" {
            assert!(started_at.elapsed() < PATIENCE, "no address");
        }
        forwarded(&lab);
        let first = lab.ok("get pods -l app=web -o name");
        lab.ok("set image deployment/web nginx=nginx:other");
        lab.ok("rollout status deployment/web --timeout=20s");
        assert_ne!(lab.ok("get pods -l app=web -o name"), first);
        lab.ok("rollout undo deployment/web");
        lab.ok("rollout status deployment/web --timeout=20s");
        assert_eq!(lab.ok("get rs -o name").lines().count(), 2, "the first one is back");
        lab.ok("scale deployment/web --replicas=1");
        lab.ok("rollout status deployment/web --timeout=20s");
        for (line, words) in [
            ("get deployment,rs,ds,ep,endpointslices -A -o wide", "nginx:alpine"),
            ("describe deployment web", "MinimumReplicasAvailable"),
            ("describe service web", "Endpoints:"),
            ("get deployment web -o yaml", "availableReplicas: 1"),
            ("logs deployment/web --tail=-1", "serving TCP 80"),
            ("explain deployment.spec.strategy", "FIELDS:"),
            ("explain service --recursive", "externalTrafficPolicy"),
        ] {
            let shown = lab.ok(line);
            assert!(shown.contains(words), "{line}: {shown}");
        }
        let agents = "-n enforcer-system exec daemonset/enforcer -- /enforcer status";
        assert!(lab.ok(agents).contains("default/web-"), "{}", lab.ok(agents));
        for line in ["get configmaps", "create configmap a", "get jobs.batch", "attach web"] {
            let output = lab.output(&line.split(' ').collect::<Vec<_>>());
            let text = String::from_utf8_lossy(&output.stderr);
            let is_named = text.contains("not in this lab") || text.contains("\"web\" not found");
            assert!(!output.status.success() && is_named, "{line}: {output:?}");
        }
        let (status, rest) = { lab }.up.end(Signal::SIGINT);
        assert_eq!(status.code(), Some(0), "{rest}");
    });
}

/// Several connections through one `kubectl port-forward`.
fn forwarded(lab: &Lab) {
    let mut command = Command::new(enforcer_tests::api::kubectl().unwrap());
    command.env("KUBECONFIG", &lab.kubeconfig).env("HOME", &lab.home);
    command.args(["port-forward", "deployment/web", ":80"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next().unwrap().unwrap();
    let (_, port) = line.split(" -> ").next().unwrap().rsplit_once(':').unwrap();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(("127.0.0.1", port.parse().unwrap())).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        assert!(page.contains("Hello from default/web-"), "{page}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
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
