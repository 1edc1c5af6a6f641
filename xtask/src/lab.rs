//! `run`, `exec` and `bench`: build the lab's programs and start them as root.

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::cli::{Bench, Exec, Proxy, Run, Soak};
use crate::packages::{self, Wanted};
use crate::privilege;
use crate::process;
use crate::system::{self, Facts};
use crate::ui::{self, Step};
use crate::unfit::Unfit;
use crate::workspace::{self, Profile};
use crate::{ebpf, tools};

/// Fails with [`Unfit`] if the lab can't run on this machine.
pub(crate) fn check_system() -> Result<()> {
    let missing = Facts::gather().missing();
    if missing.is_empty() { Ok(()) } else { Err(Unfit(system::describe(&missing)).into()) }
}

/// Obtains the programs that install the rules of the lab's Services.
///
/// # Errors
/// One is missing and can't be installed.
pub(crate) fn obtain_proxies(proxies: &[Proxy]) -> Result<()> {
    for proxy in proxies {
        let (program, package) = match proxy {
            Proxy::Iptables => ("iptables-restore", "iptables"),
            Proxy::Nftables => ("nft", "nftables"),
        };
        packages::obtain(Wanted { program, package, why: "for the lab's Services" })?;
    }
    Ok(())
}

/// Runs the lab; the exit code is the lab's.
pub(crate) fn run(root: &Path, options: &Run) -> Result<ExitCode> {
    check_arguments(options)?;
    check_system()?;
    // Without `--proxy` the lab uses either one.
    if options.proxy.is_some() || packages::find("nft").is_none() {
        obtain_proxies(&[options.proxy.unwrap_or(Proxy::Iptables)])?;
    }
    if options.api {
        let path = tools::kubectl()?;
        if process::which("kubectl").as_ref() != Some(&path) {
            ui::print(format_args!("  kubectl is {}", path.display()));
        }
    }
    ebpf::build(root)?;
    let profile = Profile::of(options.release);
    build_programs(root, profile)?;
    start(
        built(root, profile, options),
        "to make the lab's network namespaces and load the eBPF programs",
    )
}

/// Finds mistakes before anything is built, which takes minutes.
fn check_arguments(options: &Run) -> Result<()> {
    if let Some(path) = &options.manifests {
        check_manifests(path)?;
    }
    if let Some(address) = options.metrics {
        TcpListener::bind(address).with_context(|| format!("--metrics {address}"))?;
    }
    Ok(())
}

fn check_manifests(path: &Path) -> Result<()> {
    let name = path.display();
    if path.is_file() {
        bail!("--manifests {name}: a file; the lab needs a directory, and follows its changes");
    }
    let mut entries = std::fs::read_dir(path).with_context(|| format!("--manifests {name}"))?;
    if entries.next().is_none() {
        bail!("--manifests {name}: the directory is empty");
    }
    Ok(())
}

/// The command for a lab that is already built.
pub(crate) fn built(root: &Path, profile: Profile, options: &Run) -> Command {
    let folder = workspace::target(root).join(profile.folder());
    let mut command = privilege::as_root(folder.join("enforcer-lab"));
    command.args(lab_arguments(&folder.join("enforcer"), options));
    command
}

/// Runs a command in a pod of a running lab.
pub(crate) fn exec(root: &Path, options: &Exec) -> Result<ExitCode> {
    check_system()?;
    let lab = newest_lab(root)?;
    let mut command = privilege::as_root(lab);
    command.arg("exec");
    if let Some(pid) = options.lab {
        command.arg("--lab").arg(pid.to_string());
    }
    command.arg(&options.place).arg("--").args(&options.command);
    start(command, "to enter the pod's network namespace")
}

/// Runs the benchmark, always of the optimised build.
pub(crate) fn bench(root: &Path, options: &Bench) -> Result<ExitCode> {
    if options.arguments.iter().any(|argument| argument == "--scale") {
        return scale(root, options);
    }
    check_system()?;
    ebpf::build(root)?;
    build_programs(root, Profile::Release)?;
    let program = workspace::target(root).join("release/enforcer-bench");
    let mut command = privilege::as_root(program);
    command.arg("--root").arg(root);
    let own = options.arguments.iter().skip_while(|argument| *argument == "--");
    command.args(own);
    start(command, "to load the eBPF programs and make network namespaces")
}

/// Measures the pure half on generated clusters. Needs no rights and no eBPF programs.
fn scale(root: &Path, options: &Bench) -> Result<ExitCode> {
    let mut command = workspace::cargo(root);
    command.args(["run", "--release", "--package", "enforcer-core", "--example", "scale", "--"]);
    let own = options.arguments.iter().filter(|it| *it != "--" && *it != "--scale");
    let status = privilege::run_in_foreground(command.args(own))?;
    Ok(ExitCode::from(privilege::code(status)))
}

/// Runs the soak test; the exit code is its own.
pub(crate) fn soak(root: &Path, options: &Soak) -> Result<ExitCode> {
    check_system()?;
    ebpf::build(root)?;
    let profile = Profile::of(options.release);
    build_programs(root, profile)?;
    let program = workspace::target(root).join(profile.folder()).join("enforcer-soak");
    let mut command = privilege::as_root(program);
    command.arg("--minutes").arg(options.minutes.to_string());
    if let Some(seed) = options.seed {
        command.arg("--seed").arg(seed.to_string());
    }
    command
        .args(name_of(&options.topology).map(|it| ["--topology".into(), it]).into_iter().flatten());
    command.arg("--").args(&options.agent_arguments);
    start(command, "to make the lab's network namespaces and load the eBPF programs")
}

