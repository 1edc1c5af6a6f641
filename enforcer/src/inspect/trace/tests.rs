use std::path::Path;

use super::*;
use crate::inspect::{Each, Question, State, ask_each};

/// `web` may reach `db` on port 80, by the database's policy.
const MANIFESTS: &str = "
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: web, labels: {app: web}}
spec: {nodeName: one, containers: [{name: main, image: main}]}
status: {podIP: 10.0.0.1}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: db, labels: {app: db}}
spec: {nodeName: two, containers: [{name: main, image: main}]}
status: {podIP: 10.0.0.2}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: db}
spec: {podSelector: {matchLabels: {app: db}}, ingress: [{ports: [{port: 80}]}]}
";

fn explanation(port: u16) -> Explanation {
    let state = State::of_text(Path::new("shop.yaml"), MANIFESTS).unwrap();
    let to = format!("shop/db:{port}");
    let question = Question { from: "shop/web".to_owned(), to, ..Question::default() };
    let Each { mut pairs, .. } = ask_each(&state, &question).unwrap();
    pairs.remove(0).1
}

fn step(
    node: &str,
    program: &'static str,
    pod: Option<&str>,
    reason: Option<&'static str>,
) -> TraceStep {
    TraceStep {
        node: node.to_owned(),
        program: program.into(),
        interface: "veth1".to_owned(),
        pod: pod.map(ToOwned::to_owned),
        packet: "10.0.0.1:49152 → 10.0.0.2:80 TCP".to_owned(),
        passes: reason != Some("denied"),
        reason: reason.map(Into::into),
        reached: true,
    }
}

fn end(pod: &str, direction: &'static str, reason: &'static str) -> KernelEnd {
    KernelEnd {
        pod: pod.to_owned(),
        direction: direction.into(),
        allowed: reason != "denied",
        reason: Some(reason.into()),
    }
}

/// The documents of both nodes: the sender is on the first, the receiver on the second.
fn halves(port: u16, reason: &'static str) -> [Trace; 2] {
    let sender = TracedConnection::new(
        explanation(port),
        vec![
            step("one", "from_pod", Some("shop/web"), Some("not-isolated")),
            step("one", "to_wire", None, None),
        ],
        vec![end("shop/web", "egress", "not-isolated")],
    );
    let receiver = TracedConnection::new(
        explanation(port),
        vec![
            step("two", "from_wire", None, None),
            step("two", "to_pod", Some("shop/db"), Some(reason)),
        ],
        vec![end("shop/db", "ingress", reason)],
    );
    [("one", sender), ("two", receiver)].map(|(node, it)| Trace {
        node: node.to_owned(),
        connections: vec![it],
        ..Trace::default()
    })
}

fn both(port: u16, reason: &'static str) -> Trace {
    let [one, two] = halves(port, reason);
    // The receiver's answer may come first.
    let (mut sum, mut other) = (two.clone(), one.clone());
    sum.add(one);
    other.add(two);
    assert_eq!(sum.connections, other.connections);
    other
}

#[test]
fn the_answers_of_both_nodes_make_one_way() {
    let sum = both(80, "policy");
    insta::assert_snapshot!(sum, @r"
    shop/web → shop/db port 80/TCP: by the kernel allowed, by the policies allowed
      1. from_pod at veth1 of one (shop/web): 10.0.0.1:49152 → 10.0.0.2:80 TCP passes (not-isolated)
      2. to_wire at veth1 of one: 10.0.0.1:49152 → 10.0.0.2:80 TCP passes
      3. from_wire at veth1 of two: 10.0.0.1:49152 → 10.0.0.2:80 TCP passes
      4. to_pod at veth1 of two (shop/db): 10.0.0.1:49152 → 10.0.0.2:80 TCP passes (policy)
      egress of shop/web, by the kernel: allowed (not-isolated); by the policies:
        egress of shop/web: allowed: no policy isolates the pod for egress (S4)
      ingress of shop/db, by the kernel: allowed (policy); by the policies:
        ingress of shop/db: allowed: isolated by shop/db (S4)
          allowed by shop/db spec.ingress[0], ports[0] (shop.yaml:17)
    ");
    assert_eq!((sum.connections.len(), sum.exit_code(), &*sum.node), (1, 0, "one, two"));
    assert_eq!(both(81, "denied").exit_code(), 1);
}

#[test]
fn an_end_without_an_answer_is_not_allowed() {
    let [one, two] = halves(80, "policy");
    assert_eq!((&*one.connections[0].kernel, one.exit_code()), ("unknown", 4));
    assert_eq!(two.exit_code(), 4);
    // Denied at one end is denied.
    let [_, denied] = halves(81, "denied");
    assert_eq!((&*denied.connections[0].kernel, denied.exit_code()), ("denied", 1));
    assert_eq!(Trace::default().exit_code(), 4, "nothing was tried");
}

#[test]
fn differences_are_named() {
    let differences = |port, reason| {
        let sum = both(port, reason);
        assert_eq!(sum.exit_code(), 4, "{sum}");
        sum.connections[0].differences.clone()
    };
    assert_eq!(
        differences(81, "policy"),
        ["ingress of shop/db: the programs allow it (policy), the policies deny it"]
    );
    assert_eq!(
        differences(80, "denied"),
        ["ingress of shop/db: the programs deny it (denied), the policies allow it"]
    );
    // Allowed by both, but the programs would let everybody in.
    assert_eq!(
        differences(80, "not-isolated"),
        ["ingress of shop/db: the programs do not isolate the pod"]
    );
}

#[test]
fn a_document_is_read_back() {
    let sum = both(80, "policy");
    let text = serde_json::to_string(&sum).unwrap();
    assert_eq!(serde_json::from_str::<Trace>(&text).unwrap(), sum);
}
