//! The command line.

#[cfg(test)]
mod documented;
mod image;
mod lab;
mod soak;

pub(crate) use image::Image;
pub(crate) use lab::{Proxy, Topology};

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::arch::Arch;
use crate::duration;
pub(crate) use soak::Soak;

/// The project's own tasks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, about)]
#[command(after_help = "Start with: cargo xtask run")]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) task: Task,
}

/// The tasks.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Compile the eBPF programs; installs the compiler for them if it is missing
    #[command(after_help = BUILD_EBPF)]
    BuildEbpf,
    /// Show NetworkPolicies at work: a node and pods on this machine, real connections
    #[command(after_help = RUN)]
    Run(Run),
    /// Run a command in a pod of a running lab (`cargo xtask run`)
    #[command(after_help = EXEC)]
    Exec(Exec),
    /// Run all tests; those that use the kernel run as root
    #[command(after_help = TEST)]
    Test(Test),
    /// Run the kernel tests on other kernels, old and new, in virtual machines
    #[command(after_help = VM_TEST)]
    VmTest(VmTest),
    /// Build a container image of the agent, without Docker
    #[command(after_help = image::HELP)]
    Image(Image),
    /// Measure what packets, traffic, policies and a cluster cost; write a report
    #[command(after_help = BENCH)]
    Bench(Bench),
    /// Change, kill, stop and flood for minutes or hours, and check that nothing breaks or leaks
    #[command(after_help = soak::HELP)]
    Soak(Soak),
    /// Check formatting, lints, documents and import cycles; warnings are errors
    #[command(after_help = LINT)]
    Lint,
    /// Print the changelog's section on a version; fails unless crates, manifests and chart have it
    #[command(after_help = RELEASE_NOTES)]
    ReleaseNotes {
        /// The version, such as 1.2.3
        version: String,
    },
    /// Run every check that a change must pass: lint, test, run --once, and a short vm-test
    #[command(after_help = CI)]
    Ci,
    /// Print a completion script for a shell
    #[command(after_help = COMPLETIONS)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// How the lab's nodes reach each other's pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fabric {
    /// Through routes, as on AKS
    Routed,
    /// Through VXLAN tunnels
    Vxlan,
}

/// The format of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Table,
    /// For scripts
    Json,
}

/// `run`.
#[derive(Debug, Default, Args)]
pub(crate) struct Run {
    /// End after the walk-through; the exit code is 0 if every connection went as expected
    #[arg(long)]
    pub(crate) once: bool,
    /// How pods are attached to the node [default: both, one after the other]
    #[arg(long, value_enum)]
    pub(crate) topology: Option<Topology>,
    /// Number of nodes; pods run on the first one unless their spec.nodeName is lab-node-2 and so
    /// on [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=4))]
    pub(crate) nodes: Option<u8>,
    /// How nodes reach each other's pods [default: routed]
    #[arg(long, value_enum)]
    pub(crate) fabric: Option<Fabric>,
    /// The kind of rules that implement Services [default: iptables if installed, else nftables]
    #[arg(long, value_enum)]
    pub(crate) proxy: Option<Proxy>,
    /// Use these manifests instead of the tutorial's
    #[arg(long, value_name = "DIR")]
    pub(crate) manifests: Option<PathBuf>,
    /// Serve the Kubernetes API: the agent watches it, and kubectl controls the lab. Skips the
    /// walk-through unless --once is given
    #[arg(long, conflicts_with = "manifests")]
    pub(crate) api: bool,
    /// Output format [default: table]
    #[arg(long, value_enum)]
    pub(crate) output: Option<Output>,
    /// Serve the agent's metrics at this address of the host
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "once")]
    pub(crate) metrics: Option<SocketAddr>,
    /// Show the agent's log
    #[arg(long)]
    pub(crate) agent_log: bool,
    /// Never use colours
    #[arg(long)]
    pub(crate) no_color: bool,
    /// Use the optimised build of the agent
    #[arg(long)]
    pub(crate) release: bool,
    /// Arguments for the agent itself
    #[arg(last = true, value_name = "AGENT ARGUMENTS")]
    pub(crate) agent_arguments: Vec<OsString>,
}

