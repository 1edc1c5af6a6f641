//! TCX links: attaching a program before all others of a hook, and what the hook really has.
//!
//! A link can lose its hook while its descriptor stays valid (`BPF_LINK_DETACH`), and the kernel
//! notifies nobody. So the hook itself is asked (`BPF_PROG_QUERY`), which needs CAP_NET_ADMIN only:
//! it returns the ids of programs and links in the order in which they run.
#![expect(unsafe_code, reason = "bpf(2): aya names interfaces by name, and opens programs by id")]

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use aya::programs::TcAttachType;
use bytemuck::{Pod, Zeroable};

use super::sys::{self, bpf};

const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_LINK_UPDATE: libc::c_int = 29;
const BPF_LINK_GET_FD_BY_ID: libc::c_int = 30;
const BPF_LINK_DETACH: libc::c_int = 34;
const BPF_LINK_TYPE_TCX: u32 = 11;
const BPF_TCX_INGRESS: u32 = 46;
const BPF_TCX_EGRESS: u32 = 47;
/// Before the program or link that is named; before all if none is.
const BPF_F_BEFORE: u32 = 1 << 3;
/// The most programs of one hook (`BPF_MPROG_MAX`).
const MOST: usize = 64;

/// The part of `union bpf_attr` for attaching a link to a hook of an interface.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Create {
    program: u32,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
    relative: u32,
    padding: u32,
    expected_revision: u64,
}

/// The part of `union bpf_attr` for replacing a link's program.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Update {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}

/// The part of `union bpf_attr` for detaching a link.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Detach {
    link: u32,
}

/// The part of `union bpf_attr` for opening an object by its id.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct ById {
    id: u32,
    padding: [u32; 2],
}

/// The part of `union bpf_attr` for information about a file descriptor.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct InfoQuery {
    fd: u32,
    length: u32,
    info: u64,
}

/// The part of `union bpf_attr` for the programs of a hook.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct HookQuery {
    ifindex: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    padding: u32,
    program_flags: u64,
    links: u64,
    link_flags: u64,
    revision: u64,
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

/// A program of a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attached {
    /// The program's id.
    pub(super) program: u32,
    /// The link's id; 0: attached without a link.
    pub(super) link: u32,
}

/// A link to a hook of an interface. Dropping it does not detach it while it is pinned.
#[derive(Debug)]
pub(super) struct TcxLink {
    fd: OwnedFd,
    id: u32,
    pin: Option<PathBuf>,
}

impl TcxLink {
    /// Attaches a program before all others of the hook.
    ///
    /// # Errors
    /// The interface is gone, the kernel has no TCX, or the program is attached there already.
    pub(super) fn attach(
        program: BorrowedFd<'_>,
        ifindex: u32,
        hook: TcAttachType,
    ) -> io::Result<Self> {
        let create = Create {
            program: number(program),
            ifindex,
            attach_type: attach_type(hook)?,
            flags: BPF_F_BEFORE,
            ..Create::zeroed()
        };
        // SAFETY: `create` contains no address.
        let fd = unsafe { bpf(BPF_LINK_CREATE, &raw const create) }?;
        // SAFETY: the kernel has just opened the descriptor for this call.
        Self::new(unsafe { OwnedFd::from_raw_fd(fd) }, None)
    }

    /// Opens the pinned link of an interface; `None` if it leads nowhere or elsewhere.
    ///
    /// # Errors
    /// There is no such pin.
    pub(super) fn open(pin: &Path, ifindex: u32) -> io::Result<Option<Self>> {
        let link = Self::new(sys::open(pin)?, Some(pin.to_owned()))?;
        Ok((link.interface()? == Some(ifindex)).then_some(link))
    }

    /// Opens a link by its id. It has no pin here: dropping it detaches it.
    ///
    /// # Errors
    /// CAP_SYS_ADMIN is missing, or the link is gone.
    pub(super) fn by_id(id: u32) -> io::Result<Self> {
        let open = ById { id, padding: [0; 2] };
        // SAFETY: `open` contains no address.
        let fd = unsafe { bpf(BPF_LINK_GET_FD_BY_ID, &raw const open) }?;
        // SAFETY: the kernel has just opened the descriptor for this call.
        Self::new(unsafe { OwnedFd::from_raw_fd(fd) }, None)
    }

    fn new(fd: OwnedFd, pin: Option<PathBuf>) -> io::Result<Self> {
        let id = info(fd.as_fd())?.id;
        Ok(Self { fd, id, pin })
    }

    /// The interface; `None` if it is gone, the link was detached, or it is of another kind.
    fn interface(&self) -> io::Result<Option<u32>> {
        let info = info(self.fd.as_fd())?;
        Ok((info.kind == BPF_LINK_TYPE_TCX && info.ifindex != 0).then_some(info.ifindex))
    }

