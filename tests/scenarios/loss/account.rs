//! What the kernel and the agent have counted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use enforcer_tests::lab::{Lab, Namespace, Party};

use super::ledger::{Count, Ledger};
use crate::scene::{PATIENCE, Scene};

/// Pods whose own policies allow all that they send, and to which nothing is sent but replies.
const INNOCENT: [&str; 4] = ["mall/buyer", "mall/thief", "shop/stranger", "shop/waver"];

/// Counters at one moment.
pub(super) struct Account {
    /// Packets that the agent's programs dropped, by pod, direction and reason.
    drops: BTreeMap<(String, String, String), u64>,
    /// TCP's of each party that sends or receives.
    tcp: BTreeMap<String, Tcp>,
}

/// Counters of TCP since the namespaces were made (RFC 4022).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Tcp {
    /// Segments sent, those left out that say nothing new.
    sent: u64,
    /// Segments received, whatever became of them.
    received: u64,
    /// Segments sent again, those left out that open a connection.
    repeated: u64,
    /// Segments sent again that open a connection, after a second of waiting.
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

    /// What was dropped since `before`.
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
            repeated: of("RetransSegs") - reopened,
            reopened,
        }
    }

    fn since(self, before: Self) -> Self {
        Self {
            sent: self.sent - before.sent,
            received: self.received - before.received,
            repeated: self.repeated - before.repeated,
            reopened: self.reopened - before.reopened,
        }
    }
}

/// A number of a table: one line has the names, and the next the numbers.
fn value(text: &str, table: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter(|line| line.starts_with(table));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.split_whitespace().position(|it| it == name).expect(name);
    values.split_whitespace().nth(at).unwrap().parse().unwrap()
}

/// Every packet is accounted for: what did not arrive was dropped by a pod's policy that forbids it.
pub(super) async fn balance(scene: &Scene, before: &Account, ledger: &Ledger) {
    let started = Instant::now();
    loop {
        let now = Account::take(scene).await;
        let (wrong, repeated) = imbalance(before, &now, ledger);
        let Some(wrong) = wrong else {
            println!("{repeated} segments that TCP sent again, none for want of the first");
            return;
        };
        // The last packets may still be under way.
        assert!(started.elapsed() < PATIENCE, "{wrong}\n{ledger}\n{:#?}", ledger.sent_by_flow());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What does not add up, and how many segments TCP has sent again: it does so too early when a
/// machine is busy.
fn imbalance(before: &Account, now: &Account, ledger: &Ledger) -> (Option<String>, u64) {
    let stranger = Party::pod("shop", "stranger").to_string();
    let mut tcp = Tcp::default();
    let mut attempts = 0;
    for (party, counters) in &now.tcp {
        let Tcp { sent, received, repeated, reopened } = counters.since(before.tcp[party]);
        // All that the stranger sends are first segments, in vain.
        if *party == stranger {
            attempts = sent + reopened;
        } else {
            tcp.sent += sent;
            tcp.repeated += repeated;
            tcp.reopened += reopened;
        }
        tcp.received += received;
    }
    let lost = ledger.get(Count::Sometimes) - ledger.get(Count::Arrived);
    let forbidden = ledger.get(Count::Forbidden) + attempts + lost;
    let drops = now.drops_since(before);
    let innocent = |(pod, ..): &(String, String, String)| INNOCENT.contains(&pod.as_str());
    // A server that is too busy to answer within a second gets a SYN twice: then both arrive.
    let wrong = if tcp.sent + tcp.repeated + tcp.reopened != tcp.received {
        Some(format!("TCP has lost segments: {tcp:?}; dropped were {drops:?}"))
    } else if drops.values().sum::<u64>() != forbidden {
        Some(format!("{forbidden} packets did not arrive, and dropped were {drops:?}"))
    } else if drops.keys().copied().any(innocent) {
        Some(format!("one too many has drops: {drops:?}"))
    } else {
        None
    };
    (wrong, tcp.repeated)
}
