use enforcer_core::model::Labels;

use super::*;
use crate::node::PodInterface;

const HERE: &str = "here";

fn addresses(list: &[&str]) -> BTreeSet<IpAddr> {
    list.iter().map(|it| it.parse().unwrap()).collect()
}

fn labels(role: &str) -> Labels {
    Labels::from([("role", role)])
}

fn id(name: &str) -> PodId {
    PodId::new("shop", name)
}

/// A pod as the source reports it; its label shows that.
fn pod(name: &str, uid: &str, list: &[&str]) -> Pod {
    Pod {
        uid: uid.into(),
        labels: labels("of the source"),
        node: Some(HERE.into()),
        addresses: addresses(list).into(),
        ..Pod::new(id(name))
    }
}

fn sandbox(number: &str, name: &str, uid: &str, list: &[&str]) -> Sandbox {
    Sandbox {
        id: number.to_owned(),
        pod: id(name),
        uid: uid.to_owned(),
        labels: Some(labels("of the runtime")),
        addresses: addresses(list),
        namespace: None,
        interfaces: BTreeSet::new(),
    }
}

/// The sandboxes, and the cluster that follows from them.
struct World {
    sandboxes: Sandboxes,
    cluster: Cluster,
}

impl World {
    fn new() -> Self {
        Self { sandboxes: Sandboxes::new(HERE), cluster: Cluster::default() }
    }

    fn apply(&mut self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            self.cluster.apply(change);
        }
    }

    fn merge(&mut self, change: Change) {
        let change = self.sandboxes.merge(change, &self.cluster);
        self.apply([change]);
    }

    fn pod(&mut self, pod: Pod) {
        self.merge(Change::Pod(pod));
    }

    fn started(&mut self, sandbox: Sandbox) {
        let change = self.sandboxes.started(sandbox, Reporter::Nri, &self.cluster);
        self.apply(change);
    }

    fn ended(&mut self, sandbox: &str) {
        let change = self.sandboxes.ended(sandbox);
        self.apply(change);
    }

    fn all(&mut self, sandboxes: Vec<Sandbox>) {
        let changes = self.sandboxes.all(sandboxes, &self.cluster);
        self.apply(changes);
    }

    fn seen(&mut self, interfaces: &[PodInterface]) {
        let changes = self.sandboxes.seen(&snapshot(interfaces));
        self.apply(changes);
    }

    fn lost(&mut self) {
        let changes = self.sandboxes.lost();
        self.apply(changes);
    }

    /// The uid, the addresses and the one label of a pod.
    fn has(&self, name: &str) -> Option<(Uid, BTreeSet<IpAddr>, &str)> {
        let pod = self.cluster.pods.get(&id(name))?;
        Some((pod.uid.clone(), pod.addresses.to_set(), &pod.labels["role"]))
    }
}

#[test]
fn c6_a_sandbox_alone_is_a_pod_of_this_node() {
    let mut world = World::new();
    world.started(sandbox("1", "a", "u1", &["10.0.0.1", "fd00::1"]));
    let list = addresses(&["10.0.0.1", "fd00::1"]);
    assert_eq!(world.has("a"), Some(("u1".into(), list, "of the runtime")));
    assert_eq!(world.cluster.pods[&id("a")].node.as_deref(), Some(HERE));
    world.ended("1");
    assert_eq!(world.has("a"), None);
}

#[test]
fn c6_the_source_is_authoritative_except_for_addresses_that_it_lacks() {
    let one = addresses(&["10.0.0.1"]);
    for source_first in [true, false] {
        let mut world = World::new();
        if source_first {
            world.pod(pod("a", "u1", &[]));
        }
        world.started(sandbox("1", "a", "u1", &["10.0.0.1"]));
        if !source_first {
            world.pod(pod("a", "u1", &[]));
        }
        assert_eq!(world.has("a"), Some(("u1".into(), one.clone(), "of the source")));
        // The source has the addresses now, and one more: its view counts.
        world.pod(pod("a", "u1", &["10.0.0.1", "10.0.0.9"]));
        let two = addresses(&["10.0.0.1", "10.0.0.9"]);
        assert_eq!(world.has("a"), Some(("u1".into(), two, "of the source")));
    }
}

#[test]
fn pods_that_policy_ignores_get_no_addresses() {
    for change in [
        Pod { host_network: true, ..pod("a", "u1", &[]) },
        Pod { finished: true, ..pod("a", "u1", &[]) },
        Pod { node: Some("elsewhere".into()), ..pod("a", "u1", &[]) },
    ] {
        let mut world = World::new();
        world.pod(change.clone());
        world.started(sandbox("1", "a", "u1", &["10.0.0.1"]));
        assert_eq!(world.cluster.pods[&id("a")], change);
    }
}

