//! The stages of a flow's life, which its idle timeout depends on.

use crate::contract::flow::{FlowState, flags};

/// A stage of a flow's life. Each has an idle timeout of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// TCP, opened, not yet answered.
    TcpSynSent,
    /// TCP, answered; the handshake is not complete.
    TcpSynRecv,
    /// TCP, first seen after its handshake, with packets of one end since.
    TcpUnacknowledged,
    /// TCP, with packets of both ends.
    TcpEstablished,
    /// TCP, one end has ended its direction.
    TcpFinWait,
    /// TCP, both ends have.
    TcpTimeWait,
    /// TCP, reset by the pod, or refused.
    TcpClose,
    /// UDP, not answered.
    Udp,
    /// UDP, answered.
    UdpStream,
    /// Queries of ICMP and ICMPv6.
    Icmp,
    /// SCTP.
    Sctp,
    /// Any other protocol.
    Other,
}

impl Stage {
    /// Every stage, in the order of their numbers.
    pub const ALL: [Self; 12] = [
        Self::TcpSynSent,
        Self::TcpSynRecv,
        Self::TcpUnacknowledged,
        Self::TcpEstablished,
        Self::TcpFinWait,
        Self::TcpTimeWait,
        Self::TcpClose,
        Self::Udp,
        Self::UdpStream,
        Self::Icmp,
        Self::Sctp,
        Self::Other,
    ];

    /// The stage of a flow with these [`flags`].
    #[must_use]
    pub const fn of(flags: u16) -> Self {
        match (flags >> flags::KIND_SHIFT) & 7 {
            0 => Self::of_tcp(flags),
            1 if flags & flags::ANSWERED == 0 => Self::Udp,
            1 => Self::UdpStream,
            2 => Self::Icmp,
            3 => Self::Sctp,
            _ => Self::Other,
        }
    }

    const fn of_tcp(flags: u16) -> Self {
        let state = FlowState { seen: 0, flags, initiator: 0 };
        let established = flags & flags::ESTABLISHED;
        if flags & flags::RESET != 0 {
            Self::TcpClose
        } else if state.is_over() {
            Self::TcpTimeWait
        } else if flags & flags::ENDED != 0 {
            if established == flags::ESTABLISHED { Self::TcpFinWait } else { Self::TcpClose }
        } else {
            match established {
                0 => Self::TcpSynSent,
                flags::ANSWERED => Self::TcpSynRecv,
                flags::CONFIRMED => Self::TcpUnacknowledged,
                _ => Self::TcpEstablished,
            }
        }
    }

    /// The name on the command line: that of the sysctl `nf_conntrack_…_timeout…`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TcpSynSent => "tcp-syn-sent",
            Self::TcpSynRecv => "tcp-syn-recv",
            Self::TcpUnacknowledged => "tcp-unacknowledged",
            Self::TcpEstablished => "tcp-established",
            Self::TcpFinWait => "tcp-fin-wait",
            Self::TcpTimeWait => "tcp-time-wait",
            Self::TcpClose => "tcp-close",
            Self::Udp => "udp",
            Self::UdpStream => "udp-stream",
            Self::Icmp => "icmp",
            Self::Sctp => "sctp",
            Self::Other => "other",
        }
    }
}

#[cfg(test)]
mod tests;
