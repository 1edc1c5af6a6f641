//! A report with a value in every field.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use enforcer_ebpf::contract::counters::{Count, Counters};
use enforcer_ebpf::contract::verdict::{Direction, Reason};

use super::{
    Attribution, CniReport, ConntrackReport, DriftReport, DropRecord, Endpoint, EventReport,
    FORMER_NAMESPACES, FlowReport, Interface, Isolation, NriReport, PodProtection, ProcessUse,
    RecentDrop, RejectReport, Report, TableUse, TakenOver, UnguardedReport, WatchReport,
};
use enforcer_core::explain::Workload;
use enforcer_core::model::PodId;

fn interface(ifindex: u32, name: &str, addresses: &[&str]) -> Interface {
    let addresses = addresses.iter().map(|it| it.parse().unwrap()).collect();
    Interface { ifindex, name: name.to_owned(), addresses }
}

fn counters(counts: &[(Direction, Reason, u64, u64)]) -> Counters {
    let mut counters = Counters::default();
    for &(direction, reason, packets, bytes) in counts {
        counters.counts[direction as usize][reason as usize] = Count { packets, bytes };
    }
    counters
}

pub(super) fn drop() -> DropRecord {
    DropRecord {
        source: None,
        sender: None,
        destination: None,
        protocol: "non-IP frame".to_owned(),
        icmp: None,
        pod: Some("hello/pod1".to_owned()),
        ifindex: 12,
        direction: "egress".to_owned(),
        reason: "not-ip".to_owned(),
        length: 60,
        attribution: Attribution::default(),
    }
}

/// The sums by namespace: one packet of each kind more than the endpoints have, for ended ones.
fn namespaces_total() -> BTreeMap<String, Counters> {
    use Direction::{Egress, Ingress};
    let hello = counters(&[
        (Ingress, Reason::Policy, 11, 990),
        (Ingress, Reason::Denied, 6, 444),
        (Egress, Reason::NotIsolated, 9, 675),
        (Egress, Reason::SpoofedSource, 2, 120),
    ]);
    BTreeMap::from([
        (String::new(), counters(&[(Egress, Reason::UnknownPod, 2, 140)])),
        (FORMER_NAMESPACES.to_owned(), counters(&[(Egress, Reason::NotIsolated, 1000, 70_000)])),
        ("hello".to_owned(), hello),
        ("other".to_owned(), counters(&[(Egress, Reason::NotIsolated, 1, 70)])),
    ])
}

fn protection() -> BTreeMap<PodId, Arc<PodProtection>> {
    let pod = |name: &str, ingress: &[&str], egress: &[&str]| {
        let names = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect();
        let workload = Workload { namespace: "hello".into(), name: name.into(), kind: "pod" };
        let (ingress, egress) = (names(ingress), names(egress));
        (
            PodId::new("hello", name),
            Arc::new(PodProtection { workload, ingress, egress, audit: Vec::new() }),
        )
    };
    BTreeMap::from([
        pod("pod1", &["hello/deny", "hello/web"], &[]),
        pod("pod2", &[], &["hello/deny"]),
    ])
}

