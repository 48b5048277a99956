//! Tests of the evaluator: limits, and any expression on any data.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::histogram::{CUSTOM_SCHEMA, Histogram, ResetHint};
use crate::parse::{functions, parse};
use crate::store::{Need, Store, StoreLimits};
use crate::value::STALE_NAN;

fn store(series: &[(Labels, Vec<Point>)]) -> Store {
    let mut store = Store::new(StoreLimits::default());
    store.set_needs(vec![Need {
        matchers: Vec::new(),
        window_ms: i64::MAX,
    }]);
    for (labels, points) in series {
        for point in points {
            let _ = store.append(labels, point.clone());
        }
    }
    store
}

fn counters(count: usize, samples: i64) -> Store {
    let series: Vec<_> = (0..count)
        .map(|at| {
            let labels = Labels::new([("__name__", "c_total".to_owned()), ("i", at.to_string())]);
            let point = |step: i64| Point {
                at_ms: step * 10_000,
                start_ms: 0,
                value: (step as f64 * at as f64).into(),
            };
            (labels, (1..=samples).map(point).collect())
        })
        .collect();
    store(&series)
}

fn with_limits(limits: Limits) -> Options {
    Options {
        limits,
        ..Options::default()
    }
}

#[test]
fn limits_end_a_query_with_a_clear_error() {
    let store = counters(100, 60);
    let eval = |text: &str, limits: Limits| {
        let expr = parse(text).unwrap();
        instant(&store, &expr, 600_000, &with_limits(limits)).map(|outcome| outcome.samples)
    };
    let few = Limits {
        samples: 1000,
        ..Limits::default()
    };
    assert_eq!(eval("sum(c_total)", few).unwrap(), 200);
    assert_eq!(
        eval("rate(c_total[10m])", few),
        Err(EvalError::Samples(1000))
    );
    let narrow = Limits {
        series: 99,
        ..Limits::default()
    };
    let error = eval("1 + sum(c_total)", narrow).unwrap_err().to_string();
    assert_eq!(error, "1:9: selector matches more than 99 series");
    let error = eval("sum_over_time(c_total[1000h:1s])", Limits::default()).unwrap_err();
    assert!(matches!(error, EvalError::Steps { .. }), "{error}");
}

#[test]
fn a_counter_born_within_the_range_counts_from_zero() {
    let labels = Labels::new([("__name__", "kills_total")]);
    let point = Point {
        at_ms: 100_000,
        start_ms: 99_000,
        value: 1.0.into(),
    };
    let store = store(&[(labels, vec![point])]);
    let expr = parse("increase(kills_total[5m])").unwrap();
    let value = instant(&store, &expr, 100_000, &Options::default())
        .unwrap()
        .value;
    assert_eq!(
        value,
        Value::Vector(vec![Sample::new(Labels::empty(), 1.0)])
    );
}

#[test]
fn names_are_dropped_at_once_unless_that_is_delayed() {
    let store = counters(1, 10);
    let eval = |text: &str, delayed: bool| {
        let options = Options {
            delayed_name_removal: delayed,
            ..Options::default()
        };
        instant(&store, &parse(text).unwrap(), 100_000, &options)
            .unwrap()
            .value
    };
    let text = r#"label_replace(rate(c_total[1m]), "name", "$1", "__name__", "(.+)")"#;
    let name = |value| match value {
        Value::Vector(vector) => vector[0].labels.get("name").to_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!(name(eval(text, true)), "c_total");
    assert_eq!(name(eval(text, false)), "");
}

#[test]
fn the_deepest_trees_need_little_stack() {
    let deep = |open: &str, close: &str, levels: usize| {
        open.repeat(levels) + "c_total" + &close.repeat(levels)
    };
    let texts = [
        deep("(", ")", 95),
        deep("abs(", ")", 95),
        deep("-", "", 95),
        deep("sum by (i) (", ")", 95),
        deep("max_over_time(", "[1m:1m])", 47),
        deep("c_total or (", ")", 47),
        "c_total + ".repeat(95) + "1",
    ];
    // Three quarters of what a thread has unless it asks for more.
    let thread = std::thread::Builder::new().stack_size(3 << 19);
    let evaluate = move || {
        let store = counters(2, 60);
        for text in texts {
            let expr = parse(&text).unwrap_or_else(|error| panic!("{}: {error}", &text[..20]));
            let limits = Limits {
                samples: 100_000,
                ..Limits::default()
            };
            let _ = instant(&store, &expr, 600_000, &with_limits(limits));
            let _ = crate::store::needs(&expr, 300_000, 0);
        }
    };
    thread.spawn(evaluate).unwrap().join().unwrap();
}

#[test]
fn every_function_is_implemented() {
    use crate::ast::Type;
    let store = counters(3, 60);
    for function in functions() {
        let args: Vec<&str> = function
            .args
            .iter()
            .map(|wanted| match wanted {
                Type::Scalar => "0.5",
                Type::String => "\"a\"",
                Type::Vector => "c_total",
                Type::Matrix => "c_total[5m]",
            })
            .collect();
        let text = format!("{}({})", function.name, args.join(", "));
        let expr = parse(&text).unwrap();
        if let Err(error) = instant(&store, &expr, 600_000, &Options::default()) {
            assert!(
                !error.to_string().contains("not implemented"),
                "{text}: {error}"
            );
        }
    }
}

/// Any number, with those that break arithmetic more often than chance has it.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (-5i32..50).prop_map(f64::from),
        1 => any::<f64>(),
        1 => prop::sample::select(vec![
            f64::NAN, STALE_NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, f64::MAX, f64::MIN_POSITIVE,
        ]),
    ]
}

