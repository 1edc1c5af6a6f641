//! The packet's context: bytes, mark, interfaces.

use core::ptr;

use aya_ebpf::programs::TcContext;
use enforcer_ebpf::contract::mark::Mark;
use enforcer_ebpf::packet::{Bytes, View};

use crate::program::config;

/// TC_ACT_UNSPEC: the next program on the hook decides; allowed if there is none.
pub(crate) const NEXT: i32 = -1;
/// TC_ACT_SHOT: the packet is dropped.
pub(crate) const DROP: i32 = 2;

/// Bytes of a packet that are made readable in place: the link header, the longest usual chain of
/// headers, and the quote of an ICMP error.
const LINEAR: u32 = 256;

/// The packet in front of the program.
pub(crate) struct Frame {
    context: TcContext,
    data: usize,
    end: usize,
    network: usize,
}

impl Bytes for Frame {
    #[inline(always)]
    fn view<const N: usize>(&self, offset: usize) -> Option<View<'_, N>> {
        let start = self.data + offset;
        if start + N > self.end {
            return None;
        }
        // SAFETY: the verifier proves that `start..start + N` lies within the packet.
        Some(View(unsafe { &*(start as *const [u8; N]) }))
    }

    /// Stores and loads the offset in a scratch word of the packet's context, whose contents the
    /// verifier does not track.
    #[inline(always)]
    fn settle(&self, offset: usize) -> usize {
        // SAFETY: the context outlives the program's run; volatile, so that both accesses stay.
        unsafe {
            let scratch = &raw mut (*self.context.skb.skb).cb[0];
            ptr::write_volatile(scratch, offset as u32);
            ptr::read_volatile(scratch) as usize
        }
    }
}

impl Frame {
    #[inline(always)]
    pub(crate) fn new(context: TcContext) -> Self {
        let (data, end) = (context.data(), context.data_end());
        Self { context, data, end, network: 0 }
    }

    /// Makes more of a packet readable if its headers are not in one piece; `false` if they are.
    #[inline(always)]
    pub(crate) fn pull(&mut self) -> bool {
        let length = self.context.len();
        let wanted = if length < LINEAR { length } else { LINEAR };
        if self.end - self.data >= wanted as usize {
            return false;
        }
        let pulled = self.context.pull_data(wanted).is_ok();
        // The call ends what the verifier knows of the old pointers, even if it fails.
        self.data = self.context.data();
        self.end = self.context.data_end();
        pulled
    }

    /// A number in network byte order at an offset from the frame's start; 0 if the packet ends before. By a
    /// helper: nothing has to prove again that the offset is inside the packet.
    #[inline(always)]
    pub(crate) fn load(&self, offset: usize) -> u32 {
        self.context.load::<u32>(offset).map_or(0, u32::from_be)
    }

    /// Where the network header begins, in bytes from the frame's start.
    #[inline(always)]
    pub(crate) fn network(&self) -> usize {
        self.network
    }

    /// Notes where the network header begins.
    #[inline(always)]
    pub(crate) fn set_network(&mut self, start: usize) {
        self.network = start;
    }

    /// The program's context.
    #[inline(always)]
    pub(crate) fn context(&self) -> &TcContext {
        &self.context
    }

    /// The length in bytes, the link-layer header included.
    #[inline(always)]
    pub(crate) fn length(&self) -> u32 {
        self.context.len()
    }

    /// The interface that the program is attached to.
    #[inline(always)]
    pub(crate) fn interface(&self) -> u32 {
        // SAFETY: the context outlives the program's run.
        unsafe { (*self.context.skb.skb).ifindex }
    }

    /// Whether this node itself sent the packet (semantics A2): it entered by no interface and through
    /// no hook. The first alone proves nothing: an IPv6 packet that conntrack reassembled and the
    /// node fragments again is made of new buffers without an interface, but with the mark.
    #[inline(always)]
    pub(crate) fn is_from_node(&self) -> bool {
        self.has_no_origin() && self.mark().is_empty()
    }

    /// Whether the kernel knows no interface that the packet entered by.
    #[inline(always)]
    fn has_no_origin(&self) -> bool {
        let context = self.context.skb.skb;
        // The verifier knows the setting and removes a branch. The loads have different widths, so
        // that the compiler can't merge them into one by a computed pointer, which is rejected.
        if config::origin_in_cb() != 0 {
            // SAFETY: the context outlives the program's run.
            return unsafe { ptr::read_volatile((&raw const (*context).cb[1]).cast::<u8>()) } == 0;
        }
        // SAFETY: as above.
        unsafe { ptr::read_volatile(&raw const (*context).ingress_ifindex) == 0 }
    }

    /// The index of the interface that the packet entered by; 0 if the kernel knows none.
    #[inline(always)]
    pub(crate) fn origin(&self) -> u32 {
        let context = self.context.skb.skb;
        // As in `has_no_origin`.
        if config::origin_in_cb() != 0 {
            // SAFETY: the context outlives the program's run.
            let half = unsafe { ptr::read_volatile((&raw const (*context).cb[1]).cast::<u16>()) };
            return u32::from(half);
        }
        // SAFETY: as above.
        unsafe { ptr::read_volatile(&raw const (*context).ingress_ifindex) }
    }

    /// The mark that the packet carries from earlier hooks.
    #[inline(always)]
    pub(crate) fn mark(&self) -> Mark {
        Mark((self.whole_mark() & config::mark_mask()) >> config::mark_shift())
    }

    /// Sets the mark for later hooks; bits outside of the mask stay.
    #[inline(always)]
    pub(crate) fn set_mark(&self, mark: Mark) {
        let others = self.whole_mark() & !config::mark_mask();
        let mark = others | (mark.0 << config::mark_shift());
        // SAFETY: the context outlives the program's run. Volatile, because the verifier rejects
        // the narrower store that the compiler would otherwise emit.
        unsafe { ptr::write_volatile(&raw mut (*self.context.skb.skb).mark, mark) }
    }

    /// The number of the client outside that the mark names; 0 if it is unknown.
    #[inline(always)]
    pub(crate) fn client(&self) -> u32 {
        let context = self.context.skb.skb;
        // SAFETY: the context outlives the program's run; widths as in `has_no_origin`.
        let index = unsafe {
            match config::index_in_cb() {
                0 => ptr::read_volatile(&raw const (*context).tc_index),
                _ => u32::from(ptr::read_volatile((&raw const (*context).cb[2]).cast::<u16>())),
            }
        };
        self.mark().client(index)
    }

    /// Marks the packet as that of the client outside with this number.
    #[inline(always)]
    pub(crate) fn set_client(&self, number: u32) {
        let (context, index) = (self.context.skb.skb, Mark::index(number));
        self.set_mark(Mark::outside(number));
        // SAFETY: as in `set_mark`.
        unsafe {
            match config::index_in_cb() {
                0 => ptr::write_volatile(&raw mut (*context).tc_index, index),
                _ => ptr::write_volatile((&raw mut (*context).cb[2]).cast::<u16>(), index as u16),
            }
        }
    }

    #[inline(always)]
    fn whole_mark(&self) -> u32 {
        // SAFETY: the context outlives the program's run; volatile as above.
        unsafe { ptr::read_volatile(&raw const (*self.context.skb.skb).mark) }
    }
}
