//! Whether a marked frame may be where it arrived: the reference evaluator, asked about the party
//! that really sent it, and the rules that hold beside policy.
//!
//! A pod is known by the interface that the frame was sent from, whatever the frame says. Outside,
//! the network decides which addresses a host can use, so there the source counts, but a packet
//! from outside is never the node's (semantics A2).

use std::net::IpAddr;

use enforcer_core::model::{Cluster, Protocol};
use enforcer_core::policy::reference::{Traffic, egress_allows, ingress_allows, is_isolated};
use enforcer_ebpf::contract::verdict::Direction;

use crate::cast::{LIVING, World};
use crate::crafted::{Address, Body, Crafted, Link, Role, Tail};
use crate::read::{Packet, Seen, packet, quote, read};
use crate::wire::Arrival;

pub(crate) struct Oracle {
    pub(crate) cluster: Cluster,
    pub(crate) world: World,
}

/// Traffic that some policy of the cluster tells from other traffic.
const DISTINCT: [Traffic; 6] = [
    Traffic::Port(Protocol::Tcp, 80),
    Traffic::Port(Protocol::Tcp, 8_080),
    Traffic::Port(Protocol::Udp, 53),
    Traffic::Port(Protocol::Udp, 5_353),
    Traffic::Port(Protocol::Tcp, 1),
    Traffic::Portless,
];

