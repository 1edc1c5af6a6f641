//! Facts on the kernel: whether it loads the programs, and which hooks it has.

use anyhow::Context as _;
use enforcer::kernel::{Hooks, Kernel, Place, Settings};

use super::console::mark;
use crate::rig::with_interfaces;

pub(super) fn report() {
    // A panic of the init process would stop the machine before the tests.
    let facts = std::panic::catch_unwind(|| with_interfaces(1, |found| report_on(&found)));
    match facts {
        Ok(Ok(())) => {}
        Ok(Err(error)) => mark("error", &format!("{error:#}")),
        Err(_) => mark("error", "create an interface: see the messages above"),
    }
}

fn report_on(interfaces: &[u32]) -> anyhow::Result<()> {
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
