//! Filters of other programs that would run before ours: moved behind them.
//!
//! A filter of another kind or protocol keeps its priority to itself, and no priority is before the
//! first. So it is removed, ours is added, and it is added again with a later priority. The CNI
//! bandwidth plugin adds such a filter, which takes every packet of the pod to another interface.

use std::io;

use aya::programs::TcAttachType;
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL};

use super::filters::{Filter, info};
use super::traffic_control::{
    Attribute, Message, TCA_KIND, TCA_OPTIONS, attributes, encode, parent, request,
};

// linux/pkt_cls.h
const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
const TCA_ACT_COOKIE: u16 = 6;
/// The flags that a request may contain: skip hardware, skip software, be verbose.
const REQUEST_FLAGS: u32 = 1 | 2 | 16;
/// The handle of the first table of u32 filters, and the bits of a handle that name the table.
const U32_TABLE: u32 = 0x8000_0000;
const U32_TABLES: u32 = 0xfff0_0000;
const TCA_U32_LINK: u16 = 3;

/// The attributes of a kind of filters that can be moved.
struct Movable {
    kind: &'static str,
    actions: u16,
    flags: u16,
    /// Those that make sense only where the filter was: the table, statistics.
    dropped: &'static [u16],
}

const MOVABLE: [Movable; 2] = [
    Movable { kind: "u32", actions: 7, flags: 11, dropped: &[2, 9, 12] },
    Movable { kind: "matchall", actions: 2, flags: 3, dropped: &[4] },
];

fn movable(filter: &Filter) -> Option<&'static Movable> {
    let kind = filter.kind();
    MOVABLE.iter().find(|it| it.kind == kind)
}

/// Whether the filter is the first table of filters, which comes and goes with them.
pub(super) fn is_table(filter: &Filter) -> bool {
    filter.kind() == "u32" && filter.handle() == U32_TABLE
}

/// The priority of our filters on a clsact qdisc: before filters with the kernel's default
/// priority, so that packets are checked before these accept them.
pub(super) const PRIORITY: u16 = 1;

/// The place for a filter of ours, and the filters that were removed for it.
#[derive(Debug)]
pub(super) struct Displaced {
    /// The priority for ours.
    pub(super) priority: u16,
    pub(super) filters: Vec<Filter>,
    /// The priority behind which they come.
    pub(super) after: u16,
}

/// Removes the filters that would keep ours from running first. If one of them can't be added
/// again, all stay, and the place for ours is behind them.
pub(super) fn displace(filters: &[Filter]) -> io::Result<Displaced> {
    let at = |priority: u16| filters.iter().filter(move |it| it.priority() == priority);
    let mut moved: Vec<Filter> = filters
        .iter()
        .filter(|it| it.priority() <= PRIORITY && !it.shares_priority())
        .cloned()
        .collect();
    if !moved.iter().all(can_replace) {
        let is_free = |priority: &u16| at(*priority).all(Filter::shares_priority);
        let priority = (PRIORITY..u16::MAX).find(is_free).ok_or(io::ErrorKind::AddrInUse)?;
        return Ok(Displaced { priority, filters: Vec::new(), after: priority });
    }
    let mut after = PRIORITY;
    if !moved.is_empty() {
        // Those that follow without a gap move on, too, so that the order stays.
        let mut next = PRIORITY + 1;
        while at(next).next().is_some() && at(next).all(can_replace) {
            moved.extend(at(next).cloned());
            next += 1;
        }
        while at(next).next().is_some() {
            next += 1;
            after = next - 1;
        }
        let mut removed = 0;
        for filter in &moved {
            if filter.priority() != removed {
                remove_priority(filter)?;
            }
            removed = filter.priority();
        }
    }
    Ok(Displaced { priority: PRIORITY, filters: moved, after })
}

/// Whether the filter can be removed and added again as it was.
fn can_move(filter: &Filter) -> bool {
    let Some(movable) = movable(filter) else { return false };
    let options = filter.message.attribute(TCA_OPTIONS).map(|it| attributes(&it.value));
    let options = options.unwrap_or_default();
    let leads_on = movable.kind == "u32" && options.iter().any(|it| it.kind == TCA_U32_LINK);
    // Other tables belong to filters that lead there.
    let in_first_table = movable.kind != "u32" || filter.handle() & U32_TABLES == U32_TABLE;
    !leads_on && in_first_table
}

/// Whether the filter can be removed with its qdisc and added again. Tables come with their filters.
pub(super) fn can_replace(filter: &Filter) -> bool {
    is_table(filter) || can_move(filter)
}

/// Adds filters that were removed again, behind ours.
pub(super) fn add_behind(filters: &[Filter], hook: TcAttachType, priority: u16) {
    for (filter, priority) in behind(filters, priority) {
        match add(&filter, parent(hook), priority) {
            Ok(()) => tracing::info!(
                ifindex = filter.message.ifindex,
                priority,
                "{filter} moved behind ours"
            ),
            Err(error) => tracing::error!(
                ifindex = filter.message.ifindex,
                %error,
                "cannot add {filter} of another program again, which came before ours"
            ),
        }
    }
}