/// `exec`.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// The pod as "namespace/name" (or "name" in namespace default), or "node" or "outside"
    #[arg(value_name = "POD")]
    pub(crate) place: String,
    /// The lab's process id, if several labs run
    #[arg(long, value_name = "PID")]
    pub(crate) lab: Option<u32>,
    /// The command
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// `test`.
#[derive(Debug, Default, Args)]
pub(crate) struct Test {
    /// Only the tests that need neither root nor the eBPF object: seconds instead of minutes
    #[arg(long)]
    pub(crate) quick: bool,
    /// Repeat the generated tests with new seeds until one fails or the time is up
    #[arg(long, conflicts_with_all = ["quick", "filters"])]
    pub(crate) exhaustive: bool,
    /// Duration of --exhaustive: 90s, 10m, 2h [default: 10m]
    #[arg(long = "for", value_name = "DURATION", requires = "exhaustive")]
    #[arg(value_parser = duration::parse)]
    pub(crate) duration: Option<Duration>,
    /// Only the tests that need no kernel, built for this architecture; emulated if this machine
    /// has another one
    #[arg(long, value_enum, conflicts_with_all = ["quick", "exhaustive"])]
    pub(crate) arch: Option<Arch>,
    /// Show the output of every test program, not only failures
    #[arg(long, short)]
    pub(crate) verbose: bool,
    /// Only tests whose names contain one of these
    #[arg(value_name = "FILTER")]
    pub(crate) filters: Vec<String>,
}

/// A series of kernels; the archive's current release of it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Series {
    /// Debian 11's: the oldest supported one
    #[value(name = "5.10")]
    V5_10,
    /// Debian 12's
    #[value(name = "6.1")]
    V6_1,
    /// Debian 13's
    #[value(name = "6.12")]
    V6_12,
    /// The newest one in Debian 13
    Newest,
}

/// `vm-test`.
#[derive(Debug, Clone, Args)]
pub(crate) struct VmTest {
    /// Only this kernel; repeatable [default: all]
    #[arg(long = "kernel", value_enum, value_name = "KERNEL")]
    pub(crate) kernels: Vec<Series>,
    /// Instead, this kernel (a bzImage); repeatable. Interfaces and hooks must be built in: VETH, BRIDGE, IFB,
    /// NET_SCH_INGRESS, NET_CLS_BPF, NET_CLS_U32, NET_ACT_MIRRED, and SERIAL_8250_CONSOLE, BLK_DEV_INITRD
    #[arg(long = "image", value_name = "FILE", conflicts_with_all = ["kernels", "lab"])]
    pub(crate) images: Vec<PathBuf>,
    /// Look for newer kernels than those in the cache
    #[arg(long)]
    pub(crate) refresh: bool,
    /// Instead of the kernel tests, the scenarios that few machines can run: Services by kube-proxy's
    /// ipvs mode, and SCTP sockets
    #[arg(long)]
    pub(crate) lab: bool,
    /// Generated packets per machine; an emulated machine is about 20 times slower
    #[arg(long, value_name = "NUMBER", default_value_t = 4_000)]
    pub(crate) packets: u32,
    /// Time limit for each machine
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub(crate) timeout: u64,
    /// Output format
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    /// Show the machines' consoles
    #[arg(long, short)]
    pub(crate) verbose: bool,
    /// Only tests whose names contain one of these
    #[arg(value_name = "FILTER", value_parser = filter)]
    pub(crate) filters: Vec<String>,
}

/// A filter that is no kernel: those need an option.
fn filter(text: &str) -> Result<String, String> {
    match Series::from_str(text, true) {
        Ok(_) => Err(format!("this is a kernel, not a test: write --kernel {text}")),
        Err(_) => Ok(text.to_owned()),
    }
}

/// `bench`.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Arguments for the benchmark; `cargo xtask bench -- --help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    pub(crate) arguments: Vec<OsString>,
}

const BUILD_EBPF: &str = "\
Examples:
  cargo xtask build-ebpf
  XDG_CACHE_HOME=/big/disk cargo xtask build-ebpf   # keep the compiler elsewhere

The object is target/bpf/enforcer-ebpf.o; `cargo build` embeds it in the agent. The compiler is
rustup's with rust-src. Where rustup is missing or offline, Debian 12's packages are unpacked in
~/.cache/enforcer (850 MB). bpf-linker is kept there, too.";

const RUN: &str = "\
Examples:
  cargo xtask run                          # the tutorial; stay up until Ctrl-C
  cargo xtask run --once                   # the tutorial only
  cargo xtask run --topology kubenet
  cargo xtask run --proxy nftables         # Services by nftables rules
  cargo xtask run --nodes 2 --manifests my-policies
  cargo xtask run --manifests my-policies  # your own: edit them meanwhile
  cargo xtask run --api                    # an empty cluster for kubectl
  cargo xtask run --once --output json
  cargo xtask run -- --help                # arguments after -- go to the agent

