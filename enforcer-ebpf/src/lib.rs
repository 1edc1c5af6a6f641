//! The contract between the programs in the kernel and the agent that fills their tables.
//!
//! Everything that both sides must agree on is defined here, once: the tables' names, shapes and
//! limits ([`table`]), the meaning of a word in them ([`entry`], [`endpoint`]), how a packet is
//! read ([`packet`]) and how the classifier walks its tables ([`classify`]). The last two are
//! generic over where the bytes live, so that the agent's tests and its model of the kernel run
//! the very code that the kernel runs.
//!
//! Byte order: addresses and ports are kept as *numbers* (host order, most significant byte
//! first in the value), whatever the machine; only [`packet`] touches network byte order.
#![cfg_attr(not(test), no_std)]

#[path = "contract/lookup.rs"]
pub mod classify;
#[path = "contract/client.rs"]
pub mod client;
#[path = "contract/verdict.rs"]
pub mod count;
#[path = "contract/endpoint.rs"]
pub mod endpoint;
#[path = "contract/entry.rs"]
pub mod entry;
#[path = "contract/event.rs"]
pub mod event;
#[path = "contract/flow.rs"]
pub mod flow;
#[path = "contract/fragment.rs"]
pub mod fragment;
#[path = "contract/mark.rs"]
pub mod mark;
#[path = "contract/owner.rs"]
pub mod owner;
pub mod packet;
#[path = "contract/table.rs"]
pub mod table;

/// The layout's version. Pinned tables of another version are never adopted (design: C3).
pub const ABI_VERSION: u32 = 1;

/// Lets the agent read and write the map types through aya.
#[cfg(feature = "user")]
mod user {
    macro_rules! pod {
        ($($type:ty),* $(,)?) => {$(
            // SAFETY: the type is `bytemuck::Pod`: plain data without padding.
            #[expect(unsafe_code, reason = "aya has a Pod trait of its own")]
            unsafe impl aya::Pod for $type {}
        )*};
    }
    pod!(
        crate::count::Counters,
        crate::endpoint::ExtraAddress,
        crate::client::Clients,
        crate::event::Budget,
        crate::flow::Flow4,
        crate::flow::Flow6,
        crate::flow::FlowCounts,
        crate::flow::FlowState,
        crate::fragment::Fragment4,
        crate::fragment::Fragment6,
        crate::fragment::FragmentState,
        crate::owner::OwnerRecord,
    );
}
