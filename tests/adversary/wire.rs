//! Raw sockets: senders of frames, and recorders that find marks in all frames that come in.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use enforcer_tests::lab::Namespace;
use memchr::memmem;
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType,
    SockaddrStorage, bind, recvmsg, send, sendto, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};
use nix::{cmsg_space, libc};

use tun_rs::{DeviceBuilder, Layer};

use crate::bytes::{Bytes, Raw};
use crate::crafted::Role;
use crate::marks::{MAGIC, checked};

/// Room for the frames of a batch.
const BUFFER: usize = 256 << 20;
/// More than any frame.
const LONGEST: usize = 70_000;

/// The name of each hostile party's tap device.
pub(crate) const TAP: &str = "tap0";

/// A hostile party's ways into the kernel: a packet socket, a tap device whose frames nftables hands on
/// to the interface, and raw sockets. Only such a device takes large paged packets and those of many
/// segments.
pub(crate) struct Sender {
    socket: OwnedFd,
    tap: tun_rs::SyncDevice,
    raw: RawSockets,
}

impl Sender {
    pub(crate) async fn open(namespace: &Namespace, interface: &'static str) -> Self {
        let open = move || {
            let none: Option<SockProtocol> = None;
            let flags = SockFlag::SOCK_CLOEXEC;
            let socket = socket(AddressFamily::Packet, SockType::Raw, flags, none)?;
            // The only safe source of such an address.
            let of_interface = |it: &nix::ifaddrs::InterfaceAddress| {
                let address = it.address.as_ref()?;
                (it.interface_name == interface).then(|| address.as_link_addr().copied())?
            };
            let address: Option<LinkAddr> = getifaddrs()?.find_map(|it| of_interface(&it));
            bind(socket.as_raw_fd(), &address.ok_or(Errno::ENODEV)?)?;
            let tap = DeviceBuilder::new().name(TAP).layer(Layer::L2).offload(true);
            Ok(Self { socket, tap: tap.build_sync()?, raw: RawSockets::open()? })
        };
        namespace.io("open a packet socket and a tap device", open).await.unwrap()
    }

    /// Sends a frame; `false` if the kernel takes no such frame.
    pub(crate) fn send(&self, bytes: &Bytes) -> bool {
        loop {
            let sent = if let Some(raw) = &bytes.raw {
                self.raw.send(raw, &bytes.frame)
            } else if bytes.offload == [0; 10] {
                let flags = MsgFlags::empty();
                send(self.socket.as_raw_fd(), &bytes.frame, flags).map(drop)
            } else {
                let whole = [&bytes.offload[..], &bytes.frame].concat();
                let result = self.tap.send(&whole).map(drop);
                result.map_err(|it| Errno::from_raw(it.raw_os_error().unwrap_or_default()))
            };
            match sent {
                Ok(()) => return true,
                Err(Errno::ENOBUFS | Errno::EINTR | Errno::EAGAIN) => std::thread::yield_now(),
                Err(Errno::EINVAL | Errno::EMSGSIZE) => return false,
                // Of a raw socket: no such source or destination.
                Err(
                    Errno::EADDRNOTAVAIL
                    | Errno::EACCES
                    | Errno::EPERM
                    | Errno::ENETUNREACH
                    | Errno::EHOSTUNREACH,
                ) if bytes.raw.is_some() => return false,
                Err(error) => panic!("a frame can't be sent: {error}"),
            }
        }
    }
}

/// Raw sockets of both families for TCP and UDP.
struct RawSockets([OwnedFd; 4]);

impl RawSockets {
    fn open() -> io::Result<Self> {
        // The party may send from any address, as root in its namespace.
        for family in ["ipv4", "ipv6"] {
            std::fs::write(format!("/proc/sys/net/{family}/ip_nonlocal_bind"), "1")?;
        }
        let open = |family, protocol| {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            socket(family, SockType::Raw, flags, protocol)
        };
        let (v4, v6) = (AddressFamily::Inet, AddressFamily::Inet6);
        Ok(Self([
            open(v4, SockProtocol::Udp)?,
            open(v4, SockProtocol::Tcp)?,
            open(v6, SockProtocol::Udp)?,
            open(v6, SockProtocol::Tcp)?,
        ]))
    }

