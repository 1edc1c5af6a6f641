//! A run on one topology: the control, the kept cases, and composed attacks in batches.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use enforcer_tests::lab::{Proxy, Sandbox, Topology};
use proptest::test_runner::{RngAlgorithm, TestRng};

use crate::bytes::frames;
use crate::cast::World;
use crate::crafted::{Address, Attack, Body, Crafted, Role, Way};
use crate::marks::LAST_MARK;
use crate::read::{Seen, read};
use crate::stage::Stage;
use crate::wire::Arrival;
use crate::{cases, grammar, shrink};

/// Frames on each topology, by default.
const FRAMES: usize = 30_000;
/// The seed of a run that is not exhaustive.
const SEED: u64 = 20_261_126;
/// Frames without an agent.
const CONTROL: usize = 4_000;
/// Attacks between two looks at what arrived.
const BATCH: usize = 400;
/// Batches between two rounds of ordinary connections.
const ROUND: usize = 8;
/// Longer than incomplete packets wait for their fragments.
const REASSEMBLY: Duration = Duration::from_millis(2_300);

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} is a number")),
        Err(_) => default,
    }
}

fn generator(seed: u64) -> TestRng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
}

/// Runs on a thread of its own inside a sandbox.
fn in_sandbox<F>(test: F)
where
    F: AsyncFnOnce(&Sandbox) + Send + 'static,
{
    let inside = move || {
        let sandbox = Sandbox::enter().expect("the lab's tests need root");
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(test(&sandbox));
    };
    if let Err(panic) = std::thread::spawn(inside).join() {
        std::panic::resume_unwind(panic);
    }
}

pub(crate) fn run(topology: Topology) {
    let most = usize::try_from(number("ENFORCER_HOSTILE", FRAMES as u64)).unwrap();
    // Each exhaustive run tries others. The usual one repeats the same: what it finds is a change's.
    let usual = most <= FRAMES;
    let fresh = u64::from(std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos());
    let seed = number("ENFORCER_SEED", if usual { SEED } else { fresh });
    // The usual run has each mode of kube-proxy once; other seeds, the other pairs as well.
    let proxies = [Proxy::Iptables, Proxy::Nftables];
    let proxy = proxies[usize::from((seed.is_multiple_of(2)) == (topology == Topology::AzureCni))];
    println!("{topology}, {proxy:?}: seed {seed} (repeat with ENFORCER_SEED={seed})");
    in_sandbox(async move |sandbox| {
        control(sandbox, topology, proxy, seed).await;
        let mut campaign = Campaign::new(Stage::new(sandbox, topology, proxy, true).await);
        campaign.kept(topology).await;
        campaign.composed(topology, seed, most).await;
        campaign.stage.session.stop_agent().await.unwrap();
    });
}

/// Without an agent, frames of every kind arrive.
async fn control(sandbox: &Sandbox, topology: Topology, proxy: Proxy, seed: u64) {
    let mut campaign = Campaign::new(Stage::new(sandbox, topology, proxy, false).await);
    let mut rng = generator(seed);
    let mut sent: BTreeSet<&str> = BTreeSet::new();
    let mut arrived: BTreeMap<&str, usize> = BTreeMap::new();
    while campaign.frames < CONTROL {
        let attacks: Vec<Attack> = (0..BATCH).map(|_| grammar::attack(&mut rng)).collect();
        sent.extend(attacks.iter().flatten().flat_map(Crafted::kinds));
        let first = campaign.sent.len();
        campaign.send(attacks);
        let reached: BTreeSet<u32> =
            campaign.arrivals().into_iter().flat_map(|it| it.marks).collect();
        for mark in reached {
            let sent = campaign.sent.get(mark as usize).filter(|_| mark as usize >= first);
            for kind in sent.into_iter().flat_map(Crafted::kinds) {
                *arrived.entry(kind).or_default() += 1;
            }
        }
    }
    println!("{topology}: without an agent, of {} frames: {arrived:?}", campaign.frames);
    // A router passes nothing on that belongs to the link.
    let of_link = ["ARP", "other ether type", "link message", "group", "VLAN"];
    let is_expected = |kind: &&&str| topology == Topology::Kubenet || !of_link.contains(*kind);
    let missing: Vec<_> =
        sent.iter().filter(|it| !arrived.contains_key(**it)).filter(is_expected).collect();
    assert!(missing.is_empty(), "of these kinds the recorders saw nothing: {missing:?}");
}

/// An attack's arrival where it must not be.
#[derive(Debug, Clone)]
pub(crate) struct Breach {
    /// Everything sent so far, the attack's packet last.
    pub mark: u32,
    pub arrival: Arrival,
}

/// The error of the sender's own kernel about what a raw socket sent through it, as a packet of the sender:
/// it comes from the sender's address and goes to the one that was claimed.
fn error_of_its_kernel(world: &World, sent: &Crafted, arrival: &Arrival) -> Option<Crafted> {
    sent.in_pages()?;
    let Seen::Ip(packet) = read(&arrival.frame) else { return None };
    let (kind, _) = packet.icmp?;
    let (protocol, is_error) = match packet.source {
        IpAddr::V4(_) => (1, matches!(kind, 3 | 11 | 12)),
        IpAddr::V6(_) => (58, (1..=4).contains(&kind)),
    };
    (is_error && world.owns(sent.by, packet.source)).then(|| Crafted {
        source: Address::Own,
        destination: sent.source,
        body: Body::Protocol(protocol),
        way: Way::Plain,
        ..sent.clone()
    })
}

