//! Reading packets: Ethernet with VLAN tags, IPv4 with options, IPv6 with extension headers,
//! and the first bytes of what they carry (semantics P1, P2, P6).
//!
//! Nothing is guessed: a header that is truncated or contradicts itself is a [`Malformed`] packet.
//! Runs in the kernel, where the verifier proves every access, and on the host, in tests.

use crate::table::Address6;

/// IP protocol numbers (IANA).
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMPv6.
    pub const ICMP6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const DESTINATION: u8 = 60;
    pub(super) const MOBILITY: u8 = 135;
    pub(super) const HIP: u8 = 139;
    pub(super) const SHIM6: u8 = 140;
}

/// Ether types (IEEE 802).
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    pub(super) const VLAN: u16 = 0x8100;
    pub(super) const SERVICE_VLAN: u16 = 0x88a8;
}

/// The most VLAN tags in front of an IP header that are read.
const VLAN_TAGS: usize = 2;
/// The most IPv6 extension headers that are read (semantics P1).
const EXTENSION_HEADERS: usize = 8;
/// No header begins further into the packet than this (keeps offsets provably small).
const FARTHEST: usize = 0x4000;

/// A header that can't be read or contradicts itself (semantics P1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// What a packet can be to a flow.
pub mod role {
    /// It may be the first packet of a flow.
    pub const BEGINS: u8 = 1 << 0;
    /// It may answer a flow that the other end began.
    pub const ANSWERS: u8 = 1 << 1;
    /// It can only be a first packet: a TCP SYN without ACK.
    pub const OPENS: u8 = 1 << 2;
    /// It is an ICMP error, and quotes the packet that it is about.
    pub const ERROR: u8 = 1 << 3;
    /// It is a later fragment: no ports to be seen.
    pub const FRAGMENT: u8 = 1 << 4;
    /// It is the first of several fragments.
    pub const FIRST_FRAGMENT: u8 = 1 << 5;
}

/// What policy and flows need to know of a packet. `A` is `u32` or [`Address6`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<A> {
    /// Source address as a number.
    pub source: A,
    /// Destination address as a number.
    pub destination: A,
    /// Where the transport header begins, in bytes from the frame's start.
    pub transport: usize,
    /// Source port; for ICMP the identifier that queries and their answers share, else 0.
    pub source_port: u16,
    /// Destination port; for ICMP the kind of query that its request and its answer share, else 0.
    pub destination_port: u16,
    /// What the fragments of one packet share; means nothing for whole packets.
    pub identification: u32,
    /// The protocol that IP carries.
    pub protocol: u8,
    /// The bits of [`role`].
    pub role: u8,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// ICMP type; 0 for others.
    pub icmp_type: u8,
    /// ICMP code; 0 for others.
    pub icmp_code: u8,
}

/// A frame's bytes, wherever they are.
pub trait Bytes {
    /// The `N` bytes at `offset`, if the frame has them all.
    fn view<const N: usize>(&self, offset: usize) -> Option<View<'_, N>>;

    /// The same offset. In the kernel, the verifier forgets how it came about: after a loop it
    /// then proves what follows once, and not once for every number of rounds.
    #[inline(always)]
    fn settle(&self, offset: usize) -> usize {
        offset
    }
}

impl Bytes for [u8] {
    fn view<const N: usize>(&self, offset: usize) -> Option<View<'_, N>> {
        self.get(offset..)?.first_chunk().map(View)
    }
}

/// `N` bytes of a frame, read as big-endian numbers. Offsets beyond `N` are programming errors.
#[derive(Clone, Copy)]
pub struct View<'a, const N: usize>(pub &'a [u8; N]);

macro_rules! read {
    ($name:ident, $number:ty) => {
        #[doc = concat!("The big-endian `", stringify!($number), "` at `offset`.")]
        #[inline(always)]
        #[must_use]
        pub fn $name(&self, offset: usize) -> $number {
            #[cfg(target_arch = "bpf")]
            {
                // SAFETY: every caller's offset is a constant that leaves room before `N`. Headers are as
                // aligned as the kernel itself assumes (NET_IP_ALIGN); one load, not one for each byte.
                #[expect(unsafe_code, reason = "packet bytes are read in place")]
                unsafe {
                    <$number>::from_be(*self.0.as_ptr().add(offset).cast::<$number>())
                }
            }
            #[cfg(not(target_arch = "bpf"))]
            {
                const SIZE: usize = size_of::<$number>();
                let mut bytes = [0; SIZE];
                bytes.copy_from_slice(&self.0[offset..offset + SIZE]);
                <$number>::from_be_bytes(bytes)
            }
        }
    };
}

