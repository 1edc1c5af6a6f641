//! Grace periods: waiting until no program uses data that it has read before.
//!
//! The kernel waits for an RCU grace period before an update of a map of maps returns, so that "all
//! programs that could be running use the new map value" (`maybe_wait_bpf_programs` in
//! `kernel/bpf/syscall.c`, since Linux 4.20), and programs on packets run within RCU's read side.
//! `membarrier(2)`'s global barrier is one too, but the kernel refuses it under `nohz_full=`, and
//! skips it on one CPU.
#![expect(unsafe_code, reason = "bpf(2): aya can't create maps of maps without a program")]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::KernelError;
use super::sys::{BPF_MAP_UPDATE_ELEM, Element, MapShape, bpf, create_map};

/// `BPF_MAP_TYPE_ARRAY` and `BPF_MAP_TYPE_ARRAY_OF_MAPS` of `linux/bpf.h`.
const ARRAY: u32 = 2;
const ARRAY_OF_MAPS: u32 = 12;

/// A map of maps that no program uses.
#[derive(Debug)]
pub(super) struct Grace {
    outer: OwnedFd,
    inner: OwnedFd,
}

impl Grace {
    /// Creates it, and waits once to try it.
    pub(super) fn new() -> Result<Self, KernelError> {
        let shape = MapShape { kind: ARRAY, key: 4, value: 4, entries: 1, flags: 0, inner: 0 };
        let inner = create_map(&shape).map_err(KernelError::Grace)?;
        let shape =
            MapShape { kind: ARRAY_OF_MAPS, inner: inner.as_raw_fd().cast_unsigned(), ..shape };
        let outer = create_map(&shape).map_err(KernelError::Grace)?;
        let grace = Self { outer, inner };
        grace.wait()?;
        Ok(grace)
    }

    /// Waits until the programs are done with every packet that they are processing now.
    pub(super) fn wait(&self) -> Result<(), KernelError> {
        self.update().map_err(KernelError::Grace)
    }

    fn update(&self) -> io::Result<()> {
        let (key, value) = (0_u32, self.inner.as_raw_fd().cast_unsigned());
        let attributes = Element {
            map: self.outer.as_raw_fd().cast_unsigned(),
            padding: 0,
            key: (&raw const key) as u64,
            value: (&raw const value) as u64,
            flags: 0,
        };
        // SAFETY: key and value have the sizes that the map was created with and outlive the call.
        unsafe { bpf(BPF_MAP_UPDATE_ELEM, &raw const attributes) }.map(|_| ())
    }
}
