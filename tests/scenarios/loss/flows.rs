//! Who sends what to whom, and which of it policy allows.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use enforcer::source::Severity;
use enforcer::source::manifests::Manifests;
use enforcer_core::model::{Cluster, Protocol};
use enforcer_core::policy::reference::{Traffic, connection_allowed};
use enforcer_tests::lab::{Family, LAB_DIR, Lab, Party};

/// Where the servers listen.
pub(super) const PORT: u16 = 7_000;
/// The port beside it, which no state allows.
pub(super) const CLOSED: u16 = 7_001;

/// What the states say of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// All allow it.
    Kept,
    /// Some allow it.
    Sometimes,
    /// None allows it.
    Forbidden,
}

/// Who sends to whom.
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
    /// How failures name it.
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
        (Kind::Kept, shop("front"), &web, PORT),
        (Kind::Kept, mall("buyer"), &web, PORT),
        (Kind::Kept, shop("captive"), &web, PORT),
        (Kind::Kept, outside("office"), &web, PORT),
        (Kind::Kept, Party::Node, &web, PORT),
        (Kind::Kept, web.clone(), &db, PORT),
        (Kind::Sometimes, shop("waver"), &web, PORT),
        (Kind::Sometimes, shop("waver"), &db, PORT),
        (Kind::Forbidden, shop("stranger"), &web, PORT),
        (Kind::Forbidden, mall("thief"), &web, PORT),
        (Kind::Forbidden, outside("guest"), &web, PORT),
        (Kind::Forbidden, shop("front"), &web, CLOSED),
        // The only one that its sender's policy forbids.
        (Kind::Forbidden, shop("captive"), &db, PORT),
    ];
    let flow = |(kind, from, to, port): (Kind, Party, &Party, u16)| Flow {
        from,
        to: to.clone(),
        port,
        kind,
    };
    flows.map(flow).into()
}

/// Each flow of this kind in each family.
pub(super) fn lines(lab: &Lab, kind: Kind) -> Vec<Line> {
    let of_family = |flow: &Flow, family| {
        let own = lab.address(&flow.from, family).unwrap();
        let at = SocketAddr::new(lab.address(&flow.to, family).unwrap(), flow.port);
        Line { flow: flow.clone(), own, at }
    };
    let flows = all().into_iter().filter(|flow| flow.kind == kind);
    flows.flat_map(|flow| Family::ALL.map(|family| of_family(&flow, family))).collect()
}

/// The reference evaluator agrees that the flows are of the kinds that they are said to be.
pub(super) fn check(lab: &Lab, states: &[String]) {
    let clusters: Vec<Cluster> = states.iter().map(|text| read(lab, text)).collect();
    for kind in [Kind::Kept, Kind::Sometimes, Kind::Forbidden] {
        for line in lines(lab, kind) {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let traffic = Traffic::Port(protocol, line.flow.port);
                let allows =
                    |it: &&Cluster| connection_allowed(it, line.own, line.at.ip(), traffic);
                let some = clusters.iter().filter(allows).count();
                let right = match kind {
                    Kind::Kept => some == clusters.len(),
                    Kind::Sometimes => (1..clusters.len()).contains(&some),
                    Kind::Forbidden => some == 0,
                };
                let name = line.name();
                assert!(right, "{name} is {kind:?}, but {some} states allow it: {states:#?}");
            }
        }
    }
}

/// The cluster of a state, its pods where the lab has them.
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
        declared.node = Some(enforcer_tests::lab::NODE_NAME.to_owned());
    }
    cluster.node_addresses = lab.node_addresses().into_iter().collect();
    cluster
}
