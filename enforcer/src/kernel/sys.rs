//! bpf(2), for the commands that aya has no functions for.
#![expect(unsafe_code, reason = "bpf(2) has no safe wrapper")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bytemuck::{Pod, Zeroable};

pub(super) const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
pub(super) const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;
const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_MAP_GET_NEXT_ID: libc::c_int = 12;
/// The flag of an update that leaves an existing element unchanged.
pub(super) const BPF_NOEXIST: u64 = 1;

/// The part of `union bpf_attr` for one element (`linux/bpf.h`).
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct Element {
    pub(super) map: u32,
    pub(super) padding: u32,
    pub(super) key: u64,
    pub(super) value: u64,
    pub(super) flags: u64,
}

/// The part of `union bpf_attr` for a batch of elements.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct Batch {
    pub(super) position: u64,
    pub(super) next: u64,
    pub(super) keys: u64,
    pub(super) values: u64,
    pub(super) count: u32,
    pub(super) map: u32,
    pub(super) element_flags: u64,
    pub(super) flags: u64,
}

/// The part of `union bpf_attr` for a new map.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct MapShape {
    pub(super) kind: u32,
    pub(super) key: u32,
    pub(super) value: u32,
    pub(super) entries: u32,
    pub(super) flags: u32,
    /// The descriptor of a map like those that a map of maps has.
    pub(super) inner: u32,
}

/// The part of `union bpf_attr` for pins.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Pinned {
    path: u64,
    fd: u32,
    flags: u32,
}

/// The part of `union bpf_attr` for ids.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Ids {
    start: u32,
    next: u32,
    flags: u32,
}

/// The ids of all maps, in order. They are not opened: a table of programs that is opened and closed twice while
/// the kernel empties it is never freed (`prog_array_map_clear` in `kernel/bpf/arraymap.c` takes a reference
/// for each time, and gives one back).
pub fn map_ids() -> impl Iterator<Item = u32> {
    std::iter::successors(next_map_id(0), |id| next_map_id(*id))
}

fn next_map_id(start: u32) -> Option<u32> {
    let mut ids = Ids { start, next: 0, flags: 0 };
    // SAFETY: `ids` contains no address; the kernel writes `next`.
    unsafe { bpf(BPF_MAP_GET_NEXT_ID, (&raw mut ids).cast_const()) }.ok()?;
    // SAFETY: a value of this function's. Volatile: the compiler did not see the kernel write it.
    Some(unsafe { std::ptr::read_volatile(&raw const ids.next) })
}

/// Creates a map.
///
/// # Errors
/// The kernel rejects it.
pub(super) fn create_map(shape: &MapShape) -> io::Result<OwnedFd> {
    // SAFETY: `shape` contains no address.
    let fd = unsafe { bpf(BPF_MAP_CREATE, &raw const *shape) }?;
    // SAFETY: the kernel has just opened the descriptor for this call.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Pins an object.
///
/// # Errors
/// There is a file at the path, or its folder is not in a BPF file system.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let fd = object.as_raw_fd().cast_unsigned();
    let pinned = Pinned { path: path.as_ptr() as u64, fd, flags: 0 };
    // SAFETY: the path ends in a zero and outlives the call.
    unsafe { bpf(BPF_OBJ_PIN, &raw const pinned) }.map(|_| ())
}

/// Opens a pinned object.
///
/// # Errors
/// There is no such pin.
pub(super) fn open(pin: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let pinned = Pinned { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    // SAFETY: the path ends in a zero and outlives the call.
    let fd = unsafe { bpf(BPF_OBJ_GET, &raw const pinned) }?;
    // SAFETY: the kernel has just opened the descriptor for this call.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// bpf(2).
///
/// # Safety
/// The addresses in `attributes` are valid for the accesses of `command`.
pub(super) unsafe fn bpf<T: Pod>(
    command: libc::c_int,
    attributes: *const T,
) -> io::Result<libc::c_int> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes; the caller vouches for addresses in them.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    libc::c_int::try_from(result).map_err(io::Error::other)
}
