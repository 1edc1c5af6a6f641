use super::displacement::{Resident, Residents, kind, victim};
use super::*;

/// Numbers without a pattern (Marsaglia's xorshift).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// A word of tags in which few values occur, so that they repeat.
fn tags(numbers: &mut Numbers) -> [u8; PLACES] {
    numbers.next().to_le_bytes().map(|it| [0, 0, 1, 2, 0x80, 0x81, 0xfe, 0xff][usize::from(it % 8)])
}

fn places(marked: u64) -> Vec<usize> {
    (0..PLACES).filter(|place| marked.to_le_bytes()[*place] != 0).collect()
}

#[test]
fn tags_are_found_all_at_once() {
    let mut numbers = Numbers(1);
    for _ in 0..100_000 {
        let all = tags(&mut numbers);
        let word = u64::from_le_bytes(all);
        for tag in [0, 1, 2, 3, 0x80, 0x81, 0xfe, 0xff] {
            let expected: Vec<usize> = (0..PLACES).filter(|place| all[*place] == tag).collect();
            let found = with_tag(word, tag);
            assert_eq!(places(found), expected, "{tag} in {all:?}");
            assert_eq!(number_of(found), expected.len() as u64);
            if let Some((first, rest)) = expected.split_first() {
                assert_eq!(first_of(found), *first);
                assert_eq!(places(without(found, *first)), rest);
            }
            for own in 0..PLACES {
                let chosen = choose(found, (own as u64) << 40 | 0xff << 32);
                let expected = if expected.contains(&own) { Some(&own) } else { expected.first() };
                assert!(expected.is_none_or(|it| *it == chosen), "{own} in {all:?}");
            }
        }
    }
}

fn flow4(numbers: &mut Numbers) -> Flow4 {
    let [addresses, rest] = [numbers.next(), numbers.next()];
    Flow4::from_words(&[addresses, rest & !(0xff << 56)]).unwrap()
}

fn flow6(numbers: &mut Numbers) -> Flow6 {
    let words: [u64; 5] = std::array::from_fn(|_| numbers.next());
    Flow6::from_words(&[words[0], words[1], words[2], words[3], words[4] & !(0xff << 56)]).unwrap()
}

fn returns<K: Key + bytemuck::Pod + std::fmt::Debug>(key: K) {
    let words: Vec<u64> = (0..K::WORDS).map(|at| key.word(at)).collect();
    assert_eq!(K::from_words(&words), Some(key));
    assert_eq!(endpoint_of(words[K::WORDS - 1]), key.tail().endpoint);
    assert!(K::from_words(&words[1..]).is_none());
    assert!(KEY + K::WORDS <= K::ENTRY);
    // The programs read them from memory.
    assert_eq!(bytemuck::cast_slice::<_, u8>(&words), bytemuck::bytes_of(&key));
}

#[test]
fn a_key_is_its_words() {
    let mut numbers = Numbers(2);
    for _ in 0..1_000 {
        returns(flow4(&mut numbers));
        returns(flow6(&mut numbers));
    }
    assert_eq!(size_of::<Group4>(), Flow4::ENTRY * PLACES * 8);
    assert_eq!(size_of::<Group6>(), Flow6::ENTRY * PLACES * 8);
}

#[test]
fn what_grants_something_is_in_the_check_word() {
    let mut numbers = Numbers(3);
    for _ in 0..1_000 {
        let (hash, word) = (numbers.next(), numbers.next());
        let mine = FlowState { initiator: (word >> 48) as u16 & 1, ..from_word(word) };
        assert_eq!(from_word(to_word(mine)), mine);
        let check = check(hash, mine);
        assert!(has_hash(check, hash) && check != 0);
        // Another flow's state changes neither the initiator nor whether the node sent the first packet.
        let other = from_word(numbers.next());
        let seen = state(check, other);
        assert_eq!(seen.initiator, mine.initiator);
        assert_eq!(seen.flags & flags::NODE, mine.flags & flags::NODE);
        assert_eq!(seen.flags | flags::NODE, other.flags | flags::NODE);
        assert!(!has_hash(check, hash ^ 8) && !has_hash(0, hash & 7));
    }
}

