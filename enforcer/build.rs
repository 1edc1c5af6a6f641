//! Copies the object with the eBPF programs to the place where the agent's sources embed it.
//!
//! `cargo xtask build-ebpf` makes the object, because it needs another compiler than this crate.
//! Without the object the agent still builds, for editors and for tests that need no kernel. It
//! then embeds nothing, and loading the programs is an error.

use std::error::Error;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::{env, fs};

/// The environment variable with the path of another object than the workspace's own.
const OVERRIDE: &str = "ENFORCER_EBPF_OBJECT";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed={OVERRIDE}");
    let embedded = PathBuf::from(env::var("OUT_DIR")?).join("enforcer-ebpf.o");
    if let Some(path) = env::var_os(OVERRIDE).filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        println!("cargo::rerun-if-changed={}", path.display());
        fs::copy(&path, &embedded)
            .map_err(|error| format!("cannot copy {OVERRIDE}={}: {error}", path.display()))?;
        return Ok(());
    }
    let folder = target()?.join("bpf");
    // The folder is watched, not the file: cargo treats a missing file as changed, and would
    // rebuild the agent on every call.
    fs::create_dir_all(&folder)?;
    println!("cargo::rerun-if-changed={}", folder.display());
    match fs::read(folder.join("enforcer-ebpf.o")) {
        Ok(object) => fs::write(&embedded, object)?,
        Err(error) if error.kind() == ErrorKind::NotFound => fs::write(&embedded, [])?,
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// The workspace's target folder.
fn target() -> Result<PathBuf, Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed=CARGO_TARGET_DIR");
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let root = manifest.parent().ok_or("this crate is not in a workspace")?;
    let target = env::var_os("CARGO_TARGET_DIR").filter(|path| !path.is_empty());
    Ok(target.map_or_else(|| root.join("target"), |path| root.join(path)))
}
