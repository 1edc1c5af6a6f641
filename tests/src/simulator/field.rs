//! The offset of fields of `struct __sk_buff` (include/uapi/linux/bpf.h).

pub(super) const LEN: usize = 0;
pub(super) const MARK: usize = 8;
pub(super) const PROTOCOL: usize = 16;
pub(super) const INGRESS_IFINDEX: usize = 36;
pub(super) const IFINDEX: usize = 40;
pub(super) const TC_INDEX: usize = 44;
pub(super) const DATA: usize = 76;
pub(super) const DATA_END: usize = 80;
/// Bytes of the whole context.
pub(super) const SIZE: usize = 192;
