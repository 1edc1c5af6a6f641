//! What the kernel's verifier has to look at.

use enforcer::kernel::{Kernel, Settings};

/// The kernel refuses a program for which it must look at more than a million instructions, and
/// older ones look at up to twice as many as this one.
const MOST: u32 = 450_000;

#[test]
fn the_programs_stay_well_below_the_verifiers_limit() {
    let kernel = Kernel::load(&Settings::default()).unwrap();
    for (program, verified) in kernel.verified_instructions() {
        println!("{program}: {verified:?} instructions verified");
        assert!(verified.is_none_or(|it| it <= MOST), "{program}: {verified:?}, not {MOST}");
    }
}
