//! The pods' shares of a flow table (semantics R9).

use std::collections::BTreeMap;

/// The endpoints that have more established flows than their share, in the order of their ids. `flows`: the
/// number of each endpoint's; `limit`: the number that the table is made for.
///
/// While the table has room there are no shares. Once it is seven eighths full, the share is the largest
/// number such that three quarters would be enough if no endpoint had more. So endpoints that need little
/// never lose anything, and the others have the rest in equal parts.
pub(super) fn over_share(flows: &BTreeMap<u16, u64>, limit: u64) -> Vec<u16> {
    let total: u64 = flows.values().sum();
    if total < limit / 8 * 7 {
        return Vec::new();
    }
    let share = share(flows.values().copied().collect(), limit / 4 * 3);
    flows.iter().filter(|(_, number)| **number > share).map(|(id, _)| *id).collect()
}

/// The largest share with which `room` is enough for everybody.
fn share(mut flows: Vec<u64>, room: u64) -> u64 {
    flows.sort_unstable();
    let (mut left, mut sharers) = (room, flows.len() as u64);
    for number in flows {
        let equal = left / sharers.max(1);
        if number > equal {
            return equal;
        }
        left -= number;
        sharers -= 1;
    }
    u64::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(flows: &[u64], limit: u64) -> Vec<u16> {
        over_share(&(1..).zip(flows.iter().copied()).collect(), limit)
    }

    #[test]
    fn r9_nobody_is_over_their_share_while_there_is_room() {
        assert!(over(&[], 800).is_empty());
        assert!(over(&[690], 800).is_empty());
        assert_eq!(over(&[700], 800), [1]);
    }

    #[test]
    fn r9_those_that_need_little_are_never_over_their_share() {
        assert_eq!(over(&[10, 780, 10], 800), [2]);
        // 600 for all: 20 and 30 are kept, so 550 are left for two.
        assert_eq!(share(vec![20, 400, 30, 350], 600), 275);
        assert_eq!(over(&[20, 400, 30, 350], 800), [2, 4]);
        assert_eq!(over(&[1, 1, 275, 523], 800), [4]);
    }

    #[test]
    fn r9_equal_pods_are_all_over_it_when_the_table_is_full() {
        assert_eq!(over(&[400, 400], 800), [1, 2]);
    }
}
