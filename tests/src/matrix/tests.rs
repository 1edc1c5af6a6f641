//! Tables of constructed matrices.

use enforcer_core::model::Protocol;
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
    Cell { probe, measured, expected }
}

fn line(text: &str, start: &str) -> String {
    let found = text.lines().find(|line| line.trim_start_matches(['│', ' ']).starts_with(start));
    found
        .unwrap_or_default()
        .trim_matches(['│', ' '])
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

const PLAIN: Style = Style { color: false };

#[test]
fn families_share_a_sign_unless_they_differ() {
    let matrix = Matrix {
        cells: vec![
            cell("a", "b", Family::V4, Outcome::Open, true),
            cell("a", "b", Family::V6, Outcome::Open, true),
            cell("b", "b", Family::V4, Outcome::Open, true),
            cell("b", "b", Family::V6, Outcome::TimedOut, false),
        ],
    };
    let text = render(&matrix, None, PLAIN);
    assert_eq!((line(&text, "a"), line(&text, "b ")), ("a ✓".to_owned(), "b 4✓6✗".to_owned()));
    assert!(!text.contains('!'));
}

#[test]
fn an_unexpected_result_is_marked_and_listed() {
    let matrix = Matrix { cells: vec![cell("a", "b", Family::V6, Outcome::Open, false)] };
    let text = render(&matrix, None, PLAIN);
    assert_eq!(line(&text, "a"), "a ✓!");
    assert!(text.contains("! IPv6 demo/a → demo/b :80: should not answer, answered"), "{text}");
}

#[test]
fn changes_are_shown_with_the_earlier_result() {
    let before = Matrix { cells: vec![cell("a", "b", Family::V4, Outcome::Open, true)] };
    let after = Matrix { cells: vec![cell("a", "b", Family::V4, Outcome::TimedOut, false)] };
    assert_eq!(line(&render(&after, Some(&before), PLAIN), "a"), "a ✓→✗");
}

#[test]
fn a_refusal_is_never_as_expected() {
    for expected in [true, false] {
        assert!(!cell("a", "b", Family::V4, Outcome::Refused, expected).as_expected());
    }
    assert!(!Matrix::default().all_good());
}

#[test]
fn wide_tables_have_numbers_instead_of_names() {
    let names = ["a-very-long-name-indeed", "another-very-long-name", "yet-another-long-name"];
    let mut cells = Vec::new();
    for from in names {
        for to in names {
            let mut one = cell(from, to, Family::V4, Outcome::Open, true);
            cells.push(one.clone());
            one.probe.traffic = Traffic::Portless;
            cells.push(one);
        }
    }
    let text = render(&Matrix { cells }, None, PLAIN);
    assert_eq!(line(&text, "from"), "from \\ to 1 1 2 2 3 3");
    assert_eq!(line(&text, "2 another-very-long-name"), "2 another-very-long-name ✓ ✓ ✓ ✓ ✓ ✓");
}

#[test]
fn families_with_the_same_unexpected_result_share_a_line() {
    let both = Family::ALL.map(|family| cell("a", "b", family, Outcome::TimedOut, true));
    let text = render(&Matrix { cells: both.to_vec() }, None, PLAIN);
    let line = "! IPv4+IPv6 demo/a → demo/b :80: should answer, did not answer";
    assert!(text.contains(line), "{text}");
}