fn histogram() -> impl Strategy<Value = Histogram> {
    let buckets = || prop::collection::btree_map(-20i32..20, number(), 0..6);
    let hint = prop::sample::select(vec![
        ResetHint::Unknown,
        ResetHint::Reset,
        ResetHint::NotReset,
        ResetHint::Gauge,
    ]);
    let custom = prop::collection::btree_set(-9i32..9, 0..5);
    let figures = (number(), number(), number(), 0u8..3);
    (
        buckets(),
        buckets(),
        -4i32..9,
        hint,
        custom,
        figures,
        any::<bool>(),
    )
        .prop_map(
            |(
                positive,
                negative,
                schema,
                hint,
                custom,
                (count, sum, zero_count, width),
                exponential,
            )| {
                let mut histogram = Histogram {
                    hint,
                    count,
                    sum,
                    ..Histogram::default()
                };
                if exponential {
                    histogram.schema = schema;
                    histogram.zero_count = zero_count;
                    histogram.zero_threshold = f64::from(width) / 2.0;
                    histogram.positive = positive.into_iter().collect();
                    histogram.negative = negative.into_iter().collect();
                } else {
                    histogram.schema = CUSTOM_SCHEMA;
                    histogram.custom = custom.into_iter().map(f64::from).collect();
                    let last = histogram.custom.len() as i32;
                    let fits = |(index, _): &(i32, f64)| (0..=last).contains(index);
                    histogram.positive = positive.into_iter().filter(fits).collect();
                }
                histogram
            },
        )
}

fn points() -> impl Strategy<Value = Vec<Point>> {
    let value = prop_oneof![
        3 => number().prop_map(crate::value::SampleValue::Float),
        1 => histogram().prop_map(crate::value::SampleValue::from),
    ];
    prop::collection::vec((1i64..90_000, -100_000i64..100_000, value), 0..12).prop_map(|list| {
        let mut at_ms = 0;
        let point = |(step, start, value)| {
            at_ms += step;
            Point {
                at_ms,
                start_ms: if start < 0 { 0 } else { at_ms - start + 50_000 },
                value,
            }
        };
        list.into_iter().map(point).collect()
    })
}

fn data() -> impl Strategy<Value = Vec<(Labels, Vec<Point>)>> {
    let labels = (
        prop::sample::select(vec!["a", "b", "a_total"]),
        0u8..3,
        prop::sample::select(vec!["", "0.1", "1", "+Inf", "x"]),
    );
    prop::collection::vec((labels, points()), 0..8).prop_map(|list| {
        let series = |((name, job, le), points): ((&str, u8, &str), _)| {
            let job = job.to_string();
            (
                Labels::new([("__name__", name), ("job", &job), ("le", le)]),
                points,
            )
        };
        list.into_iter().map(series).collect()
    })
}

