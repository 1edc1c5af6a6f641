//! The command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::arch::Arch;
use crate::test::duration;

/// The project's own tasks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, about)]
#[command(after_help = "To begin with: cargo xtask run")]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) task: Task,
}

/// The tasks.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Compile the eBPF programs, installing the compiler for them if need be
    #[command(after_help = BUILD_EBPF)]
    BuildEbpf,
    /// Watch NetworkPolicies being enforced: a node and pods on this machine, real connections
    #[command(after_help = RUN)]
    Run(Run),
    /// Run a command in a pod of the lab that `cargo xtask run` keeps up
    #[command(after_help = EXEC)]
    Exec(Exec),
    /// Run all tests; those that need the kernel run as root
    #[command(after_help = TEST)]
    Test(Test),
    /// Run the kernel tests on other kernels, old and new, in virtual machines
    #[command(after_help = VM_TEST)]
    VmTest(VmTest),
    /// Make a container image of the agent, without Docker
    #[command(after_help = IMAGE)]
    Image(Image),
    /// Measure what a packet costs, and how soon a saved policy acts
    #[command(after_help = BENCH)]
    Bench(Bench),
    /// Check formatting and lints, warnings being errors
    #[command(after_help = LINT)]
    Lint,
    /// Everything that a change must pass: lint, test, run --once, and other kernels in brief
    #[command(after_help = CI)]
    Ci,
    /// Print a completion script for a shell
    #[command(after_help = COMPLETIONS)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// How the lab's pods are attached to its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Topology {
    /// On a bridge, one subnet for all
    Kubenet,
    /// Routed, a /32 for each
    AzureCni,
}

/// By which kind of rules Services work in the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Proxy {
    /// As kube-proxy's mode iptables
    Iptables,
    /// As kube-proxy's mode nftables
    Nftables,
}

/// How the lab's nodes reach each other's pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fabric {
    /// By routes, as on AKS
    Routed,
    /// Through VXLAN tunnels
    Vxlan,
}

/// What is printed.
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
    /// End after the walk-through: 0 only if every connection went as expected
    #[arg(long)]
    pub(crate) once: bool,
    /// How pods are attached to the node; both, one after the other, unless given
    #[arg(long, value_enum)]
    pub(crate) topology: Option<Topology>,
    /// How many nodes there are; pods are on the first unless their spec.nodeName says lab-node-2
    /// and so on [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) nodes: Option<u8>,
    /// How nodes reach each other's pods [default: routed]
    #[arg(long, value_enum)]
    pub(crate) fabric: Option<Fabric>,
    /// By which kind of rules Services work [default: iptables if installed, else nftables]
    #[arg(long, value_enum)]
    pub(crate) proxy: Option<Proxy>,
    /// Use these manifests instead of the tutorial's
    #[arg(long, value_name = "DIR")]
    pub(crate) manifests: Option<PathBuf>,
    /// Be a Kubernetes API server: the agent watches it, and kubectl drives the lab. The
    /// walk-through is left out, unless --once asks for nothing else
    #[arg(long, conflicts_with = "manifests")]
    pub(crate) api: bool,
    /// What to print [default: table]
    #[arg(long, value_enum)]
    pub(crate) output: Option<Output>,
    /// Where to offer the agent's metrics on this host
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) metrics: Option<SocketAddr>,
    /// Show the agent's log
    #[arg(long)]
    pub(crate) agent_log: bool,
    /// Never use colours
    #[arg(long)]
    pub(crate) no_color: bool,
    /// Build and run the optimised agent
    #[arg(long)]
    pub(crate) release: bool,
    /// Arguments for the agent itself
    #[arg(last = true, value_name = "AGENT ARGUMENTS")]
    pub(crate) agent_arguments: Vec<OsString>,
}

/// `exec`.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// The pod as "namespace/name" or, in namespace default, "name"; or "node" or "outside"
    #[arg(value_name = "POD")]
    pub(crate) place: String,
    /// The lab's process id, where several run
    #[arg(long, value_name = "PID")]
    pub(crate) lab: Option<u32>,
    /// The command
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// `test`.
#[derive(Debug, Default, Args)]
pub(crate) struct Test {
    /// Only what needs no root and no eBPF object: seconds instead of minutes
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only the generated tests, again and again with fresh seeds, until one fails or time is up
    #[arg(long, conflicts_with_all = ["quick", "filters"])]
    pub(crate) exhaustive: bool,
    /// How long that goes on: 90s, 10m, 2h [default: 10m]
    #[arg(long = "for", value_name = "DURATION", requires = "exhaustive", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
    /// Only what needs no kernel, built for this architecture and run there: by emulation, if it
    /// isn't this machine's
    #[arg(long, value_enum, conflicts_with_all = ["quick", "exhaustive"])]
    pub(crate) arch: Option<Arch>,
    /// Show what every test binary prints, not only the failures
    #[arg(long, short)]
    pub(crate) verbose: bool,
    /// Only tests whose name contains one of these
    #[arg(value_name = "FILTER")]
    pub(crate) filters: Vec<String>,
}

/// A line of kernels, of which the archive's current one is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Series {
    /// Debian 11's: the oldest that the programs are made for
    #[value(name = "5.10")]
    V5_10,
    /// Debian 12's
    #[value(name = "6.1")]
    V6_1,
    /// Debian 13's
    #[value(name = "6.12")]
    V6_12,
    /// The newest that Debian 13 has got
    Newest,
}

