//! The packet path. This library is what the programs in the kernel and the agent share; the
//! programs themselves are the binary of the same name (`main.rs`, `program/`).
//!
//! - [`contract`]: the layout and the meaning of the tables, and the look-ups in them.
//! - [`packet`]: the packet parser.
//! - [`rotation`]: for the benchmark alone.
//!
//! Both are generic over where the bytes live: the agent's tests and its model of the kernel run
//! the code that the kernel runs.
//!
//! Byte order: addresses and ports are *numbers* (the most significant byte first in the value),
//! whatever the machine. Only [`packet`] knows network byte order.
#![cfg_attr(not(test), no_std)]

pub mod contract;
pub mod packet;
pub mod rotation;
