//! Grace periods on kernels whose membarrier(2) gives none: under `nohz_full=` it answers EINVAL
//! (`kernel/sched/membarrier.c`). They must come from elsewhere.

use std::collections::BTreeMap;

use enforcer_core::model::Cluster;
use enforcer_core::tables::Step;
use enforcer_tests::rig::Rig;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use crate::support::{cluster, subject, with_rig};

/// `SYS_membarrier` and `MEMBARRIER_CMD_GLOBAL` answer so on this thread from now on.
fn without_membarrier() {
    let invalid = SeccompAction::Errno(nix::errno::Errno::EINVAL as u32);
    let call = nix::libc::SYS_membarrier;
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let rules = [(call, Vec::new())].into_iter().collect();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, invalid, arch).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    apply_filter(&program).unwrap();
}

#[test]
fn tables_change_without_membarrier() {
    with_rig(|rig: &mut Rig| {
        let interfaces = rig.interfaces.clone();
        without_membarrier();
        let mut graces = 0;
        for cluster in [Cluster::default(), cluster(), Cluster::default(), cluster()] {
            let here = interfaces.iter().filter(|(pod, _)| cluster.pods.contains_key(pod));
            let pods: BTreeMap<_, _> = here.map(|(pod, at)| (pod.clone(), *at)).collect();
            let steps = rig.program(&cluster, pods).unwrap();
            graces += steps.iter().filter(|it| matches!(it, Step::Grace)).count();
        }
        assert!(graces > 0, "no change needed a grace period");
        assert!(rig.interfaces.contains_key(&subject()));
    });
}
