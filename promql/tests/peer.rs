//! Compares what this parser accepts with `promql-parser`, a parser made from
//! Prometheus's own grammar (of an older release).

use promql_parser::parser as peer;
use proptest::prelude::*;
use weir_promql::ast::Type;
use weir_promql::parse::parse;

/// The type the peer gives an expression; none if it refuses it.
fn peer_type(text: &str) -> Option<Type> {
    let expr = peer::parse(text).ok()?;
    Some(match expr.value_type() {
        peer::value::ValueType::Vector => Type::Vector,
        peer::value::ValueType::Scalar => Type::Scalar,
        peer::value::ValueType::Matrix => Type::Matrix,
        peer::value::ValueType::String => Type::String,
    })
}

fn our_type(text: &str) -> Option<Type> {
    parse(text).ok().map(|expr| expr.value_type())
}

/// Expressions at the borders of what is allowed.
const EXPRESSIONS: &[&str] = &[
    "a",
    "a{b='c'}",
    "{__name__='a'}",
    "a[5m]",
    "a[5m:]",
    "a[5m:1m] offset 1h @ 5",
    "a @ end()",
    "sum(a)",
    "sum by (b) (a)",
    "sum(a) without (b,)",
    "topk(3, a)",
    "topk(a)",
    "count_values('x', a)",
    "a + b",
    "a + on(c) group_left(d) b",
    "a + group_left b",
    "a and on() b",
    "a and 1",
    "1 + 1",
    "1 == 1",
    "1 == bool 1",
    "a == bool b",
    "a + bool b",
    "-a",
    "+1",
    "-'x'",
    "'x'",
    "rate(a)",
    "rate(a[1m])",
    "rate(a[1m], 1)",
    "nope(a)",
    "a offset",
    "a offset 1",
    "a[1m] offset 1m offset 1m",
    "a offset 5m[1m]",
    "a[0s]",
    "a{b=~'('}",
    "{b=~'.*'}",
    "{}",
    "a{}",
    "a{b='c' d='e'}",
    "a{,}",
    "a{b='c',}",
    "(a",
    "a)",
    "",
    "  ",
    "# only a comment",
    "a # with a comment",
    "a{b=\"\\x41\"}",
    "a{b=`\\d`}",
    "label_replace(a, 'b', '$1', 'c', '(.*)')",
    "label_join(a, 'b')",
    "sort_by_label(a, 'b')",
    "vector(1)",
    "scalar(a)",
    "time()",
    "time(1)",
    "absent(a[5m])",
    "absent_over_time(a)",
    "round(a, 2)",
    "clamp(a, 1)",
    "histogram_quantile(0.9, a)",
    "a[5m][5m]",
    "sum(a)[5m]",
    "sum(a)[5m:1m]",
    "1[5m:1m]",
    "a or b unless c and d",
    "a + on(b) group_right(b) c",
    "a ^ -b",
    "2 ^ 3 ^ 4",
    "- - a",
    "0x1f",
    "1e5",
    ".5",
    "1.5.5",
    "1_0",
    "Inf",
    "nan",
    "SUM(a)",
    "a OFFSET 5m",
    "a AND b",
    "sum",
    "by",
    "start",
    "offset",
    "a @ start",
    "a @ -1.5",
    "a @ nan",
    "a:b:c",
    ":a",
    "5a",
    "a b",
    "a[5m",
    "a{b",
    "\"unclosed",
    "a{b!='c',d!~'e'}",
    "day_of_week()",
    "hour(a)",
    "quantile(0.5, a)",
    "quantile('x', a)",
    "group(a)",
    "stddev by (x) (a)",
];

#[test]
fn both_accept_and_refuse_the_same_expressions() {
    let differs = |text: &&&str| our_type(text) != peer_type(text);
    let different: Vec<_> = EXPRESSIONS.iter().filter(differs).copied().collect();
    // Prometheus takes both: a raw string has no escapes, digits may be grouped.
    assert_eq!(different, ["a{b=`\\d`}", "1_0"]);
}

proptest! {
    #[test]
    fn what_the_peer_accepts_is_accepted(
        words in prop::collection::vec(prop::sample::select(vec![
            "a", "b{c='d'}", "sum(", "rate(", ")", "(", "[5m]", "[5m:1m]", "offset 1m", "@ 5", "@ end()", "-",
            "+", "*", "and", "or", "unless", "on(c)", "group_left", "==", "bool", "1", "'s'", "by (c)", ",",
        ]), 1..9)
    ) {
        let text = words.join(" ");
        // Prometheus refuses two things that the peer takes: matching clauses between scalars, and
        // a plus sign before a range or a string.
        let signed = |kind: &Type| text.contains('+') && matches!(kind, Type::Matrix | Type::String);
        let laxer = |kind: &Type| text.contains("on(c)") || signed(kind);
        if let Some(wanted) = peer_type(&text).filter(|kind| !laxer(kind)) {
            prop_assert_eq!(our_type(&text), Some(wanted), "{}", text);
        }
    }
}