    /// Sends the payload of an IP packet in two steps. The kernel allocates a linear part for the first
    /// one only, and appends the second in pages (`__ip_append_data`, `__ip6_append_data`).
    fn send(&self, raw: &Raw, payload: &[u8]) -> nix::Result<()> {
        let socket = &self.0[2 * usize::from(raw.source.is_ipv6()) + usize::from(raw.tcp)];
        let socket = socket.as_raw_fd();
        let address = |it| SockaddrStorage::from(SocketAddr::new(it, 0));
        bind(socket, &address(raw.source))?;
        let (first, rest) = payload.split_at(raw.linear.min(payload.len()));
        let to = address(raw.destination);
        sendto(socket, first, &to, MsgFlags::from_bits_retain(libc::MSG_MORE))?;
        sendto(socket, rest, &to, MsgFlags::empty()).map(drop)
    }
}

/// A frame with marks that came in at a party.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub at: Role,
    /// The marks in it, each once; those of six bytes, too.
    pub marks: Vec<u32>,
    /// Whether it has bytes of the friends' datagrams.
    pub is_of_friends: bool,
    pub frame: Vec<u8>,
}

/// Watches all interfaces of a namespace.
pub(crate) struct Recorder {
    ends: Arc<AtomicBool>,
    /// How often it has found nothing more to read.
    idle: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    pub(crate) async fn start(
        at: Role,
        namespace: &Namespace,
        found: mpsc::Sender<Arrival>,
    ) -> Self {
        let open = || {
            let flags = SockFlag::SOCK_CLOEXEC;
            let all = SockProtocol::EthAll;
            let socket = socket(AddressFamily::Packet, SockType::Raw, flags, all)?;
            setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
            setsockopt(&socket, sockopt::RxqOvfl, &1)?;
            setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(5))?;
            Ok(socket)
        };
        let socket = namespace.io("record frames", open).await.unwrap();
        let ends = Arc::new(AtomicBool::new(false));
        let idle = Arc::new(AtomicU64::new(0));
        let (ended, idles) = (Arc::clone(&ends), Arc::clone(&idle));
        let thread = std::thread::spawn(move || record(at, &socket, &ended, &idles, &found));
        Self { ends, idle, thread: Some(thread) }
    }

    /// How often it has found nothing more to read.
    pub(crate) fn idle(&self) -> u64 {
        assert!(self.thread.as_ref().is_some_and(|it| !it.is_finished()), "a recorder has ended");
        self.idle.load(Ordering::Relaxed)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

fn record(
    at: Role,
    socket: &OwnedFd,
    ends: &AtomicBool,
    idle: &AtomicU64,
    found: &mpsc::Sender<Arrival>,
) {
    let mut buffer = vec![0; LONGEST];
    let mut control = cmsg_space!(u32);
    while !ends.load(Ordering::Relaxed) {
        let mut room = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::empty();
        let received =
            recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut room, Some(&mut control), flags);
        let (length, way) = match &received {
            Ok(it) => {
                let lost = |it| matches!(it, ControlMessageOwned::RxqOvfl(lost) if lost > 0);
                assert!(!it.cmsgs().unwrap().any(lost), "the recorder at {at:?} lost frames");
                (it.bytes, it.address.map(|it| it.pkttype()))
            }
            Err(Errno::EAGAIN) => {
                idle.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            Err(Errno::EINTR | Errno::ENETDOWN) => continue,
            Err(error) => panic!("frames can't be recorded: {error}"),
        };
        if way == Some(libc::PACKET_OUTGOING) {
            continue;
        }
        let frame = &buffer[..length];
        let marks = marks(frame);
        let is_of_friends = find(frame, &crate::friends::MAGIC).next().is_some();
        if marks.is_empty() && !is_of_friends {
            continue;
        }
        let _ = found.send(Arrival { at, marks, is_of_friends, frame: frame.to_vec() });
    }
}

/// The places behind each occurrence.
fn find<'a>(frame: &'a [u8], what: &'a [u8; 4]) -> impl Iterator<Item = usize> + 'a {
    memmem::find_iter(frame, what).map(|at| at + 4)
}

/// All marks in a frame.
fn marks(frame: &[u8]) -> Vec<u32> {
    let number = |bytes: &[u8]| checked(u32::from_be_bytes(bytes.try_into().ok()?));
    let long = find(frame, &MAGIC).filter_map(|at| number(frame.get(at..at + 4)?));
    let mut marks: Vec<u32> = long.collect();
    // Short ones stand where link messages have the sender's hardware address. A frame *to* such an
    // address is a reply.
    if marks.is_empty() && frame.len() <= 128 {
        let short =
            frame.get(6..).unwrap_or_default().windows(6).filter(|it| it[..2] == [0x0e, 0x5f]);
        // The mark 0 is no packet's.
        marks.extend(short.filter_map(|it| number(&it[2..])).filter(|it| *it != 0));
    }
    marks.sort_unstable();
    marks.dedup();
    marks
}
