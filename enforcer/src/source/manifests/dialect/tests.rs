//! Cases that were compared with `kubectl`'s own decoder.

use super::*;

/// What `kubectl` reads.
fn rewrite(source: &str) -> Rewritten {
    super::rewrite(source).next().unwrap()
}

fn faults(source: &str) -> Vec<&'static str> {
    rewrite(source).faults.into_iter().map(|it| it.message).collect()
}

fn rewritten(source: &str) -> String {
    let rewritten = rewrite(source);
    assert_eq!(rewritten.faults, [], "{source:?}");
    assert!(rewritten.end.is_some() || rewritten.text.len() == source.len(), "{source:?}");
    rewritten.text
}

#[test]
fn tabs_never_indent() {
    for source in [
        "a:\n\tb: c\n",
        "a: {}\n\t\nb: c\n",
        "a: {}\n\t# comment\n",
        "a: b\n\t\nc: d\n",
        "-\ta\n",
        "? a\n:\tb\n",
        "a: |\n  \tb\n",
        "a: |\n  b\n \tc\n",
        "a: [b\n\t,c]\n",
    ] {
        assert_eq!(faults(source).first(), Some(&TAB), "{source:?}");
    }
}

#[test]
fn tabs_between_tokens_and_within_brackets_are_blanks() {
    for source in [
        "a:\tb\n",
        "a: b\t# c\n",
        "a: b\tc\n",
        "a: |\n  b\n  \tc\n",
        "a: \"b\n\tc\"\n",
        "---\t\na: b\n",
    ] {
        assert_eq!(faults(source), Vec::<&str>::new(), "{source:?}");
    }
    assert_eq!(rewritten("a: [\n\tb,\tc\n]\n"), "a: [\n b, c\n]\n");
}

#[test]
fn comments_need_no_blank_before() {
    assert_eq!(rewritten("a: {}#b\nc: 'd'#\u{e4}\n"), "a: {}  \nc: 'd'   \n");
    assert_eq!(rewritten("a: |# b\n  #c\n"), "a: |   \n  #c\n");
    for source in [
        "a: b#c\n",
        "a: b #c\n",
        "a: 'b#c'\n",
        "a: [b#c]\n",
        "a: |\n  b #c\n",
        "a: >-\n  b\n\n  'c\n",
    ] {
        assert_eq!(rewritten(source), source);
    }
}

#[test]
fn lines_end_at_more_characters() {
    assert_eq!(rewritten("a: b\u{85}c: d\u{2028}"), "a: b \nc: d  \n");
    assert_eq!(rewritten("a: b # c\u{2029}d: e\n"), "a: b # c  \nd: e\n");
}

#[test]
fn a_line_with_three_dots_ends_what_is_read() {
    let cut = |source: &str| rewrite(source).end;
    assert_eq!(cut("a: b\n...\nc: [\n"), Some(5));
    assert_eq!(cut("a: |\n  b\n... # c\n"), Some(9));
    assert_eq!(cut("a: b\n%YAML 1.1\n"), Some(5));
    assert_eq!(cut("a: ...\nb: '\n ...'\n"), None);
    assert_eq!(cut("a: b\n....\n"), None);
    assert_eq!(faults("# a\n...\n").len(), 1);
    assert_eq!(faults("%YAML 1.1\n").len(), 1);
    assert_eq!(faults("a: b\n%spec: c\n").len(), 1);
}

#[test]
fn anchors_and_escapes() {
    for source in ["a: &b.c d\n", "a: &\u{e4} b\n", "a: & b\n", "a: \"\\/\"\n", "a: \"\\ud83d\"\n"]
    {
        assert_eq!(faults(source).len(), 1, "{source:?}");
    }
    assert_eq!(rewritten("a: \"\\'\"\n"), "a: \"\\\"\"\n");
    assert_eq!(rewritten("a: &b-_1 c\nd: *b-_1\n"), "a: &b-_1 c\nd: *b-_1\n");
}

#[test]
fn tags_become_anchors() {
    assert_eq!(rewritten("a: !!str 5\nb: !c [d]\n"), "a: &____ 5\nb: &_ [d]\n");
    assert_eq!(rewritten("a: &x !!str 5\n"), "a: &x       5\n");
    assert_eq!(rewritten("a: '!!str 5'\nb: c !d\n"), "a: '!!str 5'\nb: c !d\n");
    for source in ["a: !b!c d\n", "a: !! b\n", "a: !<> b\n", "a: !b\"c\" d\n"] {
        assert_eq!(faults(source).len(), 1, "{source:?}");
    }
}

#[test]
fn a_key_within_brackets_has_its_colon_on_its_line() {
    assert_eq!(faults("{a\n: b}\n").len(), 1);
    assert_eq!(rewritten("{?a: b, ? c}\n"), "{ a: b, ? c}\n");
    for source in ["{a:}\n", "[a:, b]\n", "{a?: b}\n", "{a: ?b}\n", "[a, b?c]\n"] {
        assert_eq!(faults(source).len(), 1, "{source:?}");
    }
    for source in ["{a: b}\n", "{a:\n b}\n", "{a,\n b: c}\n", "[a,\n 'b': c]\n", "{\"a\":b}\n"] {
        assert_eq!(rewritten(source), source);
    }
}

#[test]
fn any_text_is_rewritten() {
    let parts = [
        "a", ":", " ", "\n", "\t", "-", "[", "]", "{", "}", "'", "\"", "\\", "|", ">", "!", "&",
        "*", "#", "%", "...", "\u{e4}", "\u{85}",
    ];
    let mut seed = 1_usize;
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..12 {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            text.push_str(parts[(seed >> 33) % parts.len()]);
        }
        let rewritten = rewrite(&text);
        assert_eq!(rewritten.text.len(), rewritten.end.unwrap_or(text.len()), "{text:?}");
    }
}