/// The filters of a hook, and the priorities that they get behind `after`; their order stays.
pub(super) fn behind(filters: &[Filter], after: u16) -> Vec<(Filter, u16)> {
    let (mut last, mut shifted) = (None, after);
    let filters = filters.iter().filter(|it| !is_table(it));
    let moved = filters.map(|filter| {
        let own = (filter.priority(), filter.protocol(), filter.kind());
        if last.as_ref() != Some(&own) {
            shifted = filter.priority().max(shifted.saturating_add(1));
            last = Some(own);
        }
        (filter.clone(), shifted)
    });
    moved.collect()
}

/// Removes all filters of a filter's priority.
fn remove_priority(filter: &Filter) -> io::Result<()> {
    let Message { ifindex, parent, info, .. } = filter.message;
    let attributes = vec![Attribute::text(TCA_KIND, &filter.kind())];
    let message = Message { ifindex, handle: 0, parent, info, attributes };
    request(libc::RTM_DELTFILTER, NLM_F_ACK, &message).map(|_| ())
}

/// Adds a filter that was removed, with another parent and priority.
pub(super) fn add(filter: &Filter, parent: u32, priority: u16) -> io::Result<()> {
    let message = Message {
        ifindex: filter.message.ifindex,
        handle: if filter.kind() == "u32" { 0 } else { filter.handle() },
        parent,
        info: info(priority, filter.protocol()),
        attributes: vec![
            Attribute::text(TCA_KIND, &filter.kind()),
            Attribute::nested(TCA_OPTIONS, &options(filter)),
        ],
    };
    request(libc::RTM_NEWTFILTER, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &message).map(|_| ())
}

/// The options of a filter as a request has them.
fn options(filter: &Filter) -> Vec<Attribute> {
    let Some(movable) = movable(filter) else { return Vec::new() };
    let options = filter.message.attribute(TCA_OPTIONS).map(|it| attributes(&it.value));
    let options = options.unwrap_or_default().into_iter();
    let kept = options.filter(|it| !movable.dropped.contains(&it.kind));
    kept.map(|mut option| {
        if option.kind == movable.actions {
            option = Attribute::nested(option.kind, &actions(&option));
        } else if option.kind == movable.flags {
            let flags = option.as_number().unwrap_or(0);
            option = Attribute::number(option.kind, flags & REQUEST_FLAGS);
        }
        option
    })
    .collect()
}

/// The actions of a filter without their statistics.
fn actions(list: &Attribute) -> Vec<Attribute> {
    let one = |action: Attribute| {
        let parts = attributes(&action.value).into_iter();
        let parts: Vec<Attribute> = parts
            .filter(|it| matches!(it.kind, TCA_ACT_KIND | TCA_ACT_OPTIONS | TCA_ACT_COOKIE))
            .collect();
        Attribute::new(action.kind, encode(&parts))
    };
    attributes(&list.value).into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(kind: &str, priority: u16, handle: u32) -> Filter {
        let attributes = vec![Attribute::text(TCA_KIND, kind)];
        let info = info(priority, 0x0300);
        Filter { message: Message { handle, info, attributes, ..Message::default() } }
    }

    #[test]
    fn filters_keep_their_order_behind_ours() {
        let filters = [
            filter("u32", 1, 0x8000_0000),
            filter("u32", 1, 0x8000_0800),
            filter("u32", 1, 0x8000_0801),
            filter("matchall", 2, 1),
            filter("matchall", 9, 1),
        ];
        let moved: Vec<_> =
            behind(&filters, 1).into_iter().map(|(it, to)| (it.handle(), to)).collect();
        let expected = [(0x8000_0800, 2), (0x8000_0801, 2), (1, 3), (1, 9)];
        assert_eq!(moved, expected);
    }

    #[test]
    fn only_filters_that_can_be_added_again_are_moved() {
        assert!(can_move(&filter("u32", 1, 0x8000_0800)));
        assert!(can_move(&filter("matchall", 1, 1)));
        assert!(!can_replace(&filter("u32", 1, 0x8010_0800)), "in another table");
        assert!(!can_replace(&filter("u32", 1, 0x0010_0000)), "another table");
        assert!(!can_move(&filter("bpf", 1, 1)), "its program can't be opened");
        assert!(!can_move(&filter("flower", 1, 1)), "not known");
    }

    #[test]
    fn statistics_and_results_are_no_part_of_a_request() {
        let action = [
            Attribute::text(TCA_ACT_KIND, "mirred"),
            Attribute::new(TCA_ACT_OPTIONS, [1; 8]),
            Attribute::new(4, [2; 8]),
        ];
        let list = Attribute::new(2, encode(&[Attribute::new(1, encode(&action))]));
        let mut found = filter("matchall", 1, 1);
        let all = [list, Attribute::number(3, 8), Attribute::new(4, [3; 8])];
        found.message.attributes.push(Attribute::new(TCA_OPTIONS, encode(&all)));
        let options = options(&found);
        assert_eq!(options.iter().map(|it| it.kind & 0x3fff).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(options[1].as_number(), Some(0), "it is not in hardware");
        let actions = attributes(&attributes(&options[0].value)[0].value);
        assert_eq!(actions, action[..2]);
    }
}