/// `vm-test`.
#[derive(Debug, Args)]
pub(crate) struct VmTest {
    /// Only this kernel; may be repeated [default: all]
    #[arg(long = "kernel", value_enum, value_name = "KERNEL")]
    pub(crate) kernels: Vec<Series>,
    /// Ask the archive for newer kernels than those fetched before
    #[arg(long)]
    pub(crate) refresh: bool,
    /// Generated packets in each machine: an emulated one is some 20 times slower
    #[arg(long, value_name = "NUMBER", default_value_t = 4_000)]
    pub(crate) packets: u32,
    /// How long a machine may run
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub(crate) timeout: u64,
    /// What to print
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    /// Show everything that the machines print
    #[arg(long, short)]
    pub(crate) verbose: bool,
    /// Only tests whose name contains one of these
    #[arg(value_name = "FILTER")]
    pub(crate) filters: Vec<String>,
}

/// `image`.
#[derive(Debug, Default, Args)]
pub(crate) struct Image {
    /// Only for this architecture; may be repeated [default: all]
    #[arg(long = "arch", value_enum, value_name = "ARCH")]
    pub(crate) archs: Vec<Arch>,
    /// The image's name [default: enforcer:VERSION]
    #[arg(long, value_name = "NAME:TAG")]
    pub(crate) tag: Option<String>,
    /// Where the archive goes [default: target/image/enforcer-VERSION.tar]
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// No archive: put the image's files, of one architecture, into this empty folder
    #[arg(long, value_name = "DIR", conflicts_with_all = ["tag", "output"])]
    pub(crate) rootfs: Option<PathBuf>,
    /// Hardly optimised: larger and slower, but built in less time
    #[arg(long)]
    pub(crate) quick: bool,
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

The object is put at target/bpf/enforcer-ebpf.o; `cargo build` embeds it in the agent. The compiler
is a rustup toolchain with rust-src, or on Debian 12 one from its packages, which are unpacked in
~/.cache/enforcer (850 MB); bpf-linker is kept there too.";

const RUN: &str = "\
Examples:
  cargo xtask run                          # the tutorial, then stay up until Ctrl-C
  cargo xtask run --once                   # the tutorial only
  cargo xtask run --topology kubenet
  cargo xtask run --proxy nftables         # Services by the other kind of rules
  cargo xtask run --nodes 2 --manifests my-policies
  cargo xtask run --manifests my-policies  # watch your own; edit them while it runs
  cargo xtask run --api                    # an empty cluster for kubectl: apply, label, exec
  cargo xtask run --once --output json
  cargo xtask run -- --help                # arguments after -- go to the agent

Builds as you and asks for sudo only to enter the lab. Nothing outside the lab's own network
namespaces is touched, and nothing is left behind.";

const EXEC: &str = "\
Examples:
  cargo xtask exec demo/pod1 -- ip address
  cargo xtask exec outside -- curl --max-time 2 http://10.244.0.11/";

const TEST: &str = "\
Examples:
  cargo xtask test
  cargo xtask test --quick policy::   # the pure tests whose name contains policy::
  cargo xtask test --verbose scenarios
  cargo xtask test --exhaustive --for 2h
  cargo xtask test --arch arm64       # the pure tests of what runs on ARM64 nodes

A generated test that fails is shrunk; its smallest cluster is kept below target/failures, for
`cargo xtask run --manifests`, with the seed and the packet.
The last line counts: N passed, N failed, N skipped. The exit code is 1 if a test failed, or none
ran.";

const VM_TEST: &str = "\
Examples:
  cargo xtask vm-test                              # every kernel
  cargo xtask vm-test --kernel 5.10 --kernel newest
  cargo xtask vm-test --kernel 5.10 --verbose hostile
  cargo xtask vm-test --output json

The kernels are Debian's, of whatever point release the archive has now. apt fetches them, checks
their signatures and leaves this system's own package lists alone; they are kept in
~/.cache/enforcer/kernels (--refresh looks for newer ones). ENFORCER_DEBIAN_MIRROR and
ENFORCER_DEBIAN_SECURITY_MIRROR name other places than deb.debian.org. Needs x86-64, apt, Debian's
keyring and QEMU (qemu-system-x86), which is installed if this is root. KVM is used where it works.
No root is needed otherwise. The exit code is 1 if anything went wrong on any kernel.";

const IMAGE: &str = "\
Examples:
  cargo xtask image                               # both architectures, in one archive
  cargo xtask image --arch amd64
  cargo xtask image --tag registry.example/team/enforcer:1.0
  cargo xtask image --arch arm64 --rootfs ./root  # only the files, for other tools
  docker load --input target/image/enforcer-0.1.0.tar

The archive is an OCI image layout, which `ctr images import`, skopeo, crane, oras and newer Dockers
read; older ones find the first architecture in it. Prints the digest. A bill of materials for each
architecture (CycloneDX) is put beside the archive, and into the image. Built again from the same
commit by the same compilers it is the same bytes; SOURCE_DATE_EPOCH overrides the commit's time.
Needs glibc 2.34 or later with its static half and, for the other architecture, a C compiler, which
is installed if this is root. Rust's standard library for it comes by rustup, or is built.";

const BENCH: &str = "\
Examples:
  cargo xtask bench
  cargo xtask bench --output json > bench.json
  cargo xtask bench --effect    # only from saving a policy to its effect on packets
  cargo xtask bench --packets   # only the nanoseconds a packet
  cargo xtask bench --watched   # only the memory and CPU time that watching clusters takes";

const LINT: &str = "\
Example:
  cargo xtask lint && git commit";

const CI: &str = "\
Example:
  cargo xtask ci";

const COMPLETIONS: &str = "\
Examples:
  cargo xtask completions bash > ~/.local/share/bash-completion/completions/xtask
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
        }
    }

    #[test]
    fn what_follows_the_dashes_is_the_agents() {
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
