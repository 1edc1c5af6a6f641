//! The contract between the programs in the kernel and the agent that fills their tables.
//!
//! - [`table`]: names, shapes and limits of the tables;
//! - [`endpoint`], [`entry`], [`owner`], [`client`]: what the agent writes, or the programs note
//!   for each other;
//! - [`flow`], [`flow_table`], [`stage`], [`fragment`]: flow state;
//! - [`verdict`], [`counters`], [`event`]: what the programs report;
//! - [`mark`]: what one program passes to the next in `skb->mark`;
//! - [`parts`]: the programs that one program calls last;
//! - [`lookup`], [`lookup6`], [`networks`]: how the classifier walks its tables.
//!
//! What belongs here: everything that both sides must agree on. What does not: helpers of one side.

pub mod client;
pub mod counters;
pub mod endpoint;
pub mod entry;
pub mod event;
pub mod flow;
pub mod flow_table;
pub mod fragment;
pub mod lookup;
pub mod lookup6;
pub mod mark;
pub mod networks;
pub mod owner;
pub mod parts;
pub mod stage;
pub mod starts;
pub mod table;
pub mod verdict;

/// The layout's version. The agent never adopts pinned tables of another version (semantics C3).
pub const ABI_VERSION: u32 = 4;

/// Lets the agent read and write the map types through aya.
#[cfg(feature = "user")]
mod user {
    macro_rules! pod {
        ($($type:path),* $(,)?) => {$(
            // SAFETY: the type is `bytemuck::Pod`: plain data without padding.
            #[expect(unsafe_code, reason = "aya has a Pod trait of its own")]
            unsafe impl aya::Pod for $type {}
        )*};
    }
    pod!(
        super::client::Clients,
        super::counters::Counters,
        super::counters::FlowCounts,
        super::endpoint::ExtraAddress,
        super::event::Budget,
        super::flow::Flow4,
        super::flow::Flow6,
        super::flow::FlowState,
        super::starts::Starts,
        super::fragment::Fragment4,
        super::fragment::Fragment6,
        super::fragment::FragmentState,
        super::owner::OwnerRecord,
    );
}