impl<const N: usize> View<'_, N> {
    read!(u16, u16);
    read!(u32, u32);
    read!(u64, u64);

    /// The byte at `offset`.
    #[inline(always)]
    #[must_use]
    pub fn u8(&self, offset: usize) -> u8 {
        self.0[offset]
    }
}

/// The ether type behind any VLAN tags, and where its payload begins (semantics P6).
///
/// # Errors
/// The frame is too short, or has more tags than anybody uses.
#[inline(always)]
pub fn ethernet<B: Bytes + ?Sized>(bytes: &B) -> Result<(u16, usize), Malformed> {
    let mut kind = bytes.view::<14>(0).ok_or(Malformed)?.u16(12);
    if kind != ethertype::VLAN && kind != ethertype::SERVICE_VLAN {
        return Ok((kind, 14));
    }
    let mut offset = 14;
    for _ in 0..VLAN_TAGS {
        if kind != ethertype::VLAN && kind != ethertype::SERVICE_VLAN {
            break;
        }
        kind = bytes.view::<4>(offset).ok_or(Malformed)?.u16(2);
        offset += 4;
    }
    if kind == ethertype::VLAN || kind == ethertype::SERVICE_VLAN {
        return Err(Malformed);
    }
    Ok((kind, bounded(bytes, offset).ok_or(Malformed)?))
}

/// An offset that isn't absurd, to be made a pointer of at once: the verifier of kernels before
/// 5.12 forgets the bounds of a number that the compiler puts on the stack. It knows those of a
/// pointer there.
#[inline(always)]
fn bounded<B: Bytes + ?Sized>(bytes: &B, offset: usize) -> Option<usize> {
    let offset = bytes.settle(offset);
    if offset > FARTHEST { None } else { Some(offset) }
}

/// Reads an IPv4 packet (RFC 791) whose header begins at `start`.
///
/// # Errors
/// A header is truncated or contradicts itself.
#[inline(always)]
pub fn ipv4<B: Bytes + ?Sized>(bytes: &B, start: usize) -> Result<Packet<u32>, Malformed> {
    let header = bytes.view::<20>(start).ok_or(Malformed)?;
    let length = ((header.u8(0) & 15) as usize) << 2;
    let total = header.u16(2) as usize;
    // A total of 0 is what segments beyond 64 KiB carry inside the kernel.
    if header.u8(0) >> 4 != 4 || length < 20 || (total != 0 && total < length) {
        return Err(Malformed);
    }
    let fragment = header.u16(6) & 0x3fff;
    let mut packet = Packet {
        source: header.u32(12),
        destination: header.u32(16),
        transport: start + length,
        source_port: 0,
        destination_port: 0,
        identification: u32::from(header.u16(4)),
        protocol: header.u8(9),
        role: 0,
        hop_limit: header.u8(8),
        icmp_type: 0,
        icmp_code: 0,
    };
    if fragment & 0x1fff != 0 {
        packet.role = role::FRAGMENT;
        return whole_headers(packet, fragment & 0x1fff);
    }
    let room = if total == 0 { usize::MAX } else { total - length };
    transport(bytes, &mut packet, room)?;
    packet.role |= first_fragment(fragment >> 13);
    Ok(packet)
}

