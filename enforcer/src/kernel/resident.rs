//! Memory that the start needed, and nothing after it.
#![expect(unsafe_code, reason = "madvise(2), malloc_trim(3)")]

use std::fs;
use std::ops::Range;

/// Gives back what only the start needed: free memory between objects in use, and the program's own code
/// that the start has run. Code that is needed again comes from the page cache.
pub fn release_start_up_memory() {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let program = fs::read_link("/proc/self/exe").unwrap_or_default();
    for Range { start, end } in code(&maps, &program.to_string_lossy()) {
        // SAFETY: a file's pages that can't be written, neither now nor by relocations: dropping them changes
        // no contents. A refusal costs memory.
        unsafe {
            libc::madvise(std::ptr::without_provenance_mut(start), end - start, libc::MADV_DONTNEED)
        };
    }
    #[cfg(target_env = "gnu")]
    // SAFETY: the allocator has its own locks, and frees nothing that is in use.
    unsafe {
        libc::malloc_trim(0)
    };
}

/// The addresses of a program's code in `/proc/PID/maps` (proc_pid_maps(5)): executable, readable, private.
fn code(maps: &str, program: &str) -> Vec<Range<usize>> {
    let range = |line: &str| {
        let mut fields = line.splitn(6, ' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let is_code = fields.next() == Some("r-xp");
        let is_own = fields.nth(3)?.trim_start() == program;
        let number = |text| usize::from_str_radix(text, 16).ok();
        (is_code && is_own && !program.is_empty()).then_some(number(start)?..number(end)?)
    };
    maps.lines().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_programs_own_code_is_given_back() {
        let maps = "\
55d1c0a00000-55d1c15db000 r--p 00000000 fe:00 393 /usr/bin/an agent
55d1c15db000-55d1c2e9f000 r-xp 00bdb000 fe:00 393                        /usr/bin/an agent
55d1c2e9f000-55d1c2f60000 r--p 0249e000 fe:00 393                        /usr/bin/an agent
55d1c2f60000-55d1c2f71000 rw-p 0255f000 fe:00 393                        /usr/bin/an agent
7f0000000000-7f0000100000 r-xp 00000000 fe:00 17                         /usr/lib/libc.so.6
7f0000200000-7f0000300000 rwxp 00000000 fe:00 393                        /usr/bin/an agent
7ffc1e1f6000-7ffc1e1f8000 r-xp 00000000 00:00 0                          [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0
";
        assert_eq!(code(maps, "/usr/bin/an agent"), [0x55d1_c15d_b000..0x55d1_c2e9_f000]);
        assert!(code(maps, "").is_empty());
        assert!(code(maps, "/usr/bin/another").is_empty());
    }

    #[test]
    fn the_program_still_works() {
        let own = std::env::current_exe().unwrap();
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        assert!(!code(&maps, &own.to_string_lossy()).is_empty());
        let text = "kept".repeat(10_000);
        release_start_up_memory();
        assert_eq!(text.len(), 40_000);
    }
}
