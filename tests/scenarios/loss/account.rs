//! The kernel's and the agent's counters.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use enforcer_tests::lab::{Lab, Namespace, Party};

use super::ledger::{Count, Ledger};
use crate::scene::{PATIENCE, Scene};

/// Pods whose policies allow everything that they send, and that receive nothing but replies.
const INNOCENT: [&str; 4] = ["mall/buyer", "mall/thief", "shop/stranger", "shop/waver"];

/// Counters at one moment.
pub(super) struct Account {
    /// Packets that the agent's programs dropped, by pod, direction and reason.
    drops: BTreeMap<(String, String, String), u64>,
    /// Counters of TCP, of each party that sends or receives.
    tcp: BTreeMap<String, Tcp>,
}

/// Counters of TCP since the namespaces were made (RFC 4022).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Tcp {
    /// Segments sent, without retransmissions.
    sent: u64,
    /// Segments received, whether accepted or not.
    received: u64,
    /// Segments retransmitted, without those that open a connection.
    retransmitted: u64,
    /// Segments retransmitted that open a connection, after a second.
    reopened: u64,
}

impl Account {
    pub(super) async fn take(scene: &Scene) -> Self {
        let status = scene.status().await;
        let mut drops = BTreeMap::new();
        for endpoint in status.endpoints {
            for it in endpoint.counters.into_iter().filter(|it| it.dropped) {
                drops.insert((endpoint.pod.clone(), it.direction, it.reason), it.packets);
            }
        }
        Self { drops, tcp: tcp_of_all(scene.lab()).await }
    }

    /// The drops since `before`.
    fn drops_since(&self, before: &Self) -> BTreeMap<&(String, String, String), u64> {
        let now = self.drops.iter();
        let since = now.map(|(what, now)| {
            let old = before.drops.get(what).copied().unwrap_or_default();
            assert!(*now >= old, "{what:?} went back from {old} to {now}");
            (what, now - old)
        });
        since.filter(|(_, packets)| *packets > 0).collect()
    }
}

fn parties(lab: &Lab) -> impl Iterator<Item = Party> {
    let pods = lab.pods().keys().cloned().map(Party::Pod);
    pods.chain([Party::Node, Party::outside("office")])
}

async fn tcp_of_all(lab: &Lab) -> BTreeMap<String, Tcp> {
    let mut all = BTreeMap::new();
    for party in parties(lab) {
        all.insert(party.to_string(), Tcp::of(lab.namespace(&party).unwrap()).await);
    }
    all
}

impl Tcp {
    async fn of(namespace: &Namespace) -> Self {
        // `/proc/net` would be that of the process, not of the thread.
        let read = || {
            let file = |name| std::fs::read_to_string(format!("/proc/thread-self/net/{name}"));
            Ok(file("snmp")? + &file("netstat")?)
        };
        let text = namespace.io("read counters", read).await.unwrap();
        let of = |name| value(&text, "Tcp:", name);
        let reopened = value(&text, "TcpExt:", "TCPSynRetrans");
        Self {
            sent: of("OutSegs"),
            received: of("InSegs"),
            retransmitted: of("RetransSegs") - reopened,
            reopened,
        }
    }

    fn since(self, before: Self) -> Self {
        Self {
            sent: self.sent - before.sent,
            received: self.received - before.received,
            retransmitted: self.retransmitted - before.retransmitted,
            reopened: self.reopened - before.reopened,
        }
    }
}

/// A number of a table whose first line has the names, and the second the numbers.
fn value(text: &str, table: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter(|line| line.starts_with(table));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.split_whitespace().position(|it| it == name).expect(name);
    values.split_whitespace().nth(at).unwrap().parse().unwrap()
}

/// Accounts for every packet: each that did not arrive was dropped by a policy that denies it.
pub(super) async fn balance(scene: &Scene, before: &Account, ledger: &Ledger) {
    let started_at = Instant::now();
    loop {
        let now = Account::take(scene).await;
        let (wrong, retransmitted) = imbalance(before, &now, ledger);
        let Some(wrong) = wrong else {
            println!("{retransmitted} segments retransmitted, all of them too early");
            return;
        };
        // The last packets may still be in flight.
        assert!(started_at.elapsed() < PATIENCE, "{wrong}\n{ledger}\n{:#?}", ledger.sent_by_flow());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The imbalance, if any, and the number of segments that TCP has retransmitted: on a busy machine
/// it does so too early.
fn imbalance(before: &Account, now: &Account, ledger: &Ledger) -> (Option<String>, u64) {
    let stranger = Party::pod("shop", "stranger").to_string();
    let mut tcp = Tcp::default();
    let mut attempts = 0;
    for (party, counters) in &now.tcp {
        let Tcp { sent, received, retransmitted, reopened } = counters.since(before.tcp[party]);
        // The stranger sends first segments only, and all are dropped.
        if *party == stranger {
            attempts = sent + reopened;
        } else {
            tcp.sent += sent;
            tcp.retransmitted += retransmitted;
            tcp.reopened += reopened;
        }
        tcp.received += received;
    }
    let lost = ledger.get(Count::Sometimes) - ledger.get(Count::Arrived);
    let denied = ledger.get(Count::Never) + attempts + lost;
    let drops = now.drops_since(before);
    let innocent = |(pod, ..): &(String, String, String)| INNOCENT.contains(&pod.as_str());
    // A server too busy to answer within a second receives a SYN twice; both count as arrived.
    let wrong = if tcp.sent + tcp.retransmitted + tcp.reopened != tcp.received {
        Some(format!("TCP has lost segments: {tcp:?}; dropped were {drops:?}"))
    } else if drops.values().sum::<u64>() != denied {
        Some(format!("{denied} packets did not arrive, and dropped were {drops:?}"))
    } else if drops.keys().copied().any(innocent) {
        Some(format!("a pod without denied packets has drops: {drops:?}"))
    } else {
        None
    };
    (wrong, tcp.retransmitted)
}
