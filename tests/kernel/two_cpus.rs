//! The flow tables while two CPUs write to them at once, and the agent reads and sweeps them: two sets of
//! programs with the same pinned tables, each run by a thread of its own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use enforcer::kernel::{FlowSample, Pins, Settings};
use enforcer_ebpf::contract::flow_table::{PLACES as PLACES_OF_A_GROUP, groups_for};
use enforcer_ebpf::contract::table::Limits;
use enforcer_tests::frame::Tcp;
use enforcer_tests::rig::Rig;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::support::{FAMILIES, HANDSHAKE, IN, OUT, Pair, SERVERS, cluster, subject, with_bpffs};

/// Flows that each table is made for: few, so that both CPUs always write to the same groups.
const ROOM: u32 = 48;
/// Its places.
const PLACES: u64 = groups_for(ROOM) as u64 * PLACES_OF_A_GROUP as u64;
/// Connections that are open all the time.
const OPEN: [u16; 3] = [101, 102, 103];
/// Rounds of each CPU.
const ROUNDS: u16 = 4_000;

fn strangers() -> [Pair; 2] {
    [FAMILIES[0].pair(FAMILIES[0].stranger), FAMILIES[1].pair(FAMILIES[1].stranger)]
}

fn run_on(cpu: usize) {
    let mut one = CpuSet::new();
    one.set(cpu).unwrap();
    // A machine with one CPU runs both threads in turn.
    let _ = sched_setaffinity(Pid::from_raw(0), &one);
}

/// Opens flows of its own and flows that the other CPU opens as well, and asks about flows that were
/// never opened and about those that stay open.
fn work(rig: &mut Rig, cpu: u16) {
    for round in 0..ROUNDS {
        for (server, stranger) in SERVERS.iter().zip(strangers()) {
            let own = 1_000 * (cpu + 1) + round % 96;
            let shared = 5_000 + round % 24;
            for port in [own, shared] {
                assert!(server.tcp(rig, OUT, port, 443, Tcp::Syn), "policy allows it");
                // The flow may have been displaced meanwhile: the verdict is either one.
                server.tcp(rig, IN, port, 443, Tcp::SynAck);
            }
            let open = OPEN[usize::from(round) % OPEN.len()];
            assert!(server.tcp(rig, IN, open, 443, Tcp::Ack), "{open} in round {round} of {cpu}");
            let never = 9_000 + round % 512;
            assert!(!server.tcp(rig, IN, never, 443, Tcp::Ack), "{never}: another flow answers");
            assert!(!server.tcp(rig, IN, own, 444, Tcp::Ack), "{own}: another port's flow answers");
            assert!(!stranger.tcp(rig, IN, open, 443, Tcp::Ack), "another end's flow answers");
        }
    }
}

#[test]
fn a3_flows_stay_apart_and_alive_while_two_cpus_write_and_the_agent_sweeps() {
    with_bpffs(|ifindex, root| {
        let limits = Limits { flows: ROOM, ..Limits::DEFAULT };
        let settings = Settings { limits, ..Settings::default() };
        let pods = BTreeMap::from([(subject(), ifindex)]);
        let pins = Pins::open(root).unwrap();
        let mut rigs = [(); 2].map(|()| {
            let mut rig = Rig::pinned(&settings, &pins).unwrap();
            rig.program(&cluster(), pods.clone()).unwrap();
            rig
        });
        for server in &SERVERS {
            for port in OPEN {
                for (direction, kind) in HANDSHAKE {
                    assert!(server.tcp(&mut rigs[0], direction, port, 443, kind));
                }
            }
        }
        let flows = rigs.each_ref().map(|rig| rig.kernel.flows());
        let now = rigs[0].kernel.now().unwrap();
        let running = AtomicUsize::new(rigs.len());
        let mut swept = 0;
        thread::scope(|scope| {
            for (cpu, rig) in (0..).zip(&mut rigs) {
                let running = &running;
                scope.spawn(move || {
                    // Also if it fails: the reader must end.
                    let _guard = Finished(running);
                    run_on(usize::from(cpu));
                    work(rig, cpu);
                });
            }
            while running.load(Ordering::Acquire) > 0 {
                for usage in flows[0].sweep(now, &mut FlowSample::default()).unwrap() {
                    assert_eq!(usage.established, OPEN.len() as u64, "{usage:?}");
                    assert!(usage.established + usage.opening <= PLACES, "{usage:?}");
                    assert_eq!(usage.reduced, 0, "{usage:?}");
                }
                swept += 1;
            }
        });
        assert!(swept > 10, "{swept}");
        let [first, second] = flows.map(|it| it.sweep(now, &mut FlowSample::default()).unwrap());
        assert_eq!(first, second, "both see the same tables");
        assert!(first.iter().all(|it| it.displaced > 0 && it.refused == 0), "{first:?}");
        for rig in &mut rigs {
            for (server, port) in SERVERS.iter().flat_map(|server| OPEN.map(|port| (server, port)))
            {
                assert!(server.tcp(rig, IN, port, 443, Tcp::Ack), "{port}");
            }
        }
    });
}

/// Counts a thread as finished when it ends, however it does.
struct Finished<'a>(&'a AtomicUsize);

impl Drop for Finished<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}
