//! Ports: their names in rules, sets of them, and verdicts about them.

use std::sync::Arc;

use super::compiled::{PortSet, Verdict};
use crate::model::{ContainerPort, PortRange, Protocol, Traffic};

/// The name of a port in a rule. The receiving pod defines its number (semantics R7).
pub(super) type NamedPort<'a> = (Protocol, &'a str);

/// The name by which rules refer to a pod's port.
pub(super) fn named_port(port: &ContainerPort) -> NamedPort<'_> {
    (port.protocol, port.name.as_str())
}

impl PortSet {
    /// The set of all ports in these ranges. A range that ends before it begins is empty.
    #[must_use]
    pub fn new(ranges: impl IntoIterator<Item = (Protocol, PortRange)>) -> Self {
        let mut sorted: Vec<_> =
            ranges.into_iter().filter(|(_, range)| range.first <= range.last).collect();
        sorted.sort_unstable();
        let mut set = Self::default();
        for (protocol, range) in sorted {
            let known = set.ranges.entry(protocol).or_default();
            match known.last_mut() {
                // Overlapping or adjacent. After the highest port no range begins, so saturation
                // does no harm.
                Some(last) if range.first <= last.last.saturating_add(1) => {
                    last.last = last.last.max(range.last);
                }
                _ => known.push(range),
            }
        }
        set
    }

    /// The ports of both sets.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::new(self.iter().chain(other.iter()))
    }

    /// The ranges with their protocols, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Protocol, PortRange)> {
        self.ranges.iter().flat_map(|(protocol, ranges)| ranges.iter().map(|it| (*protocol, *it)))
    }

    /// Whether the set has no port.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether the set has this port.
    #[must_use]
    pub fn contains(&self, protocol: Protocol, port: u16) -> bool {
        self.ranges.get(&protocol).is_some_and(|ranges| ranges.iter().any(|it| it.contains(port)))
    }
}

impl Verdict {
    /// The verdict that allows these ports but no protocol without ports (semantics R1).
    #[must_use]
    pub fn ports(set: PortSet) -> Self {
        if set.is_empty() { Self::Deny } else { Self::Ports(Arc::new(set)) }
    }

    /// The verdict that allows what either allows (semantics S4: rules add up).
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Allow, _) | (_, Self::Allow) => Self::Allow,
            (Self::Deny, it) | (it, Self::Deny) => it.clone(),
            (Self::Ports(one), Self::Ports(two)) => Self::ports(one.union(two)),
        }
    }

    /// Whether the verdict allows this traffic.
    #[must_use]
    pub fn allows(&self, traffic: Traffic) -> bool {
        match (self, traffic) {
            (Self::Deny, _) | (Self::Ports(_), Traffic::Portless) => false,
            (Self::Allow, _) => true,
            (Self::Ports(set), Traffic::Port(protocol, port)) => set.contains(protocol, port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(first: u16, last: u16) -> (Protocol, PortRange) {
        (Protocol::Tcp, PortRange { first, last })
    }

    #[test]
    fn overlapping_and_adjacent_ranges_become_one() {
        let set = PortSet::new([tcp(90, 100), tcp(1, 80), tcp(84, 85), tcp(81, 82), tcp(82, 83)]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [tcp(1, 85), tcp(90, 100)]);
    }

    #[test]
    fn a_range_within_another_adds_nothing() {
        assert_eq!(PortSet::new([tcp(1, 100), tcp(5, 6)]), PortSet::new([tcp(1, 100)]));
    }

    #[test]
    fn protocols_stay_apart() {
        let udp = (Protocol::Udp, PortRange { first: 81, last: 90 });
        let set = PortSet::new([udp, tcp(80, 80)]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [tcp(80, 80), udp]);
        assert!(set.contains(Protocol::Udp, 81) && !set.contains(Protocol::Tcp, 81));
    }

    #[test]
    fn the_edges_of_the_port_space_hold() {
        let set = PortSet::new([tcp(65_535, 65_535), tcp(0, 0), tcp(1, 65_534)]);
        assert_eq!(set, PortSet::new([tcp(0, 65_535)]));
        assert!(set.contains(Protocol::Tcp, 0) && set.contains(Protocol::Tcp, 65_535));
        let top = PortSet::new([tcp(65_535, 65_535), tcp(65_530, 65_535)]);
        assert_eq!(top.iter().collect::<Vec<_>>(), [tcp(65_530, 65_535)]);
    }

    #[test]
    fn a_range_that_ends_before_it_begins_is_empty() {
        assert!(PortSet::new([tcp(80, 79)]).is_empty());
        assert_eq!(Verdict::ports(PortSet::new([tcp(80, 79)])), Verdict::Deny);
    }

    #[test]
    fn all_ports_of_all_protocols_are_still_less_than_everything() {
        let all = PortSet::new(Protocol::ALL.map(|it| (it, PortRange::ALL)));
        let verdict = Verdict::ports(all);
        assert!(Protocol::ALL.iter().all(|it| verdict.allows(Traffic::Port(*it, 0))));
        assert!(!verdict.allows(Traffic::Portless));
        assert_eq!(verdict.union(&Verdict::Allow), Verdict::Allow);
    }
}
