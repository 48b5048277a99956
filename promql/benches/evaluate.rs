//! What evaluating rules costs: thresholds, rates, sums and joins over many
//! series, appending samples, parsing.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir_promql::eval::{Options, instant};
use weir_promql::labels::Labels;
use weir_promql::matcher::Matcher;
use weir_promql::parse::parse;
use weir_promql::store::{Need, Store, StoreLimits, needs};
use weir_promql::value::Point;

const STEP_MS: i64 = 10_000;

fn labels(metric: &str, at: usize) -> Labels {
    Labels::new([
        ("__name__", metric.to_owned()),
        ("service", format!("service-{}", at % 50)),
        ("peer", format!("peer-{at}")),
        (
            "direction",
            if at.is_multiple_of(2) { "in" } else { "out" }.to_owned(),
        ),
        ("instance", "node-1:9464".to_owned()),
    ])
}

fn value(at: usize, step: i64) -> f64 {
    match at % 3 {
        0 => (step * 1500) as f64,
        1 => step as f64 * 0.125,
        _ => (at % 7) as f64,
    }
}

/// A store with `series` series per metric and ten minutes of samples.
fn store(metrics: &[&str], series: usize) -> Store {
    let mut store = Store::new(StoreLimits {
        bytes: 1 << 30,
        ..StoreLimits::default()
    });
    let window_ms = 600_000;
    store.set_needs(vec![Need {
        matchers: vec![Matcher::equal("__name__", metrics[0])],
        window_ms,
    }]);
    for metric in metrics {
        for at in 0..series {
            let labels = labels(metric, at);
            for step in 1..=60 {
                let point = Point {
                    at_ms: step * STEP_MS,
                    start_ms: 0,
                    value: value(at, step).into(),
                };
                store.append(&labels, point).expect("samples come in order");
            }
        }
    }
    store
}

fn queries(c: &mut Criterion) {
    let store = store(&["sent_total", "limit"], 5000);
    let mut group = c.benchmark_group("instant_over_5000_series");
    group.throughput(Throughput::Elements(5000));
    for (name, text) in [
        ("threshold", "limit > 5"),
        ("sum_by", "sum by (service) (limit)"),
        ("rate", "rate(sent_total[5m])"),
        (
            "rate_sum_threshold",
            "sum by (service) (rate(sent_total[5m])) > 100",
        ),
        ("join", "limit / on (peer) sent_total"),
        ("max_over_time", "max_over_time(sent_total[10m])"),
    ] {
        let expr = parse(text).expect("the expression is valid");
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(instant(&store, &expr, 60 * STEP_MS, &Options::default())));
        });
    }
    group.finish();
}

fn selective(c: &mut Criterion) {
    let store = store(&["sent_total"], 50_000);
    let expr =
        parse("rate(sent_total{service=\"service-7\",direction=\"out\"}[5m]) > 10").expect("valid");
    c.bench_function("rule_on_1000_of_50000_series", |bencher| {
        bencher.iter(|| black_box(instant(&store, &expr, 60 * STEP_MS, &Options::default())));
    });
}

fn append(c: &mut Criterion) {
    let mut store = Store::new(StoreLimits::default());
    let expr = parse("rate(sent_total[5m])").expect("valid");
    store.set_needs(needs(&expr, 300_000, 0).expect("bounded"));
    let all: Vec<Labels> = (0..1000).map(|at| labels("sent_total", at)).collect();
    let mut step = 0;
    let mut group = c.benchmark_group("append_1000_series");
    group.throughput(Throughput::Elements(1000));
    group.bench_function("by_labels", |bencher| {
        bencher.iter(|| {
            step += 1;
            for (at, labels) in all.iter().enumerate() {
                let point = Point {
                    at_ms: step * STEP_MS,
                    start_ms: 0,
                    value: value(at, step).into(),
                };
                let _ = black_box(store.append(labels, point));
            }
        });
    });
    group.finish();
}

fn parsing(c: &mut Criterion) {
    let text =
        "sum by (service) (rate(sent_total{direction=\"out\"}[5m])) / on (service) limit > 0.9";
    c.bench_function("parse", |bencher| bencher.iter(|| black_box(parse(text))));
}

criterion_group!(benches, queries, selective, append, parsing);
criterion_main!(benches);
