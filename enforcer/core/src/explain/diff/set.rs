//! Sets of traffic, and their differences.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::{PortRange, Protocol, Traffic};
use crate::policy::{PortSet, Verdict};

/// A set of traffic. `Display`: `TCP 80; UDP 53-54`, `everything`, or `everything except TCP 80`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Opened {
    /// Ports of the protocols that have ports.
    pub ports: PortSet,
    /// Whether protocols without ports belong to it.
    pub portless: bool,
}

impl Opened {
    /// All traffic.
    #[must_use]
    pub fn everything() -> Self {
        let ports = PortSet::new(Protocol::ALL.map(|it| (it, PortRange::ALL)));
        Self { ports, portless: true }
    }

    /// What a verdict allows.
    pub(super) fn allowed(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Deny => Self::default(),
            Verdict::Allow => Self::everything(),
            Verdict::Ports(set) => Self { ports: (**set).clone(), portless: false },
        }
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ports.is_empty() && !self.portless
    }

    /// Whether it has this traffic.
    #[must_use]
    pub fn contains(&self, traffic: Traffic) -> bool {
        match traffic {
            Traffic::Portless => self.portless,
            Traffic::Port(protocol, port) => self.ports.contains(protocol, port),
        }
    }

    /// The traffic of either.
    pub(super) fn union(&self, other: &Self) -> Self {
        Self { ports: self.ports.union(&other.ports), portless: self.portless || other.portless }
    }

    /// The traffic of both.
    pub(super) fn intersection(&self, other: &Self) -> Self {
        self.minus(&Self::everything().minus(other))
    }

    /// The traffic that the other lacks.
    pub(super) fn minus(&self, other: &Self) -> Self {
        let ports = self.ports.iter().flat_map(|(protocol, range)| {
            let cuts = other.ports.ranges.get(&protocol).map(Vec::as_slice).unwrap_or_default();
            cut(range, cuts).into_iter().map(move |it| (protocol, it))
        });
        Self { ports: PortSet::new(ports), portless: self.portless && !other.portless }
    }
}

/// What is left of a range without others, which are sorted and disjoint.
fn cut(range: PortRange, cuts: &[PortRange]) -> Vec<PortRange> {
    let mut left = Vec::new();
    let mut first = u32::from(range.first);
    let mut keep = |from: u32, to: u32| {
        if let (Ok(first), Ok(last), true) = (u16::try_from(from), u16::try_from(to), from <= to) {
            left.push(PortRange { first, last });
        }
    };
    for it in cuts.iter().filter(|it| it.last >= range.first && it.first <= range.last) {
        if u32::from(it.first) > first {
            keep(first, u32::from(it.first) - 1);
        }
        first = first.max(u32::from(it.last) + 1);
    }
    keep(first, u32::from(range.last));
    left
}

impl fmt::Display for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::everything() {
            return f.write_str("everything");
        }
        let rest = Self::everything().minus(self);
        if self.portless && rest.ports.iter().count() < self.ports.iter().count() {
            return write!(f, "everything except {rest}");
        }
        let mut by_protocol: BTreeMap<Protocol, Vec<String>> = BTreeMap::new();
        for (protocol, range) in self.ports.iter() {
            by_protocol.entry(protocol).or_default().push(match range {
                PortRange { first: 0, last: u16::MAX } => "every port".to_owned(),
                PortRange { first, last } if first == last => first.to_string(),
                PortRange { first, last } => format!("{first}-{last}"),
            });
        }
        let ports = by_protocol.iter().map(|(it, ranges)| format!("{it} {}", ranges.join(", ")));
        let portless = self.portless.then(|| "protocols without ports".to_owned());
        f.write_str(&ports.chain(portless).collect::<Vec<_>>().join("; "))
    }
}
