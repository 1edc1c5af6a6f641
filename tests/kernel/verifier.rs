//! The work of the kernel's verifier.

use enforcer::kernel::{Kernel, Settings};

/// The kernel rejects a program whose verification takes more than a million instructions.
const MOST: u32 = 450_000;

/// The same for kernels before 6.12, which take up to twice as many: 6.1 most.
const MOST_OLDER: u32 = 900_000;

#[test]
fn the_programs_stay_well_below_the_verifiers_limit() {
    let kernel = Kernel::load(&Settings::default()).unwrap();
    let most = if release() < (6, 12) { MOST_OLDER } else { MOST };
    for (program, verified) in kernel.verified_instructions() {
        println!("{program}: {verified:?} instructions verified");
        assert!(verified.is_none_or(|it| it <= most), "{program}: {verified:?}, not {most}");
    }
}

/// The running kernel's version (uname(2)).
fn release() -> (u32, u32) {
    let uname = nix::sys::utsname::uname().unwrap();
    let release = uname.release().to_str().unwrap();
    let mut numbers = release.split(['.', '-']).map_while(|it| it.parse().ok());
    (numbers.next().unwrap(), numbers.next().unwrap())
}