    /// The link's id.
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// Replaces the program, at the same place among the others.
    ///
    /// # Errors
    /// The link leads nowhere.
    pub(super) fn replace_program(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        let (link, program) = (number(self.fd.as_fd()), number(program));
        let update = Update { link, program, flags: 0, old_program: 0 };
        // SAFETY: `update` contains no address.
        unsafe { bpf(BPF_LINK_UPDATE, &raw const update) }.map(|_| ())
    }

    /// Pins the link, in place of whatever has the pin.
    ///
    /// # Errors
    /// The folder does not exist, or is not in a BPF file system.
    pub(super) fn pin(&mut self, path: &Path) -> io::Result<()> {
        if path.exists() {
            fs::remove_file(path)?;
        }
        sys::pin(self.fd.as_fd(), path)?;
        self.pin = Some(path.to_owned());
        Ok(())
    }

    /// Moves the pin, in place of whatever has the other path.
    ///
    /// # Errors
    /// There is no pin.
    pub(super) fn move_pin(&mut self, path: &Path) -> io::Result<()> {
        if let Some(pin) = self.pin.replace(path.to_owned()) {
            fs::rename(pin, path)?;
        }
        Ok(())
    }

    /// Whether the link is pinned, as far as known.
    pub(super) fn has_pin(&self) -> bool {
        self.pin.is_some()
    }

    /// Whether the pin is missing.
    pub(super) fn lacks_pin(&self) -> bool {
        self.pin.as_ref().is_some_and(|pin| !pin.exists())
    }

    /// Pins the link again where its pin was.
    ///
    /// # Errors
    /// The folder does not exist, or is not in a BPF file system.
    pub(super) fn restore_pin(&self) -> io::Result<()> {
        self.pin.as_ref().map_or(Ok(()), |pin| sys::pin(self.fd.as_fd(), pin))
    }

    /// Detaches the program at once. Closing a link's last descriptor or removing its last pin may
    /// do so only after a while.
    ///
    /// # Errors
    /// The interface is gone.
    pub(super) fn detach(&self) -> io::Result<()> {
        let detach = Detach { link: number(self.fd.as_fd()) };
        // SAFETY: `detach` contains no address.
        unsafe { bpf(BPF_LINK_DETACH, &raw const detach) }.map(|_| ())
    }

    /// Detaches the program, and removes the pin.
    ///
    /// # Errors
    /// The pin can't be removed.
    pub(super) fn remove(&self) -> io::Result<()> {
        // The interface may be gone, and the attachment with it.
        if let Err(error) = self.detach() {
            tracing::debug!(link = self.id, %error, "cannot detach a link");
        }
        self.pin.as_ref().map_or(Ok(()), fs::remove_file)
    }
}

impl Drop for TcxLink {
    fn drop(&mut self) {
        if self.pin.is_none() {
            // The interface may be gone.
            let _ = self.detach();
        }
    }
}

/// The programs of a hook, in the order in which they run.
///
/// # Errors
/// The interface is gone, or the kernel has no TCX.
pub(super) fn query(ifindex: u32, hook: TcAttachType) -> io::Result<Vec<Attached>> {
    let (mut programs, mut links) = ([0u32; MOST], [0u32; MOST]);
    let mut query = HookQuery {
        ifindex,
        attach_type: attach_type(hook)?,
        programs: programs.as_mut_ptr() as u64,
        links: links.as_mut_ptr() as u64,
        count: u32::try_from(MOST).map_err(io::Error::other)?,
        ..HookQuery::zeroed()
    };
    // SAFETY: the arrays have `count` elements and outlive the call, which writes to `query`.
    unsafe { bpf(BPF_PROG_QUERY, &raw mut query) }?;
    let found = programs.into_iter().zip(links).take(query.count as usize);
    Ok(found.map(|(program, link)| Attached { program, link }).collect())
}

/// Whether the kernel has TCX, as far as an existing interface shows it (Linux 6.6).
pub(super) fn is_supported(ifindex: u32) -> bool {
    let answer = query(ifindex, TcAttachType::Ingress).map_err(|error| error.raw_os_error());
    !matches!(answer, Err(Some(libc::EINVAL | libc::EOPNOTSUPP)))
}

fn info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut info = LinkInfo::zeroed();
    let query = InfoQuery {
        fd: number(link),
        length: u32::try_from(size_of::<LinkInfo>()).map_err(io::Error::other)?,
        info: (&raw mut info) as u64,
    };
    // SAFETY: `info` has `length` bytes and outlives the call.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &raw const query) }?;
    Ok(info)
}

fn attach_type(hook: TcAttachType) -> io::Result<u32> {
    match hook {
        TcAttachType::Ingress => Ok(BPF_TCX_INGRESS),
        TcAttachType::Egress => Ok(BPF_TCX_EGRESS),
        TcAttachType::Custom(_) => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}
