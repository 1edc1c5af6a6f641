#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's tools may fail loudly")]
//! Builds frames byte by byte, as input of the programs.
//!
//! Written from the RFCs, independently of the programs' parser. The choice of packets belongs to
//! the tests and to [`generate`](crate::generate).

mod transport;

use std::net::IpAddr;

pub use transport::{Tcp, Transport};

/// A frame to be built.
#[derive(Debug, Clone)]
pub struct Frame {
    /// VLAN ids of tags in front of the IP header (IEEE 802.1Q), outermost first.
    pub vlans: Vec<u16>,
    /// Source address.
    pub source: IpAddr,
    /// Destination address; of the same family.
    pub destination: IpAddr,
    /// The payload of IP.
    pub transport: Transport,
    /// The fragment that it carries.
    pub fragment: Fragment,
    /// IPv4: 32-bit words of options, up to 10.
    pub options: usize,
    /// IPv6: extension headers in front of the transport header (next-header number, length in
    /// the header's own units beyond its minimum).
    pub extensions: Vec<(u8, u8)>,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// The identification common to all fragments of a packet; IPv4 has 16 bits of it.
    pub identification: u32,
    /// Bytes behind the transport header.
    pub data: usize,
}

/// The fragment that a frame carries (RFC 791, RFC 8200).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fragment {
    /// The whole packet.
    Whole,
    /// The first fragment.
    First,
    /// A later fragment, without a transport header.
    Later,
    /// A later fragment that starts 8 bytes into the transport header.
    Second,
}

/// Authentication header (RFC 4302): its length counts in 4-byte units.
const AUTHENTICATION: u8 = 51;
const FRAGMENT_HEADER: u8 = 44;

/// A frame's bytes, and the length of the headers that a parser must see completely.
#[derive(Debug, Clone)]
pub struct Built {
    /// The frame, from its link-layer header on.
    pub bytes: Vec<u8>,
    /// Bytes up to and including the fixed part of the transport header.
    pub headers: usize,
}

impl Frame {
    /// A plain frame.
    pub fn new(source: IpAddr, destination: IpAddr, transport: Transport) -> Self {
        Self {
            vlans: Vec::new(),
            source,
            destination,
            transport,
            fragment: Fragment::Whole,
            options: 0,
            extensions: Vec::new(),
            hop_limit: 64,
            identification: 7,
            data: 24,
        }
    }

    /// The frame's bytes.
    ///
    /// # Panics
    /// The addresses have different families, or the frame is too long for its length fields.
    pub fn build(&self) -> Built {
        let mut bytes = vec![0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2];
        for vlan in &self.vlans {
            bytes.extend(0x8100_u16.to_be_bytes());
            bytes.extend(vlan.to_be_bytes());
        }
        let (header, needed) = match self.fragment {
            Fragment::Later | Fragment::Second => (vec![0xaa; 32], 0),
            _ => (self.transport.header(self.source.is_ipv4()), self.transport.fixed()),
        };
        let payload = [header, vec![0x55; self.data]].concat();
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                bytes.extend(0x0800_u16.to_be_bytes());
                self.ipv4(&mut bytes, source.octets(), destination.octets(), payload.len());
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                bytes.extend(0x86dd_u16.to_be_bytes());
                self.ipv6(&mut bytes, source.octets(), destination.octets(), payload.len());
            }
            _ => panic!("one packet has addresses of one family"),
        }
        let headers = bytes.len() + needed;
        bytes.extend(payload);
        Built { bytes, headers }
    }

    fn ipv4(&self, bytes: &mut Vec<u8>, source: [u8; 4], destination: [u8; 4], payload: usize) {
        let words = 5 + u8::try_from(self.options).unwrap();
        let total = u16::try_from(usize::from(words) * 4 + payload).unwrap();
        let flags: u16 = match self.fragment {
            Fragment::Whole => 0x4000,
            Fragment::First => 0x2000,
            Fragment::Later => 0x2000 | 185,
            Fragment::Second => 0x2000 | 1,
        };
        bytes.extend([0x40 | words, 0]);
        bytes.extend(total.to_be_bytes());
        bytes.extend(&self.identification.to_be_bytes()[2..]);
        bytes.extend(flags.to_be_bytes());
        bytes.extend([self.hop_limit, self.transport.number(true), 0, 0]);
        bytes.extend(source);
        bytes.extend(destination);
        // No-operation options (RFC 791).
        bytes.extend(vec![1; self.options * 4]);
    }

    fn ipv6(&self, bytes: &mut Vec<u8>, source: [u8; 16], destination: [u8; 16], payload: usize) {
        let last = self.transport.number(false);
        let mut chain = self.extensions.clone();
        if self.fragment != Fragment::Whole {
            chain.push((FRAGMENT_HEADER, 0));
        }
        let mut headers = Vec::new();
        for (index, (kind, length)) in chain.iter().enumerate() {
            let next = chain.get(index + 1).map_or(last, |(next, _)| *next);
            headers.extend(self.extension(*kind, *length, next));
        }
        bytes.extend([0x60, 0, 0, 0]);
        bytes.extend(u16::try_from(headers.len() + payload).unwrap().to_be_bytes());
        bytes.extend([chain.first().map_or(last, |(first, _)| *first), self.hop_limit]);
        bytes.extend(source);
        bytes.extend(destination);
        bytes.extend(headers);
    }

    fn extension(&self, kind: u8, length: u8, next: u8) -> Vec<u8> {
        match kind {
            FRAGMENT_HEADER => {
                let offset: u16 = match self.fragment {
                    Fragment::Whole => 0,
                    Fragment::First => 1,
                    Fragment::Later => 185 << 3 | 1,
                    Fragment::Second => 1 << 3 | 1,
                };
                let mut header = vec![next, 0];
                header.extend(offset.to_be_bytes());
                header.extend(self.identification.to_be_bytes());
                header
            }
            AUTHENTICATION => {
                let mut header = vec![0; 8 + usize::from(length) * 4];
                (header[0], header[1]) = (next, length);
                header
            }
            _ => {
                let mut header = vec![0; 8 + usize::from(length) * 8];
                (header[0], header[1]) = (next, length);
                header
            }
        }
    }
}
