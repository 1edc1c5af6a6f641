//! The expected matrix, in a notation for people.
//!
//! ```text
//! allow                          # the first line: the default
//! deny  * -> x/*                 # later lines win
//! allow y/*, office -> x/a : tcp80, udp80
//! allow guest -> x/a : tcp80, v4
//! ```
//! Ends: `x/a` (a pod), `x/*`, `*/a`, `pods`, `node`, `office`, `guest`, `internet`, `outside` (the
//! three), `*` (all). After the colon: `tcp80`, `udp81`, `ping`, `v4`, `v6`. Connections that no
//! policy can deny are implied: of a pod to itself (semantics A1), and between the node and its
//! pods (A2).

use enforcer_core::model::Protocol;
use enforcer_core::policy::reference::Traffic;
use enforcer_tests::lab::{Family, OUTSIDE_CLIENTS, Party};

/// A parsed expectation.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    default: bool,
    lines: Vec<Line>,
}

/// One line after the first.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    allow: bool,
    from: Vec<String>,
    to: Vec<String>,
    /// Empty: all.
    traffic: Vec<Traffic>,
    /// Empty: both.
    families: Vec<Family>,
    /// The original text.
    pub text: String,
}

impl Expected {
    /// Reads an expectation.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let uncommented =
            text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        let mut lines = uncommented.filter(|line| !line.is_empty());
        let first = lines.next().ok_or("nothing is expected")?;
        let default = word(first)?;
        let lines: Result<_, _> = lines.map(Line::parse).collect();
        Ok(Self { default, lines: lines? })
    }

    /// Whether the connection is expected to succeed.
    pub(crate) fn allows(
        &self,
        from: &Party,
        to: &Party,
        traffic: Traffic,
        family: Family,
    ) -> bool {
        let node = |one, other| matches!((one, other), (&Party::Node, &Party::Pod(_)));
        if from == to || node(from, to) || node(to, from) {
            return true;
        }
        let of_family = |line: &&Line| line.families.is_empty() || line.families.contains(&family);
        let mut lines = self.lines.iter().rev().filter(of_family);
        let last = lines.find(|line| line.covers(from, to, traffic));
        last.map_or(self.default, |line| line.allow)
    }

    /// The lines that cover none of these connections, by mistake.
    pub(crate) fn idle<'a>(
        &'a self,
        cells: &'a [(Party, Party, Traffic)],
    ) -> impl Iterator<Item = &'a Line> {
        let used = |line: &Line| cells.iter().any(|(from, to, what)| line.covers(from, to, *what));
        self.lines.iter().filter(move |line| !used(line))
    }
}

impl Line {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not \"allow|deny FROM -> TO [: TRAFFIC]\"");
        let (verdict, rest) = text.split_once(' ').ok_or_else(wrong)?;
        let (from, rest) = rest.split_once("->").ok_or_else(wrong)?;
        let (to, traffic) = rest.split_once(':').map_or((rest, None), |(to, it)| (to, Some(it)));
        let what: Vec<String> = traffic.into_iter().flat_map(items).collect();
        let of_families = |it: &&String| matches!(it.as_str(), "v4" | "v6");
        let (families, traffic): (Vec<&String>, Vec<&String>) = what.iter().partition(of_families);
        let family = |it: &&String| if *it == "v4" { Family::V4 } else { Family::V6 };
        Ok(Self {
            allow: word(verdict)?,
            from: items(from).collect(),
            to: items(to).collect(),
            traffic: traffic.iter().map(|it| parse_traffic(it)).collect::<Result<_, _>>()?,
            families: families.iter().map(family).collect(),
            text: text.to_owned(),
        })
    }

    fn covers(&self, from: &Party, to: &Party, traffic: Traffic) -> bool {
        let end = |ends: &[String], party| ends.iter().any(|it| matches(it, party));
        let what = self.traffic.is_empty() || self.traffic.contains(&traffic);
        what && end(&self.from, from) && end(&self.to, to)
    }
}

