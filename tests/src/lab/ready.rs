//! Waits until interfaces can carry packets.
//!
//! The kernel finishes an interface's bring-up in work queues: the carrier of a veth, link-local
//! addresses, multicast groups. Packets sent earlier are lost, and retried only after a second.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use super::links::Place;
use super::{LabError, Namespace};

/// Ample: it takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until the interface `index` of `place` has a carrier and all its IPv6 addresses, including
/// the link-local one, are in use. IPv4 addresses are in use at once.
pub(crate) async fn wait_for(place: Place<'_>, index: u32) -> Result<(), LabError> {
    let ready =
        async || Ok(place.links.is_up(index).await? && has_ipv6(place.namespace, index).await?);
    wait_until(place, index, ready).await
}

/// The same for a device without another end, whose operational state stays unknown.
pub(crate) async fn wait_for_addresses(place: Place<'_>, index: u32) -> Result<(), LabError> {
    wait_until(place, index, async || has_ipv6(place.namespace, index).await).await
}

async fn wait_until(
    place: Place<'_>,
    index: u32,
    mut ready: impl AsyncFnMut() -> Result<bool, LabError>,
) -> Result<(), LabError> {
    let deadline = Instant::now() + PATIENCE;
    while !ready().await? {
        if Instant::now() > deadline {
            let what = format!("wait for interface {index} of {}", place.namespace.name());
            return Err(LabError::Io { what, source: io::ErrorKind::TimedOut.into() });
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

async fn has_ipv6(namespace: &Namespace, index: u32) -> Result<bool, LabError> {
    let read = |name: &str| match fs::read_to_string(format!("/proc/thread-self/net/{name}")) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    };
    let look = move || {
        // A kernel without IPv6 has neither file, and nothing to wait for.
        let (Some(addresses), Some(routes)) = (read("if_inet6")?, read("ipv6_route")?) else {
            return Ok(true);
        };
        Ok(in_use(index, &addresses, &routes))
    };
    namespace.io("look at IPv6 addresses", look).await
}

/// Whether the interface has a link-local address, and each of its addresses has a local route,
/// which the kernel adds last.
fn in_use(index: u32, addresses: &str, routes: &str) -> bool {
    const LINK_SCOPE: &str = "20";
    const RTF_LOCAL: u32 = 0x8000_0000;
    let local = |address: &str, interface: &str| {
        routes.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).any(|route| {
            let flags = route.get(8).and_then(|hex| u32::from_str_radix(hex, 16).ok());
            route.first() == Some(&address)
                && route.get(9) == Some(&interface)
                && flags.is_some_and(|flags| flags & RTF_LOCAL != 0)
        })
    };
    let mut link_local = false;
    for line in addresses.lines() {
        let [address, number, _, scope, _, interface] =
            *line.split_whitespace().collect::<Vec<_>>()
        else {
            continue;
        };
        if u32::from_str_radix(number, 16) != Ok(index) {
            continue;
        }
        if !local(address, interface) {
            return false;
        }
        link_local |= scope == LINK_SCOPE;
    }
    link_local
}

#[cfg(test)]
mod tests {
    use super::in_use;

    const ADDRESSES: &str = "\
        fd0000100244000100000000000000a1 02 40 00 82     eth0\n\
        fe80000000000000085810fffef401a1 02 40 20 80     eth0\n\
        00000000000000000000000000000001 01 80 10 80       lo\n";

    fn route(address: &str, flags: &str, interface: &str) -> String {
        let zero = "0".repeat(32);
        format!("{address} 80 {zero} 00 {zero} 00000000 00000001 00000000 {flags} {interface}\n")
    }

    #[test]
    fn every_address_needs_its_local_route_on_that_interface() {
        let global = route("fd0000100244000100000000000000a1", "80200001", "eth0");
        let link = |flags, interface| route("fe80000000000000085810fffef401a1", flags, interface);
        assert!(in_use(2, ADDRESSES, &format!("{global}{}", link("80200001", "eth0"))));
        assert!(!in_use(2, ADDRESSES, &global));
        assert!(!in_use(2, ADDRESSES, &format!("{global}{}", link("80200001", "eth1"))));
        assert!(!in_use(2, ADDRESSES, &format!("{global}{}", link("00000001", "eth0"))));
    }

    #[test]
    fn without_a_link_local_address_it_is_not_ready() {
        let loopback = route("00000000000000000000000000000001", "80200001", "lo");
        assert!(!in_use(1, ADDRESSES, &loopback));
        assert!(!in_use(7, ADDRESSES, &loopback));
    }
}
