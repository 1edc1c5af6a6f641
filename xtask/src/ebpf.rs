//! `build-ebpf`: compiles the kernel's programs into one object file, which the agent embeds.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use object::build::elf::{Builder, SectionData};
use object::elf;

use crate::process;
use crate::remap;
use crate::toolchain::{self, Toolchain};
use crate::ui::{self, Step};
use crate::workspace;

/// The bpf target for the supported hosts: both are little-endian.
const TARGET: &str = "bpfel-unknown-none";

/// The instruction set. v3 has 32-bit registers and jumps, which shortens the programs. Every
/// kernel from 5.1 on supports it; the agent requires 5.10. (With v3, LLVM 22 miscompiles a
/// *relaxed* atomic add with a used result: the programs have none, their counters are per CPU.)
const CPU: &str = "v3";

/// Compiles the programs and writes the object to the path that `enforcer`'s build script reads.
///
/// # Errors
/// There is no toolchain and none can be installed, or the programs don't compile.
pub(crate) fn build(root: &Path) -> Result<PathBuf> {
    let toolchain = toolchain::obtain()?;
    let linker = toolchain::linker::obtain(root)?;
    let step = Step::start("compiling the eBPF programs");
    let built_in = workspace::target(root).join("bpf-build");
    let mut command = command(root, &toolchain, &linker, &built_in)?;
    let output = process::run_everything(&mut command, &step)?;
    let installed = |name: &str| {
        let object = workspace::target(root).join("bpf").join(name).with_extension("o");
        let built = built_in.join(TARGET).join("release").join(name);
        install(&built, &object).map(|changed| (object, changed))
    };
    let (object, changed) = installed("enforcer-ebpf")?;
    installed("rotate")?;
    step.done(if changed { toolchain.origin.as_str() } else { "nothing changed" });
    for line in warnings(&output) {
        ui::print(line);
    }
    Ok(object)
}

fn command(root: &Path, toolchain: &Toolchain, linker: &Path, built_in: &Path) -> Result<Command> {
    let mut command = workspace::cargo(root);
    toolchain.apply(&mut command);
    command.args(["build", "--package", "enforcer-ebpf", "--bins"]);
    command.args(["--features", "program", "--target", TARGET, "-Z", "build-std=core"]);
    command.arg("--release").arg("--target-dir").arg(built_in);
    if io::stderr().is_terminal() {
        command.args(["--color", "always"]);
    }
    let remapped = remap::flags(root, toolchain.apply(&mut Command::new(&toolchain.rustc)))?;
    command.env("CARGO_ENCODED_RUSTFLAGS", flags(linker, &remapped)).env_remove("RUSTFLAGS");
    // The workspace's profile is for the agent. BTF is made from debug information, and the linker
    // optimises the whole program by itself.
    command.env("CARGO_PROFILE_RELEASE_DEBUG", "2").env("CARGO_PROFILE_RELEASE_STRIP", "none");
    command.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1");
    command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3");
    // One object serves every host, since the programs don't use the host's registers. The bindings
    // would choose by host; a fixed choice gives the same bytes everywhere.
    command.env("AYA_BPF_TARGET_ARCH", "x86_64");
    command.env_remove("CARGO_BUILD_TARGET").env_remove("CARGO_BUILD_RUSTFLAGS");
    Ok(command)
}

/// The compiler's flags, in cargo's encoding, which allows spaces in the linker's path.
fn flags(linker: &Path, remapped: &[String]) -> String {
    let linker = format!("linker={}", linker.display());
    let cpu = format!("target-cpu={CPU}");
    let mut flags = vec!["-C", "debuginfo=2", "-C", &linker, "-C", "link-arg=--btf", "-C", &cpu];
    flags.extend(remapped.iter().map(String::as_str));
    flags.join("\x1f")
}

