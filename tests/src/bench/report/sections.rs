//! The sections of the page: what each part measured.

use super::chart::{Bar, Line, bars, lines, short};
use super::table::table;
use crate::bench::document::Document;
use crate::bench::packets::Figure;
use crate::bench::targets;
use crate::bench::traffic::Row;

/// The families, in the order of their bars.
const FAMILIES: [u8; 2] = [4, 6];

/// Packets in one loop.
pub(super) fn packets(document: &Document) -> String {
    let Some(packets) = &document.packets else { return String::new() };
    let most = |of: fn(&Figure) -> usize| packets.rows.iter().map(of).max().unwrap_or_default();
    let (policies, peers) = (most(|it| it.policies), most(|it| it.peers));
    let largest: Vec<&Figure> =
        packets.rows.iter().filter(|it| it.policies == policies && it.peers == peers).collect();
    let mut text = format!(
        "<h2>A packet</h2>\n<p>Nanoseconds over the empty program, medians of {} rounds of at least 4,000 \
         different packets after each of {} loads of the programs, with {} policies that select the pod and {} peers. The thin line is from the \
         first to the third quartile of the rounds; the thick mark is the project's target for IPv4 (4 ns \
         more for IPv6). The empty program takes {} ns, loop included; reading the packet's headers takes \
         {} ns of each figure.</p>\n",
        packets.rounds,
        packets.loads,
        short(policies as f64),
        short(peers as f64),
        short(mean(largest.iter().map(|it| it.empty))),
        short(mean(largest.iter().map(|it| it.parse_only - it.empty))),
    );
    text.push_str(&bars("Cost of a packet", "ns over the empty program", &["IPv4", "IPv6"], &{
        let mut names: Vec<(String, usize)> = Vec::new();
        for figure in &largest {
            let name = (figure.case.clone(), figure.flows);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let of = |(case, flows): (String, usize)| {
            let bar = |family| {
                let is =
                    |it: &&&Figure| it.family == family && it.case == case && it.flows == flows;
                largest.iter().find(is).map(|it| Bar {
                    value: it.over_empty,
                    spread: Some(it.over_empty_quartiles),
                    target: targets::packet(&it.case, it.flows, family),
                })
            };
            (format!("{case} · {}", short(flows as f64)), FAMILIES.map(bar).to_vec())
        };
        names.into_iter().map(of).collect::<Vec<_>>()
    }));
    text.push_str(&by_flows(&largest));
    text.push_str(&by_peers(&packets.rows));
    let rows = packets.rows.iter().map(|it| {
        let [low, high] = it.over_empty_quartiles.map(short);
        vec![
            it.case.clone(),
            it.family.to_string(),
            it.policies.to_string(),
            it.peers.to_string(),
            it.flows.to_string(),
            short(it.over_empty),
            format!("{low}–{high}"),
            short(it.over_parse),
            format!("{:.2}", it.ratio),
        ]
    });
    let head = [
        "packet",
        "IP",
        "policies",
        "peers",
        "flows",
        "over empty",
        "quartiles",
        "over parsing",
        "× empty",
    ];
    text.push_str(&table("All figures of packets, ns", &head, rows));
    text
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), it| (sum + it, count + 1.0));
    sum / count
}

/// The cases that were measured with several numbers of flows.
const BY_FLOWS: [&str; 3] =
    ["allowed by pod selector", "reply by the flow table", "segment of the pod"];

fn by_flows(largest: &[&Figure]) -> String {
    let line = |case: &str, family: u8| Line {
        name: format!("{case}, IPv{family}"),
        points: largest
            .iter()
            .filter(|it| it.case == case && it.family == family)
            .map(|it| (it.flows as f64, it.over_empty))
            .collect(),
    };
    let all: Vec<Line> =
        FAMILIES.iter().flat_map(|family| BY_FLOWS.map(|case| line(case, *family))).collect();
    lines("Cost by the number of flows that take turns", "flows", "ns over the empty program", &all)
}