#[test]
fn a_pod_with_a_replaced_sandbox_has_the_new_addresses() {
    let mut world = World::new();
    world.started(sandbox("1", "a", "u1", &["10.0.0.1"]));
    world.pod(pod("a", "u1", &["10.0.0.1"]));
    world.ended("1");
    world.started(sandbox("2", "a", "u1", &["10.0.0.2"]));
    assert_eq!(world.has("a").unwrap().1, addresses(&["10.0.0.2"]));
    // An update that still has the old ones changes nothing; nor does the old sandbox's removal.
    world.pod(pod("a", "u1", &["10.0.0.1"]));
    world.ended("1");
    assert_eq!(world.has("a").unwrap().1, addresses(&["10.0.0.2"]));
    // Without the runtime only the source counts.
    world.lost();
    assert_eq!(world.has("a").unwrap().1, addresses(&["10.0.0.1"]));
}

/// Semantics C5: the runtime gives the address away before the source shows the end.
#[test]
fn c5_a_sandbox_that_ends_removes_its_addresses() {
    let mut world = World::new();
    world.pod(pod("old", "u1", &["10.0.0.1"]));
    world.started(sandbox("1", "old", "u1", &["10.0.0.1"]));
    world.ended("1");
    world.started(sandbox("2", "new", "u2", &["10.0.0.1"]));
    assert_eq!(world.has("old").unwrap().1, addresses(&[]));
    assert_eq!(world.has("new").unwrap().1, addresses(&["10.0.0.1"]));
    // A late change of the old pod still has that address.
    world.pod(Pod { labels: labels("later"), ..pod("old", "u1", &["10.0.0.1"]) });
    assert_eq!(world.has("old"), Some(("u1".into(), addresses(&[]), "later")));
    // Other addresses belong to another sandbox, which was not announced.
    world.pod(pod("old", "u1", &["10.0.0.7"]));
    assert_eq!(world.has("old").unwrap().1, addresses(&["10.0.0.7"]));
    world.merge(Change::PodGone(id("old")));
    assert_eq!(world.has("old"), None);
}

#[test]
fn c5_addresses_that_the_source_shows_only_after_the_end_are_ignored() {
    let mut world = World::new();
    world.pod(pod("old", "u1", &[]));
    world.started(sandbox("1", "old", "u1", &["10.0.0.1"]));
    world.ended("1");
    world.pod(pod("old", "u1", &["10.0.0.1"]));
    assert_eq!(world.has("old").unwrap().1, addresses(&[]));
}

#[test]
fn c5_the_next_pod_of_a_name_has_nothing_of_the_last() {
    let mut world = World::new();
    world.pod(pod("a", "u1", &["10.0.0.1"]));
    world.started(sandbox("2", "a", "u2", &["10.0.0.2"]));
    let next = Some(("u2".into(), addresses(&["10.0.0.2"]), "of the runtime"));
    assert_eq!(world.has("a"), next);
    // The source lags: a change of the last pod, then its end.
    world.pod(Pod { finished: true, ..pod("a", "u1", &["10.0.0.1"]) });
    assert_eq!(world.has("a"), next);
    world.merge(Change::PodGone(id("a")));
    assert_eq!(world.has("a"), next);
    world.pod(pod("a", "u2", &[]));
    assert_eq!(world.has("a"), Some(("u2".into(), addresses(&["10.0.0.2"]), "of the source")));
}

#[test]
fn c5_a_pod_that_the_source_reports_as_gone_stays_gone() {
    let mut world = World::new();
    world.pod(pod("a", "u1", &[]));
    world.started(sandbox("1", "a", "u1", &["10.0.0.1"]));
    world.merge(Change::PodGone(id("a")));
    assert_eq!(world.has("a"), None);
    // The runtime is late.
    world.started(sandbox("2", "a", "u1", &["10.0.0.3"]));
    assert_eq!(world.has("a"), None);
    assert_eq!(world.sandboxes.pod_of("2"), None);
    // Replaced without a report of its end.
    world.pod(pod("b", "u3", &[]));
    world.started(sandbox("3", "b", "u3", &["10.0.0.3"]));
    world.pod(pod("b", "u4", &[]));
    assert_eq!(world.has("b"), Some(("u4".into(), addresses(&[]), "of the source")));
    world.started(sandbox("4", "b", "u3", &["10.0.0.3"]));
    assert_eq!(world.has("b"), Some(("u4".into(), addresses(&[]), "of the source")));
}