fn start(mut command: Command, why: &str) -> Result<ExitCode> {
    privilege::announce(&command, why);
    let status = privilege::run_in_foreground(&mut command)?;
    Ok(ExitCode::from(privilege::code(status)))
}

fn lab_arguments(agent: &Path, options: &Run) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["run".into(), "--agent".into(), agent.into()];
    let mut add = |name: &str, value: Option<OsString>| {
        if let Some(value) = value {
            arguments.extend([name.into(), value]);
        }
    };
    add("--topology", options.topology.as_ref().and_then(name_of));
    add("--nodes", options.nodes.map(|number| number.to_string().into()));
    add("--fabric", options.fabric.as_ref().and_then(name_of));
    add("--proxy", options.proxy.as_ref().and_then(name_of));
    add("--manifests", options.manifests.clone().map(PathBuf::into_os_string));
    add("--output", options.output.as_ref().and_then(name_of));
    add("--metrics", options.metrics.map(|address| address.to_string().into()));
    let flags = [
        ("--once", options.once),
        ("--api", options.api),
        ("--agent-log", options.agent_log),
        ("--no-color", options.no_color),
    ];
    arguments.extend(flags.iter().filter(|(_, set)| *set).map(|(name, _)| (*name).into()));
    if !options.agent_arguments.is_empty() {
        arguments.push("--".into());
        arguments.extend(options.agent_arguments.iter().cloned());
    }
    arguments
}

/// A value's name on the command line.
fn name_of(value: &impl ValueEnum) -> Option<OsString> {
    value.to_possible_value().map(|value| value.get_name().to_owned().into())
}

/// Builds the agent and the lab's programs.
pub(crate) fn build_programs(root: &Path, profile: Profile) -> Result<()> {
    let folder = workspace::target(root).join(profile.folder());
    if !folder.join("enforcer-lab").exists() {
        ui::print("  the first build takes about ten minutes on two cores, later ones seconds");
    }
    let step = Step::start(match profile {
        Profile::Dev => "building the agent and the lab",
        Profile::Release => "building the agent and the lab, optimised",
    });
    let mut command = workspace::cargo(root);
    command.args(["build", "--package", "enforcer", "--package", "enforcer-tests", "--bins"]);
    if profile == Profile::Release {
        command.arg("--release");
    }
    let output = process::run_everything(&mut command, &step)?;
    let warnings = output.iter().filter(|line| line.starts_with("warning")).count();
    step.done(&if warnings == 0 { String::new() } else { format!("{warnings} warnings") });
    Ok(())
}

/// The lab's program of the newest build, which most likely started the running lab.
fn newest_lab(root: &Path) -> Result<PathBuf> {
    let target = workspace::target(root);
    let programs = ["debug", "release"].map(|folder| target.join(folder).join("enforcer-lab"));
    let age = |path: &PathBuf| path.metadata().and_then(|data| data.modified()).ok();
    let newest = programs.into_iter().filter(|path| path.is_file()).max_by_key(age);
    if let Some(path) = newest {
        return Ok(path);
    }
    ui::print("  the lab isn't built yet");
    build_programs(root, Profile::Dev)?;
    Ok(target.join("debug/enforcer-lab"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Fabric, Output, Proxy, Topology};

    #[test]
    fn the_labs_arguments_are_those_given() {
        let options = Run {
            once: true,
            topology: Some(Topology::AzureCni),
            nodes: Some(2),
            fabric: Some(Fabric::Vxlan),
            proxy: Some(Proxy::Nftables),
            output: Some(Output::Json),
            agent_arguments: vec!["--log".into(), "debug".into()],
            ..Run::default()
        };
        let expected = [
            "run",
            "--agent",
            "/t/enforcer",
            "--topology",
            "azure-cni",
            "--nodes",
            "2",
            "--fabric",
            "vxlan",
            "--proxy",
            "nftables",
            "--output",
            "json",
            "--once",
            "--",
            "--log",
            "debug",
        ];
        assert_eq!(lab_arguments(Path::new("/t/enforcer"), &options), expected);
    }

    #[test]
    fn mistakes_are_found_before_anything_is_built() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none");
        let with = |path: &Path| Run { manifests: Some(path.to_owned()), ..Run::default() };
        let error = check_arguments(&with(&path)).unwrap_err();
        assert!(format!("{error:#}").contains("none: No such file"), "{error:#}");
        assert!(check_arguments(&with(folder.path())).is_err(), "an empty directory");
        std::fs::write(&path, "").unwrap();
        assert!(check_arguments(&with(folder.path())).is_ok());
        let error = check_arguments(&with(&path)).unwrap_err().to_string();
        assert!(error.contains("needs a directory"), "{error}");
        let elsewhere = Run { metrics: "192.0.2.1:80".parse().ok(), ..Run::default() };
        assert!(check_arguments(&elsewhere).is_err(), "an address of another machine");
    }

    #[test]
    fn no_arguments_mean_the_labs_defaults() {
        let expected = ["run", "--agent", "/t/enforcer"];
        assert_eq!(lab_arguments(Path::new("/t/enforcer"), &Run::default()), expected);
    }
}
