//! The packet's context: bytes, mark, interfaces.

use core::ptr;

use aya_ebpf::programs::TcContext;
use enforcer_ebpf::mark::Mark;
use enforcer_ebpf::packet::{Bytes, View};

use crate::config;

/// How much of a packet is made readable in place: link header, the longest usual chain of
/// headers, and what an ICMP error quotes.
const LINEAR: u32 = 256;

/// The packet in front of the program.
pub(crate) struct Frame {
    context: TcContext,
    data: usize,
    end: usize,
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

    /// Through a scratch word of the packet's context, of which the verifier knows nothing.
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
        Self { context, data, end }
    }

    /// Makes more of a packet readable whose headers are not in one piece; `false` if all is.
    #[inline(always)]
    pub(crate) fn pull(&mut self) -> bool {
        let length = self.context.len();
        let wanted = if length < LINEAR { length } else { LINEAR };
        if self.end - self.data >= wanted as usize || self.context.pull_data(wanted).is_err() {
            return false;
        }
        self.data = self.context.data();
        self.end = self.context.data_end();
        true
    }

    /// The program's argument.
    #[inline(always)]
    pub(crate) fn context(&self) -> &TcContext {
        &self.context
    }

    /// Bytes, the link-layer header included.
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

    /// Whether this node itself sent the packet (semantics A2).
    #[inline(always)]
    pub(crate) fn is_from_node(&self) -> bool {
        let context = self.context.skb.skb;
        // The verifier knows the setting, and removes the branch. Of different widths, so that the
        // compiler can't make one load by a computed pointer of two, which the verifier refuses.
        if config::origin_in_cb() != 0 {
            // SAFETY: the context outlives the program's run.
            return unsafe { ptr::read_volatile((&raw const (*context).cb[1]).cast::<u8>()) } == 0;
        }
        // SAFETY: as above.
        unsafe { ptr::read_volatile(&raw const (*context).ingress_ifindex) == 0 }
    }

    /// What the programs that saw the packet before have noted.
    #[inline(always)]
    pub(crate) fn mark(&self) -> Mark {
        Mark((self.whole_mark() & config::mark_mask()) >> config::mark_shift())
    }

    /// Notes something for the programs further on.
    #[inline(always)]
    pub(crate) fn set_mark(&self, mark: Mark) {
        let others = self.whole_mark() & !config::mark_mask();
        let mark = others | (mark.0 << config::mark_shift());
        // SAFETY: the context outlives the program's run. Volatile, because the verifier refuses
        // the narrower store that the compiler would otherwise merge this into.
        unsafe { ptr::write_volatile(&raw mut (*self.context.skb.skb).mark, mark) }
    }

    #[inline(always)]
    fn whole_mark(&self) -> u32 {
        // SAFETY: the context outlives the program's run; volatile as above.
        unsafe { ptr::read_volatile(&raw const (*self.context.skb.skb).mark) }
    }
}