/// Reads an IPv6 packet (RFC 8200) whose header begins at `start`.
///
/// # Errors
/// A header is truncated or contradicts itself, or there are more than 8 extension headers.
#[inline(always)]
pub fn ipv6<B: Bytes + ?Sized>(bytes: &B, start: usize) -> Result<Packet<Address6>, Malformed> {
    let header = bytes.view::<40>(start).ok_or(Malformed)?;
    if header.u8(0) >> 4 != 6 {
        return Err(Malformed);
    }
    let payload = header.u16(4) as usize;
    let mut packet = Packet {
        source: [header.u64(8), header.u64(16)],
        destination: [header.u64(24), header.u64(32)],
        transport: start + 40,
        source_port: 0,
        destination_port: 0,
        identification: 0,
        protocol: header.u8(6),
        role: 0,
        hop_limit: header.u8(7),
        icmp_type: 0,
        icmp_code: 0,
    };
    let mut piece = 0;
    if is_extension(packet.protocol) {
        piece = extensions(bytes, &mut packet)?;
        if piece & !MORE_FRAGMENTS != 0 {
            packet.role = role::FRAGMENT;
            return whole_headers(packet, piece >> 3);
        }
    }
    // A payload of 0 is a jumbogram's, or a segment beyond 64 KiB inside the kernel.
    let end = start + 40 + payload;
    if payload != 0 && end < packet.transport {
        return Err(Malformed);
    }
    let room = if payload == 0 { usize::MAX } else { end - packet.transport };
    transport(bytes, &mut packet, room)?;
    packet.role |= first_fragment(piece);
    Ok(packet)
}

/// The role of a packet with the flag for more fragments as its lowest bit. Arithmetic, because
/// the verifier would follow both branches of a decision to the program's end.
#[inline(always)]
fn first_fragment(flag: u16) -> u8 {
    (flag & MORE_FRAGMENTS) as u8 * role::FIRST_FRAGMENT
}

/// Refuses a later fragment that would lie over the flags of the TCP header that the first one
/// must show (RFC 1858, RFC 3128). `offset`: in units of 8 bytes.
#[inline(always)]
fn whole_headers<A>(packet: Packet<A>, offset: u16) -> Result<Packet<A>, Malformed> {
    if packet.protocol == protocol::TCP && offset == 1 { Err(Malformed) } else { Ok(packet) }
}

/// The flag beside the offset in a fragment header (RFC 8200).
const MORE_FRAGMENTS: u16 = 1;
/// The bits between offset and flag.
const RESERVED: u16 = 6;

/// Whether a header follows that is not yet the transport's.
#[inline(always)]
fn is_extension(next: u8) -> bool {
    EXTENSIONS[next as usize] != 0
}

/// A header of the chain; the low bits are the factor of its length byte.
const EXTENSION: u8 = 0x80;
/// By next-header number: 0 for what is no extension header, else [`EXTENSION`] and the bytes
/// that one unit of the header's length stands for, beyond its first 8 (RFC 8200; RFC 4302 for
/// the authentication header; a fragment header has no length). A table, because the verifier
/// would follow each branch of a decision separately, in every round of the loop.
static EXTENSIONS: [u8; 256] = {
    let mut table = [0; 256];
    table[protocol::HOP_BY_HOP as usize] = EXTENSION | 8;
    table[protocol::ROUTING as usize] = EXTENSION | 8;
    table[protocol::FRAGMENT as usize] = EXTENSION;
    table[protocol::AUTHENTICATION as usize] = EXTENSION | 4;
    table[protocol::DESTINATION as usize] = EXTENSION | 8;
    table[protocol::MOBILITY as usize] = EXTENSION | 8;
    table[protocol::HIP as usize] = EXTENSION | 8;
    table[protocol::SHIM6 as usize] = EXTENSION | 8;
    table
};

/// Walks the extension headers; gives offset and flag of a fragment header, 0 for whole packets.
/// A later fragment has no transport header: the walk ends there.
#[inline(always)]
fn extensions<B: Bytes + ?Sized>(
    bytes: &B,
    packet: &mut Packet<Address6>,
) -> Result<u16, Malformed> {
    let mut next = packet.protocol;
    let mut offset = packet.transport;
    let mut piece = 0;
    let mut identification = 0;
    for _ in 0..EXTENSION_HEADERS {
        let kind = EXTENSIONS[next as usize];
        if kind == 0 {
            break;
        }
        if offset > FARTHEST {
            return Err(Malformed);
        }
        let header = bytes.view::<8>(offset).ok_or(Malformed)?;
        if next == protocol::FRAGMENT {
            piece = header.u16(2) & !RESERVED;
            identification = header.u32(4);
        }
        next = header.u8(0);
        if piece & !MORE_FRAGMENTS != 0 {
            break;
        }
        offset += 8 + ((header.u8(1) as usize * (kind & 15) as usize) & 0x7ff);
    }
    packet.protocol = next;
    packet.transport = bytes.settle(offset);
    packet.identification = identification;
    let later = piece & !MORE_FRAGMENTS != 0;
    if !later && is_extension(next) { Err(Malformed) } else { Ok(piece) }
}