/// An expression of the wanted type, more or less.
fn expression() -> impl Strategy<Value = String> {
    let scalar = prop::sample::select(vec![
        "1",
        "-0.5",
        "0",
        "NaN",
        "Inf",
        "2",
        "scalar(a)",
        "time()",
        "0.9",
        "1e300",
        "-Inf",
    ]);
    let modifier = prop::sample::select(vec![
        "",
        "",
        "",
        " offset 1m",
        " @ 100",
        " @ end()",
        " offset -30s",
        " @ start() offset 20s",
    ]);
    let selector = (
        prop::sample::select(vec!["a", "b", "a_total", "{job=~\".+\"}", "a{le=\"1\"}"]),
        modifier.clone(),
    )
        .prop_map(|(name, modifier)| format!("{name}{modifier}"));
    let leaf = prop_oneof![
        3 => selector,
        1 => scalar.clone().prop_map(|text| format!("vector({text})")),
        1 => Just("a smoothed".to_owned()),
    ];
    leaf.prop_recursive(5, 40, 4, move |inner| {
        let function = prop::sample::select(functions().iter().collect::<Vec<_>>());
        let operator = prop::sample::select(vec![
            "+", "-", "*", "/", "%", "^", "atan2", "==", "!= bool", ">", "< bool", ">=", "<=", "and",
            "or", "unless", "</", ">/", "+ on(job)", "* ignoring(le) group_left", "- fill(0)",
            "/ on(job) group_right(le) fill_left(1)", "and on(job)",
        ]);
        let aggregate = prop::sample::select(vec![
            "sum", "avg", "min", "max", "count", "group", "stddev", "stdvar", "quantile", "topk",
            "bottomk", "count_values", "limitk", "limit_ratio",
        ]);
        let grouping = prop::sample::select(vec!["", " by (job)", " without (le)", " by (__name__)"]);
        let range = prop::sample::select(vec!["[1m]", "[5m:30s]", "[2m] anchored", "[90s] smoothed", "[10m:]"]);
        let call = (function, inner.clone(), scalar.clone(), range, modifier.clone()).prop_map(
            |(function, inner, scalar, range, modifier)| {
                use crate::ast::Type;
                let arg = |wanted: &Type| match wanted {
                    Type::Scalar => scalar.to_owned(),
                    Type::String => "\"le\"".to_owned(),
                    Type::Vector => inner.clone(),
                    Type::Matrix if range.contains(':') => format!("({inner}){range}{modifier}"),
                    Type::Matrix => format!("a{range}{modifier}"),
                };
                let args: Vec<String> = function.args.iter().map(arg).collect();
                let call = format!("{}({})", function.name, args.join(", "));
                if function.returns == Type::Scalar { format!("vector({call})") } else { call }
            },
        );
        prop_oneof![
            4 => call,
            2 => (inner.clone(), operator, inner.clone()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            2 => (aggregate, scalar.clone(), inner.clone(), grouping).prop_map(|(op, scalar, inner, by)| {
                let param = match op {
                    "quantile" | "topk" | "bottomk" | "limitk" | "limit_ratio" => format!("{scalar}, "),
                    "count_values" => "\"v\", ".to_owned(),
                    _ => String::new(),
                };
                format!("{op}{by} ({param}{inner})")
            }),
            1 => inner.clone().prop_map(|inner| format!("-{inner}")),
            1 => (inner, scalar.clone()).prop_map(|(inner, scalar)| format!("({inner} * {scalar})")),
        ]
    })
}

fn options(delayed: bool) -> Options {
    let limits = Limits {
        samples: 20_000,
        series: 100,
        steps: 50,
        deadline: None,
    };
    Options {
        delayed_name_removal: delayed,
        limits,
        ..Options::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn any_expression_on_any_data_yields_a_value_or_an_error(
        text in expression(), data in data(), delayed in any::<bool>(), at_ms in -100_000i64..900_000,
    ) {
        let Ok(expr) = parse(&text) else {
            return Ok(());
        };
        let store = store(&data);
        let options = options(delayed);
        let outcome = instant(&store, &expr, at_ms, &options);
        if let Ok(outcome) = &outcome {
            prop_assert!(outcome.samples <= options.limits.samples);
            if let Value::Vector(vector) = &outcome.value {
                let unique: HashSet<_> = vector.iter().map(|sample| &sample.labels).collect();
                prop_assert_eq!(unique.len(), vector.len(), "{}", text);
            }
        }
        let steps = TimeRange { start_ms: at_ms - 60_000, end_ms: at_ms + 60_000, step_ms: 30_000 };
        let _ = range(&store, &expr, steps, &options);
    }

    #[test]
    fn a_step_of_a_range_query_is_the_instant_query(
        text in expression(), data in data(), at_ms in 100_000i64..600_000,
    ) {
        // What depends on the query's range differs by right.
        let fixed = ["start()", "end()", "step()", "range()"];
        if fixed.iter().any(|word| text.contains(word)) {
            return Ok(());
        }
        let Ok(expr) = parse(&text) else {
            return Ok(());
        };
        let store = store(&data);
        let options = options(true);
        let steps = TimeRange { start_ms: at_ms - 60_000, end_ms: at_ms + 60_000, step_ms: 60_000 };
        let (Ok(whole), Ok(one)) =
            (range(&store, &expr, steps, &options), instant(&store, &expr, at_ms, &options))
        else {
            return Ok(());
        };
        let (Value::Matrix(matrix), Value::Vector(vector)) = (whole.value, one.value) else {
            return Ok(());
        };
        let column = matrix.iter().filter_map(|series| {
            let point = series.points.iter().find(|point| point.at_ms == at_ms)?;
            Some((series.labels.clone(), format!("{:?}", point.value)))
        });
        let mut column: Vec<_> = column.collect();
        let mut row: Vec<_> =
            vector.iter().map(|s| (s.labels.clone(), format!("{:?}", s.value))).collect();
        column.sort();
        row.sort();
        prop_assert_eq!(column, row, "{}", text);
    }

    #[test]
    fn what_queries_share_does_not_change_their_answers(
        texts in prop::collection::vec(expression(), 1..4), data in data(), delayed in any::<bool>(),
        at_ms in 100_000i64..600_000, added in 0usize..8,
    ) {
        let mut store = store(&data);
        let options = options(delayed);
        let mut memo = Memo::default();
        for round in 0..3 {
            for expr in texts.iter().filter_map(|text| parse(text).ok()) {
                let told = |outcome: Result<Outcome, EvalError>| {
                    let outcome = outcome.map(|outcome| {
                        let notes: Vec<_> = outcome.annotations.iter().cloned().collect();
                        (outcome.value, notes, outcome.samples)
                    });
                    format!("{outcome:?}")
                };
                let alone = told(instant(&store, &expr, at_ms, &options));
                let shared = told(instant_with(&store, &expr, at_ms, &options, &mut memo));
                prop_assert_eq!(alone, shared);
            }
            if let Some((labels, _)) = data.get(added) {
                let point = Point { at_ms: at_ms - 9 + round, start_ms: 0, value: 7.0.into() };
                if let Ok(series) = store.append(labels, point) {
                    memo.forget(series);
                }
            }
        }
    }

    #[test]
    fn names_that_nobody_reads_may_stay(
        data in data(), at_ms in 100_000i64..600_000,
        function in prop::sample::select(vec!["rate", "increase", "max_over_time", "last_over_time", "count_over_time"]),
        selector in prop::sample::select(vec!["a", "a_total", "{job=~\".+\"}", "{le=\"1\"}", "{__name__=~\"a|b\"}"]),
        op in prop::sample::select(vec!["sum", "max", "avg", "count", "topk", "quantile"]),
        by in prop::sample::select(vec!["", "by (job)", "by (__name__)", "without (le)", "by (job, le)"]),
    ) {
        let param = match op { "topk" => "1, ", "quantile" => "0.5, ", _ => "" };
        let call = format!("{function}({selector}[5m])");
        let store = store(&data);
        let ask = |inner: String| {
            let text = format!("{op} {by} ({param}{inner})");
            let outcome = instant(&store, &parse(&text).unwrap(), at_ms, &options(false));
            let outcome = outcome.map(|outcome| (outcome.value, outcome.annotations.iter().cloned().collect::<Vec<_>>()));
            // Where it stands differs.
            outcome.map_err(|why| why.to_string().split_once(": ").map(|(_, what)| what.to_owned()))
        };
        let plain = format!("{:?}", ask(call.clone()));
        prop_assert_eq!(plain, format!("{:?}", ask(format!("({call} or nothing)"))));
    }

    #[test]
    fn parsed_limits_hold_for_any_time(text in expression(), at_ms in any::<i64>()) {
        if let Ok(expr) = parse(&text) {
            let store = counters(3, 30);
            let _ = instant(&store, &expr, at_ms, &options(false));
            let steps = TimeRange { start_ms: at_ms, end_ms: i64::MAX, step_ms: 1 << 60 };
            let _ = range(&store, &expr, steps, &options(false));
        }
    }
}
