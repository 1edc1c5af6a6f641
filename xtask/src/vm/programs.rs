//! The files of a machine: the programs that `test` builds, and their shared libraries.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::test::executables;
use crate::ui::Step;
use crate::workspace::{self, Profile};

/// The test programs that run in a machine. The others need no kernel or a complete system.
const TESTS: [&str; 2] = ["kernel", "node"];

/// The machine's first process, a binary of the same package.
const INIT: &str = "enforcer-vm-init";

/// A file of a machine: its path there, relative to the root, and its path here.
pub(super) type Program = (String, PathBuf);

/// Builds the init and the test programs, and finds their libraries.
///
/// # Errors
/// They don't build, or a library is missing.
pub(super) fn build(root: &Path) -> Result<Vec<Program>> {
    let step = Step::start("building the machines' test programs");
    let mut command = workspace::cargo(root);
    // With the whole workspace's features, as in `test`: then all of them are built already.
    command.args(["test", "--no-run", "--workspace"]);
    command.args(TESTS.iter().flat_map(|name| ["--test", name]));
    let tests = executables::build(&mut command, &step)?;
    if tests.len() != TESTS.len() {
        bail!("cargo built {} test programs instead of {}", tests.len(), TESTS.len());
    }
    let mut built: Vec<Program> =
        tests.into_iter().map(|it| (format!("tests/{}", it.target), it.path)).collect();
    let folder = workspace::target(root).join(Profile::Dev.folder());
    built.push(("init".to_owned(), folder.join(INIT)));

    let stripped = workspace::target(root).join("vm/programs");
    let mut programs = Vec::new();
    let mut libraries = BTreeSet::new();
    for (place, program) in built {
        libraries.extend(libraries_of(&program)?);
        let smaller = stripped.join(&place);
        strip(&program, &smaller)?;
        programs.push((place, smaller));
    }
    let place = |it: &Path| it.strip_prefix("/").unwrap_or(it).display().to_string();
    programs.extend(libraries.into_iter().map(|it| (place(&it), it)));
    step.done("");
    Ok(programs)
}

/// Removes debug information, which is most of a program, to save the machine's memory.
fn strip(program: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
    }
    let mut command = Command::new("strip");
    process::output_of(command.arg("--strip-debug").arg("-o").args([to, program]))?;
    Ok(())
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