/// Reads ports, ICMP type and role. `room`: bytes that the IP header leaves for the payload.
#[inline(always)]
fn transport<B: Bytes + ?Sized, A>(
    bytes: &B,
    packet: &mut Packet<A>,
    room: usize,
) -> Result<(), Malformed> {
    let offset = if size_of::<A>() == 16 {
        bounded(bytes, packet.transport).ok_or(Malformed)?
    } else if packet.transport > FARTHEST {
        return Err(Malformed);
    } else {
        packet.transport
    };
    let head = bytes.view::<8>(offset);
    match packet.protocol {
        protocol::TCP => {
            let header = bytes.view::<20>(offset).ok_or(Malformed)?;
            let length = ((header.u8(12) >> 4) as usize) << 2;
            if room < 20 || length < 20 || length > room {
                return Err(Malformed);
            }
            ports(packet, &header);
            const SYN: u8 = 0x02;
            const ACK: u8 = 0x10;
            let opens = header.u8(13) & (SYN | ACK) == SYN;
            packet.role = if opens { role::BEGINS | role::OPENS } else { role::ANSWERS };
        }
        protocol::UDP => {
            let header = head.ok_or(Malformed)?;
            let length = header.u16(4);
            // 0 is a jumbogram's (RFC 2675).
            if room < 8 || (length != 0 && length < 8) {
                return Err(Malformed);
            }
            ports(packet, &header);
            packet.role = role::BEGINS | role::ANSWERS;
        }
        protocol::SCTP => {
            let header = bytes.view::<12>(offset).ok_or(Malformed)?;
            if room < 12 {
                return Err(Malformed);
            }
            ports(packet, &header);
            packet.role = role::BEGINS | role::ANSWERS;
        }
        protocol::ICMP if size_of::<A>() == 4 => {
            icmp(packet, head.ok_or(Malformed)?, room, icmp4_role)?;
        }
        protocol::ICMP6 if size_of::<A>() == 16 => {
            icmp(packet, head.ok_or(Malformed)?, room, icmp6_role)?;
        }
        _ => packet.role = role::BEGINS | role::ANSWERS,
    }
    Ok(())
}

#[inline(always)]
fn ports<A, const N: usize>(packet: &mut Packet<A>, header: &View<'_, N>) {
    packet.source_port = header.u16(0);
    packet.destination_port = header.u16(2);
}

#[inline(always)]
fn icmp<A>(
    packet: &mut Packet<A>,
    header: View<'_, 8>,
    room: usize,
    role_of: fn(u8) -> (u8, u8),
) -> Result<(), Malformed> {
    if room < 8 {
        return Err(Malformed);
    }
    packet.icmp_type = header.u8(0);
    packet.icmp_code = header.u8(1);
    let (role, query) = role_of(packet.icmp_type);
    packet.role = role;
    if query != 0 {
        packet.source_port = header.u16(4);
        packet.destination_port = u16::from(query);
    }
    Ok(())
}

/// Role of an ICMP type, and the query it belongs to (RFC 792, RFC 950).
#[inline(always)]
const fn icmp4_role(kind: u8) -> (u8, u8) {
    match kind {
        8 | 13 | 15 | 17 => (role::BEGINS | role::OPENS, kind),
        0 => (role::ANSWERS, 8),
        14 | 16 | 18 => (role::ANSWERS, kind - 1),
        3 | 11 | 12 => (role::ERROR, 0),
        _ => (0, 0),
    }
}

/// Role of an ICMPv6 type, and the query it belongs to (RFC 4443).
#[inline(always)]
const fn icmp6_role(kind: u8) -> (u8, u8) {
    match kind {
        128 => (role::BEGINS | role::OPENS, kind),
        129 => (role::ANSWERS, 128),
        1..=4 => (role::ERROR, 0),
        _ => (0, 0),
    }
}