pub(super) fn report() -> Report {
    use Direction::{Egress, Ingress};
    let pod1 = Endpoint {
        pod: PodId::new("hello", "pod1"),
        interface: interface(12, "veth1", &["10.1.0.4", "fd00::4"]),
        ingress: Isolation::Isolated,
        egress: Isolation::NotIsolated,
        counters: counters(&[
            (Ingress, Reason::Policy, 10, 900),
            (Ingress, Reason::Denied, 5, 370),
            (Egress, Reason::NotIsolated, 8, 600),
            (Egress, Reason::SpoofedSource, 1, 60),
        ]),
    };
    let silent = |namespace: &str, name: &str, interface, egress| Endpoint {
        pod: PodId::new(namespace, name),
        interface,
        ingress: Isolation::NotIsolated,
        egress,
        counters: Counters::default(),
    };
    let veth2 = interface(14, "veth2", &["10.1.0.5"]);
    let pod2 = silent("hello", "pod2", veth2, Isolation::Closed);
    let veth3 = interface(16, "veth3", &["10.1.0.6"]);
    let pod3 = silent("other", "pod3", veth3, Isolation::NotIsolated);
    let claimants = vec![PodId::new("hello", "new"), PodId::new("hello", "old")];
    Report {
        endpoints: vec![pod1, pod2, pod3],
        protection: protection(),
        podless: counters(&[(Egress, Reason::UnknownPod, 2, 140)]),
        namespaces_total: namespaces_total(),
        unknown: vec![interface(18, "veth4", &["10.1.0.7"])],
        ambiguous: vec![(interface(20, "veth5", &["10.1.0.8"]), claimants)],
        unrepresented: vec![(PodId::new("hello", "pod2"), "egress needs more verdicts".to_owned())],
        unplaced: vec![interface(22, "veth6", &["10.1.0.9"])],
        unguarded: vec![UnguardedReport {
            interface: "veth3".to_owned(),
            pod: Some(PodId::new("other", "pod3")),
            why: "packets to the pod (to_pod): its program was detached".to_owned(),
        }],
        hooks_restored: 6,
        drift: DriftReport {
            checks: 5_000,
            samples: 900,
            found: 2,
            differences: vec![
                "hello/pod1: its endpoint in the kernel is not the one that was written".to_owned(),
            ],
        },
        pins_problem: Some("/bpf is not in a BPF file system".to_owned()),
        tables: vec![TableUse { table: "ipv4-addresses".to_owned(), used: 300, limit: 8_192 }],
        flows: vec![FlowReport {
            family: "ipv4".to_owned(),
            established: 12,
            opening: 7,
            limit: 196_608,
            refused: 1,
            displaced: 2,
            reduced: 3,
            over_share: 4,
        }],
        conntrack: ConntrackReport {
            imported: 200,
            refused: 1,
            tracked: 1_000,
            picked_up: 3,
            failing: Some("older connections are unknown: cannot list them".to_owned()),
        },
        lost_events: 3,
        rejections: RejectReport {
            sent: 9,
            limited: 8,
            failed: 7,
            problem: Some("denied packets are dropped instead of rejected".to_owned()),
        },
        audit_all: false,
        policies: 4,
        pods: 9,
        namespaces: 2,
        manifest_errors: vec!["policy.yaml:3:7: spec.ingres: no such field".to_owned()],
        cni: CniReport {
            state: "used".to_owned(),
            about: String::new(),
            sandboxes: 2,
            problems: vec!["n-c1-eth0: not a complete JSON object".to_owned()],
        },
        denies_unknown: true,
        nri: NriReport {
            state: "connected".to_owned(),
            about: "containerd v2.1.9".to_owned(),
            sandboxes: 3,
        },
        watches: vec![
            WatchReport {
                kind: "pods".to_owned(),
                state: "reconnecting".to_owned(),
                silent_seconds: Some(42),
                objects: 9,
                bad_objects: 1,
                lists: 2,
                errors: 3,
                failing: Some("cannot watch pods: connection refused".to_owned()),
            },
            WatchReport {
                kind: "services".to_owned(),
                state: "listing".to_owned(),
                silent_seconds: None,
                objects: 0,
                bad_objects: 0,
                lists: 1,
                errors: 0,
                failing: None,
            },
        ],
        events: Some(EventReport { posted: 5, existing: 4, failed: 3, put_off: 2 }),
        node_problem: Some("no node is called \"node\"".to_owned()),
        outlives_agent: true,
        taken_over: Some(TakenOver { endpoints: 2 }),
        heartbeat_age: Duration::from_millis(250),
        process: Some(ProcessUse {
            cpu_seconds: 1.5,
            resident_bytes: 30_000_000,
            virtual_bytes: 200_000_000,
            open_fds: 40,
            max_fds: Some(1_024),
            start_seconds: 1_700_000_000.25,
        }),
        lost_marks: Some(7),
        drops: vec![RecentDrop { number: 8, seconds_ago: 3, repeats: 2, drop: drop() }],
    }
}
