//! The page's pure modules.

use serde_json::{Value, json};

use crate::browser::{Tab, with};
use crate::estate::shop;

/// The result of a program with all pure modules.
async fn run(tab: &Tab, program: &str) -> Value {
    let script = format!(
        "const done = arguments[0];
         Promise.all(['layout', 'model', 'search', 'edges', 'activity'].map((it) => import('/' + it + '.js')))
           .then(([layout, model, search, edges, activity]) => done((() => {{ {program} }})()))
           .catch((error) => done('' + error));"
    );
    tab.0.execute_async(&script, Vec::new()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn pure_modules_compute() {
    with(shop(), async |tab| {
        tab.element(".grid .cell").await;
        let traffic = run(
            &tab,
            "return ['', '443', '53/UDP', 'udp 53', 'ICMP', '0', '70000', 'x'].map((it) => model.traffic(it) ?? null)",
        );
        let port = |protocol: &str, port: u16| json!({ "protocol": protocol, "port": port });
        assert_eq!(
            traffic.await,
            json!([null, port("TCP", 443), port("UDP", 53), port("UDP", 53), { "portless": true }, null, null, null])
        );
        let questions = run(&tab, "return ['a > b:1', 'a -> b', 'a → b', 'a b', 'a >'].map(search.question)");
        let asked = |to: &str| json!({ "from": "a", "to": to });
        assert_eq!(questions.await, json!([asked("b:1"), asked("b"), asked("b"), null, null]));
        // A cycle does not keep the layout from ending, and nodes without edges are apart.
        let columns = run(
            &tab,
            "const n = [0, 1, 2, 3].map((index) => ({ index }));
             const e = [[0, 1], [1, 2], [2, 0]].map(([a, b]) => ({ from: n[a], to: n[b] }));
             const { columns, alone } = layout.layered(n, e);
             return [columns.map((it) => it.map((one) => one.index)), alone.map((it) => it.index)];",
        );
        assert_eq!(columns.await, json!([[[0], [1], [2]], [3]]));
        // A chain of a hundred is folded, and everything has a place of its own.
        let places = run(
            &tab,
            "const n = Array.from({ length: 100 }, (_, index) => ({ index }));
             const e = n.slice(1).map((to, at) => ({ from: n[at], to }));
             const { columns, alone } = layout.layered(n, e);
             const at = layout.places(columns, alone, { width: 10, height: 4, across: 6, down: 2, wide: 100 });
             return [columns.length, new Set([...at.place.values()].map((it) => it.x + ' ' + it.y)).size];",
        );
        assert_eq!(places.await, json!([10, 100]));
        // Rules of several agents count together; drops are grouped.
        let unused = run(
            &tab,
            "const use = (rule, connections, last_used) => ({ policy: 'a/b', direction: 'ingress', rule, connections, since: 's', last_used });
             const flows = [{ policies: [use('r0', 0), use('r1', 0)] }, { policies: [use('r0', 2, 'now'), use('r1', 0)] }];
             const drop = { from_workload: 'a/x', to_workload: 'a/y', protocol: 'TCP', destination: { port: 80 }, repeats: 2 };
             return [activity.unused({ flows }).map((it) => it.rule), edges.denials({ drops: [drop, drop] }).map((it) => it.connections)];",
        );
        assert_eq!(unused.await, json!([["r1"], [6]]));
    })
    .await;
}
