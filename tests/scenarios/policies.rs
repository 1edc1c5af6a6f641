//! Kinds of policies, on real connections, against the reference evaluator.

use enforcer_tests::lab::{Family, Party, Topology};
use enforcer_tests::matrix::Matrix;
use enforcer_tests::probe::Outcome;

use crate::scene::{Scene, namespace, pod, policy, with_agent};

/// Three pods in `shop` and two in `bank`, so that each selector alone matches one too many. `web`
/// defines ports by name.
fn cluster() -> String {
    let web = ["http/TCP/80", "admin/TCP/81", "high/TCP/85", "dns/UDP/53", "beat/UDP/54"];
    [
        namespace("shop", "kind: trade"),
        namespace("bank", "kind: money"),
        pod("shop", "web", "app: web", &web),
        pod("shop", "client", "app: client, tier: front", &["http/TCP/80"]),
        pod("shop", "other", "app: other", &["http/TCP/80", "dns/UDP/53"]),
        pod("bank", "client", "app: client", &["http/TCP/80"]),
        pod("bank", "other", "app: other", &["http/TCP/80"]),
    ]
    .concat()
}

const WEB: &str = "podSelector: {matchLabels: {app: web}}";

/// What is the same for all: the ends that a policy never parts (semantics A1, A2).
fn always(matrix: &Matrix) {
    let cells = &matrix.cells;
    let to_itself = cells.iter().filter(|cell| cell.probe.from == cell.probe.to);
    let of_node = cells
        .iter()
        .filter(|cell| matches!((&cell.probe.from, &cell.probe.to), (Party::Node, Party::Pod(_))));
    for cell in to_itself.chain(of_node) {
        assert_eq!(cell.measured, Outcome::Open, "{:?}", cell.probe);
    }
}

/// Puts one policy after another in force and lets all connections be tried under each. A policy
/// that changes nothing would prove nothing: some connections must be cut and some not.
async fn each_alone(scene: &mut Scene, policies: &[(&str, String)]) {
    scene.write("cluster.yaml", &cluster());
    let free = scene.agree("no policy").await;
    assert!(free.cells.iter().all(|cell| cell.measured == Outcome::Open));
    for (what, text) in policies {
        scene.write("policy.yaml", text);
        let matrix = scene.agree(what).await;
        always(&matrix);
        for family in Family::ALL {
            let cells = || matrix.cells.iter().filter(|cell| cell.probe.family == family);
            assert!(cells().any(|cell| cell.measured == Outcome::TimedOut), "{what}: cuts nothing");
        }
    }
    scene.remove("policy.yaml");
    scene.agree("no policy any more").await;
}

fn peers() -> Vec<(&'static str, String)> {
    let ingress = |from: &str| policy("shop", "p", &format!("{WEB}, ingress: [{{from: {from}}}]"));
    let money = "namespaceSelector: {matchLabels: {kind: money}}";
    let client = "podSelector: {matchLabels: {app: client}}";
    let not_front = "podSelector: {matchExpressions: [{key: tier, operator: DoesNotExist}]}";
    vec![
        ("deny all ingress", policy("shop", "p", "podSelector: {}")),
        ("pods by label", ingress(&format!("[{{{client}}}]"))),
        ("pods by expression", ingress(&format!("[{{{not_front}}}]"))),
        ("namespaces by label", ingress(&format!("[{{{money}}}]"))),
        ("namespace and pod", ingress(&format!("[{{{money}, {client}}}]"))),
        ("namespace or pod", ingress(&format!("[{{{money}}}, {{{client}}}]"))),
        ("every namespace", ingress("[{namespaceSelector: {}}]")),
    ]
}

#[test]
fn s4_r2_r3_peers_of_ingress_rules_on_kubenet() {
    with_agent(Topology::Kubenet, async |scene| each_alone(scene, &peers()).await);
}

#[test]
fn s4_r2_r3_peers_of_ingress_rules_on_azure_cni() {
    with_agent(Topology::AzureCni, async |scene| each_alone(scene, &peers()).await);
}

fn ports() -> Vec<(&'static str, String)> {
    let ingress =
        |ports: &str| policy("shop", "p", &format!("{WEB}, ingress: [{{ports: {ports}}}]"));
    vec![
        ("a number", ingress("[{port: 80}]")),
        ("a name", ingress("[{port: admin}]")),
        ("a range", ingress("[{port: 81, endPort: 85}]")),
        ("a name of another protocol", ingress("[{port: dns}]")),
        ("UDP by name", ingress("[{protocol: UDP, port: dns}]")),
        ("all of UDP, which is not ICMP", ingress("[{protocol: UDP}]")),
        ("several", ingress("[{port: 80}, {protocol: UDP, port: 54}]")),
    ]
}

#[test]
fn r1_r7_r8_ports_on_kubenet() {
    with_agent(Topology::Kubenet, async |scene| each_alone(scene, &ports()).await);
}

#[test]
fn r1_r7_r8_ports_on_azure_cni() {
    with_agent(Topology::AzureCni, async |scene| each_alone(scene, &ports()).await);
}

/// The block is the office's without its guests, see `OUTSIDE_CLIENTS`.
fn blocks_and_egress() -> Vec<(&'static str, String)> {
    let office = "[{ipBlock: {cidr: 198.51.100.0/24, except: [198.51.100.128/25]}}, \
                   {ipBlock: {cidr: '2001:db8:100::/48', except: ['2001:db8:100:fe::/64']}}]";
    let own = |spec: &str| policy("shop", "p", spec);
    let to_web =
        "{to: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: admin}, {port: 80}]}";
    let both_ends = policy(
        "bank",
        "out",
        "podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}]}]",
    );
    vec![
        ("deny all egress", own("podSelector: {}, policyTypes: [Egress]")),
        ("in from a block", own(&format!("{WEB}, ingress: [{{from: {office}}}]"))),
        (
            "out to a block",
            own(&format!("{WEB}, egress: [{{to: {office}}}], policyTypes: [Egress]")),
        ),
        ("out to pods and ports", own(&format!("podSelector: {{}}, egress: [{to_web}]"))),
        (
            "both ends must agree",
            both_ends + &own("podSelector: {}, ingress: [{from: [{podSelector: {}}]}]"),
        ),
        (
            "in and out",
            own("podSelector: {}, policyTypes: [Ingress, Egress], \
                 ingress: [{ports: [{port: 80}]}], egress: [{ports: [{port: 80}]}]"),
        ),
    ]
}

#[test]
fn s5_r5_blocks_and_egress_on_kubenet() {
    with_agent(Topology::Kubenet, async |scene| each_alone(scene, &blocks_and_egress()).await);
}

#[test]
fn s5_r5_blocks_and_egress_on_azure_cni() {
    with_agent(Topology::AzureCni, async |scene| each_alone(scene, &blocks_and_egress()).await);
}
