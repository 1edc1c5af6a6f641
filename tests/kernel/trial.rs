//! Trial programs: they answer as the attached ones would a new connection, and change nothing of theirs.

use std::collections::BTreeMap;

use enforcer::kernel::{FlowSample, FlowUse, Pins, RunProgram, Settings, Trial, Tried};
use enforcer_ebpf::contract::counters::Counters;
use enforcer_ebpf::contract::verdict::{Direction, Reason};
use enforcer_tests::frame::Tcp;
use enforcer_tests::rig::{ELSEWHERE, Rig, run_input};

use crate::services::tcp;
use crate::support::{FAMILIES, Family, IN, OUT, cluster, subject, with_bpffs};

/// A rig with pins, whose subject is at the interface, and its trial programs.
fn with_trial(test: impl FnOnce(&mut Rig, &mut Trial, u32) + Send) {
    with_bpffs(|ifindex, root| {
        let pins = Pins::open(root).unwrap();
        let mut rig = Rig::pinned(&Settings::default(), &pins).unwrap();
        rig.program(&cluster(), BTreeMap::from([(subject(), ifindex)])).unwrap();
        let seed = rig.kernel.take_trial_seed().unwrap().expect("there are pins");
        let mut trial = seed.load().unwrap();
        assert!(
            !pins_of_trial(root),
            "the shared tables are pinned only while programs are loaded"
        );
        test(&mut rig, &mut trial, ifindex);
    });
}

fn pins_of_trial(root: &std::path::Path) -> bool {
    let networks = std::fs::read_dir(root).unwrap();
    networks.into_iter().any(|it| it.unwrap().path().join("trial").exists())
}

/// Asks about a frame; returns whether it passes, and the reason that was counted.
fn ask(
    rig: &Rig,
    trial: &mut Trial,
    program: RunProgram,
    frame: &[u8],
    ifindex: u32,
) -> (bool, Vec<(u32, Direction, Reason)>) {
    let id = rig.id(&subject()).unwrap();
    let mark = match program {
        // As an uplink would mark it.
        RunProgram::ToPod => {
            let input = run_input(frame, 1, ELSEWHERE, 0);
            let Tried { run, .. } = trial.run(RunProgram::FromWire, &input, &[]).unwrap();
            u64::from(run.index) << 32 | u64::from(run.mark)
        }
        _ => 0,
    };
    let input = run_input(frame, ifindex, ELSEWHERE, mark);
    let Tried { run, counted } = trial.run(program, &input, &[id]).unwrap();
    trial.forget().unwrap();
    (run.passes, counted)
}

fn counters(rig: &Rig) -> [Counters; 2] {
    [rig.counters(&subject()).unwrap(), rig.kernel.counters(0).unwrap()]
}

#[test]
fn a_trial_answers_as_the_programs_do_and_leaves_them_alone() {
    with_trial(|rig, trial, ifindex| {
        let id = rig.id(&subject()).unwrap();
        let mut events = rig.kernel.take_drops().unwrap();
        for it in &FAMILIES {
            for (direction, other, port, reason) in [
                (IN, it.friend, 80, Reason::Policy),
                (IN, it.friend, 81, Reason::Denied),
                (IN, it.stranger, 80, Reason::Denied),
                (OUT, it.friend, 443, Reason::Policy),
                (OUT, it.block, 7, Reason::Policy),
                (OUT, it.stranger, 443, Reason::Denied),
                (OUT, it.node, 443, Reason::Node),
            ] {
                let (program, frame) = match direction {
                    IN => (RunProgram::ToPod, tcp(other, 5_000, it.subject, port, Tcp::Syn)),
                    OUT => (RunProgram::FromPod, tcp(it.subject, 5_000, other, port, Tcp::Syn)),
                };
                let before = (counters(rig), flows(rig));
                let answer = ask(rig, trial, program, &frame, ifindex);
                let expected = vec![(id, direction, reason)];
                assert_eq!(answer, (!reason.is_drop(), expected), "{other} {port}");
                assert_eq!(counters(rig), before.0, "the attached programs'");
                for (after, before) in flows(rig).into_iter().zip(before.1) {
                    // Unanswered flows end meanwhile where a question takes seconds.
                    assert!(after.opening <= before.opening, "the attached programs'");
                    assert_eq!(after, FlowUse { opening: after.opening, ..before });
                }
                assert!(events.take().is_none(), "no event of theirs");
                // The same as the programs themselves.
                let real = rig.judge(&subject(), direction, &frame).unwrap();
                assert_eq!(real.passes, answer.0, "{other} {port}");
                assert_eq!(events.take().is_some(), reason.is_drop());
            }
        }
    });
}

/// The flows of the attached programs, by family.
fn flows(rig: &mut Rig) -> [FlowUse; 2] {
    let now = rig.kernel.now().unwrap();
    rig.kernel.flows().sweep(now, &mut FlowSample::default()).unwrap()
}

#[test]
fn a_reply_is_not_assumed_and_no_trial_depends_on_another() {
    with_trial(|rig, trial, ifindex| {
        for it in &FAMILIES {
            let asked = tcp(it.subject, 5_000, it.friend, 443, Tcp::Syn);
            let reply = tcp(it.friend, 443, it.subject, 5_000, Tcp::SynAck);
            assert!(ask(rig, trial, RunProgram::FromPod, &asked, ifindex).0);
            assert!(!ask(rig, trial, RunProgram::ToPod, &reply, ifindex).0, "a trial's own flow");
            assert!(rig.judge(&subject(), OUT, &asked).unwrap().passes);
            assert!(!ask(rig, trial, RunProgram::ToPod, &reply, ifindex).0, "a living flow");
            assert!(rig.judge(&subject(), IN, &reply).unwrap().passes, "it is there");
        }
    });
}

#[test]
fn a_trial_sees_changes_at_once() {
    with_trial(|rig, trial, ifindex| {
        let it: &Family = &FAMILIES[0];
        let frame = tcp(it.friend, 5_000, it.subject, 80, Tcp::Syn);
        assert!(ask(rig, trial, RunProgram::ToPod, &frame, ifindex).0);
        let mut denied = cluster();
        denied.policies.values_mut().for_each(|it| it.ingress = Some(Vec::new()));
        rig.program(&denied, BTreeMap::from([(subject(), ifindex)])).unwrap();
        assert!(!ask(rig, trial, RunProgram::ToPod, &frame, ifindex).0);
    });
}
