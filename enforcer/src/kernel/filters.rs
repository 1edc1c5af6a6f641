//! The filters of a hook: listing, adding and removing them.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use aya::programs::TcAttachType;
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};

use super::traffic_control::{
    Attribute, Message, TCA_CHAIN, TCA_KIND, TCA_OPTIONS, attributes, parent, request,
};

/// All protocols, in the byte order of a filter's `info`.
pub(super) const ALL_PROTOCOLS: u16 = 0x0003_u16.to_be();
/// The kind of filters that run a program.
pub(super) const BPF: &str = "bpf";

// linux/pkt_cls.h
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_ID: u16 = 11;
/// The program's result is the verdict.
const TCA_BPF_FLAG_ACT_DIRECT: u32 = 1;

/// A filter of a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) message: Message,
}

impl Filter {
    pub(super) fn priority(&self) -> u16 {
        (self.message.info >> 16) as u16
    }

    /// The protocol as it is in `info`.
    #[expect(clippy::cast_possible_truncation, reason = "the low half is what is meant")]
    pub(super) fn protocol(&self) -> u16 {
        self.message.info as u16
    }

    pub(super) fn kind(&self) -> String {
        self.message.kind()
    }

    pub(super) fn handle(&self) -> u32 {
        self.message.handle
    }

    /// The id of the program that the filter runs, if it runs one.
    pub(super) fn program(&self) -> Option<u32> {
        let options = self.message.attribute(TCA_OPTIONS)?;
        let options = attributes(&options.value);
        options.iter().find(|it| it.kind == TCA_BPF_ID)?.as_number()
    }

    /// Whether a filter of ours can have the same priority, and run before it.
    pub(super) fn shares_priority(&self) -> bool {
        self.kind() == BPF && self.protocol() == ALL_PROTOCOLS
    }
}

impl std::fmt::Display for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a {} filter of priority {}", self.kind(), self.priority())?;
        self.program().map_or(Ok(()), |program| write!(f, " (program {program})"))
    }
}

/// The filters of a hook in the order in which they run. Filters of other chains than the first are
/// left out: only a filter of this one leads there.
pub(super) fn list(ifindex: u32, parent: u32) -> io::Result<Vec<Filter>> {
    let message = Message { ifindex, parent, ..Message::default() };
    let listed = request(libc::RTM_GETTFILTER, NLM_F_DUMP, &message)?;
    let is_filter = |it: &Message| {
        let chain = it.attribute(TCA_CHAIN).and_then(Attribute::as_number);
        // Without a handle: the head of a priority.
        it.handle != 0 && chain.unwrap_or(0) == 0
    };
    Ok(listed.into_iter().filter(is_filter).map(|message| Filter { message }).collect())
}

/// The place of a filter of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) ifindex: u32,
    pub(super) hook: TcAttachType,
    pub(super) priority: u16,
    pub(super) handle: u32,
}

impl Place {
    /// Adds a filter that runs the program: before the others of the priority.
    pub(super) fn add(&self, program: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        self.put(program, name, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Replaces the filter's program, at the same place among the others.
    pub(super) fn replace(&self, program: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        self.put(program, name, 0)
    }

    fn put(&self, program: BorrowedFd<'_>, name: &str, flags: u16) -> io::Result<()> {
        let mut message = self.message();
        let options = [
            Attribute::number(TCA_BPF_FD, program.as_raw_fd().cast_unsigned()),
            Attribute::text(TCA_BPF_NAME, name),
            Attribute::number(TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT),
        ];
        message.attributes.push(Attribute::nested(TCA_OPTIONS, &options));
        request(libc::RTM_NEWTFILTER, NLM_F_ACK | flags, &message).map(|_| ())
    }

    /// Removes the filter.
    pub(super) fn remove(&self) -> io::Result<()> {
        request(libc::RTM_DELTFILTER, NLM_F_ACK, &self.message()).map(|_| ())
    }

    fn message(&self) -> Message {
        Message {
            ifindex: self.ifindex,
            handle: self.handle,
            parent: parent(self.hook),
            info: info(self.priority, ALL_PROTOCOLS),
            attributes: vec![Attribute::text(TCA_KIND, BPF)],
        }
    }
}

/// The `info` of a filter.
pub(super) fn info(priority: u16, protocol: u16) -> u32 {
    u32::from(priority) << 16 | u32::from(protocol)
}