fn word(text: &str) -> Result<bool, String> {
    match text {
        "allow" => Ok(true),
        "deny" => Ok(false),
        _ => Err(format!("{text:?} is neither \"allow\" nor \"deny\"")),
    }
}

fn items(list: &str) -> impl Iterator<Item = String> {
    list.split(',').map(|item| item.trim().to_owned())
}

fn matches(end: &str, party: &Party) -> bool {
    match (end, party) {
        ("*", _) | ("node", Party::Node) | ("outside", Party::Outside(_)) => true,
        ("pods", Party::Pod(_)) => true,
        (_, Party::Pod(id)) => end.split_once('/').is_some_and(|(namespace, name)| {
            let fits = |pattern: &str, text: &str| pattern == "*" || pattern == text;
            fits(namespace, &id.namespace) && fits(name, &id.name)
        }),
        (_, Party::Outside(name)) => end == name,
        // No case has more than one node, or Services.
        (_, Party::Node | Party::OtherNode(_) | Party::Service(_)) => false,
    }
}

/// Reads `tcp80`, `udp81` or `ping`.
pub(crate) fn parse_traffic(text: &str) -> Result<Traffic, String> {
    let port = |protocol, number: &str| {
        let number = number.parse().map_err(|_| format!("{text:?} has no port"))?;
        Ok(Traffic::Port(protocol, number))
    };
    match text.split_at_checked(3) {
        Some(("tcp", number)) => port(Protocol::Tcp, number),
        Some(("udp", number)) => port(Protocol::Udp, number),
        _ if text == "ping" => Ok(Traffic::Portless),
        _ => Err(format!("{text:?} is not like \"tcp80\", \"udp81\" or \"ping\"")),
    }
}

/// A party's name in expectations.
pub(crate) fn name(party: &Party) -> String {
    match party {
        Party::Pod(id) => id.to_string(),
        Party::Node => "node".to_owned(),
        Party::Outside(name) => name.clone(),
        Party::OtherNode(_) | Party::Service(_) => party.to_string(),
    }
}

/// The three outside clients.
pub(crate) fn outside() -> impl Iterator<Item = Party> {
    OUTSIDE_CLIENTS.iter().map(|client| Party::outside(client.name))
}

#[test]
fn later_lines_win_and_idle_lines_are_found() {
    let text = "allow # of course\ndeny * -> x/*\n\
                allow a/c -> x/a : tcp80, v6\nallow */b, office -> x/a : tcp80\nallow w/* -> x/a";
    let expected = Expected::parse(text).unwrap();
    let (tcp80, tcp81) = (Traffic::Port(Protocol::Tcp, 80), Traffic::Port(Protocol::Tcp, 81));
    let [a, b] = ["a", "b"].map(|name| Party::pod("x", name));
    let office = Party::outside("office");
    for (from, to, traffic, open) in [
        (&b, &a, tcp80, true),
        (&office, &a, tcp80, true),
        (&b, &a, tcp81, false),
        (&a, &b, tcp80, false),
        (&a, &office, tcp80, true),
        (&a, &a, tcp81, true),
        (&Party::Node, &b, tcp81, true),
        (&Party::pod("a", "c"), &a, tcp80, false),
    ] {
        assert_eq!(
            expected.allows(from, to, traffic, Family::V4),
            open,
            "{from} → {to} {traffic:?}"
        );
    }
    let cells = [(b, a, tcp80)];
    let idle: Vec<_> = expected.idle(&cells).map(|line| line.text.as_str()).collect();
    assert_eq!(idle, ["allow a/c -> x/a : tcp80, v6", "allow w/* -> x/a"]);
    let v6 = expected.allows(&Party::pod("a", "c"), &Party::pod("x", "a"), tcp80, Family::V6);
    assert!(v6, "of that family only");
    for wrong in ["", "alow", "allow\ndeny x/a x/b", "allow\ndeny x/a -> x/b : 80"] {
        assert!(Expected::parse(wrong).is_err(), "{wrong:?}");
    }
}
