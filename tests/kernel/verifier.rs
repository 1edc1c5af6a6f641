//! The work of the kernel's verifier.

use enforcer::kernel::{Kernel, Settings};

/// The kernel rejects a program whose verification takes more than a million instructions, and
/// older kernels take up to twice as many as this one.
const MOST: u32 = 450_000;

#[test]
fn the_programs_stay_well_below_the_verifiers_limit() {
    let kernel = Kernel::load(&Settings::default()).unwrap();
    for (program, verified) in kernel.verified_instructions() {
        println!("{program}: {verified:?} instructions verified");
        assert!(verified.is_none_or(|it| it <= MOST), "{program}: {verified:?}, not {MOST}");
    }
}
