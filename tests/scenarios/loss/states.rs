//! States that have the same effect on most flows, each expressed in another way.

use std::fmt::Write as _;

use enforcer_tests::lab::{Family, Lab, Party};
use proptest::prelude::{Rng, RngExt as _};
use proptest::test_runner::TestRunner;

use super::flows::PORT;
use crate::scene::{namespace, pod, policy};

/// The pods at their start. This test itself serves [`PORT`].
pub(super) fn pods_only() -> String {
    let http = ["http/TCP/80"];
    let mut text = namespace("shop", "") + &namespace("mall", "");
    for name in ["web", "db", "front", "captive", "waver", "stranger"] {
        text += &pod("shop", name, "", &http);
    }
    text + &pod("mall", "buyer", "", &http) + &pod("mall", "thief", "", &http)
}

/// Generates `count` states.
pub(super) fn generate(runner: &mut TestRunner, lab: &Lab, count: usize) -> Vec<String> {
    (0..count).map(|number| Draft::new(runner.rng(), lab, number).text()).collect()
}

/// One state under construction: each choice is one between equivalent expressions.
struct Draft<'a, R> {
    rng: &'a mut R,
    lab: &'a Lab,
    /// Part of the policies' names, so that a change removes some and applies others.
    number: usize,
    role: &'static str,
    kind: &'static str,
    text: String,
}

impl<'a, R: Rng> Draft<'a, R> {
    fn new(rng: &'a mut R, lab: &'a Lab, number: usize) -> Self {
        let mut draft = Self { rng, lab, number, role: "one", kind: "known", text: String::new() };
        draft.role = draft.pick(&["one", "two"]);
        draft.kind = draft.pick(&["known", "partner"]);
        draft
    }