/// Flows of one pod that differ in one port are spread as well as others: a pod can choose ports.
#[test]
fn the_hash_spreads_flows_that_differ_little() {
    const GROUPS: u32 = 1_000;
    let base = Flow4::from_words(&[0x0a00_0001_0a00_0002, 0]).unwrap();
    for secret in [1, 0x1234_5678_9abc_def1, u64::MAX] {
        for vary in 0..4 {
            let mut first = vec![0_u32; GROUPS as usize];
            let (mut second, mut by_tag) = (first.clone(), vec![0_u32; 256]);
            for number in 0..64_000_u64 {
                let word = match vary {
                    0 => number & 0xffff,
                    1 => number << 16,
                    2 => (number & 0xff) | (number >> 8) << 16,
                    _ => 0,
                };
                let remote = if vary == 3 { number as u32 } else { base.remote };
                let flow = Flow4 { remote, tail: tail_of(word), ..base };
                let hash = flow.hash(secret);
                let [one, other] = groups(hash, GROUPS);
                first[one as usize] += 1;
                second[other as usize] += 1;
                by_tag[usize::from(tag(hash))] += 1;
            }
            // 64 each on average: with a standard deviation of 8, more than 120 never happens by chance.
            for counts in [&first, &second] {
                let most = counts.iter().max().unwrap();
                assert!(*most < 120, "{secret:x} {vary}: {most}");
            }
            assert_eq!(by_tag[0], 0);
            assert!(by_tag.iter().all(|it| *it < 700), "{secret:x} {vary}");
        }
    }
}

/// A table of words like the programs', filled by their rules.
struct Model {
    tags: Vec<u64>,
    flows: Vec<Option<Flow4>>,
    refused: u32,
}

impl Model {
    fn insert(&mut self, flow: Flow4, secret: u64) {
        let hash = flow.hash(secret);
        let tag = tag(hash);
        let all = groups(hash, self.tags.len() as u32).map(|it| it as usize);
        let open = all.map(|group| open_to(self.tags[group], tag));
        let which = usize::from(takes_second(open[0], open[1]));
        if open[which] == 0 {
            self.refused += 1;
            return;
        }
        let (group, place) = (all[which], choose(open[which], hash));
        self.tags[group] |= u64::from(tag) << (place * 8);
        self.flows[group * PLACES + place] = Some(flow);
    }

    fn finds(&self, flow: Flow4, secret: u64) -> bool {
        let hash = flow.hash(secret);
        groups(hash, self.tags.len() as u32).into_iter().any(|group| {
            let marked = with_tag(self.tags[group as usize], tag(hash));
            let first = choose(marked, hash);
            let others = without(marked, first);
            [(marked, first), (others, first_of(others))].into_iter().any(|(marked, place)| {
                marked != 0 && self.flows[group as usize * PLACES + place] == Some(flow)
            })
        })
    }
}

#[test]
fn a_table_holds_the_flows_that_it_is_made_for() {
    for (flows, secret) in [(256, 3), (20_000, 5), (200_000, 7)] {
        let count = groups_for(flows);
        assert!(flows_for(count) >= u64::from(flows));
        let mut numbers = Numbers(u64::from(flows));
        let all: Vec<Flow4> = (0..flows).map(|_| flow4(&mut numbers)).collect();
        let mut model = Model {
            tags: vec![0; count as usize],
            flows: vec![None; count as usize * PLACES],
            refused: 0,
        };
        for flow in &all {
            model.insert(*flow, secret);
        }
        // Two flows with the same tag in one group, and no room in the other: one flow in ten thousand.
        assert!(model.refused <= 1 + flows / 10_000, "{flows}: {}", model.refused);
        let found = all.iter().filter(|flow| model.finds(**flow, secret)).count();
        assert_eq!(found, all.len() - model.refused as usize);
    }
}

