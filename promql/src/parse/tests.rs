//! Tests of the parser: trees, refusals, positions, and any text at all.

use proptest::prelude::*;

use super::*;
use crate::ast::{BinaryOp, ExprKind, Type};

fn refused(text: &str) -> String {
    parse(text)
        .map(|expr| format!("{expr:?}"))
        .unwrap_err()
        .to_string()
}

#[test]
fn operators_bind_as_in_prometheus() {
    let top = |text: &str| match parse(text).unwrap().kind {
        ExprKind::Binary { op, right, .. } => (op, right.kind),
        other => panic!("{other:?}"),
    };
    assert!(matches!(
        top("1 + 2 * 3"),
        (BinaryOp::Add, ExprKind::Binary { .. })
    ));
    assert!(matches!(
        top("2 ^ 3 ^ 2"),
        (BinaryOp::Pow, ExprKind::Binary { .. })
    ));
    assert!(matches!(
        top("a - b - c"),
        (BinaryOp::Sub, ExprKind::Vector(_))
    ));
    assert!(matches!(
        top("a or b and c"),
        (BinaryOp::Or, ExprKind::Binary { .. })
    ));
    assert!(matches!(parse("-a ^ b").unwrap().kind, ExprKind::Negate(_)));
    assert!(matches!(
        top("-a * b"),
        (BinaryOp::Mul, ExprKind::Vector(_))
    ));
}

#[test]
fn keywords_are_names_where_nothing_else_can_stand() {
    for text in [
        "sum",
        "by",
        "offset",
        "bool + a",
        "a + on",
        "rate",
        "start",
        "fill + fill(0) fill_left",
        "sum by (sum, anchored) (avg)",
        "smoothed smoothed",
        "metric anchored_total",
    ] {
        let ok = parse(text).is_ok();
        assert_eq!(
            ok,
            !text.starts_with("bool") && !text.ends_with("on") && !text.ends_with("anchored_total"),
            "{text}"
        );
    }
}

#[test]
fn errors_say_what_and_where() {
    assert_eq!(
        refused("sum(\n  rate(a))"),
        "2:8: parse error: expected type range vector in call to function \"rate\", got instant vector"
    );
    assert!(refused("a +").starts_with("1:4: parse error: unexpected end of input"));
    assert!(refused("foo{a='b").contains("unterminated"));
    assert!(refused("nope(a)").contains("unknown function with name \"nope\""));
    assert!(refused("{a=~'.*'}").contains("at least one non-empty matcher"));
    assert!(refused("a[0s]").contains("greater than 0"));
    assert!(refused("a{b=~'('}").contains("invalid regular expression"));
    assert!(refused("1 == 2").contains("BOOL"));
    assert!(refused("").contains("no expression"));
}

#[test]
fn numbers_and_durations_are_read_as_go_reads_them() {
    for (text, value) in [
        ("0x1F", 31.0),
        ("1_000", 1000.0),
        ("017", 15.0),
        ("08", 8.0),
        ("1h30m", 5400.0),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-1h", -3600.0),
        ("5ms", 0.005),
        ("2.", 2.0),
    ] {
        assert_eq!(parse(text).unwrap().kind, ExprKind::Number(value), "{text}");
    }
    for text in ["1m1h", "1x", "1__0", "0xg", "1.5m"] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn utf8_names_may_be_quoted() {
    let labels = parse_labels(r#"{"my.metric", "a.b"="c"}"#).unwrap();
    assert_eq!((labels.name(), labels.get("a.b")), ("my.metric", "c"));
    assert_eq!(
        parse(r#"sum by ("a.b") ({"my.metric"})"#)
            .unwrap()
            .value_type(),
        Type::Vector
    );
}

#[test]
fn nesting_is_bounded_in_every_direction() {
    let around = |open: &str, close: &str| open.repeat(5000) + "a" + &close.repeat(5000);
    for text in [
        around("(", ")"),
        around("-", ""),
        around("abs(", ")"),
        around("", "[5m:1m]"),
        "a or ".repeat(5000) + "a",
        "1 ^ ".repeat(5000) + "1",
        format!("a[{}1m]", "(".repeat(5000)),
        format!("a[{}1m]", "1 + ".repeat(5000)),
        format!("a offset {}", "-".repeat(5000)),
        "((a or ".repeat(2000) + "a",
        ("(".to_owned() + &"a or ".repeat(100)).repeat(100),
    ] {
        assert!(parse(&text).is_err(), "{}", &text[..40]);
    }
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in ".{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn any_sequence_of_words_is_parsed_or_refused(
        words in prop::collection::vec(prop::sample::select(vec![
            "a", "sum", "(", ")", "[", "]", "{", "}", "5m", ":", "offset", "@", "start()", "-", "+",
            "*", "and", "on(x)", "group_left", "bool", "==", "1", "\"s\"", "by (l)", ",", "rate",
            "fill(0)", "anchored", "smoothed", "</", "l=\"v\"", "l=~\"v|w\"", "min_of(", "step()",
        ]), 0..25)
    ) {
        if let Ok(expr) = parse(&words.join(" ")) {
            let _ = expr.value_type();
            let _ = crate::store::needs(&expr, 300_000, 0);
        }
    }
}
