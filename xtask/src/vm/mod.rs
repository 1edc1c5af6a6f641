//! `vm-test`: the kernel tests on other kernels, each in a virtual machine.
//!
//! A machine has no disk and no network. Its first file system holds test programs, the libraries
//! and modules they need, and an init that runs them (`tests/src/vm`); its console is the result.

mod archive;
mod console;
mod cpio;
mod machine;
mod modules;
mod outcome;
mod programs;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::cli::{Output, Series, VmTest};
use crate::test::Counts;
use crate::ui::{self, Step};
use crate::unfit::{self, Unfit};
use crate::{ebpf, process, test, workspace};
use archive::Kernel;
use console::Report;
use machine::Qemu;
use outcome::Outcome;
use programs::Program;

/// Boots every chosen kernel and prints how it did.
///
/// # Errors
/// When nothing can be tried; what goes wrong on one kernel is in the result.
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

/// What `ci` runs: the oldest kernel and the newest, and of the tests those that show most of what
/// a kernel can do differently. The rest takes an emulated machine too long.
const BRIEF: [&str; 4] = ["always::a2_", "always::a3_replies", "hostile::p1_cut", "hooks::"];

/// Runs a few tests on the oldest and the newest kernel and says how they did; their counts, and
/// whether all was well.
///
/// # Errors
/// When nothing can be tried.
pub(crate) fn brief(root: &Path) -> Result<(Counts, bool)> {
    let options = VmTest {
        kernels: vec![Series::V5_10, Series::Newest],
        refresh: false,
        packets: 1_000,
        timeout: 300,
        output: Output::Table,
        verbose: false,
        filters: BRIEF.map(str::to_owned).into(),
    };
    let outcomes = outcomes(root, &options)?;
    ui::say(outcome::table(&outcomes));
    let counts = outcomes.iter().map(Outcome::counts).sum();
    Ok((counts, outcomes.iter().all(Outcome::is_success)))
}

fn outcomes(root: &Path, options: &VmTest) -> Result<Vec<Outcome>> {
    check_host()?;
    let qemu = Qemu::obtain()?;
    ebpf::build(root)?;
    let programs = programs::build(root)?;
    let chosen: &[Series] =
        if options.kernels.is_empty() { Series::value_variants() } else { &options.kernels };
    let mut machines = Machines { root, options, programs, qemu, ready: None };
    let mut outcomes = Vec::new();
    for series in chosen {
        let outcome = machines.try_one(*series).unwrap_or_else(|error| {
            unfit::report(&error);
            Outcome::failed(name(*series), &error)
        });
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// Whether machines can be made on this architecture.
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
    Err(Unfit(format!("vm-test needs {}, which Debian and Ubuntu have", missing.join(", "))).into())
}

fn name(series: Series) -> String {
    series.to_possible_value().map(|it| it.get_name().to_owned()).unwrap_or_default()
}

/// What all machines have in common.
struct Machines<'a> {
    root: &'a Path,
    options: &'a VmTest,
    programs: Vec<Program>,
    qemu: PathBuf,
    /// Known once there is a kernel to try it with.
    ready: Option<Qemu>,
}

impl Machines<'_> {
    fn try_one(&mut self, series: Series) -> Result<Outcome> {
        let kernel = archive::obtain(series, self.options.refresh)?;
        let qemu = match self.ready.take() {
            Some(qemu) => qemu,
            None => Qemu::new(self.qemu.clone(), &kernel.image)?,
        };
        let qemu = self.ready.insert(qemu);
        let initramfs = workspace::target(self.root).join("vm/initramfs.cpio");
        write_initramfs(&initramfs, &self.programs, &kernel)?;
        let step = Step::start(format!("kernel {}", name(series)));
        let started = Instant::now();
        let verbose = self.options.verbose;
        let seen = |line: &str| {
            if verbose {
                ui::say(format_args!("      {}", line.trim_end()));
            } else if !line.trim().is_empty() {
                step.detail(line);
            }
        };
        let limit = Duration::from_secs(self.options.timeout);
        let arguments = arguments(self.options);
        let lines = qemu.run(&kernel.image, &initramfs, &arguments, limit, seen);
        let took = started.elapsed();
        let _ = fs::remove_file(&initramfs);
        let lines = lines?;
        let report = Report::read(&lines);
        tell(step, &report, &lines, verbose);
        Ok(Outcome::new(name(series), &report, took))
    }
}

/// What follows the kernel's own arguments: variables for the init's environment, and after `--`
/// its arguments, which it hands to each test program.
fn arguments(options: &VmTest) -> String {
    let mut line = format!("ENFORCER_PACKETS={} -- --test-threads=2", options.packets);
    for filter in &options.filters {
        line.push(' ');
        line.push_str(filter);
    }
    line
}

fn write_initramfs(path: &Path, programs: &[Program], kernel: &Kernel) -> Result<()> {
    let write = || -> Result<()> {
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        let mut archive = cpio::Archive::new(BufWriter::new(File::create(path)?));
        let mut folders = BTreeSet::from(["dev", "modules", "proc", "sys", "tmp"].map(Path::new));
        let above = programs.iter().flat_map(|(place, _)| Path::new(place).ancestors().skip(1));
        folders.extend(above.filter(|it| !it.as_os_str().is_empty()));
        // In order, so that each comes after the one it is in.
        for folder in folders {
            archive.folder(&folder.display().to_string())?;
        }
        // The init's output goes there before it can mount anything.
        archive.device("dev/console", (5, 1))?;
        for module in &kernel.modules {
            archive.program(&format!("modules/{}", module.name), &module.content)?;
        }
        for (name, path) in programs {
            let content =
                fs::read(path).with_context(|| format!("can't read {}", path.display()))?;
            archive.program(name, &content)?;
        }
        archive.finish()?;
        Ok(())
    };
    write().with_context(|| format!("can't write {}", path.display()))
}

/// Ends a machine's step, and shows what went wrong.
fn tell(step: Step, report: &Report, lines: &[String], verbose: bool) {
    let release = report.release.as_deref().unwrap_or("did not boot");
    if report.is_success() {
        step.done(&format!("{release}: {}", report.counts()));
        return;
    }
    drop(step);
    ui::say(format_args!("  {release}: {}", report.counts()));
    for error in &report.errors {
        ui::say(format_args!("      {error}"));
    }
    if verbose {
        return;
    }
    let bad: Vec<_> = report.parts.iter().filter(|part| !part.counts.is_success()).collect();
    for part in &bad {
        ui::say(format_args!("    {}: {}", part.name, part.counts));
        for line in test::failures(&part.lines) {
            ui::say(format_args!("      {line}"));
        }
    }
    if bad.is_empty() {
        for line in lines.iter().rev().take(TAIL).rev() {
            ui::say(format_args!("      {}", line.trim_end()));
        }
    }
}

/// Of a machine that failed outside of any test, how many of the last lines are shown.
const TAIL: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    fn options(filters: &[&str]) -> VmTest {
        VmTest {
            kernels: Vec::new(),
            refresh: false,
            packets: 500,
            timeout: 1,
            output: Output::Table,
            verbose: false,
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
    fn kernels_are_named_as_one_types_them() {
        let names: Vec<_> = Series::value_variants().iter().map(|it| name(*it)).collect();
        assert_eq!(names, ["5.10", "6.1", "6.12", "newest"]);
    }
}