#[test]
fn pods_of_files_have_no_uid() {
    let mut world = World::new();
    world.pod(pod("a", "", &[]));
    world.started(sandbox("1", "a", "u1", &["10.0.0.1"]));
    assert_eq!(world.has("a"), Some(("".into(), addresses(&["10.0.0.1"]), "of the source")));
    world.merge(Change::PodGone(id("a")));
    assert_eq!(world.has("a"), None);
    world.pod(pod("a", "", &[]));
    world.started(sandbox("2", "a", "u2", &["10.0.0.2"]));
    assert_eq!(world.has("a").unwrap().1, addresses(&["10.0.0.2"]));
}

#[test]
fn a_list_replaces_earlier_events() {
    let mut world = World::new();
    world.pod(pod("a", "u1", &["10.0.0.1"]));
    world.started(sandbox("1", "a", "u1", &["10.0.0.1"]));
    world.started(sandbox("2", "b", "u2", &["10.0.0.2"]));
    world.pod(pod("d", "u4", &["10.0.0.4"]));
    world.lost();
    assert_eq!(world.has("b").unwrap().1, addresses(&["10.0.0.2"]), "the source does not know it");
    world.all(vec![
        sandbox("3", "c", "u3", &["10.0.0.3"]),
        // Another pod than the source's, and two of one pod: which is the newer?
        sandbox("4", "d", "u5", &["10.0.0.5"]),
        sandbox("6", "e", "u6", &["10.0.0.6"]),
        sandbox("7", "e", "u6", &["10.0.0.7"]),
    ]);
    // A sandbox that is not listed need not have ended.
    assert_eq!(world.has("a"), Some(("u1".into(), addresses(&["10.0.0.1"]), "of the source")));
    assert_eq!(world.has("b"), None);
    assert_eq!(world.has("c").unwrap().1, addresses(&["10.0.0.3"]));
    assert_eq!(world.has("d"), Some(("u4".into(), addresses(&["10.0.0.4"]), "of the source")));
    assert_eq!(world.has("e"), None);
    assert_eq!(world.sandboxes.count(), 1);
}

fn interface(ifindex: u32, namespace: i32, list: &[&str]) -> PodInterface {
    PodInterface {
        ifindex,
        name: format!("veth{ifindex}"),
        addresses: addresses(list),
        peer_ifindex: 2,
        namespace,
        ..PodInterface::default()
    }
}

fn snapshot(list: &[PodInterface]) -> Snapshot {
    Snapshot {
        interfaces: list.iter().map(|it| (it.ifindex, it.clone())).collect(),
        ..Snapshot::default()
    }
}

/// containerd never reports the end of pods that are older than itself.
#[test]
fn c5_a_listed_sandbox_ends_with_its_interface() {
    let mut world = World::new();
    world.pod(pod("b", "u2", &["10.0.0.9"]));
    world.all(vec![sandbox("1", "a", "u1", &["10.0.0.1"]), sandbox("2", "b", "u2", &["10.0.0.2"])]);
    assert_eq!(world.has("b").unwrap().1, addresses(&["10.0.0.9"]), "the source's addresses count");
    let both = [interface(7, 3, &["10.0.0.1"]), interface(8, 4, &["10.0.0.2"])];
    // An interface that was never seen has not ended.
    for seen in [&[][..], &both[1..], &both] {
        world.seen(seen);
        assert_eq!(world.has("a").unwrap().1, addresses(&["10.0.0.1"]));
    }
    world.seen(&both[1..]);
    assert_eq!(world.has("a"), None);
    assert_eq!(world.sandboxes.count(), 1);
    // The end of an announced sandbox is reported.
    world.started(sandbox("3", "c", "u3", &["10.0.0.3"]));
    for seen in [&[interface(9, 5, &["10.0.0.3"])][..], &[]] {
        world.seen(seen);
    }
    assert_eq!(world.has("c").unwrap().1, addresses(&["10.0.0.3"]));
}

#[test]
fn addresses_are_found_by_namespace_if_the_runtime_has_none() {
    let mut world = World::new();
    world.started(Sandbox { namespace: Some(4), ..sandbox("1", "a", "u1", &[]) });
    assert_eq!(world.has("a"), None);
    let seen = [interface(7, 3, &["10.0.0.3"]), interface(8, 4, &["10.0.0.4"])];
    world.seen(&seen);
    assert_eq!(world.has("a").unwrap().1, addresses(&["10.0.0.4"]));
    assert_eq!(world.sandboxes.seen(&snapshot(&seen)), []);
    // A list that has it again leaves no gap.
    world.all(vec![Sandbox { namespace: Some(4), ..sandbox("1", "a", "u1", &[]) }]);
    assert_eq!(world.has("a").unwrap().1, addresses(&["10.0.0.4"]));
    world.seen(&[]);
    assert_eq!(world.has("a"), None);
}