/// The object without its debugging sections, three quarters of its size. Kernels read the BTF that
/// the linker has made from them.
fn slim(object: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(object)?;
    for section in &mut builder.sections {
        section.delete = [".debug_", ".rel.debug_"]
            .iter()
            .any(|debugging| section.name.starts_with(debugging.as_bytes()));
    }
    // LLVM keeps the sections' names with the symbols' names; the writer needs a section for them.
    if !builder.sections.iter().any(|it| matches!(it.data, SectionData::SectionString)) {
        let names = builder.sections.add();
        names.name = ".shstrtab".into();
        (names.sh_type, names.data) = (elf::SHT_STRTAB, SectionData::SectionString);
    }
    builder.delete_orphan_symbols();
    builder.delete_orphan_relocations();
    let mut slim = Vec::new();
    builder.write(&mut slim)?;
    Ok(slim)
}

/// Copies the object unless it is unchanged: a newer time stamp would cause a build of the agent.
fn install(built: &Path, object: &Path) -> Result<bool> {
    let new = fs::read(built).with_context(|| format!("can't read {}", built.display()))?;
    let new = slim(&new).with_context(|| format!("{} isn't an object file", built.display()))?;
    if fs::read(object).is_ok_and(|old| old == new) {
        return Ok(false);
    }
    let folder = object.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
    let partial = object.with_extension("partial");
    fs::write(&partial, new)
        .and_then(|()| fs::rename(&partial, object))
        .with_context(|| format!("can't write {}", object.display()))?;
    Ok(true)
}

/// The compiler's warnings, which a successful step doesn't show.
fn warnings(output: &[String]) -> &[String] {
    let start = output.iter().position(|line| line.contains("warning") && line.contains(": "));
    start.and_then(|start| output.get(start..)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use object::Endianness;

    use super::*;

    #[test]
    fn a_linker_path_with_spaces_stays_one_flag() {
        let flags =
            flags(Path::new("/a b/bpf-linker"), &["--remap-path-prefix=/c d=/e".to_owned()]);
        assert!(flags.split('\x1f').any(|flag| flag == "linker=/a b/bpf-linker"), "{flags:?}");
    }

    #[test]
    fn warnings_are_shown_from_the_first_on() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let output = lines("   Compiling x\nwarning: unused\n  --> a\n    Finished");
        assert_eq!(warnings(&output).first().map(String::as_str), Some("warning: unused"));
        assert!(warnings(&lines("   Compiling x\n    Finished")).is_empty());
    }

    /// An object with these sections.
    fn object(names: &[&'static str]) -> Vec<u8> {
        let mut builder = Builder::new(Endianness::Little, true);
        builder.header.e_type = elf::ET_REL;
        for name in [".shstrtab"].iter().chain(names) {
            let section = builder.sections.add();
            section.name = name.as_bytes().into();
            (section.sh_type, section.data) = match *name {
                ".shstrtab" => (elf::SHT_STRTAB, SectionData::SectionString),
                _ => (elf::SHT_PROGBITS, SectionData::Data(name.as_bytes().into())),
            };
        }
        let mut object = Vec::new();
        builder.write(&mut object).unwrap();
        object
    }

    #[test]
    fn debugging_sections_are_removed() {
        let object = object(&["classifier", ".debug_info", ".rel.debug_info", ".BTF", ".BTF.ext"]);
        let slim = slim(&object).unwrap();
        let builder = Builder::read(slim.as_slice()).unwrap();
        let names = builder.sections.iter().map(|section| section.name.to_string());
        let names: Vec<_> = names.collect();
        assert_eq!(names, [".shstrtab", "classifier", ".BTF", ".BTF.ext"]);
        assert!(super::slim(b"no object").is_err());
    }

    #[test]
    fn an_unchanged_object_keeps_its_time() {
        let folder = std::env::temp_dir().join(format!("xtask-install-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (built, target) = (folder.join("built"), folder.join("out/object.o"));
        fs::write(&built, object(&["one"])).unwrap();
        assert!(install(&built, &target).unwrap());
        let first = fs::metadata(&target).unwrap().modified().unwrap();
        assert!(!install(&built, &target).unwrap());
        assert_eq!(fs::metadata(&target).unwrap().modified().unwrap(), first);
        fs::write(&built, object(&["two"])).unwrap();
        assert!(install(&built, &target).unwrap());
        assert_eq!(fs::read(&target).unwrap(), slim(&object(&["two"])).unwrap());
        fs::remove_dir_all(&folder).unwrap();
    }
}
