//! Puts the object with the eBPF programs where the agent's sources can embed it.
//!
//! The object is made by `cargo xtask build-ebpf`, because it needs another compiler than this
//! crate. Without it the agent still builds (an editor's checks and the pure tests need no
//! kernel): it then embeds nothing, and says so when asked to load the programs.

use std::error::Error;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::{env, fs};

/// Names another object than the workspace's own.
const OVERRIDE: &str = "ENFORCER_EBPF_OBJECT";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed={OVERRIDE}");
    let embedded = PathBuf::from(env::var("OUT_DIR")?).join("enforcer-ebpf.o");
    if let Some(path) = env::var_os(OVERRIDE).filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        println!("cargo::rerun-if-changed={}", path.display());
        fs::copy(&path, &embedded)
            .map_err(|error| format!("{OVERRIDE} names {}: {error}", path.display()))?;
        return Ok(());
    }
    let folder = target()?.join("bpf");
    // The folder is watched, not the file: cargo takes a watched file that is missing for changed
    // each time, and would build the agent anew on every call.
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
    let root = manifest.parent().ok_or("this crate has no workspace around it")?;
    let target = env::var_os("CARGO_TARGET_DIR").filter(|path| !path.is_empty());
    Ok(target.map_or_else(|| root.join("target"), |path| root.join(path)))
}
