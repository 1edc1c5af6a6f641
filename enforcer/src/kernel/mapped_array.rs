//! Array tables mapped into the agent's memory: a write is one aligned store.
//!
//! The kernel makes all pages of a mapping resident at once (`remap_vmalloc_range` in
//! `kernel/bpf/arraymap.c`), and tables are sized for the worst case. So only the parts that were written
//! are mapped, into a reserved range of addresses.
#![expect(unsafe_code, reason = "mmap of a BPF array")]

use std::cell::RefCell;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};

use aya::maps::MapData;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

use super::KernelError;

/// The bytes that are mapped at once.
const WINDOW: usize = 64 << 10;
/// The kernel's pages: a table's last window ends at one.
const PAGE: usize = 4096;

/// An array table, mapped into memory until this is dropped.
#[derive(Debug)]
pub(super) struct MappedArray {
    pub(super) name: &'static str,
    start: NonNull<u8>,
    bytes: usize,
    /// Which windows are mapped.
    windows: RefCell<Vec<bool>>,
    map: MapData,
}

// SAFETY: the memory is shared with the kernel and only accessed atomically.
unsafe impl Send for MappedArray {}

impl MappedArray {
    /// Reserves addresses for all of `map`, whose elements take `size` bytes (a multiple of 8 in the
    /// kernel).
    pub(super) fn new(name: &'static str, map: MapData, size: usize) -> Result<Self, KernelError> {
        let failed = |source| KernelError::Map { name, source };
        let info = map.info().map_err(KernelError::table(name))?;
        let bytes = info.max_entries() as usize * size.next_multiple_of(8);
        let length = NonZeroUsize::new(bytes.next_multiple_of(PAGE))
            .ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
        // SAFETY: a new mapping at an address that the kernel chooses; it overlaps no other memory, and
        // nothing can be read or written there.
        let start = unsafe { mmap_anonymous(None, length, ProtFlags::PROT_NONE, flags) }
            .map_err(|errno| failed(errno.into()))?;
        let windows = RefCell::new(vec![false; bytes.div_ceil(WINDOW)]);
        let array = Self { name, start: start.cast(), bytes, windows, map };
        // A table that can't be mapped is noticed before anything is written.
        array.map_window(0)?;
        Ok(array)
    }

    /// The number of 64-bit words.
    pub(super) fn words(&self) -> usize {
        self.bytes / size_of::<u64>()
    }

    /// A 64-bit word of the table.
    pub(super) fn u64(&self, index: usize) -> Result<&AtomicU64, KernelError> {
        // SAFETY: there is an aligned word of this size, which is only accessed atomically.
        Ok(unsafe { self.word(index, size_of::<u64>())?.cast().as_ref() })
    }

    /// A 32-bit word of the table.
    pub(super) fn u32(&self, index: usize) -> Result<&AtomicU32, KernelError> {
        // SAFETY: as above.
        Ok(unsafe { self.word(index, size_of::<u32>())?.cast().as_ref() })
    }

    /// A 16-bit word of the table.
    pub(super) fn u16(&self, index: usize) -> Result<&AtomicU16, KernelError> {
        // SAFETY: as above.
        Ok(unsafe { self.word(index, size_of::<u16>())?.cast().as_ref() })
    }

    /// The address of a word, whose window is mapped.
    fn word(&self, index: usize, size: usize) -> Result<NonNull<u8>, KernelError> {
        let outside = || KernelError::Outside { name: self.name, index };
        let at = index.checked_mul(size).ok_or_else(outside)?;
        if at.checked_add(size).is_none_or(|end| end > self.bytes) {
            return Err(outside());
        }
        let window = at / WINDOW;
        if self.windows.borrow().get(window) == Some(&false) {
            self.map_window(window)?;
        }
        // SAFETY: `at` is within the reserved range.
        Ok(unsafe { self.start.add(at) })
    }

    fn map_window(&self, window: usize) -> Result<(), KernelError> {
        let failed = |source| KernelError::Map { name: self.name, source };
        let offset = window * WINDOW;
        let length = WINDOW.min(self.bytes.next_multiple_of(PAGE) - offset);
        // SAFETY: `offset` is within the reserved range.
        let address = NonZeroUsize::new(unsafe { self.start.add(offset) }.as_ptr() as usize);
        let length =
            NonZeroUsize::new(length).ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_FIXED;
        let offset = i64::try_from(offset).map_err(|error| failed(io::Error::other(error)))?;
        // SAFETY: it replaces a part of the reserved range that nothing refers to yet.
        unsafe { mmap(address, length, access, flags, self.map.fd().as_fd(), offset) }
            .map_err(|errno| failed(errno.into()))?;
        if let Some(is_mapped) = self.windows.borrow_mut().get_mut(window) {
            *is_mapped = true;
        }
        Ok(())
    }
}

impl Drop for MappedArray {
    fn drop(&mut self) {
        // SAFETY: `new` reserved this length; no reference outlives `self`. After a failure, the
        // mapping stays until the process ends.
        let _ = unsafe { munmap(self.start.cast(), self.bytes.next_multiple_of(PAGE)) };
    }
}