#[test]
fn a_flow_of_a_table_with_few_is_where_a_look_up_tries_first() {
    let (count, secret, mut numbers) = (groups_for(20_000), 9, Numbers(9));
    let mut model = Model {
        tags: vec![0; count as usize],
        flows: vec![None; count as usize * PLACES],
        refused: 0,
    };
    let all: Vec<Flow4> = (0..5_000).map(|_| flow4(&mut numbers)).collect();
    all.iter().for_each(|flow| model.insert(*flow, secret));
    let is_first = |flow: &&Flow4| {
        let hash = flow.hash(secret);
        let group = groups(hash, count)[0] as usize;
        let place = choose(with_tag(model.tags[group], tag(hash)), hash);
        model.flows[group * PLACES + place] == Some(**flow) && place == (hash >> 40) as usize & 7
    };
    let first = all.iter().filter(is_first).count();
    assert!(first > all.len() * 8 / 10, "{first}");
}

struct Given([Resident; PLACES]);

impl Residents for Given {
    fn resident(&self, place: usize) -> Resident {
        self.0[place]
    }

    fn settle(&self, number: u32) -> u32 {
        number
    }
}

const ALL: u64 = u64::MAX;

/// The rules of semantics R9, one after the other.
fn expected(is_over_share: bool, group: &[Resident; PLACES]) -> Option<usize> {
    let has = |it: &Resident, bit| it.kind & bit != 0;
    type Rule<'a> = &'a dyn Fn(&Resident) -> bool;
    let dead: Rule<'_> = &|it| has(it, kind::DEAD);
    let opening = |it: &Resident| it.kind & (kind::DEAD | kind::ESTABLISHED) == 0;
    let own: Rule<'_> = &|it| opening(it) && has(it, kind::OWN);
    let beyond: Rule<'_> = &|it| opening(it) && has(it, kind::OVER_SHARE);
    let other: Rule<'_> = &|it| opening(it) && !is_over_share;
    let reduced: Rule<'_> = &|it| {
        !is_over_share
            && has(it, kind::ESTABLISHED)
            && has(it, kind::OVER_SHARE)
            && !has(it, kind::OWN)
    };
    [dead, own, beyond, other, reduced].into_iter().find_map(|rule| {
        let which = (0..PLACES).filter(|place| rule(&group[*place]));
        which.max_by_key(|place| (group[*place].age, *place))
    })
}

#[test]
fn r9_the_right_flow_makes_room() {
    let mut numbers = Numbers(4);
    for round in 0..200_000 {
        let group = std::array::from_fn(|_| {
            let number = numbers.next();
            Resident {
                kind: number as u32 & numbers.next() as u32 & 15,
                age: (number >> 40) as u32 % 9,
            }
        });
        let is_over_share = round % 2 == 0;
        let found = victim(is_over_share, ALL, &Given(group));
        assert_eq!(found.map(|it| it.place), expected(is_over_share, &group), "{group:?}");
        if let Some(it) = found {
            let kind = group[it.place].kind;
            assert_eq!(it.is_alive(), kind & kind::DEAD == 0);
            assert_eq!(
                it.is_established(),
                kind & (kind::ESTABLISHED | kind::DEAD) == kind::ESTABLISHED
            );
        }
    }
}

#[test]
fn in_a_crowded_group_only_flows_alike_make_room() {
    let tags = u64::from_le_bytes([7, 1, 7, 2, 3, 4, 5, 6]);
    assert!(is_crowded(tags, 7) && !is_crowded(tags, 1));
    assert_eq!(places(displaceable(tags, 7)), [0, 2]);
    assert_eq!(displaceable(tags, 1), HIGHEST);
    assert_eq!((open_to(tags, 7), open_to(tags & !0xff00, 7)), (0, 0));
    let dead = Resident { kind: kind::DEAD, age: 9 };
    let mut group = [dead; PLACES];
    group[2].age = 8;
    let found = victim(false, displaceable(tags, 7), &Given(group));
    assert_eq!(found.map(|it| it.place), Some(0));
}
