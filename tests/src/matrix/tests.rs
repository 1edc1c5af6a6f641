//! Tables of constructed matrices.

use enforcer_core::model::{PodId, Protocol};
use enforcer_core::policy::reference::Traffic;

use super::{Cell, Matrix, Style, render};
use crate::lab::{Family, Party};
use crate::probe::{Outcome, Probe};

fn cell(from: &str, to: &str, family: Family, measured: Outcome, expected: bool) -> Cell {
    let probe = Probe {
        from: Party::pod("demo", from),
        to: Party::pod("demo", to),
        family,
        traffic: Traffic::Port(Protocol::Tcp, 80),
    };
    Cell { probe, measured, expected, unguarded: false }
}

fn line(text: &str, start: &str) -> String {
    let found = text
        .lines()
        .find(|line| line.trim_start_matches([' ', '│']).starts_with(start))
        .unwrap_or_default();
    found.replace('│', " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

const PLAIN: Style = Style { color: false };

#[test]
fn families_share_a_sign_unless_they_differ() {
    let matrix = Matrix::new(vec![
        cell("a", "b", Family::V4, Outcome::Open, true),
        cell("a", "b", Family::V6, Outcome::Open, true),
        cell("b", "b", Family::V4, Outcome::Open, true),
        cell("b", "b", Family::V6, Outcome::TimedOut, false),
    ]);
    let text = render(&matrix, None, PLAIN);
    assert_eq!((line(&text, "a"), line(&text, "b  ")), ("a ✓".to_owned(), "b 4✓6✗".to_owned()));
    assert!(!text.contains('!') && text.contains("4 IPv4, 6 IPv6"), "{text}");
}

#[test]
fn an_unexpected_result_is_marked_and_listed() {
    let matrix = Matrix::new(vec![cell("a", "b", Family::V6, Outcome::Open, false)]);
    let text = render(&matrix, None, PLAIN);
    assert_eq!(line(&text, "a"), "a ✓!");
    assert!(text.contains("! IPv6 demo/a → demo/b :80: should not answer, answered"), "{text}");
}

#[test]
fn changes_are_shown_with_the_earlier_result() {
    let before = Matrix::new(vec![cell("a", "b", Family::V4, Outcome::Open, true)]);
    let after = Matrix::new(vec![cell("a", "b", Family::V4, Outcome::TimedOut, false)]);
    assert_eq!(line(&render(&after, Some(&before), PLAIN), "a"), "a ✓→✗");
}

#[test]
fn a_refusal_is_never_as_expected() {
    for expected in [true, false] {
        assert!(!cell("a", "b", Family::V4, Outcome::Refused, expected).as_expected());
    }
    assert!(!Matrix::default().all_good());
}

/// A matrix of all pairs of these pods, with two columns for each.
fn square(names: &[&str]) -> Matrix {
    let mut cells = Vec::new();
    for from in names {
        for to in names {
            let mut one = cell(from, to, Family::V4, Outcome::Open, true);
            cells.push(one.clone());
            one.probe.traffic = Traffic::Portless;
            cells.push(one);
        }
    }
    Matrix::new(cells)
}

fn widest(text: &str) -> usize {
    text.lines().map(|line| line.chars().count()).max().unwrap_or(0)
}

#[test]
fn a_receivers_ports_share_its_name() {
    let text = render(&square(&["a", "b"]), None, PLAIN);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..4],
        [
            "          │    a     │    b",
            "from \\ to │ :80 ping │ :80 ping",
            "──────────┼──────────┼─────────",
            "a         │  ✓   ✓   │  ✓   ✓",
        ]
    );
}

#[test]
fn a_narrow_separator_saves_a_second_table() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let text = render(&square(&names), None, PLAIN);
    assert!(text.contains("a         │  ✓   ✓   │"), "{text}");
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    let text = render(&square(&names), None, PLAIN);
    assert!(text.contains("a        │  ✓   ✓  │") && widest(&text) <= 80, "{text}");
    assert_eq!(text.matches("from").count(), 1, "{text}");
}

#[test]
fn long_names_are_wrapped_before_they_become_numbers() {
    let names = ["payments-frontend-one", "payments-frontend-two", "payments-backend-one"];
    let text = render(&square(&names), None, PLAIN);
    assert!(widest(&text) <= 80, "{text}");
    assert_eq!(line(&text, "payments-"), "payments- payments- payments-", "{text}");
    assert_eq!(line(&text, "frontend-"), "frontend- frontend- backend-", "{text}");
    assert!(!text.contains("number"), "{text}");
}

#[test]
fn numbers_are_explained_where_names_do_not_fit() {
    let names =
        ["unhyphenatedlong1", "unhyphenatedlong2", "unhyphenatedlong3", "unhyphenatedlong4"];
    let text = render(&square(&names), None, PLAIN);
    assert!(widest(&text) <= 80, "{text}");
    assert_eq!(line(&text, "1     "), "1 2 3 4", "{text}");
    assert!(line(&text, "2 unhyphenatedlong2").starts_with("2 unhyphenatedlong2 ✓"), "{text}");
    assert!(text.contains("columns: the receiver in the row of that number"), "{text}");
}

#[test]
fn no_number_of_pods_makes_a_table_wider_than_a_terminal() {
    let names: Vec<String> = (0..30).map(|it| format!("pod-of-some-length-{it}")).collect();
    let text = render(&square(&names.iter().map(String::as_str).collect::<Vec<_>>()), None, PLAIN);
    assert!(widest(&text) <= 80, "{text}");
    assert!(text.matches("from \\ to").count() > 1, "{text}");
}

#[test]
fn connections_that_are_not_tried_are_explained() {
    let cells = vec![
        cell("a", "b", Family::V4, Outcome::Open, true),
        cell("b", "a", Family::V4, Outcome::Open, true),
    ];
    let text = render(&Matrix::new(cells), None, PLAIN);
    assert_eq!(line(&text, "a "), "a ✓ -", "{text}");
    assert!(text.contains("- not tried"), "{text}");
}

#[test]
fn an_answer_of_unguarded_pods_is_not_counted_as_expected() {
    let mut matrix = square(&["a", "b"]);
    assert!(matrix.all_good());
    matrix.mark_unguarded([PodId::new("demo", "b")].into());
    assert!(!matrix.all_good());
    assert_eq!(matrix.good(), 2, "a to itself");
    let text = render(&matrix, None, PLAIN);
    assert_eq!(line(&text, "a      "), "a ✓ ✓ ○! ○!", "{text}");
    assert!(text.contains("○ answered, but no agent guarded one of the ends yet"), "{text}");
    assert!(text.contains("should answer, answered, but an end was not guarded"), "{text}");
    // A drop is a drop, guarded or not.
    let mut denied = Matrix::new(vec![cell("a", "b", Family::V4, Outcome::TimedOut, false)]);
    denied.mark_unguarded([PodId::new("demo", "b")].into());
    assert!(denied.all_good());
}

#[test]
fn families_with_the_same_unexpected_result_share_a_line() {
    let both = Family::ALL.map(|family| cell("a", "b", family, Outcome::TimedOut, true));
    let text = render(&Matrix::new(both.to_vec()), None, PLAIN);
    let line = "! IPv4+IPv6 demo/a → demo/b :80: should answer, did not answer";
    assert!(text.contains(line), "{text}");
}
