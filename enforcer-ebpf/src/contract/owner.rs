//! The owner of each endpoint, for an agent that takes over from an earlier one.
//!
//! The programs never read it. It lives beside their tables, so that an agent's knowledge is written
//! and lost together with what it enforced (semantics C3, C5).

use bytemuck::{Pod, Zeroable};

/// The longest namespace, a DNS label (RFC 1123).
pub const NAMESPACE_BYTES: usize = 64;
/// The longest pod name, a DNS subdomain (RFC 1123), and some more.
pub const NAME_BYTES: usize = 256;
/// A UUID, or what a kubelet gives static pods.
pub const UID_BYTES: usize = 60;

/// What is behind an endpoint: the value of [`crate::contract::table::OWNERS`], by endpoint id.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
pub struct OwnerRecord {
    /// The interface index.
    pub ifindex: u32,
    /// One of [`kind`].
    pub kind: u32,
    /// The pod's namespace, filled up with zeros.
    pub namespace: [u8; NAMESPACE_BYTES],
    /// The pod's name, filled up with zeros.
    pub name: [u8; NAME_BYTES],
    /// The pod's UID, filled up with zeros.
    pub uid: [u8; UID_BYTES],
    /// The interface's identity beyond its index; 0 if unknown. Earlier agents filled this up with
    /// zeros as the end of `uid`, and read that up to the first zero.
    pub identity: u32,
}

/// Values of [`OwnerRecord::kind`].
pub mod kind {
    /// None: the id is free, but flows and counters of its last pod may be left.
    pub const NOBODY: u32 = 0;
    /// An unknown pod (semantics C6).
    pub const UNKNOWN: u32 = 1;
    /// A pod.
    pub const POD: u32 = 2;
    /// A pod that no longer has the interface (semantics C5).
    pub const GONE: u32 = 3;
}

impl OwnerRecord {
    /// A record without a pod's name.
    #[must_use]
    pub const fn nameless(ifindex: u32, kind: u32) -> Self {
        let (namespace, name, uid) = ([0; NAMESPACE_BYTES], [0; NAME_BYTES], [0; UID_BYTES]);
        Self { ifindex, kind, namespace, name, uid, identity: 0 }
    }

    /// A record of a pod, by namespace, name and UID; `None` if one is longer than Kubernetes
    /// allows.
    #[must_use]
    pub fn named(ifindex: u32, kind: u32, [namespace, name, uid]: [&str; 3]) -> Option<Self> {
        let mut record = Self::nameless(ifindex, kind);
        record.namespace.get_mut(..namespace.len())?.copy_from_slice(namespace.as_bytes());
        record.name.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        record.uid.get_mut(..uid.len())?.copy_from_slice(uid.as_bytes());
        Some(record)
    }

    /// Namespace, name and UID; `None` if they are not UTF-8.
    #[must_use]
    pub fn names(&self) -> Option<[&str; 3]> {
        Some([text(&self.namespace)?, text(&self.name)?, text(&self.uid)?])
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    core::str::from_utf8(bytes.get(..end)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let record = OwnerRecord::named(7, kind::POD, ["default", "web-0", "1-2"]).unwrap();
        assert_eq!(record.names(), Some(["default", "web-0", "1-2"]));
        assert_eq!(OwnerRecord::nameless(7, kind::UNKNOWN).names(), Some(["", "", ""]));
        let longest = "n".repeat(NAME_BYTES);
        assert!(OwnerRecord::named(7, kind::POD, ["default", &longest, ""]).is_some());
        assert_eq!(OwnerRecord::named(7, kind::POD, ["default", &format!("{longest}x"), ""]), None);
    }

    #[test]
    fn bytes_that_are_not_utf8_have_no_names() {
        let mut record = OwnerRecord::nameless(7, kind::POD);
        record.name[0] = 0xff;
        assert_eq!(record.names(), None);
    }
}