fn by_peers(rows: &[Figure]) -> String {
    let line = |policies: usize, family: u8| Line {
        name: format!("IPv{family}, {policies} policies"),
        points: rows
            .iter()
            .filter(|it| it.case == BY_FLOWS[0] && it.flows == 1_000)
            .filter(|it| it.family == family && it.policies == policies)
            .map(|it| (it.peers as f64, it.over_empty))
            .collect(),
    };
    let all: Vec<Line> =
        FAMILIES.iter().flat_map(|family| [1, 1_000].map(|it| line(it, *family))).collect();
    let title = "Cost of a packet that is allowed by pod selector, by the number of peers";
    lines(title, "peers", "ns over the empty program", &all)
}

/// Costs apart from time.
pub(super) fn costs(document: &Document) -> String {
    let Some(costs) = &document.costs else { return String::new() };
    let mut text = "<h2>Instructions and memory</h2>\n<p>Figures that do not depend on the machine: an \
         interpreter runs the same object on the same tables, and the tests compare its verdicts and \
         counters with those of the loaded programs. <a href=\"bounds.md\">bounds.md</a> has the bounds \
         that every change is compared with.</p>\n"
        .to_owned();
    let group = |case: &str| {
        let of = |family| {
            let found = costs.packets.iter().find(|it| it.case == case && it.family == family);
            found.map(|it| Bar::plain(f64::from(it.instructions)))
        };
        (case.to_owned(), FAMILIES.map(of).to_vec())
    };
    let names: Vec<&str> =
        costs.packets.iter().filter(|it| it.family == 4).map(|it| it.case.as_str()).collect();
    let groups: Vec<_> = names.into_iter().map(group).collect();
    let title = "Executed instructions of a packet";
    text.push_str(&bars(title, "at most", &["IPv4", "IPv6"], &groups));
    let rows = costs.packets.iter().map(|it| {
        let numbers = [it.instructions, it.array_lookups, it.calls, it.lines, it.bytes];
        let mut row = vec![it.case.clone(), it.family.to_string()];
        row.extend(numbers.map(|it| it.to_string()));
        row
    });
    let head =
        ["packet", "IP", "instructions", "array look-ups", "other calls", "cache lines", "bytes"];
    text.push_str(&table("Instructions, calls and memory of tables, at most", &head, rows));
    let rows = costs.programs.iter().map(|it| {
        let verified = it.verified.map_or_else(|| "–".to_owned(), |it| it.to_string());
        vec![it.program.clone(), it.instructions.to_string(), verified]
    });
    let head = ["program", "instructions", "verified by the kernel"];
    text.push_str(&table("Sizes of programs", &head, rows));
    text
}

