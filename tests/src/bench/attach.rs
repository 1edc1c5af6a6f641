//! The time until interfaces have their programs.

use std::time::{Duration, Instant};

use enforcer::kernel::{Hooks, Kernel, Place, Settings};
use serde::Serialize;

use crate::rig::with_interfaces;

/// The numbers of interfaces.
const COUNTS: [u32; 3] = [1, 60, 250];

/// The time to attach to all of some interfaces.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Attached {
    /// How programs are attached.
    pub by: &'static str,
    /// Interfaces that got both programs, one after the other.
    pub interfaces: u32,
    /// From the first attachment until the last interface had its programs.
    pub total_ms: f64,
    /// The longest attachment of one interface.
    pub longest_ms: f64,
}

/// Measures with each number of interfaces, by TCX and by clsact.
pub(super) fn measure() -> anyhow::Result<Vec<Attached>> {
    let mut rows = Vec::new();
    for count in COUNTS {
        for by in ["tcx", "clsact", "clsact, then tcx"] {
            let attach = |found: Vec<u32>| {
                let mut kernel = Kernel::load(&Settings::default())?;
                let hooks = Hooks::default();
                let mut hooks = if by == "clsact" { hooks.without_tcx() } else { hooks };
                hooks.hurry(by == "clsact, then tcx");
                attach(&mut kernel, &mut hooks, &found)
            };
            let (total, longest) = with_interfaces(count, attach)?;
            let [total_ms, longest_ms] = [total, longest].map(|it| it.as_secs_f64() * 1000.0);
            rows.push(Attached { by, interfaces: count, total_ms, longest_ms });
        }
    }
    Ok(rows)
}

fn attach(
    kernel: &mut Kernel,
    hooks: &mut Hooks,
    interfaces: &[u32],
) -> anyhow::Result<(Duration, Duration)> {
    let (started_at, mut longest) = (Instant::now(), Duration::ZERO);
    for (number, ifindex) in interfaces.iter().enumerate() {
        let one = Instant::now();
        hooks.attach(kernel, *ifindex, &format!("pod{number}"), Place::Pod)?;
        longest = longest.max(one.elapsed());
    }
    Ok((started_at.elapsed(), longest))
}