    fn text(mut self) -> String {
        self.cluster();
        self.web_ingress();
        self.web_egress();
        self.db_ingress();
        self.clients();
        self.captive();
        self.bystanders();
        self.text
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.rng.random_range(0..from.len())].clone()
    }

    fn maybe(&mut self) -> bool {
        self.rng.random_ratio(1, 2)
    }

    /// Adds a policy. Some keep their names, so that a change replaces their specs.
    fn policy(&mut self, namespace: &str, name: &str, spec: &str) {
        let name = if self.number.is_multiple_of(3) {
            name.to_owned()
        } else {
            format!("{name}-{}", self.number % 5)
        };
        self.text += &policy(namespace, &name, spec);
    }

    fn cluster(&mut self) {
        let ports = ["talk/TCP/7000", "tell/UDP/7000"];
        let wrong = ["talk/TCP/7001", "tell/UDP/7001"];
        let (kind, role) = (self.kind, self.role);
        self.text =
            namespace("shop", "team: retail") + &namespace("mall", &format!("kind: {kind}"));
        self.text += &pod("shop", "web", "app: web", &ports);
        self.text += &pod("shop", "db", "app: db", &ports);
        self.text += &pod("shop", "front", &format!("app: front, role: {role}"), &wrong);
        let extra = self.pick(&["", ", tier: a", ", tier: b"]);
        self.text += &pod("shop", "captive", &format!("app: captive{extra}"), &wrong);
        self.text += &pod("shop", "waver", "app: waver", &wrong);
        // The role that the friend does not have in this state.
        let other = if role == "one" { "two" } else { "one" };
        self.text += &pod("shop", "stranger", &format!("app: stranger, role: {other}"), &wrong);
        self.text += &pod("mall", "buyer", &format!("app: buyer{extra}"), &wrong);
        self.text += &pod("mall", "thief", "app: thief", &wrong);
    }

    /// Both addresses of a party as blocks.
    fn blocks(&self, party: &Party) -> String {
        let block = |family| {
            let address = self.lab.address(party, family).unwrap();
            let length = if address.is_ipv4() { 32 } else { 128 };
            format!("{{ipBlock: {{cidr: '{address}/{length}'}}}}")
        };
        Family::ALL.map(block).join(", ")
    }

    fn front(&mut self) -> String {
        let role = self.role;
        let blocks = self.blocks(&Party::pod("shop", "front"));
        self.pick(&[
            "{podSelector: {matchLabels: {app: front}}}".to_owned(),
            format!("{{podSelector: {{matchLabels: {{role: {role}}}}}}}"),
            "{podSelector: {matchExpressions: [{key: app, operator: In, values: [front, none]}]}}"
                .to_owned(),
            blocks,
        ])
    }

    fn buyer(&mut self) -> String {
        let kind = self.kind;
        let blocks = self.blocks(&Party::pod("mall", "buyer"));
        self.pick(&[
            format!(
                "{{namespaceSelector: {{matchLabels: {{kind: {kind}}}}}, \
                 podSelector: {{matchLabels: {{app: buyer}}}}}}"
            ),
            "{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: mall}}, podSelector: \
             {matchExpressions: [{key: app, operator: NotIn, values: [thief]}]}}"
                .to_owned(),
            blocks,
        ])
    }

    /// The office's network without its guests.
    fn office(&mut self) -> String {
        self.pick(&[
            "{ipBlock: {cidr: 198.51.100.0/24, except: [198.51.100.128/25]}}, \
             {ipBlock: {cidr: '2001:db8:100::/48', except: ['2001:db8:100:fe::/64']}}"
                .to_owned(),
            "{ipBlock: {cidr: 198.51.100.0/26}}, {ipBlock: {cidr: '2001:db8:100::/64'}}".to_owned(),
            "{ipBlock: {cidr: 192.0.0.0/4, except: [198.51.100.192/26, 203.0.113.0/24]}}, \
             {ipBlock: {cidr: '2001:db8::/32', except: ['2001:db8:100:f0::/60']}}"
                .to_owned(),
        ])
    }

    fn label(&mut self, app: &str) -> String {
        let blocks = self.blocks(&Party::pod("shop", app));
        self.pick(&[format!("{{podSelector: {{matchLabels: {{app: {app}}}}}}}"), blocks])
    }

    /// [`PORT`] of both protocols, without the next port. The receiver defines a name, and a block
    /// resolves no names (semantics R7), so egress rules use none.
    fn ports(&mut self, egress: bool) -> String {
        let both = |port: &str| format!("[{{port: {port}}}, {{protocol: UDP, port: {port}}}]");
        let single: Vec<String> = (0..8)
            .map(|step| PORT - 2 * step)
            .map(|port| format!("{{port: {port}}}, {{protocol: UDP, port: {port}}}"))
            .collect();
        let mut ways = vec![
            both("7000"),
            both("7000, endPort: 7000"),
            both("6900, endPort: 7000"),
            format!("[{}]", single.join(", ")),
        ];
        if !egress {
            ways.push("[{port: talk}, {protocol: UDP, port: tell}]".to_owned());
        }
        self.pick(&ways)
    }

    fn web_ingress(&mut self) {
        let mut peers = vec![self.front(), self.buyer(), self.office(), self.label("captive")];
        if self.maybe() {
            peers.push(self.label("waver"));
        }
        let web = "podSelector: {matchLabels: {app: web}}";
        match self.rng.random_range(0..3) {
            0 => {
                let (peers, ports) = (peers.join(", "), self.ports(false));
                let spec = format!("{web}, ingress: [{{from: [{peers}], ports: {ports}}}]");
                self.policy("shop", "web", &spec);
            }
            1 => {
                let mut rules = Vec::new();
                for peer in peers {
                    let ports = self.ports(false);
                    rules.push(format!("{{from: [{peer}], ports: {ports}}}"));
                }
                let spec = format!("{web}, ingress: [{}]", rules.join(", "));
                self.policy("shop", "web", &spec);
            }
            _ => {
                for (index, peer) in peers.into_iter().enumerate() {
                    let ports = self.ports(false);
                    let spec = format!("{web}, ingress: [{{from: [{peer}], ports: {ports}}}]");
                    self.policy("shop", &format!("web-{index}"), &spec);
                }
            }
        }
    }

    /// The server sends replies, and opens connections to the database.
    fn web_egress(&mut self) {
        if self.maybe() {
            let (db, ports) = (self.label("db"), self.ports(true));
            let spec = format!(
                "podSelector: {{matchLabels: {{app: web}}}}, policyTypes: [Egress], \
                 egress: [{{to: [{db}], ports: {ports}}}]"
            );
            self.policy("shop", "web-out", &spec);
        }
    }

    /// The database's own policy allows the captive.
    fn db_ingress(&mut self) {
        let mut peers = vec![self.label("web"), self.label("captive")];
        if self.maybe() {
            peers.push(self.label("waver"));
        }
        let (peers, ports) = (peers.join(", "), self.ports(false));
        let spec = format!(
            "podSelector: {{matchLabels: {{app: db}}}}, ingress: [{{from: [{peers}], ports: {ports}}}]"
        );
        self.policy("shop", "db", &spec);
    }

    /// Clients that may be isolated in each direction or none: they receive replies only.
    fn clients(&mut self) {
        for (namespace, app) in [("shop", "front"), ("mall", "buyer")] {
            let own = format!("podSelector: {{matchLabels: {{app: {app}}}}}");
            if self.maybe() {
                self.policy(namespace, &format!("{app}-in"), &own);
            }
            if self.maybe() {
                let anywhere = "{namespaceSelector: {}, podSelector: {matchLabels: {app: web}}}";
                let to = self.pick(&[anywhere.to_owned(), self.blocks(&Party::pod("shop", "web"))]);
                let ports = self.ports(true);
                let spec = format!(
                    "{own}, policyTypes: [Egress], egress: [{{to: [{to}], ports: {ports}}}]"
                );
                self.policy(namespace, &format!("{app}-out"), &spec);
            }
        }
    }

    fn captive(&mut self) {
        let (web, ports) = (self.label("web"), self.ports(true));
        let spec = format!(
            "podSelector: {{matchLabels: {{app: captive}}}}, policyTypes: [Egress], \
             egress: [{{to: [{web}], ports: {ports}}}]"
        );
        self.policy("shop", "captive", &spec);
    }

    /// Policies for other pods, which add classes, regions and port sets to the tables.
    fn bystanders(&mut self) {
        for index in 0..self.rng.random_range(0..4) {
            let mut blocks = String::new();
            for _ in 0..self.rng.random_range(1..8) {
                let (a, b) = (self.rng.random_range(0..=255), self.rng.random_range(0..=255));
                let length = self.rng.random_range(24..=32);
                let _ = write!(blocks, "{{ipBlock: {{cidr: 198.{a}.{b}.0/{length}}}}}, ");
            }
            let (first, last) = (1_000 + 100 * index, 1_050 + 100 * index);
            let spec = format!(
                "podSelector: {{matchLabels: {{app: thief}}}}, ingress: [{{from: [{blocks}], \
                 ports: [{{port: {first}, endPort: {last}}}]}}]"
            );
            self.policy("mall", &format!("bystander-{index}"), &spec);
        }
    }
}