/// Real traffic.
pub(super) fn traffic(document: &Document) -> String {
    let Some(traffic) = &document.traffic else { return String::new() };
    let mut text = format!(
        "<h2>Traffic</h2>\n<p>Real connections between two pods of one node, medians of {} rounds in \
         alternating order. Of all policies one selects the server, in the middle of the list. <em>nftables \
         sets</em> is a map from the pod's address to its chain; <em>iptables + ipset as NPM</em> has the \
         chains and sets that Azure NPM makes. Conntrack is on in all of them.</p>\n",
        traffic.rounds
    );
    let mut setups: Vec<&str> = Vec::new();
    for row in &traffic.rows {
        if !setups.contains(&row.setup.as_str()) {
            setups.push(&row.setup);
        }
    }
    let mut policies: Vec<usize> = traffic.rows.iter().map(|it| it.policies).collect();
    policies.sort_unstable();
    policies.dedup();
    let mut plot = |title: &str, unit: &str, figure: fn(&Row) -> f64| {
        let group = |policies: &usize| {
            let of = |setup: &&str| {
                let is = |it: &&Row| it.setup == **setup && it.policies == *policies;
                traffic.rows.iter().find(is).map(|it| Bar::plain(figure(it)))
            };
            let plural = if *policies == 1 { "policy" } else { "policies" };
            (format!("{policies} {plural}"), setups.iter().map(of).collect())
        };
        let groups: Vec<_> = policies.iter().map(group).collect();
        text.push_str(&bars(title, unit, &setups, &groups));
    };
    let each = "a connection: open, request, reply, close";
    plot("CPU time of a connection", "µs of the whole machine", |it| it.connection_cpu_us);
    plot("Connections per second", each, |it| it.connections);
    plot("TCP throughput, one stream", "Gbit/s", |it| it.one_stream_gbit);
    plot("TCP throughput, 32 streams", "Gbit/s", |it| it.streams_gbit);
    plot("Small datagrams received", "per second, 64 bytes", |it| it.datagrams);
    plot("Round trip of a small message, 99 %", "µs", |it| it.latency_us[2]);
    for missing in &traffic.missing {
        text.push_str(&format!("<p>{}</p>\n", super::chart::escape(missing)));
    }
    let rows = traffic.rows.iter().map(|it| {
        let mut row = vec![it.setup.clone(), it.policies.to_string()];
        row.extend([it.one_stream_gbit, it.streams_gbit, it.connections].map(short));
        row.extend([it.connection_cpu_us].map(short));
        row.extend([it.connection_cpu_ratio, it.own_cpu_ratio].map(|it| format!("{it:.3}")));
        row.extend([it.datagrams].map(short));
        row.extend(it.latency_us.map(short));
        row
    });
    let head = [
        "setup",
        "policies",
        "1 stream",
        "32 streams",
        "connections/s",
        "CPU µs",
        "× no policy",
        "own × no policy",
        "datagrams/s",
        "µs 50 %",
        "90 %",
        "99 %",
        "99.9 %",
    ];
    text.push_str(&table("All figures of traffic", &head, rows));
    let rows = traffic.in_place.iter().map(|it| {
        let target = targets::in_place(&it.packet).map_or_else(|| "–".to_owned(), short);
        vec![it.packet.clone(), it.program.clone(), it.runs.to_string(), short(it.ns), target]
    });
    let head = ["packet", "program", "runs", "ns", "target"];
    let summary = "The programs in place, 1,000 connections that take turns (kernel's statistics)";
    text.push_str(&table(summary, &head, rows));
    text
}

/// Floods.
pub(super) fn floods(document: &Document) -> String {
    let Some(floods) = &document.floods else { return String::new() };
    let mut text = "<h2>Floods</h2>\n<p>A hostile pod floods another one as fast as one CPU can, while a \
         client and a server go on. The flood takes CPU time from them with and without policies. The \
         agent has room for few flows here, so that the flood fills the table.</p>\n"
        .to_owned();
    let name = |setup: &str, flood: &str, target: &str| match flood {
        "none" => format!("{setup}: no flood"),
        _ => format!("{setup}: {flood} to a pod, {target}"),
    };
    let groups: Vec<_> = floods
        .iter()
        .map(|it| (name(&it.setup, &it.flood, &it.target), vec![Some(Bar::plain(it.connections))]))
        .collect();
    text.push_str(&bars("Connections of the others", "per second", &["connections"], &groups));
    let count = |it: Option<u64>| it.map_or_else(|| "–".to_owned(), |it| short(it as f64));
    let rows = floods.iter().map(|it| {
        let survives = if it.idle_survives { "yes" } else { "NO" };
        vec![
            name(&it.setup, &it.flood, &it.target),
            short(it.sent),
            short(it.gbit),
            short(it.connections),
            survives.to_owned(),
            count(it.displaced),
            count(it.refused),
        ]
    });
    let head = [
        "flood",
        "sent/s",
        "Gbit/s of others",
        "connections/s",
        "idle survives",
        "displaced",
        "refused",
    ];
    text.push_str(&table("All figures of floods", &head, rows));
    text
}
