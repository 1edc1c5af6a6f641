//! `vm-test`: runs the kernel tests on other kernels, each in a virtual machine.
//!
//! A machine has no disk and no network. Its first file system has the test programs, their
//! libraries and modules, and an init that runs them (`tests/src/vm`). The results are read from
//! its console.

mod archive;
mod chosen;
mod console;
mod machine;
mod modules;
mod outcome;
mod programs;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cpio::NewcBuilder;

use crate::cli::{Output, Series, VmTest};
use crate::ui::{self, Step};
use crate::unfit::{self, Unfit};
use crate::{ebpf, process, test, workspace};
use chosen::Chosen;
use console::Report;
use machine::Qemu;
use modules::Module;
use outcome::Outcome;
use programs::Program;

/// Boots every chosen kernel and prints the results.
///
/// # Errors
/// No machine can be started; failures of one kernel are in the results.
pub(crate) fn run(root: &Path, options: &VmTest) -> Result<ExitCode> {
    let outcomes = outcomes(root, options)?;
    let text = match options.output {
        Output::Table => outcome::table(&outcomes),
        Output::Json => outcome::json(&outcomes)?,
    };
    writeln!(io::stdout(), "{text}")?;
    let success = outcomes.iter().all(Outcome::is_success);
    Ok(if success { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The tests that `ci` runs on the oldest and the newest kernel: those that show most of the
/// differences between kernels. All tests would take an emulated machine too long.
const BRIEF: [&str; 10] = [
    "always::a2_",
    "always::a3_replies",
    "hostile::p1_cut",
    "hooks::a_foreign",
    "hooks::both_hooks",
    "hooks::our_qdisc",
    "hooks::pinned",
    "hooks::privileges",
    "hooks::verified::c7_a_detached",
    "hooks::verified::c7_a_removed",
];

/// The scenarios that `ci` runs in a machine: the Services of kube-proxy's ipvs mode, and SCTP.
const BRIEF_LAB: [&str; 1] = ["sctp_sockets::vm_n1_sctp_through_a_service_by_ipvs"];

/// A machine of `ci`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Brief {
    /// A few tests on the oldest kernel.
    Oldest,
    /// The same tests on the newest kernel.
    Newest,
    /// Scenarios on a kernel that has what they need.
    Lab,
}

impl Brief {
    /// The one that takes longest first.
    pub(crate) const ALL: [Self; 3] = [Self::Newest, Self::Oldest, Self::Lab];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Oldest => "vm-test 5.10, in brief",
            Self::Newest => "vm-test newest, in brief",
            Self::Lab => "vm-test 6.1 --lab, in brief",
        }
    }

    fn options(self) -> VmTest {
        let series = match self {
            Self::Oldest => Series::V5_10,
            Self::Newest => Series::Newest,
            Self::Lab => Series::V6_1,
        };
        let lab = self == Self::Lab;
        let filters: &[&str] = if lab { &BRIEF_LAB } else { &BRIEF };
        VmTest {
            kernels: vec![series],
            images: Vec::new(),
            refresh: false,
            packets: 1_000,
            // They run beside other tests.
            timeout: 900,
            output: Output::Table,
            verbose: false,
            lab,
            filters: filters.iter().map(ToString::to_string).collect(),
        }
    }
}

/// Prepares the machines of `ci` one at a time: packages are installed, and cargo builds.
static PREPARING: Mutex<()> = Mutex::new(());

/// Runs a few tests in a machine, and reports the results.
///
/// # Errors
/// The machine can't be started.
pub(crate) fn brief(root: &Path, brief: Brief) -> Result<test::lanes::Outcome> {
    let outcomes = outcomes(root, &brief.options())?;
    ui::print(outcome::table(&outcomes));
    let counts = outcomes.iter().map(Outcome::counts).sum();
    Ok(test::lanes::Outcome { counts, passed: outcomes.iter().all(Outcome::is_success) })
}