/// Whether an ICMPv6 packet is one that a link can't work without (semantics A4): neighbour and
/// router discovery (RFC 4861) or multicast listener discovery (RFC 2710, RFC 3810).
#[inline(always)]
#[must_use]
pub fn is_link_message(packet: &Packet<Address6>) -> bool {
    // Nobody fragments these, and no receiver takes them so (RFC 6980).
    let piece = packet.role & (role::FRAGMENT | role::FIRST_FRAGMENT) != 0;
    if packet.protocol != protocol::ICMP6 || piece {
        return false;
    }
    let discovery = packet.hop_limit == 255 && packet.icmp_code == 0;
    match packet.icmp_type {
        // Solicitations and neighbour advertisements.
        133 | 135 | 136 => discovery,
        // Only routers send these, and from a link-local address.
        134 | 137 => discovery && is_link_local(&packet.source),
        130..=132 | 143 => {
            packet.hop_limit == 1 && (is_link_local(&packet.source) || packet.source == [0, 0])
        }
        _ => false,
    }
}

/// Whether an address is in fe80::/10.
#[inline(always)]
#[must_use]
pub const fn is_link_local(address: &Address6) -> bool {
    (address[0] >> 54) == (0xfe80 >> 6)
}

/// The packet that an ICMP error quotes, as far as flows need it (RFC 792, RFC 4443).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quoted<A> {
    /// Source address as a number.
    pub source: A,
    /// Destination address as a number.
    pub destination: A,
    /// Source port, or the identifier of an ICMP query.
    pub source_port: u16,
    /// Destination port, or the kind of an ICMP query.
    pub destination_port: u16,
    /// The protocol.
    pub protocol: u8,
}

/// The first eight bytes of the quoted transport header are all that is sure to be there.
#[inline(always)]
fn quoted_ports<B: Bytes + ?Sized, A>(
    bytes: &B,
    quoted: &mut Quoted<A>,
    offset: usize,
    icmp: u8,
    role_of: fn(u8) -> (u8, u8),
) -> Option<()> {
    let header = bytes.view::<8>(bounded(bytes, offset)?)?;
    match quoted.protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP => {
            quoted.source_port = header.u16(0);
            quoted.destination_port = header.u16(2);
        }
        it if it == icmp => {
            let (_, query) = role_of(header.u8(0));
            if query == 0 {
                return None;
            }
            quoted.source_port = header.u16(4);
            quoted.destination_port = u16::from(query);
        }
        _ => {}
    }
    Some(())
}

/// Reads what an ICMP error quotes.
#[inline(always)]
pub fn quoted4<B: Bytes + ?Sized>(bytes: &B, error: &Packet<u32>) -> Option<Quoted<u32>> {
    let start = bounded(bytes, error.transport + 8)?;
    let header = bytes.view::<20>(start)?;
    let length = ((header.u8(0) & 15) as usize) << 2;
    if header.u8(0) >> 4 != 4 || length < 20 || header.u16(6) & 0x1fff != 0 {
        return None;
    }
    let mut quoted = Quoted {
        source: header.u32(12),
        destination: header.u32(16),
        source_port: 0,
        destination_port: 0,
        protocol: header.u8(9),
    };
    quoted_ports(bytes, &mut quoted, start + length, protocol::ICMP, icmp4_role)?;
    Some(quoted)
}

/// Reads what an ICMPv6 error quotes. A quoted packet with extension headers is not recognised.
#[inline(always)]
pub fn quoted6<B: Bytes + ?Sized>(bytes: &B, error: &Packet<Address6>) -> Option<Quoted<Address6>> {
    let start = bounded(bytes, error.transport + 8)?;
    let header = bytes.view::<40>(start)?;
    if header.u8(0) >> 4 != 6 {
        return None;
    }
    let mut quoted = Quoted {
        source: [header.u64(8), header.u64(16)],
        destination: [header.u64(24), header.u64(32)],
        source_port: 0,
        destination_port: 0,
        protocol: header.u8(6),
    };
    quoted_ports(bytes, &mut quoted, start + 40, protocol::ICMP6, icmp6_role)?;
    Some(quoted)
}
