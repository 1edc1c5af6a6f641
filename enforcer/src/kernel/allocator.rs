//! The settings of the C library's allocator.
//!
//! By default each thread gets an arena of its own. Objects of the API are built in some threads and freed in
//! another, which leaves holes in each arena: 18 MiB of them with 10,000 pods.
#![expect(unsafe_code, reason = "mallopt(3)")]

/// The free memory at the end of the arena, in bytes, from which on it is returned to the system.
#[cfg(target_env = "gnu")]
const TRIM: libc::c_int = 128 << 10;

/// Has all threads share one arena. To be called before there are others.
pub fn share_one_arena() {
    #[cfg(target_env = "gnu")]
    for (option, value) in [(libc::M_ARENA_MAX, 1), (libc::M_TRIM_THRESHOLD, TRIM)] {
        // SAFETY: it changes only settings of the allocator, which has its own locks. A refusal costs
        // memory.
        unsafe { libc::mallopt(option, value) };
    }
}
