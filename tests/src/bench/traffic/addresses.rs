//! What the setups have in common: ports, the position of the policy, made-up members of sets.

/// The first and the last port that the policy allows.
pub(super) const PORTS: [u16; 2] = [5_000, 5_009];

/// The position of the policy that selects the server.
pub(super) const fn middle(policies: usize) -> usize {
    policies / 2
}

/// An address that no pod of the lab has: the member of another policy's sets.
pub(super) fn elsewhere(number: usize) -> String {
    format!("10.99.{}.{}", number / 250, number % 250 + 1)
}
