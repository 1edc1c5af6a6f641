//! The flows, and which of them policy allows.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use enforcer::source::Severity;
use enforcer::source::manifests::Manifests;
use enforcer_core::model::{Cluster, Protocol};
use enforcer_core::policy::reference::{Traffic, connection_allowed};
use enforcer_tests::lab::{Family, LAB_DIR, Lab, Party};

/// The servers' port.
pub(super) const PORT: u16 = 7_000;
/// The adjacent port, which no state allows.
pub(super) const CLOSED: u16 = 7_001;

/// How many states allow a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Always,
    Sometimes,
    Never,
}

/// A sender and a receiver.
#[derive(Debug, Clone)]
pub(super) struct Flow {
    pub from: Party,
    pub to: Party,
    pub port: u16,
    pub kind: Kind,
}

/// A flow of one family.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub flow: Flow,
    pub own: IpAddr,
    pub at: SocketAddr,
}

impl Line {
    /// The line's name in failures.
    pub(super) fn name(&self) -> String {
        let Flow { from, to, port, .. } = &self.flow;
        format!("{from} -> {to}:{port} ({})", Family::of(self.own))
    }
}

/// The servers.
pub(super) fn servers() -> [Party; 2] {
    [Party::pod("shop", "web"), Party::pod("shop", "db")]
}

fn all() -> Vec<Flow> {
    let [web, db] = servers();
    let shop = |name: &str| Party::pod("shop", name);
    let mall = |name: &str| Party::pod("mall", name);
    let outside = |name: &str| Party::outside(name);
    let flows = [
        (Kind::Always, shop("front"), &web, PORT),
        (Kind::Always, mall("buyer"), &web, PORT),
        (Kind::Always, shop("captive"), &web, PORT),
        (Kind::Always, outside("office"), &web, PORT),
        (Kind::Always, Party::Node, &web, PORT),
        (Kind::Always, web.clone(), &db, PORT),
        (Kind::Sometimes, shop("waver"), &web, PORT),
        (Kind::Sometimes, shop("waver"), &db, PORT),
        (Kind::Never, shop("stranger"), &web, PORT),
        (Kind::Never, mall("thief"), &web, PORT),
        (Kind::Never, outside("guest"), &web, PORT),
        (Kind::Never, shop("front"), &web, CLOSED),
        // The only one that its sender's policy denies.
        (Kind::Never, shop("captive"), &db, PORT),
    ];
    let flow = |(kind, from, to, port): (Kind, Party, &Party, u16)| Flow {
        from,
        to: to.clone(),
        port,
        kind,
    };
    flows.map(flow).into()
}

/// The flows of a kind, in each family.
pub(super) fn lines(lab: &Lab, kind: Kind) -> Vec<Line> {
    let of_family = |flow: &Flow, family| {
        let own = lab.address(&flow.from, family).unwrap();
        let at = SocketAddr::new(lab.address(&flow.to, family).unwrap(), flow.port);
        Line { flow: flow.clone(), own, at }
    };
    let flows = all().into_iter().filter(|flow| flow.kind == kind);
    flows.flat_map(|flow| Family::ALL.map(|family| of_family(&flow, family))).collect()
}

/// Checks the kinds of all flows with the reference evaluator.
pub(super) fn check(lab: &Lab, states: &[String]) {
    let clusters: Vec<Cluster> = states.iter().map(|text| read(lab, text)).collect();
    for kind in [Kind::Always, Kind::Sometimes, Kind::Never] {
        for line in lines(lab, kind) {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let traffic = Traffic::Port(protocol, line.flow.port);
                let allows =
                    |it: &&Cluster| connection_allowed(it, line.own, line.at.ip(), traffic);
                let some = clusters.iter().filter(allows).count();
                let right = match kind {
                    Kind::Always => some == clusters.len(),
                    Kind::Sometimes => (1..clusters.len()).contains(&some),
                    Kind::Never => some == 0,
                };
                let name = line.name();
                assert!(right, "{name} is {kind:?}, but {some} states allow it: {states:#?}");
            }
        }
    }
}

/// The cluster of a state, its pods with the lab's addresses.
fn read(lab: &Lab, text: &str) -> Cluster {
    let folder = Path::new(LAB_DIR).join("checked");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("cluster.yaml"), text).unwrap();
    let update = Manifests::new(vec![folder]).unwrap().rescan();
    let errors: Vec<_> =
        update.reports.iter().filter(|it| it.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{errors:?}\n{text}");
    let mut cluster = Cluster::default();
    for change in update.changes {
        cluster.apply(change);
    }
    for (id, pod) in lab.pods() {
        let declared = cluster.pods.get_mut(id).unwrap();
        declared.addresses = pod.addresses().iter().copied().collect();
        declared.node = Some(enforcer_tests::lab::NODE_NAME.into());
    }
    cluster.node_addresses = lab.node_addresses().into_iter().collect();
    cluster
}
