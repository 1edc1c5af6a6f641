//! bpf(2), for the commands that aya has no functions for.
#![expect(unsafe_code, reason = "bpf(2) has no safe wrapper")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bytemuck::{Pod, Zeroable};

pub(super) const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
pub(super) const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
pub(super) const BPF_MAP_DELETE_ELEM: libc::c_int = 3;
pub(super) const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;
const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_LINK_DETACH: libc::c_int = 34;
const BPF_LINK_TYPE_TCX: u32 = 11;
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

/// The part of `union bpf_attr` for information about a file descriptor.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Query {
    fd: u32,
    length: u32,
    info: u64,
}

/// The part of `union bpf_attr` for detaching a link.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Detach {
    fd: u32,
}

/// The beginning of `struct bpf_link_info`, as it is for TCX.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    padding: u32,
    ifindex: u32,
    attach_type: u32,
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

/// The interface of a pinned TCX link; `None` if it is gone or the link is of another kind.
///
/// # Errors
/// There is no such pin, or the kernel rejects the request.
pub(super) fn interface_of_link(pin: &Path) -> io::Result<Option<u32>> {
    let link = open(pin)?;
    let mut info = LinkInfo::zeroed();
    let query = Query {
        fd: link.as_raw_fd().cast_unsigned(),
        length: u32::try_from(size_of::<LinkInfo>()).map_err(io::Error::other)?,
        info: (&raw mut info) as u64,
    };
    // SAFETY: `info` has `length` bytes and outlives the call.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &raw const query) }?;
    Ok((info.kind == BPF_LINK_TYPE_TCX && info.ifindex != 0).then_some(info.ifindex))
}

/// Detaches the program of a pinned link at once. Closing the link's last pin or descriptor does so
/// only after a while.
///
/// # Errors
/// There is no such pin, or the interface is gone.
pub(super) fn detach_link(pin: &Path) -> io::Result<()> {
    let link = open(pin)?;
    let detach = Detach { fd: link.as_raw_fd().cast_unsigned() };
    // SAFETY: `detach` contains no address.
    unsafe { bpf(BPF_LINK_DETACH, &raw const detach) }.map(|_| ())
}

/// Opens a pin.
fn open(pin: &Path) -> io::Result<OwnedFd> {
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