fn outcomes(root: &Path, options: &VmTest) -> Result<Vec<Outcome>> {
    check_host()?;
    let preparing = PREPARING.lock().unwrap_or_else(PoisonError::into_inner);
    let qemu = Qemu::obtain()?;
    ebpf::build(root)?;
    let programs = programs::build(root, options.lab)?;
    drop(preparing);
    let mut machines = Machines { root, options, programs, qemu, ready: None };
    let mut outcomes = Vec::new();
    for chosen in Chosen::of(options) {
        let outcome = machines.boot(&chosen).unwrap_or_else(|error| {
            unfit::report(&error);
            Outcome::failed(chosen.name(), &error)
        });
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// Whether this architecture is supported.
pub(crate) const FITS: bool = cfg!(all(target_os = "linux", target_arch = "x86_64"));

fn check_host() -> Result<()> {
    if !FITS {
        return Err(Unfit("vm-test needs Linux on x86-64".to_owned()).into());
    }
    let tools = ["apt-get", "apt-cache", "dpkg", "xz", "setpriv", "strip", "ldd"];
    let missing: Vec<_> = tools.into_iter().filter(|it| process::which(it).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Unfit(format!("vm-test needs {}, as on Debian and Ubuntu", missing.join(", "))).into())
}

/// The common part of all machines.
struct Machines<'a> {
    root: &'a Path,
    options: &'a VmTest,
    programs: Vec<Program>,
    qemu: PathBuf,
    /// Set once there is a kernel to test KVM with.
    ready: Option<Qemu>,
}

impl Machines<'_> {
    fn boot(&mut self, chosen: &Chosen) -> Result<Outcome> {
        let kernel = chosen.obtain(self.options.refresh)?;
        let name = chosen.name();
        let qemu = match self.ready.take() {
            Some(qemu) => qemu,
            None => Qemu::new(self.qemu.clone(), &kernel.image)?,
        };
        let qemu = self.ready.insert(qemu);
        let initramfs =
            workspace::target(self.root).join(format!("vm/initramfs-{}.cpio", chosen.file_name()));
        let mut modules: Vec<_> = kernel.modules.iter().collect();
        if self.options.lab {
            modules.extend(&kernel.lab);
        }
        write_initramfs(&initramfs, &self.programs, &modules)?;
        let step = Step::start(format!("kernel {name}"));
        let started = Instant::now();
        let verbose = self.options.verbose;
        let seen = |line: &str| {
            if verbose {
                ui::print(format_args!("      {}", line.trim_end()));
            } else if !line.trim().is_empty() {
                step.detail(line);
            }
        };
        let limit = Duration::from_secs(self.options.timeout);
        let arguments = arguments(self.options);
        let run = || qemu.run(&kernel.image, &initramfs, &arguments, limit, seen);
        let mut lines = run();
        // An emulated machine's kernel panics at times before it runs anything of ours.
        if lines.as_ref().is_ok_and(|it| Report::read(it).release.is_none()) {
            ui::print(format_args!("  kernel {name} did not boot; once more"));
            lines = run();
        }
        let took = started.elapsed();
        let _ = fs::remove_file(&initramfs);
        let lines = lines?;
        let report = Report::read(&lines);
        report_machine(step, &report, &lines, verbose);
        Ok(Outcome::new(name, &report, took))
    }
}

/// The arguments after the kernel's own ones: variables for the init's environment and, after `--`,
/// arguments that it passes to each test program.
fn arguments(options: &VmTest) -> String {
    let programs = programs::STARTED_IN;
    let packets = options.packets;
    let mut line = format!("ENFORCER_PACKETS={packets} {programs} ENFORCER_SLOWNESS=8 -- ");
    // The scenarios wait in real time, and none of the lab's tests runs on every machine.
    line += if options.lab { "--test-threads=1 --ignored" } else { "--test-threads=2" };
    if options.lab && options.filters.is_empty() {
        line += " ::vm_";
    }
    for filter in &options.filters {
        line.push(' ');
        line.push_str(filter);
    }
    line
}

/// Writes a machine's first file system, in the kernel's format
/// (Linux: Documentation/driver-api/early-userspace/buffer-format.rst).
fn write_initramfs(path: &Path, programs: &[Program], modules: &[&Module]) -> Result<()> {
    let write = || -> Result<()> {
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        let file = BufWriter::new(File::create(path)?);
        cpio::write_cpio(entries(programs, modules)?.into_iter(), file)?.flush()?;
        Ok(())
    };
    write().with_context(|| format!("can't write {}", path.display()))
}

