//! What this kernel does with the programs: whether they load, and where they can be attached.

use anyhow::Context as _;
use enforcer::kernel::{Hooks, Kernel, Place, Settings};

use super::console::mark;
use crate::rig::with_interfaces;

/// Says all of it on the console.
pub(super) fn tell() {
    // An init that panics takes the machine down with it, and the tests could not run.
    let facts = std::panic::catch_unwind(|| with_interfaces(1, |found| tell_of(&found)));
    match facts {
        Ok(Ok(())) => {}
        Ok(Err(error)) => mark("error", &format!("{error:#}")),
        Err(_) => mark("error", "no interface can be made; the reason is above"),
    }
}

fn tell_of(interfaces: &[u32]) -> anyhow::Result<()> {
    let mut kernel = Kernel::load(&Settings::default())?;
    mark("loaded", "");
    for (name, instructions) in kernel.verified_instructions() {
        let instructions = instructions.map_or_else(|| "-".to_owned(), |it| it.to_string());
        mark("verified", &format!("{name} {instructions}"));
    }
    let mut hooks = Hooks::default();
    let ifindex = *interfaces.first().context("no interface")?;
    hooks.attach(&mut kernel, ifindex, "pod0", Place::Pod)?;
    mark("hook", if hooks.uses_tcx() { "tcx" } else { "clsact" });
    Ok(())
}