/// The packets sent so far, by their marks.
pub(crate) struct Campaign {
    pub stage: Stage,
    pub sent: Vec<Crafted>,
    pub frames: usize,
    permitted: BTreeMap<&'static str, usize>,
}

impl Campaign {
    fn new(stage: Stage) -> Self {
        // No packet has the mark 0, which tunnels have.
        Self { stage, sent: vec![Crafted::default()], frames: 0, permitted: BTreeMap::new() }
    }

    /// Sends all packets in their order.
    pub(crate) fn send(&mut self, attacks: impl IntoIterator<Item = Attack>) {
        for crafted in attacks.into_iter().flatten() {
            let mark = u32::try_from(self.sent.len()).unwrap();
            assert!(mark <= LAST_MARK, "too many packets for a run");
            let sender = self.stage.sender(crafted.by);
            for bytes in frames(&crafted, mark, &self.stage.oracle.world) {
                self.frames += usize::from(sender.send(&bytes));
            }
            self.sent.push(crafted);
        }
    }

    /// What has arrived since the last question.
    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        self.stage.until_read();
        self.stage.arrivals.try_iter().collect()
    }

    /// The first arrival that must not be.
    pub(crate) fn breach(&mut self) -> Option<Breach> {
        let mut first = None;
        for arrival in self.arrivals() {
            let hostile = [Role::Evil, Role::Narrow, Role::Rogue];
            assert!(
                !(arrival.is_of_friends && hostile.contains(&arrival.at)),
                "a hostile pod receives others' datagrams: {arrival:?}"
            );
            for &mark in &arrival.marks {
                let Some(sent) = self.sent.get(mark as usize) else { continue };
                let oracle = &self.stage.oracle;
                let own = error_of_its_kernel(&oracle.world, sent, &arrival);
                match oracle.permits(own.as_ref().unwrap_or(sent), mark, &arrival) {
                    Some(why) => *self.permitted.entry(why).or_default() += 1,
                    None if first.is_none() => {
                        first = Some(Breach { mark, arrival: arrival.clone() });
                    }
                    None => {}
                }
            }
        }
        first
    }

    /// Tries the kept cases, and fails if any gets through.
    async fn kept(&mut self, topology: Topology) {
        let mut open = Vec::new();
        for (name, attack) in cases::read() {
            self.send([attack]);
            if let Some(breach) = self.breach() {
                open.push(format!("{name}: {}", self.describe(&breach)));
            }
        }
        assert!(open.is_empty(), "{topology}: kept cases get through:\n{}", open.join("\n"));
    }

    /// Composes attacks until this many frames were sent.
    async fn composed(&mut self, topology: Topology, seed: u64, most: usize) {
        let (started_at, mut rng) = (Instant::now(), generator(seed));
        let mut batch = 0;
        while self.frames < most {
            let attacks: Vec<Attack> = (0..BATCH).map(|_| grammar::attack(&mut rng)).collect();
            let first = self.sent.len();
            self.send(attacks);
            if let Some(breach) = self.breach() {
                self.fail(topology, &breach, first);
            }
            if batch % ROUND == 0 {
                self.round(topology).await;
            }
            batch += 1;
        }
        tokio::time::sleep(REASSEMBLY).await;
        if let Some(breach) = self.breach() {
            let first = self.sent.len() - 1;
            self.fail(topology, &breach, first);
        }
        self.round(topology).await;
        println!(
            "{topology}: {} frames of {} packets in {:.1?}; permitted arrivals: {:?}",
            self.frames,
            self.sent.len() - 1,
            started_at.elapsed(),
            self.permitted
        );
        assert!(self.permitted.len() >= 4, "hardly any way is permitted: {:?}", self.permitted);
    }

    async fn round(&mut self, topology: Topology) {
        self.stage.session.check_agent().unwrap();
        let Stage { session, oracle, friends, .. } = &self.stage;
        let failed = friends.round(session.lab(), &oracle.world).await;
        assert!(
            failed.is_empty(),
            "{topology}: after {} hostile frames, allowed connections fail: {failed:#?}",
            self.frames
        );
    }

    /// Shrinks an attack of the packets from `first` on, keeps it, and fails the test.
    fn fail(&mut self, topology: Topology, breach: &Breach, first: usize) -> ! {
        let after = self.frames;
        let text = self.describe(breach);
        println!("{topology}: found after {after} frames: {text}");
        let all = self.sent.get(first..).unwrap_or_default().to_vec();
        let culprit = self.sent[breach.mark as usize].clone();
        let smallest = shrink::shrink(culprit, all, |attack| {
            self.send([attack.clone()]);
            self.breach().is_some()
        });
        let kept = cases::keep(&smallest, &text);
        panic!(
            "{topology}: after {after} frames: {text}\nkept as {}:\n{smallest:#?}",
            kept.display()
        );
    }

    pub(crate) fn describe(&self, breach: &Breach) -> String {
        let sent = &self.sent[breach.mark as usize];
        let arrival = &breach.arrival;
        let mut text = format!(
            "a packet of {:?} must not arrive at {:?}, as {:?}\nsent: {sent:?}\narrived:",
            sent.by,
            arrival.at,
            read(&arrival.frame)
        );
        for (at, byte) in arrival.frame.iter().take(160).enumerate() {
            let gap = if at % 16 == 0 { "\n " } else { "" };
            let _ = write!(text, "{gap}{byte:02x} ");
        }
        text
    }
}