#[test]
fn the_number_of_gone_pods_that_are_remembered_is_limited() {
    let mut world = World::new();
    for number in 0..2 * GONE {
        let name = number.to_string();
        world.pod(pod(&name, &name, &[]));
        world.merge(Change::PodGone(id(&name)));
    }
    assert_eq!(world.sandboxes.gone.len(), GONE);
    // Pods of other nodes displace none of this node's.
    let before = world.sandboxes.gone.clone();
    world.pod(Pod { node: Some("elsewhere".into()), ..pod("a", "u1", &[]) });
    world.merge(Change::PodGone(id("a")));
    assert_eq!(world.sandboxes.gone, before);
}

/// A sandbox as the runtime's CNI results have it: without labels.
fn result(number: &str, name: &str, uid: &str, list: &[&str]) -> Sandbox {
    Sandbox { labels: None, ..sandbox(number, name, uid, list) }
}

impl World {
    fn recorded(&mut self, sandbox: Sandbox) {
        let change = self.sandboxes.started(sandbox, Reporter::Cni, &self.cluster);
        self.apply(change);
    }
}

#[test]
fn c6_a_cni_result_gives_a_known_pod_its_addresses() {
    let mut world = World::new();
    world.recorded(result("1", "a", "u1", &["10.0.0.1"]));
    assert_eq!(world.has("a"), None, "without labels its policy is unknown");
    world.pod(pod("a", "u1", &[]));
    assert_eq!(world.has("a"), Some(("u1".into(), addresses(&["10.0.0.1"]), "of the source")));
    // Another pod of that name.
    let mut world = World::new();
    world.pod(pod("a", "u0", &["10.0.0.9"]));
    world.recorded(result("1", "a", "u1", &["10.0.0.1"]));
    assert_eq!(world.has("a"), Some(("u0".into(), addresses(&["10.0.0.9"]), "of the source")));
    world.merge(Change::PodGone(id("a")));
    world.pod(pod("a", "u1", &[]));
    assert_eq!(world.has("a").unwrap().1, addresses(&["10.0.0.1"]));
    // Its end, before the source reports anything.
    world.ended("1");
    assert_eq!(world.has("a").unwrap().1, addresses(&[]));
}

#[test]
fn a_sandbox_of_both_reporters_has_what_either_knows_and_stays_while_one_has_it() {
    for cni_first in [true, false] {
        let mut world = World::new();
        let (nri, cni) = (sandbox("1", "a", "u1", &[]), result("1", "a", "u1", &["10.0.0.1"]));
        if cni_first {
            world.recorded(cni);
            world.started(nri);
        } else {
            world.started(nri);
            world.recorded(cni);
        }
        assert_eq!(world.has("a"), Some(("u1".into(), addresses(&["10.0.0.1"]), "of the runtime")));
        // A list of the plugin interface that lacks it.
        world.all(vec![]);
        assert_eq!(world.has("a").unwrap().1, addresses(&["10.0.0.1"]));
        let changes = world.sandboxes.forget_results();
        world.apply(changes);
        assert_eq!(world.has("a"), None);
    }
}

/// Semantics S6: what a pod adds later is not its own.
#[test]
fn s6_addresses_behind_a_namespace_are_those_that_were_seen_first() {
    let mut world = World::new();
    world.started(Sandbox { namespace: Some(4), ..sandbox("1", "a", "u1", &[]) });
    world.seen(&[interface(8, 4, &["10.0.0.4"])]);
    for trick in [&["10.0.0.4", "10.0.0.5"][..], &["10.0.0.5"]] {
        world.seen(&[interface(8, 4, trick)]);
        assert_eq!(world.has("a").unwrap().1, addresses(&["10.0.0.4"]));
    }
}

#[test]
fn c5_a_listed_sandbox_of_the_plugin_interface_is_no_evidence_for_an_interface() {
    let mut world = World::new();
    world.all(vec![sandbox("1", "a", "u1", &["10.0.0.1"])]);
    assert_eq!(world.sandboxes.records().count(), 0, "it may have ended");
    world.started(sandbox("2", "b", "u2", &["10.0.0.2"]));
    world.recorded(result("1", "a", "u1", &["10.0.0.1"]));
    assert_eq!(world.sandboxes.records().count(), 2);
}
