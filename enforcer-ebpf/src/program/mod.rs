//! The programs in the kernel.
//!
//! ```text
//! hooks, to_pod ─► judge ─► policy ─► fragment_table
//!        │           ├────► reply ──► flow_table ◄── flow_record
//!        │           └────► remote
//!        └────► segment, node, origin, deferred, report
//! ```
//! - [`hooks`], [`to_pod`]: the TC programs; [`probes`]: the ones that only measure; [`segment`]: the short way
//!   of most packets;
//! - [`judge`]: the verdict on a packet; [`policy`]: what policy allows; [`reply`]: whether flow
//!   state allows the rest; [`deferred`]: what an earlier hook left undecided;
//! - [`origin`]: whether a packet comes from an interface without programs; [`node`]: whether the node's
//!   own is meant for the pod; [`parse`]: a packet's headers;
//! - [`link`]: messages that a link needs; [`remote`]: the other end's real address;
//!   [`known6`]: an IPv6 address's class; [`flow_record`], [`flow_table`], [`flow_insert`], [`starts`], [`fragment_table`]: state; [`report`]: counters and
//!   events;
//! - [`last_call`]: calls of one program by another;
//! - [`frame`], [`family`] ([`family4`], [`family6`]), [`hook`], [`clock`], [`config`], [`maps`]: what the rest is written in.
//!
//! What belongs here: what must happen for each packet. What does not: anything that the agent
//! could do ahead of the packet.

mod clock;
mod config;
mod deferred;
mod family;
mod family4;
mod family6;
mod flow_insert;
mod flow_record;
mod flow_table;
mod fragment_table;
mod frame;
mod hook;
mod hooks;
mod judge;
mod known6;
mod last_call;
mod link;
mod maps;
mod node;
mod origin;
mod parse;
mod policy;
mod probes;
mod remote;
mod reply;
mod report;
mod segment;
mod starts;
mod to_pod;
