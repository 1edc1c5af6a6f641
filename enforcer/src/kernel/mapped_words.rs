//! An array table that is mapped as a whole, for as long as somebody reads all of it.
#![expect(unsafe_code, reason = "mmap of a BPF array")]

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use aya::maps::MapData;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use super::KernelError;

/// The words of a table. All its pages count as the agent's memory until this is dropped.
pub(super) struct MappedWords {
    start: NonNull<AtomicU64>,
    words: usize,
    length: NonZeroUsize,
}

impl MappedWords {
    /// Maps `words` words of a table, which has at least as many.
    pub(super) fn new(
        name: &'static str,
        map: &MapData,
        words: usize,
    ) -> Result<Self, KernelError> {
        let failed = |source| KernelError::Map { name, source };
        let length = NonZeroUsize::new((words * size_of::<u64>()).next_multiple_of(4096))
            .ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses; it overlaps no other memory.
        let start =
            unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, map.fd().as_fd(), 0) }
                .map_err(|errno| failed(errno.into()))?;
        Ok(Self { start: start.cast(), words, length })
    }

    /// The words.
    pub(super) fn all(&self) -> &[AtomicU64] {
        // SAFETY: `words` words are mapped, aligned to a page, and only accessed atomically.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }
}

impl Drop for MappedWords {
    fn drop(&mut self) {
        // SAFETY: `new` mapped this length; no reference outlives `self`. After a failure, the mapping
        // stays until the process ends.
        let _ = unsafe { munmap(self.start.cast(), self.length.get()) };
    }
}