/// A machine's files and folders; each folder precedes its files.
fn entries(
    programs: &[Program],
    modules: &[&Module],
) -> Result<Vec<(NewcBuilder, Cursor<Vec<u8>>)>> {
    // The type bits of stat(2) and the permissions.
    const DIRECTORY: u32 = 0o040_755;
    const CHARACTER_DEVICE: u32 = 0o020_600;
    const PROGRAM: u32 = 0o100_755;
    let entry = |name: &str, mode| NewcBuilder::new(name).mode(mode);
    let mut folders =
        BTreeSet::from(["dev", "modules", "proc", "run", "sys", "tmp"].map(Path::new));
    let above = programs.iter().flat_map(|(place, _)| Path::new(place).ancestors().skip(1));
    folders.extend(above.filter(|it| !it.as_os_str().is_empty()));
    let folder = |it: &Path| (entry(&it.display().to_string(), DIRECTORY), Cursor::default());
    let mut entries: Vec<_> = folders.into_iter().map(folder).collect();
    // For the init's output before it mounts anything.
    let console = entry("dev/console", CHARACTER_DEVICE).rdev_major(5).rdev_minor(1);
    entries.push((console, Cursor::default()));
    for (number, module) in modules.iter().enumerate() {
        // The init loads them in the order of their names.
        let name = format!("modules/{number:03}-{}", module.name);
        entries.push((entry(&name, PROGRAM), Cursor::new(module.content.clone())));
    }
    for (name, path) in programs {
        let content = fs::read(path).with_context(|| format!("can't read {}", path.display()))?;
        entries.push((entry(name, PROGRAM), Cursor::new(content)));
    }
    Ok(entries)
}

/// Ends a machine's step and shows failures.
fn report_machine(step: Step, report: &Report, lines: &[String], verbose: bool) {
    let release = report.release.as_deref().unwrap_or("did not boot");
    if report.is_success() {
        step.done(&format!("{release}: {}", report.counts()));
        return;
    }
    drop(step);
    ui::print(format_args!("  {release}: {}", report.counts()));
    for error in &report.errors {
        ui::print(format_args!("      {error}"));
    }
    if verbose {
        return;
    }
    let failed: Vec<_> = report.parts.iter().filter(|part| !part.counts.is_success()).collect();
    for part in &failed {
        ui::print(format_args!("    {}: {}", part.name, part.counts));
        for line in test::failures(&part.lines) {
            ui::print(format_args!("      {line}"));
        }
    }
    if failed.is_empty() {
        for line in lines.iter().rev().take(TAIL).rev() {
            ui::print(format_args!("      {}", line.trim_end()));
        }
    }
}

/// The number of the last lines that are shown of a machine that failed outside of its tests.
const TAIL: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn options(filters: &[&str]) -> VmTest {
        VmTest {
            kernels: Vec::new(),
            images: Vec::new(),
            refresh: false,
            packets: 500,
            timeout: 1,
            output: Output::Table,
            verbose: false,
            lab: false,
            filters: filters.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn variables_come_before_the_dashes_and_filters_after() {
        let line = arguments(&options(&["hostile"]));
        let (variables, arguments) = line.split_once(" -- ").unwrap();
        assert!(variables.contains("ENFORCER_PACKETS=500"));
        assert!(arguments.ends_with(" hostile"));
    }

    #[test]
    fn a_folder_precedes_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        fs::write(&program, "x").unwrap();
        let path = folder.path().join("initramfs");
        write_initramfs(&path, &[("lib/x86/ld.so".to_owned(), program)], &[]).unwrap();
        let mut file = File::open(path).unwrap();
        let mut names = Vec::new();
        loop {
            let reader = cpio::NewcReader::new(file).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            names.push(reader.entry().name().to_owned());
            file = reader.finish().unwrap();
        }
        let expected = [
            "dev",
            "lib",
            "lib/x86",
            "modules",
            "proc",
            "run",
            "sys",
            "tmp",
            "dev/console",
            "lib/x86/ld.so",
        ];
        assert_eq!(names, expected);
    }
}
