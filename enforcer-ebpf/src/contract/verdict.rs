//! Verdicts: why a packet passed or was dropped, and in which direction.

/// Why a packet passed or was dropped. The order is part of the layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Reason {
    /// The pod is not isolated in this direction (semantics S4).
    NotIsolated = 0,
    /// Some rule of some policy allows it (semantics S4, R1–R8).
    Policy = 1,
    /// It answers a living flow, or is an ICMP error about one (semantics A3).
    Reply = 2,
    /// It comes from or goes to the pod's own node (semantics A2).
    Node = 3,
    /// The pod talks to itself (semantics A1).
    Itself = 4,
    /// The link's own traffic: ARP, neighbour discovery and the like (semantics A4).
    Link = 5,
    /// It goes to a Service: a later hook decides, where the backend is known (semantics N1).
    Service = 6,
    /// Dropped: no rule allows it (semantics S4).
    Denied = 7,
    /// Dropped: the headers can't be parsed (semantics P1).
    Malformed = 8,
    /// Dropped: the source is none of the pod's addresses (semantics P4).
    SpoofedSource = 9,
    /// Dropped: a later fragment whose first was not seen (semantics P2).
    Fragment = 10,
    /// Dropped: neither IP nor the link's own traffic.
    NotIp = 11,
    /// Dropped: the policy could not be represented (semantics R9).
    Unrepresented = 12,
    /// Dropped: the interface's pod is unknown (semantics C6).
    UnknownPod = 13,
    /// Dropped: a link message that claims what is not the pod's, or that pods must never send
    /// (semantics A4).
    SpoofedLink = 14,
    /// Dropped: an encapsulated packet to a tunnel endpoint of the pod's own node (semantics P4).
    Encapsulated = 15,
    /// Dropped: the packet is not addressed to the pod (semantics P4).
    WrongDestination = 16,
    /// Dropped: a forwarded packet from an address that may stand for another, and whose mark does
    /// not name its sender (semantics N3).
    MarkLost = 17,
    /// Dropped: it entered by an interface without our programs: a pod that started while no agent
    /// ran (semantics C6).
    Unguarded = 18,
}

impl Reason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 19] = [
        Self::NotIsolated,
        Self::Policy,
        Self::Reply,
        Self::Node,
        Self::Itself,
        Self::Link,
        Self::Service,
        Self::Denied,
        Self::Malformed,
        Self::SpoofedSource,
        Self::Fragment,
        Self::NotIp,
        Self::Unrepresented,
        Self::UnknownPod,
        Self::SpoofedLink,
        Self::Encapsulated,
        Self::WrongDestination,
        Self::MarkLost,
        Self::Unguarded,
    ];

    /// Whether packets with this reason are dropped.
    #[inline(always)]
    #[must_use]
    pub const fn is_drop(self) -> bool {
        Self::is_drop_number(self as u32)
    }

    /// Whether packets with the reason of this number are dropped.
    #[inline(always)]
    #[must_use]
    pub const fn is_drop_number(number: u32) -> bool {
        number >= Self::Denied as u32
    }

    /// Whether packets with the reason of this number belong to flows that must be recorded: those
    /// that policy allows, or a later hook decides on.
    #[inline(always)]
    #[must_use]
    pub const fn is_recorded(number: u32) -> bool {
        const RECORDED: u32 = 1 << Reason::NotIsolated as u32
            | 1 << Reason::Policy as u32
            | 1 << Reason::Node as u32
            | 1 << Reason::Service as u32;
        number < 32 && RECORDED >> number & 1 != 0
    }

    /// The reason with this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// The name that metrics, events and the command line use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotIsolated => "not-isolated",
            Self::Policy => "policy",
            Self::Reply => "reply",
            Self::Node => "node",
            Self::Itself => "itself",
            Self::Link => "link",
            Self::Service => "service",
            Self::Denied => "denied",
            Self::Malformed => "malformed",
            Self::SpoofedSource => "spoofed-source",
            Self::Fragment => "fragment",
            Self::NotIp => "not-ip",
            Self::Unrepresented => "unrepresented",
            Self::UnknownPod => "unknown-pod",
            Self::SpoofedLink => "spoofed-link",
            Self::Encapsulated => "encapsulated",
            Self::WrongDestination => "wrong-destination",
            Self::MarkLost => "mark-lost",
            Self::Unguarded => "unguarded",
        }
    }
}

/// A packet's direction, from the pod's point of view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Direction {
    /// Towards the pod: the pod's ingress policy.
    Ingress = 0,
    /// From the pod: the pod's egress policy.
    Egress = 1,
}

impl Direction {
    /// Both directions, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Ingress, Self::Egress];

    /// The name that metrics, events and the command line use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }

    /// The other direction.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Ingress => Self::Egress,
            Self::Egress => Self::Ingress,
        }
    }
}
