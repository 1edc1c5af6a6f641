//! Array tables mapped into the agent's memory: a write is one aligned store.
#![expect(unsafe_code, reason = "mmap of a BPF array")]

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};

use aya::maps::MapData;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use super::KernelError;

/// An array table, mapped into memory until this is dropped.
#[derive(Debug)]
pub(super) struct MappedArray {
    pub(super) name: &'static str,
    start: NonNull<u64>,
    words: usize,
    /// Keeps the table open.
    _map: MapData,
}

// SAFETY: the memory is shared with the kernel and only accessed atomically.
unsafe impl Send for MappedArray {}
// SAFETY: as above.
unsafe impl Sync for MappedArray {}

impl MappedArray {
    /// Maps all of `map`, whose elements take `size` bytes (a multiple of 8 in the kernel).
    pub(super) fn new(name: &'static str, map: MapData, size: usize) -> Result<Self, KernelError> {
        let failed = |source| KernelError::Map { name, source };
        let info = map.info().map_err(KernelError::table(name))?;
        let words = info.max_entries() as usize * size.next_multiple_of(8) / 8;
        let length = NonZeroUsize::new((words * 8).next_multiple_of(4096))
            .ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses; it overlaps no other memory.
        let start =
            unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, map.fd().as_fd(), 0) }
                .map_err(|errno| failed(errno.into()))?;
        Ok(Self { name, start: start.cast(), words, _map: map })
    }

    /// The table as 64-bit words.
    pub(super) fn u64s(&self) -> &[AtomicU64] {
        // SAFETY: `words` words are mapped, aligned to a page, and only accessed atomically.
        unsafe { std::slice::from_raw_parts(self.start.cast().as_ptr(), self.words) }
    }

    /// The table as 32-bit words.
    pub(super) fn u32s(&self) -> &[AtomicU32] {
        // SAFETY: as above; each 64-bit word has two.
        unsafe { std::slice::from_raw_parts(self.start.cast().as_ptr(), self.words * 2) }
    }

    /// The table as 16-bit words.
    pub(super) fn u16s(&self) -> &[AtomicU16] {
        // SAFETY: as above; each 64-bit word has four.
        unsafe { std::slice::from_raw_parts(self.start.cast().as_ptr(), self.words * 4) }
    }

    /// The error for a write outside of the table.
    pub(super) fn outside(&self, index: usize) -> KernelError {
        KernelError::Outside { name: self.name, index }
    }
}

impl Drop for MappedArray {
    fn drop(&mut self) {
        // SAFETY: `new` mapped this length; no reference outlives `self`. After a failure, the
        // mapping stays until the process ends.
        let _ = unsafe { munmap(self.start.cast(), (self.words * 8).next_multiple_of(4096)) };
    }
}
