//! The identity of an interface beyond its index.

/// FNV-1a, 32 bits.
const OFFSET: u32 = 0x811c_9dc5;
const PRIME: u32 = 0x0100_0193;

/// A hash of an interface's name and hardware address. Never 0, which means an unknown identity. The
/// kernel may reuse the index of an interface at once where a CNI plugin creates the pair inside the
/// pod's namespace: the host side keeps the small index that it had there if that one is free.
#[must_use]
pub fn identity(name: &str, hardware_address: &[u8]) -> u32 {
    let bytes = name.as_bytes().iter().chain(&[0]).chain(hardware_address);
    bytes.fold(OFFSET, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(PRIME)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_hardware_address_count() {
        let one = identity("veth1", &[2, 0, 0, 0, 0, 1]);
        assert_eq!(one, identity("veth1", &[2, 0, 0, 0, 0, 1]));
        assert_ne!(one, identity("veth2", &[2, 0, 0, 0, 0, 1]));
        assert_ne!(one, identity("veth1", &[2, 0, 0, 0, 0, 2]));
        assert_ne!(one, 0);
    }
}
