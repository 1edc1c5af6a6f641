//! The files of a machine: the programs that `test` builds, and their shared libraries.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::packages::{self, Wanted};
use crate::process;
use crate::test::executables;
use crate::ui::Step;
use crate::unfit::Unfit;
use crate::workspace::{self, Profile};

/// The test programs that run in a machine. The others need no kernel or a complete system.
const TESTS: [&str; 2] = ["kernel", "node"];

/// The test program with the lab's scenarios.
const LAB: [&str; 1] = ["scenarios"];

/// The programs that the scenarios start.
const STARTED: [&str; 2] = ["enforcer-lab", "enforcer"];

/// Their folder in a machine, which the scenarios find in this variable.
pub(super) const STARTED_IN: &str = "ENFORCER_PROGRAMS=/programs";

/// The programs that the lab runs, with their packages.
const TOOLS: [Wanted; 4] = [
    tool("ip", "iproute2"),
    tool("ipset", "ipset"),
    tool("ipvsadm", "ipvsadm"),
    tool("iptables-restore", "iptables"),
];

const fn tool(program: &'static str, package: &'static str) -> Wanted {
    Wanted { program, package, why: "in the machines with the lab" }
}

/// The names of protocols, which ipset looks up.
const PROTOCOLS: &str = "tcp 6 TCP\nudp 17 UDP\nsctp 132 SCTP\n";

/// The program that stands for all of iptables' names, with rules of nf_tables: newer kernels have no
/// others.
const IPTABLES: &str = "/usr/sbin/xtables-nft-multi";

/// The machine's first process, a binary of the same package.
const INIT: &str = "enforcer-vm-init";

/// A file of a machine: its path there, relative to the root, and its path here.
pub(super) type Program = (String, PathBuf);

/// Builds the init and the test programs, and finds their libraries.
///
/// # Errors
/// They don't build, or a library is missing.
pub(super) fn build(root: &Path, lab: bool) -> Result<Vec<Program>> {
    let wanted = if lab { LAB.as_slice() } else { TESTS.as_slice() };
    let tools = if lab { tools()? } else { Vec::new() };
    let step = Step::start("building the machines' test programs");
    let mut command = workspace::cargo(root);
    // With the whole workspace's features, as in `test`: then all of them are built already.
    command.args(["build", "--workspace", "--bin", INIT]);
    command.args(wanted.iter().flat_map(|name| ["--test", name]));
    if lab {
        command.args(STARTED.iter().flat_map(|name| ["--bin", name]));
    }
    let tests: Vec<_> = executables::build(&mut command, &step)?
        .into_iter()
        .filter(|it| wanted.contains(&it.target.as_str()))
        .collect();
    if tests.len() != wanted.len() {
        bail!("cargo built {} test programs instead of {}", tests.len(), wanted.len());
    }
    let mut built: Vec<Program> =
        tests.into_iter().map(|it| (format!("tests/{}", it.target), it.path)).collect();
    let folder = workspace::target(root).join(Profile::Dev.folder());
    built.push(("init".to_owned(), folder.join(INIT)));
    if lab {
        built.extend(STARTED.map(|name| (format!("programs/{name}"), folder.join(name))));
    }

    let stripped = workspace::target(root).join("vm/programs");
    let mut programs = Vec::new();
    let mut libraries = BTreeSet::new();
    for (place, program) in built {
        libraries.extend(libraries_of(&program)?);
        let smaller = stripped.join(&place);
        strip(&program, &smaller)?;
        programs.push((place, smaller));
    }
    for (_, tool) in &tools {
        libraries.extend(libraries_of(tool)?);
    }
    if lab {
        // Loaded by name.
        libraries.extend(extensions()?);
        let protocols = stripped.join("protocols");
        fs::write(&protocols, PROTOCOLS).context("can't write the names of protocols")?;
        programs.push(("etc/protocols".to_owned(), protocols));
    }
    programs.extend(tools);
    programs.extend(libraries.into_iter().map(|it| (place(&it), it)));
    step.done("");
    Ok(programs)
}

/// The place in a machine of a file with the same path as here.
fn place(path: &Path) -> String {
    path.strip_prefix("/").unwrap_or(path).display().to_string()
}

/// The lab's programs, by the names under which it starts them.
fn tools() -> Result<Vec<Program>> {
    let mut tools = Vec::new();
    for wanted in TOOLS {
        let path = packages::obtain(wanted)?;
        tools.push((format!("usr/sbin/{}", wanted.program), path));
    }
    let iptables = Path::new(IPTABLES);
    if !iptables.is_file() {
        return Err(Unfit(format!("there is no {IPTABLES}, as in Debian's iptables")).into());
    }
    tools.pop();
    for name in ["iptables-restore", "ip6tables-restore"] {
        tools.push((format!("usr/sbin/{name}"), iptables.to_owned()));
    }
    Ok(tools)
}

/// The extensions of iptables.
fn extensions() -> Result<Vec<PathBuf>> {
    let folders = fs::read_dir("/usr/lib").context("can't read /usr/lib")?;
    let folders = folders.filter_map(|it| Some(it.ok()?.path().join("xtables")));
    let folder =
        folders.into_iter().find(|it| it.is_dir()).context("iptables has no extensions")?;
    let files =
        fs::read_dir(&folder).with_context(|| format!("can't read {}", folder.display()))?;
    Ok(files.filter_map(|it| Some(it.ok()?.path())).collect())
}

/// Removes debug information, which is most of a program, to save the machine's memory.
fn strip(program: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
    }
    // Another machine's file system may be made of the last one at this moment.
    let part = to.with_extension("part");
    let mut command = Command::new("strip");
    process::output_of(command.arg("--strip-debug").arg("-o").args([part.as_path(), program]))?;
    fs::rename(&part, to).with_context(|| format!("can't write {}", to.display()))
}

/// A program's libraries, and the dynamic linker.
fn libraries_of(program: &Path) -> Result<Vec<PathBuf>> {
    read(&process::output_of(Command::new("ldd").arg(program))?)
        .with_context(|| format!("{} can't run here", program.display()))
}

/// Reads the output of ldd(1): `NAME => PATH (ADDRESS)`, `PATH (ADDRESS)` for the dynamic linker,
/// and `NAME (ADDRESS)` for the kernel's own library.
fn read(output: &str) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for line in output.lines().map(str::trim) {
        if line.ends_with("not found") {
            bail!("a library is missing: {line}");
        }
        let path = line.split_once(" => ").map_or(line, |(_, path)| path);
        let path = path.split_once(" (").map_or(path, |(path, _)| path);
        if path.starts_with('/') {
            paths.push(PathBuf::from(path));
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_those_with_a_path() {
        let output = "\tlinux-vdso.so.1 (0x00007ffd)\n\
                    \tlibgcc_s.so.1 => /lib/x86_64-linux-gnu/libgcc_s.so.1 (0x00007f01)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f02)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f03)\n";
        let expected = [
            "/lib/x86_64-linux-gnu/libgcc_s.so.1",
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(read(output).unwrap(), expected.map(PathBuf::from));
    }

    #[test]
    fn a_static_program_needs_none_and_a_missing_library_is_an_error() {
        assert!(read("\tstatically linked\n").unwrap().is_empty());
        let error = read("\tlibm.so.6 => not found\n").unwrap_err().to_string();
        assert!(error.contains("libm.so.6"), "{error}");
    }
}