Builds as the current user; only the lab itself runs as root, by sudo. The lab changes nothing
outside its own network namespaces and leaves nothing behind.";

const EXEC: &str = "\
Examples:
  cargo xtask exec demo/pod1 -- ip address
  cargo xtask exec outside -- curl --max-time 2 http://10.244.0.11/";

const TEST: &str = "\
Examples:
  cargo xtask test
  cargo xtask test --quick policy::   # pure tests with policy:: in their names
  cargo xtask test --verbose scenarios
  cargo xtask test --exhaustive --for 2h
  cargo xtask test --arch arm64       # pure tests of the code for ARM64

A failing generated test is shrunk. Its smallest cluster is kept below target/failures with the
seed and the packet, for `cargo xtask run --manifests`.
The last line counts the tests: N passed, N failed, N skipped. The exit code is 1 if a test failed
or none ran.";

const VM_TEST: &str = "\
Examples:
  cargo xtask vm-test                              # every kernel
  cargo xtask vm-test --kernel 5.10 --kernel newest
  cargo xtask vm-test --kernel 5.10 --verbose hostile
  cargo xtask vm-test --lab --kernel 6.1
  cargo xtask vm-test --image ~/linux/arch/x86/boot/bzImage   # your own kernel
  cargo xtask vm-test --output json

The kernels are the current ones of Debian's archive. apt fetches them and checks their signatures,
without a change to this system's package lists. They are kept in ~/.cache/enforcer/kernels.
ENFORCER_DEBIAN_MIRROR and ENFORCER_DEBIAN_SECURITY_MIRROR replace deb.debian.org. Requires x86-64,
apt, Debian's keyring and QEMU (qemu-system-x86), which root installs automatically. Uses KVM where
it works, else emulation. Needs no root otherwise. The exit code is 1 if a kernel failed.";

const BENCH: &str = "\
Examples:
  cargo xtask bench
  cargo xtask bench --output json > bench.json
  cargo xtask bench --check     # instructions and memory of packets, and bounds
  cargo xtask bench --packets   # only nanoseconds; parts can be combined
  cargo xtask bench --effect    # only the time from a policy to its effect
  cargo xtask bench --watched   # only memory and CPU time for watching clusters
  cargo xtask bench --watched --pods 100000 --changes 1000
  cargo xtask bench --scale     # only the time for changes in large clusters
  cargo xtask bench --attach    # only the time until interfaces have programs";

const LINT: &str = "\
Example:
  cargo xtask lint && git commit";

const RELEASE_NOTES: &str = "\
Example:
  cargo xtask release-notes 0.1.0 > notes.md";

const CI: &str = "\
Example:
  cargo xtask ci";

const COMPLETIONS: &str = "\
Examples:
  cargo xtask completions bash > /etc/bash_completion.d/xtask
  cargo xtask completions fish > ~/.config/fish/completions/xtask.fish";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_task_has_an_example() {
        for task in Cli::command().get_subcommands() {
            let help = task.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(
                help.contains("Example") && help.contains("cargo xtask"),
                "{}",
                task.get_name()
            );
            let examples = help.lines().filter(|it| it.starts_with("  cargo"));
            let wide: Vec<_> = examples.filter(|it| it.chars().count() > 80).collect();
            assert!(wide.is_empty(), "a terminal of 80 columns breaks {wide:?}");
        }
    }

    #[test]
    fn a_kernel_is_no_filter() {
        let error = Cli::try_parse_from(["x", "vm-test", "5.10"]).unwrap_err().to_string();
        assert!(error.contains("write --kernel 5.10"), "{error}");
        assert!(Cli::try_parse_from(["x", "vm-test", "always::p3"]).is_ok());
    }

    #[test]
    fn arguments_after_the_dashes_are_the_agents() {
        let cli = Cli::try_parse_from(["x", "run", "--once", "--", "--log", "debug"]).unwrap();
        let Task::Run(run) = cli.task else { panic!("not run") };
        assert!(run.once);
        assert_eq!(run.agent_arguments, ["--log", "debug"]);
    }

    #[test]
    fn the_benchmark_gets_its_own_flags() {
        let cli = Cli::try_parse_from(["x", "bench", "--output", "json"]).unwrap();
        let Task::Bench(bench) = cli.task else { panic!("not bench") };
        assert_eq!(bench.arguments, ["--output", "json"]);
    }
}