impl Oracle {
    /// Why the frame may have arrived; none: it must not.
    pub(crate) fn permits(
        &self,
        sent: &Crafted,
        mark: u32,
        arrival: &Arrival,
    ) -> Option<&'static str> {
        if sent.by == arrival.at {
            return Some("its own (A1)");
        }
        if arrival.frame.get(..12) == Some(&[0; 12]) {
            // What has arrived in its namespace, where it was recorded before.
            return Some("the receiver's own, on its loopback device (A1)");
        }
        let seen = read(&arrival.frame);
        match arrival.at {
            Role::Outside => self.outside(sent, &arrival.frame, seen),
            pod => {
                let policy = if sent.by == Role::Outside {
                    self.outside_to_pod(sent, pod, arrival, seen)
                } else {
                    self.between_pods(sent, pod, &arrival.frame, seen)
                };
                policy
                    .or_else(|| self.link_message(sent, mark, arrival, seen))
                    .or_else(|| self.reflected_by_node(sent, pod, arrival, seen))
                    .or_else(|| self.back_from_bridge(sent, pod, arrival, seen))
            }
        }
    }

    /// Whether no policy isolates the pod in any direction.
    fn is_free(&self, role: Role) -> bool {
        let Some(pod) = role.pod() else { return false };
        [Direction::Ingress, Direction::Egress]
            .into_iter()
            .all(|it| !is_isolated(&self.cluster, &pod, it))
    }

    /// P4: a pod's packet from an address that is not the pod's goes nowhere, link-local ones and
    /// DHCP aside.
    fn is_of_sender(&self, sent: &Crafted) -> bool {
        if matches!(sent.body, Body::Arp(..) | Body::Other(_)) {
            return true;
        }
        let (source, v6) = sent.outer.map_or((sent.source, sent.v6), |it| (it.source, it.v6));
        let source = self.world.address(source, sent.by, v6);
        let dhcp = matches!(sent.body, Body::Udp(68, 67)) && sent.outer.is_none();
        self.world.owns(sent.by, source)
            || matches!(source, IpAddr::V6(it) if it.is_unicast_link_local())
            || (dhcp && source == IpAddr::from([0; 4]))
    }

    fn outside(&self, sent: &Crafted, frame: &[u8], seen: Seen) -> Option<&'static str> {
        if !self.is_of_sender(sent) {
            return None;
        }
        let pod = sent.by.pod().unwrap();
        let Seen::Ip(outer) = seen else {
            return self.is_free(sent.by).then_some("not isolated (S4)");
        };
        // What the node's own tunnels wrapped is judged by what is inside.
        let inner = match (self.is_nodes(outer.source), outer.traffic) {
            (true, Some(Traffic::Port(Protocol::Udp, 4_789))) => {
                packet(frame, outer.payload + 8 + 8 + 14)
            }
            (true, Some(Traffic::Port(Protocol::Udp, 4_790))) => {
                packet(frame, outer.payload + 8 + 8)
            }
            _ => Some(outer),
        };
        if inner.is_none() && self.is_free(sent.by) {
            return Some("not isolated (S4)");
        }
        let allowed = |traffic| {
            inner.is_some_and(|it| egress_allows(&self.cluster, &pod, it.destination, traffic))
        };
        self.any(inner.and_then(|it| it.traffic), allowed).then_some("egress policy (S4)")
    }

    /// The traffic, or any traffic if the packet does not show it (P2: later fragments).
    fn any(&self, traffic: Option<Traffic>, allowed: impl Fn(Traffic) -> bool) -> bool {
        traffic.map_or_else(|| DISTINCT.into_iter().any(&allowed), &allowed)
    }

    fn is_nodes(&self, address: IpAddr) -> bool {
        self.world.node_addresses.contains(&address)
    }

    fn between_pods(
        &self,
        sent: &Crafted,
        to: Role,
        frame: &[u8],
        seen: Seen,
    ) -> Option<&'static str> {
        let (from, receiver) = (sent.by.pod()?, to.pod()?);
        if !self.is_of_sender(sent) || self.is_for_tunnel(sent) {
            return None;
        }
        let packet = match seen {
            Seen::Ip(packet) => packet,
            // P1: nothing that can't be read, if policy isolates either end.
            Seen::Unreadable => {
                return (self.is_free(sent.by) && self.is_free(to)).then_some("not isolated (S4)");
            }
            Seen::Arp => return None,
        };
        // A frame to all of the link is addressed to the pod, too. Both the address and the pod that
        // gets it count then: the sender's policy must allow either.
        let to_all = frame.first().is_some_and(|it| it & 1 == 1);
        if !to_all && !self.is_addressed(to, packet.destination) {
            return None;
        }
        let v6 = packet.source.is_ipv6();
        let (own, other) = (self.world.of(sent.by, v6), self.world.of(to, v6));
        let link_local = matches!(packet.destination, IpAddr::V6(it) if it.is_unicast_link_local());
        let is_own = link_local || self.world.owns(to, packet.destination);
        let targets = if is_own { [other; 2] } else { [packet.destination, other] };
        let allowed = |traffic| {
            targets.iter().all(|it| egress_allows(&self.cluster, &from, *it, traffic))
                && ingress_allows(&self.cluster, &receiver, own, traffic)
        };
        self.any(packet.traffic, allowed).then_some("policy of both ends (S5)")
    }

    /// P4: encapsulated packets from a pod to its own node.
    fn is_for_tunnel(&self, sent: &Crafted) -> bool {
        sent.outer
            .is_some_and(|it| self.is_nodes(self.world.address(it.destination, sent.by, it.v6)))
    }

    /// P4: a pod receives what is addressed to it, or to a group or all of its link.
    fn is_addressed(&self, to: Role, destination: IpAddr) -> bool {
        self.world.owns(to, destination)
            || destination.is_multicast()
            || matches!(destination, IpAddr::V6(it) if it.is_unicast_link_local())
            || destination == IpAddr::from([255; 4])
            || destination
                == self.world.address(Address::SubnetBroadcast, to, destination.is_ipv6())
    }

    fn outside_to_pod(
        &self,
        sent: &Crafted,
        to: Role,
        arrival: &Arrival,
        seen: Seen,
    ) -> Option<&'static str> {
        let receiver = to.pod()?;
        let Seen::Ip(packet) = seen else {
            return self.is_free(to).then_some("not isolated (S4)");
        };
        if !self.is_addressed(to, packet.destination) {
            return None;
        }
        // Inside a tunnel of the node, the inner source.
        let claimed = self.world.address(sent.source, Role::Outside, sent.v6);
        let allowed = |traffic| ingress_allows(&self.cluster, &receiver, claimed, traffic);
        if self.any(packet.traffic, allowed) {
            return Some("ingress policy for its source (S4)");
        }
        // The victim's server echoes, and the real client did not ask.
        let answer = self.quoted(&arrival.frame, &packet);
        let about_answer = answer.is_some_and(|it| {
            to == Role::Victim
                && self.world.owns(to, it.source)
                && (it.protocol, it.ports.0) == (17, 5_353)
                && arrival.frame.len() - packet.network <= if sent.v6 { 1_280 } else { 576 }
        });
        if about_answer && allowed(Traffic::Port(Protocol::Udp, 5_353)) {
            return Some("error about the pod's own answer (A3)");
        }
        self.of_living_flow(sent, to, arrival, &packet)
    }

    /// A3: the flow that the victim has with the office, which lives all the time: packets that
    /// answer it, and errors about it, of which the network could be the sender.
    fn of_living_flow(
        &self,
        sent: &Crafted,
        to: Role,
        arrival: &Arrival,
        it: &Packet,
    ) -> Option<&'static str> {
        let claimed = self.world.address(sent.source, sent.by, sent.v6);
        let v6 = it.source.is_ipv6();
        let office = self.world.address(Address::Office, Role::Outside, v6);
        if to != Role::Victim {
            return None;
        }
        let is_udp = matches!(it.traffic, Some(Traffic::Port(Protocol::Udp, _)));
        if claimed == office && is_udp && it.ports == (53, LIVING) {
            return Some("answers a living flow (A3)");
        }
        if it.traffic.is_none() {
            // A later fragment of such an error: the whole of it is short enough.
            let Body::Error(_, _, quoted) = sent.body else { return None };
            let is_about = quoted.source == Address::Pod(Role::Victim)
                && quoted.destination == Address::Office
                && (quoted.tcp, quoted.ports) == (false, (LIVING, 53));
            let fits = sent.length <= if v6 { 1_280 - 40 - 56 } else { 576 - 20 - 36 };
            return (is_about && fits).then_some("error about a living flow (A3)");
        }
        let quoted = self.quoted(&arrival.frame, it)?;
        let is_about = quoted.source == self.world.of(to, v6)
            && quoted.destination == office
            && quoted.ports == (LIVING, 53)
            && quoted.protocol == 17;
        let size = arrival.frame.len() - it.network;
        let fits = size <= if v6 { 1_280 } else { 576 };
        (is_about && fits && it.destination == quoted.source)
            .then_some("error about a living flow (A3)")
    }

    /// Whether it is a redirect of the node's, from its address on the link of one of its devices.
    fn is_nodes_redirect(&self, it: &Packet) -> bool {
        let link_local = matches!(it.source, IpAddr::V6(it) if it.is_unicast_link_local());
        it.icmp == Some((137, 0)) && it.hops == 255 && (link_local || self.is_nodes(it.source))
    }

    /// The packet that an ICMP error quotes.
    fn quoted(&self, frame: &[u8], it: &Packet) -> Option<Packet> {
        // The node's own redirect has it in an option, behind another one.
        if self.is_nodes_redirect(it) {
            let options = frame.get(it.payload + 40..)?;
            let at = if options.first() == Some(&4) { 0 } else { 8 };
            return quote(frame, it.payload + 40 + at + 8);
        }
        let is_error = match (it.icmp?, it.source) {
            ((kind, _), IpAddr::V4(_)) => matches!(kind, 3 | 4 | 11 | 12),
            ((kind, _), IpAddr::V6(_)) => (1..=4).contains(&kind),
        };
        if is_error { quote(frame, it.payload + 8) } else { None }
    }

    /// A4: a valid message of the pod's own link, which has room for six bytes of mark in the
    /// option with the hardware address and for nothing else.
    fn link_message(
        &self,
        sent: &Crafted,
        mark: u32,
        arrival: &Arrival,
        seen: Seen,
    ) -> Option<&'static str> {
        let own = |address| {
            let address = self.world.address(address, sent.by, sent.v6);
            self.world.owns(sent.by, address)
                || matches!(address, IpAddr::V6(it) if it.is_unicast_link_local())
        };
        if sent.by == Role::Outside || !crate::marks::marks_only_short(&arrival.frame, mark) {
            return None;
        }
        match (seen, &sent.body) {
            // Whatever the tail was, it may have been cut: the length that arrived counts.
            (Seen::Arp, Body::Arp(_, sender, target, _)) => {
                let claimed = if *sender == Address::Unspecified { target } else { sender };
                // The kernel keeps the first tag apart.
                let tags = arrival.frame.len().checked_sub(42)?;
                let exact = tags % 4 == 0 && tags / 4 <= sent.vlans.len();
                (exact && own(*claimed)).then_some("ARP about itself (A4)")
            }
            (Seen::Ip(packet), Body::Link(link, Tail::Exact)) => {
                let size = arrival.frame.len() - packet.payload;
                let plain = packet.payload - packet.network == 40 && packet.hops == 255;
                let source = own(sent.source) || sent.source == Address::Unspecified;
                let good = match link {
                    Link::Solicitation(_) => size == 24 + 8,
                    Link::Advertisement(target) => size == 24 + 8 && own(*target),
                    Link::RouterSolicitation => {
                        size == 8 + 8 && sent.destination == Address::AllRouters
                    }
                    _ => false,
                };
                let kind = match link {
                    Link::Solicitation(_) => 135,
                    Link::Advertisement(_) => 136,
                    _ => 133,
                };
                let is_same = packet.icmp == Some((kind, 0));
                (plain && source && good && is_same).then_some("neighbour discovery (A4)")
            }
            _ => None,
        }
    }

    /// A2: what the node itself sends to the address that a packet to the node claimed: a reply to
    /// its echo request, or an error about it of the size that the RFCs allow. Only from outside,
    /// or from a link-local address, can that address be another's.
    fn reflected_by_node(
        &self,
        sent: &Crafted,
        to: Role,
        arrival: &Arrival,
        seen: Seen,
    ) -> Option<&'static str> {
        let Seen::Ip(packet) = seen else { return None };
        // Of a packet in a tunnel that the node does not have, the node reads the outer header only.
        let inner = self.world.address(sent.source, sent.by, sent.v6);
        let outer = sent.outer.map(|it| self.world.address(it.source, sent.by, it.v6));
        let claimed = [Some(inner), outer].into_iter().flatten();
        let claimed = claimed.into_iter().find(|it| *it == packet.destination)?;
        let may_claim = sent.by == Role::Outside
            || matches!(claimed, IpAddr::V6(it) if it.is_unicast_link_local());
        // The node's error about a packet to a Service comes from the Service's address.
        let is_expired = sent.hops <= 2
            && packet.hops == 64
            && packet.source == self.world.address(sent.destination, sent.by, sent.v6)
            && matches!((packet.icmp, sent.v6), (Some((11, 0)), false) | (Some((3, 0)), true));
        // Likewise about fragments whose length is no multiple of eight (RFC 8200).
        let is_misshapen = !sent.pieces.is_empty()
            && packet.source == self.world.address(sent.destination, sent.by, sent.v6)
            && (packet.icmp, sent.v6) == (Some((4, 0)), true);
        let is_its_error = is_expired || is_misshapen || self.is_nodes_redirect(&packet);
        let is_from_node = self.is_nodes(packet.source) || is_its_error;
        // Nobody knows the pods' link-local addresses: on a bridge that has lost one, all get it.
        let may_get = self.world.owns(to, claimed)
            || matches!(claimed, IpAddr::V6(it) if it.is_unicast_link_local());
        if !may_claim || !is_from_node || !may_get {
            return None;
        }
        let replies = match (packet.icmp, packet.source) {
            (Some((0, 0)), IpAddr::V4(_)) | (Some((129, 0)), IpAddr::V6(_)) => {
                matches!(sent.body, Body::Echo(false))
            }
            _ => self.quoted(&arrival.frame, &packet).is_some_and(|it| {
                let limit = if claimed.is_ipv6() { 1_280 } else { 576 };
                it.source == claimed && arrival.frame.len() - packet.network <= limit
            }),
        };
        // The lab's node echoes datagrams on port 53, and answers no errors.
        let asked = self.is_nodes(self.world.address(sent.destination, sent.by, sent.v6));
        let echoes = asked && packet.protocol == 17 && packet.ports.0 == 53;
        // Behind extension headers, or with a false header, the kernel does not recognize an error;
        // and it redirects any packet.
        let is_error = matches!(sent.body, Body::Error(..))
            && sent.extensions.is_empty()
            && sent.late.is_empty()
            && sent.lie.is_none()
            && packet.icmp != Some((137, 0));
        ((replies && !is_error) || echoes).then_some("the node's own reply (A2)")
    }

    /// A1: the pod's own reply to, or error about, a packet that it may have got. The bridge has lost the
    /// hardware address of the receiver, sends it everywhere, and by hairpin mode back.
    fn back_from_bridge(
        &self,
        sent: &Crafted,
        to: Role,
        arrival: &Arrival,
        seen: Seen,
    ) -> Option<&'static str> {
        let Seen::Ip(packet) = seen else { return None };
        let asked = self.world.address(sent.destination, sent.by, sent.v6);
        let of_itself = self.world.owns(to, packet.source) || packet.source == asked;
        let free = [sent.by, to].into_iter().all(|it| self.is_free(it));
        let is_echo =
            matches!(sent.body, Body::Echo(false)) && matches!(packet.icmp, Some((0 | 129, 0)));
        let quoted = self.quoted(&arrival.frame, &packet).map(|it| it.source);
        let answers = self.world.owns(sent.by, packet.destination)
            && (is_echo || quoted == Some(packet.destination));
        let is_error = matches!(sent.body, Body::Error(..));
        (free && of_itself && answers && !is_error && self.is_of_sender(sent))
            .then_some("its own answer, back from the bridge (A1)")
    }
}
